"""The same features by the tools that people use today, as well as we can write it: read, compute, write back, key.

Both read what Titan reads (bars.fct_bars), compute the columns of features.fct_features by TA-Lib and their own rolling
functions, and write one table with a primary key on the same server. Their indicators are TA-Lib's, so the numbers agree.
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import numpy
import pandas
import polars
import talib
from sqlalchemy import create_engine

from titan.core.database import connect
from titan.core.settings import Settings

READ = """
select instrument_id, closed_at, open, high, low, close, volume from bars.fct_bars
where timeframe = '{timeframe}' and instrument_id % {parts} = {part} order by instrument_id, closed_at
"""


def talib_columns(open_: Any, high: Any, low: Any, close: Any, volume: Any) -> dict[str, Any]:
    """What TA-Lib and numpy compute in both rivals; NaN before the first."""
    columns: dict[str, Any] = {}
    logs = numpy.log(close)
    for bars in (1, 7, 30):
        for name, values in (("simple", close[bars:] / close[:-bars] - 1), ("log", logs[bars:] - logs[:-bars])):
            columns[f"{name}_return_{bars}"] = numpy.concatenate([numpy.full(bars, numpy.nan), values])
    for period in (7, 14, 21):
        columns[f"rsi_{period}"] = talib.RSI(close, period)
    for fast, slow, signal in ((12, 26, 9), (8, 17, 9)):
        lines = talib.MACD(close, fast, slow, signal)
        columns |= {f"{name}_{fast}": values for name, values in zip(("macd", "signal", "histogram"), lines, strict=True)}
    columns["k"], columns["d"] = talib.STOCHF(high, low, close, 14, 3)
    upper, middle, lower = talib.BBANDS(close, 20, 2, 2)
    columns |= {"upper": upper, "middle": middle, "lower": lower, "deviation": (upper - middle) / 2}
    columns |= {"bandwidth": (upper - lower) / middle, "percent_b": (close - lower) / (upper - lower)}
    columns |= {"atr": talib.ATR(high, low, close, 14), "adx": talib.ADX(high, low, close, 14)}
    columns |= {"plus_di": talib.PLUS_DI(high, low, close, 14), "minus_di": talib.MINUS_DI(high, low, close, 14)}
    columns |= {"highest": talib.MAX(high, 20), "lowest": talib.MIN(low, 20)}
    columns |= {"cci": talib.CCI(high, low, close, 20), "obv": talib.OBV(close, volume)}
    columns |= {f"sma_{period}": talib.SMA(close, period) for period in (20, 50, 200)}
    return columns | {f"ema_{period}": talib.EMA(close, period) for period in (9, 10, 21, 50, 200)}


def range_terms(open_: Any, high: Any, low: Any, close: Any) -> dict[str, Any]:
    """The terms of the range volatilities."""
    spread, body = numpy.log(high / low), numpy.log(close / open_)
    return {
        "parkinson": spread**2 / (4 * numpy.log(2)),
        "garman_klass": spread**2 / 2 - (2 * numpy.log(2) - 1) * body**2,
        "rogers_satchell": numpy.log(high / close) * numpy.log(high / open_)
        + numpy.log(low / close) * numpy.log(low / open_),
    }


def with_polars(timeframe: str, connections: int) -> int:
    """polars, TA-Lib and ADBC: one thread and connection for each part of the instruments. Returns the columns written."""

    def series(frame: polars.DataFrame) -> polars.DataFrame:
        prices = [frame[name].to_numpy() for name in ("open", "high", "low", "close", "volume")]
        columns = talib_columns(*prices)
        returns = polars.Series(columns["log_return_1"]).fill_nan(None)
        columns["zscore"] = (returns - returns.rolling_mean(365)) / returns.rolling_std(365)
        lower, upper = (returns.rolling_quantile(share, "linear", window_size=252) for share in (0.25, 0.75))
        columns |= {"q25": lower, "q75": upper, "is_outlier_zscore": columns["zscore"].abs() > 4}
        fence = 1.5 * (upper - lower)
        columns["is_outlier_iqr"] = (returns < lower - fence) | (returns > upper + fence)
        columns["realised"] = returns.rolling_std(30)
        terms = range_terms(*prices[:4])
        columns |= {name: polars.Series(values).rolling_mean(30).sqrt() for name, values in terms.items()}
        result = frame.select("instrument_id", "closed_at", "close").with_columns(
            **{
                name: values if isinstance(values, polars.Series) else polars.Series(values)
                for name, values in columns.items()
            }
        )
        return result.with_columns(polars.col(polars.Float64).fill_nan(None))

    def part(number: int) -> None:
        with adbc.connect(uri()) as connection, connection.cursor() as cursor:
            cursor.execute(READ.format(timeframe=timeframe, parts=connections, part=number))
            frame: Any = polars.from_arrow(cursor.fetch_arrow_table())
            features = polars.concat([series(one) for one in frame.partition_by("instrument_id", maintain_order=True)])
            cursor.adbc_ingest("rival", features.to_arrow(), mode="append")
            connection.commit()

    with adbc.connect(uri()) as connection, connection.cursor() as cursor:
        cursor.execute(READ.format(timeframe=timeframe, parts=1, part=0) + " limit 400")
        sample: Any = polars.from_arrow(cursor.fetch_arrow_table())
        empty = series(sample).head(0)
        cursor.execute("drop table if exists rival")
        cursor.adbc_ingest("rival", empty.to_arrow(), mode="create")
        connection.commit()
    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(part, range(connections)))
    with connect(autocommit=True) as connection:
        connection.execute("alter table rival add primary key (instrument_id, closed_at)")
    return empty.width


def with_pandas(timeframe: str) -> int:
    """pandas and TA-Lib: read_sql, groupby, rolling, and COPY of a CSV back. Returns the columns written."""

    def series(frame: pandas.DataFrame) -> pandas.DataFrame:
        prices = [frame[name].to_numpy() for name in ("open", "high", "low", "close", "volume")]
        columns = talib_columns(*prices)
        returns = pandas.Series(columns["log_return_1"])
        year = returns.rolling(365)
        columns["zscore"] = (returns - year.mean()) / year.std()
        lower, upper = (returns.rolling(252).quantile(share) for share in (0.25, 0.75))
        fence = 1.5 * (upper - lower)
        columns |= {"q25": lower, "q75": upper, "is_outlier_zscore": columns["zscore"].abs() > 4}
        columns["is_outlier_iqr"] = (returns < lower - fence) | (returns > upper + fence)
        columns["realised"] = returns.rolling(30).std()
        terms = range_terms(*prices[:4])
        columns |= {name: numpy.sqrt(pandas.Series(values).rolling(30).mean()) for name, values in terms.items()}
        return frame[["instrument_id", "closed_at", "close"]].reset_index(drop=True).assign(**columns)

    frame = pandas.read_sql(
        READ.format(timeframe=timeframe, parts=1, part=0).replace("%", "%%"), create_engine(uri("+psycopg"))
    )
    features = pandas.concat([series(one) for _, one in frame.groupby("instrument_id")])
    text = io.StringIO()
    features.to_csv(text, index=False, header=False)
    types = {"instrument_id": "integer", "closed_at": "timestamptz"} | dict.fromkeys(
        ("is_outlier_zscore", "is_outlier_iqr"), "boolean"
    )
    with connect(autocommit=True) as connection, connection.transaction():
        connection.execute("drop table if exists rival")
        declared = ", ".join(f"{name} {types.get(name, 'float8')}" for name in features.columns)
        connection.execute(f"create table rival ({declared})".encode())
        with connection.cursor().copy("copy rival from stdin (format csv)") as copy:
            copy.write(text.getvalue())
        connection.execute("alter table rival add primary key (instrument_id, closed_at)")
    return features.shape[1]


def uri(driver: str = "") -> str:
    """The server as a URL; the password comes from the passfile or PGPASSWORD by libpq itself."""
    settings = Settings.from_environment()
    return f"postgresql{driver}://{settings.user}@{settings.host}:{settings.port}/{settings.database}"
