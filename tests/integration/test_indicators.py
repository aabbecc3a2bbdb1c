"""Every indicator against numbers made by others, from the first bar that has it."""

from __future__ import annotations

import csv
import json
import math
import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.warehouse import FEATURES_ALONE, Warehouse, microseconds
from titan.core.batch import Batch, Market, empty_candles
from titan.core.timeframes import TIMEFRAMES

LEFT_ALONE = FEATURES_ALONE

START = datetime(2000, 1, 1, tzinfo=UTC)
PRICES = ("open", "high", "low", "close", "volume")

# The columns of ../shared/oracles/live_talib that have another name here.
LIVE = {
    "stochastic_k_14_3": "stoch_fastk_14",
    "stochastic_d_14_3": "stoch_fastd_14_3",
    "bollinger_upper_20_2": "bb_up_20_2",
    "bollinger_middle_20_2": "bb_mid_20_2",
    "bollinger_lower_20_2": "bb_lo_20_2",
    "bollinger_deviation_20_2": "stddev_pop_20",
    "donchian_upper_20": "donchian_up_incl_20",
    "donchian_lower_20": "donchian_lo_incl_20",
    "macd_signal_12_26_9": "macds_12_26_9",
    "macd_histogram_12_26_9": "macdh_12_26_9",
    "macd_signal_8_17_9": "macds_8_17_9",
    "macd_histogram_8_17_9": "macdh_8_17_9",
}


def daily(symbol: str, prices: Iterable[Sequence[float]]) -> Batch:
    """One candle a day from START on, of (open, high, low, close, volume)."""
    rows = list(prices)
    candles = empty_candles(len(rows))
    for at, row in enumerate(rows):
        opened_at = microseconds(START + timedelta(days=at))
        candles[at] = (at + 1, 0, opened_at, *(float(value) for value in row), 0, False, 0, False)
    return Batch(
        source="test",
        origin="test",
        market=Market("test", "spot", TIMEFRAMES["1D"].name, None),
        symbols=[symbol],
        candles=candles,
        rows_read=len(rows),
        record_of=lambda number: repr(rows[number - 1]),
        as_of=datetime.now(UTC),
    )


def features(warehouse: Warehouse, symbol: str) -> list[dict[str, Any]]:
    """The daily rows of a symbol, in order."""
    cursor = warehouse.connection.execute(
        """
        select features.* from features.fct_features as features inner join bars.dim_instrument using (instrument_id)
        where symbol = %s and timeframe = '1D' order by closed_at
        """,
        (symbol,),
    )
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def differences(
    column: str, found: Iterable[float | None], expected: Iterable[float | None], closes: Iterable[float]
) -> str:
    """What is wrong with a column, or nothing: 1e-9 relative, with a floor of 1e-12 of the price, and equal nulls."""
    for at, (value, wanted, close) in enumerate(zip(found, expected, closes, strict=True)):
        if (value is None) != (wanted is None):
            return f"{column}, bar {at}: {value}, not {wanted}"
        if value is not None and wanted is not None:
            allowed = max(1e-9 * abs(wanted), 1e-12 * abs(close))
            if not abs(value - wanted) <= allowed:
                return f"{column}, bar {at}: {value}, not {wanted}, {abs(value - wanted):.1e} apart"
    return ""


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def number(text: str | None) -> float | None:
    return None if text in ("", "NA", None) else float(text)


@pytest.mark.parametrize("name", ["ref252", "default502", "binance_spot_BTCUSDT_1d"])
def test_talib(warehouse: Warehouse, shared: Path, name: str) -> None:
    """TA-Lib's own numbers, in every column that it has, every bar."""
    rows = read(shared / "oracles" / "live_talib" / f"{name}.csv")
    warehouse.load(daily("X/USD", ([float(row[price]) for price in PRICES] for row in rows)))
    warehouse.refresh()
    found = features(warehouse, "X/USD")
    assert len(found) == len(rows)
    compared = [column for column in found[0] if LIVE.get(column, column) in rows[0] and column not in ("close",)]
    assert len(compared) == 31, compared
    wrong = [
        differences(
            column,
            (row[column] for row in found),
            (number(row[LIVE.get(column, column)]) for row in rows),
            (row["close"] for row in found),
        )
        for column in compared
    ]
    assert not [text for text in wrong if text]


def add(warehouse: Warehouse, indicator: str, kernel: str, **params: float) -> None:
    warehouse.query(
        "insert into config.indicator (indicator, kernel, params) values (%s, %s, %s) on conflict do nothing",
        indicator,
        kernel,
        json.dumps(params),
    )


def talib_columns(rows: list[tuple[float, ...]]) -> dict[str, Any]:
    """What TA-Lib says now, for parameters that are not shipped."""
    import numpy
    import talib

    _, highs, lows, closes, volumes = (numpy.array(column) for column in zip(*rows, strict=True))
    macd = talib.MACD(closes, 3, 5, 2)
    bands = talib.BBANDS(closes, 5, 1.5, 1.5)
    stochastic = talib.STOCHF(highs, lows, closes, 5, 4)
    columns = {
        "rsi_2": talib.RSI(closes, 2),
        "rsi_14": talib.RSI(closes, 14),
        "ema_3": talib.EMA(closes, 3),
        "sma_2": talib.SMA(closes, 2),
        "sma_50": talib.SMA(closes, 50),
        "macd_3_5_2": macd[0],
        "macd_signal_3_5_2": macd[1],
        "macd_histogram_3_5_2": macd[2],
        "adx_5": talib.ADX(highs, lows, closes, 5),
        "plus_di_5": talib.PLUS_DI(highs, lows, closes, 5),
        "minus_di_5": talib.MINUS_DI(highs, lows, closes, 5),
        "bollinger_upper_5_1.5": bands[0],
        "bollinger_middle_5_1.5": bands[1],
        "bollinger_lower_5_1.5": bands[2],
        "stochastic_k_5_4": stochastic[0],
        "stochastic_d_5_4": stochastic[1],
        "donchian_upper_55": talib.MAX(highs, 55),
        "donchian_lower_55": talib.MIN(lows, 55),
        "atr_3": talib.ATR(highs, lows, closes, 3),
        "cci_7": talib.CCI(highs, lows, closes, 7),
        "obv": talib.OBV(closes, volumes),
    }
    return {
        name.replace(".", "_"): [None if value != value else float(value) for value in values]
        for name, values in columns.items()
    }


def walk(seed: int, count: int, price: float) -> list[tuple[float, ...]]:
    """A random walk with still stretches, jumps and trends, as candles."""
    generator = random.Random(seed)
    rows, close = [], price
    for at in range(count):
        opened = close
        move = 0.0 if at % 97 > 90 else generator.gauss(0.0005 * (-1) ** (at // 150), 0.02)
        close = opened * math.exp(move * (20 if generator.random() < 0.01 else 1))
        spread = 0.0 if move == 0 else generator.random() * 0.01
        rows.append(
            (opened, max(opened, close) * (1 + spread), min(opened, close) * (1 - spread), close, generator.random())
        )
    return rows


def test_talib_of_today_with_other_parameters_and_prices(warehouse: Warehouse) -> None:
    add(warehouse, "rsi_2", "rsi", period=2)
    add(warehouse, "ema_3", "ema", period=3)
    add(warehouse, "sma_2", "sma", period=2)
    add(warehouse, "macd_3_5_2", "macd", fast=3, slow=5, signal=2)
    add(warehouse, "adx_5", "adx", period=5)
    add(warehouse, "bollinger_5", "bollinger", period=5, deviations=1.5)
    add(warehouse, "stochastic_5_4", "stochastic", period=5, smoothing=4)
    add(warehouse, "donchian_55", "donchian", period=55)
    add(warehouse, "atr_3", "atr", period=3)
    add(warehouse, "cci_7", "cci", period=7)
    series = {"SMALL/USD": walk(1, 700, 1e-3), "ONE/USD": walk(2, 900, 1.0), "HUGE/USD": walk(3, 700, 1e8)}
    for symbol, rows in series.items():
        warehouse.load(daily(symbol, rows))
    warehouse.refresh()
    wrong = []
    for symbol, rows in series.items():
        found = features(warehouse, symbol)
        for column, expected in talib_columns(rows).items():
            wrong.append(differences(column, (row[column] for row in found), expected, (row["close"] for row in found)))
    assert not [text for text in wrong if text]


REGRESSION: dict[str, dict[str, list[str]]] = {
    "test_rsi": {"TA_RSI_TEST": ["rsi_{optInTimePeriod}"]},
    "test_stddev": {"": ["bollinger_deviation_{optInTimePeriod}_2"]},
    "test_bbands": {"": [f"bollinger_{line}_{{optInTimePeriod}}_2" for line in ("upper", "middle", "lower")]},
    "test_adx": {
        "TST_ADX": ["adx_{optInTimePeriod}"],
        "TST_PLUS_DI": ["plus_di_{optInTimePeriod}"],
        "TST_MINUS_DI": ["minus_di_{optInTimePeriod}"],
    },
    "test_ma": {"TA_MAType_SMA": ["sma_{optInTimePeriod}"], "TA_MAType_EMA": ["ema_{optInTimePeriod}"]},
    "test_macd": {
        "TA_MACD_TEST": [
            f"macd{line}_{{optInFastPeriod}}_{{optInSlowPeriod}}_{{optInSignalPeriod_2}}"
            for line in ("", "_signal", "_histogram")
        ]
    },
}


def outputs(table: str, row: dict[str, Any]) -> list[str]:
    """Our columns for a row of TA-Lib's tables; none where it is of another convention or of a function that is not here."""
    is_ours = (
        (row["startIdx"], row["endIdx"], row["expectedRetCode"]) == (0, 251, "TA_SUCCESS")
        and not row.get("unstablePeriod")
        and row.get("compatibility", "TA_COMPATIBILITY_DEFAULT") == "TA_COMPATIBILITY_DEFAULT"
        and row.get("optInMethod_3", "TA_MAType_SMA") == "TA_MAType_SMA"
        and row.get("optInNbDeviation_1", 1.0) == 1.0
        and 2 <= row.get("optInTimePeriod", 2) < 252
        and row.get("optInFastPeriod", 0) < row.get("optInSlowPeriod", 1)
    )
    identity = row.get("theFunction", row.get("testId", row.get("optInMAType_1", row.get("id", ""))))
    return [name.format(**row) for name in REGRESSION[table].get(identity, [])] if is_ours else []


def test_talib_regression_tables(warehouse: Warehouse, shared: Path) -> None:
    """The values that TA-Lib's own test programs hold, to the digits that they give, and where each begins."""
    folder = shared / "oracles" / "talib_regtest"
    tables = json.loads((folder / "expected.json").read_text("utf-8"))
    cases = [(names, row) for table in REGRESSION for row in tables[table]["rows"] if (names := outputs(table, row))]
    for names, row in cases:
        kernel = names[0].split("_")[0].replace("plus", "adx").replace("minus", "adx")
        period = {"period": row["optInTimePeriod"]} if "optInTimePeriod" in row else {}
        if kernel == "macd":
            period = {"fast": row["optInFastPeriod"], "slow": row["optInSlowPeriod"], "signal": row["optInSignalPeriod_2"]}
        if kernel == "bollinger":
            period["deviations"] = 2
        warehouse.query("delete from config.indicator where kernel = %s and params = %s", kernel, json.dumps(period))
        add(warehouse, f"{kernel}_{'_'.join(str(value) for value in period.values())}", kernel, **period)
    bars = read(folder / "ref252.csv")
    warehouse.load(daily("X/USD", ([float(row[price]) for price in PRICES] for row in bars)))
    warehouse.refresh()
    found = features(warehouse, "X/USD")
    assert len(cases) >= 25
    for names, row in cases:
        for output, name in enumerate(names):
            values = [bar[name] for bar in found]
            begun = row["expectedBegIdx"]
            assert values[begun] is not None, (name, row)
            assert values[:begun] == [None] * begun, (name, row)
            suffix = output if f"oneOfTheExpectedOutReal{output}" in row else ""
            expected = row[f"oneOfTheExpectedOutReal{suffix}"]
            at = begun + row[f"oneOfTheExpectedOutRealIndex{suffix}"]
            assert values[at] == pytest.approx(expected, abs=0.01), (name, at, row)


TTR = {
    "sma_10": ("ref.SMA", 1.0),
    "ema_10": ("ref.EMA", 1.0),
    "rsi_14": ("ref.RSI", 1.0),
    "atr_14": ("ref.ATR.atr", 1.0),
    "adx_14": ("ref.ADX.ADX", 1.0),
    "plus_di_14": ("ref.ADX.DIp", 1.0),
    "minus_di_14": ("ref.ADX.DIn", 1.0),
    "log_return": ("ref.ROCc", 1.0),
    "simple_return": ("ref.ROCd", 1.0),
    "parkinson_10": ("ref.Parkinson", 260**-0.5),
    "garman_klass_10": ("ref.GK", 260**-0.5),
    "rogers_satchell_10": ("ref.RS", 260**-0.5),
}  # ref.Close takes each return's distance from a mean of its own time: another statistic than a deviation


@pytest.mark.parametrize(("name", "skipped"), [("all_250", 0), ("top_10NA_250", 10)])
def test_ttr(warehouse: Warehouse, shared: Path, name: str, skipped: int) -> None:
    """R's TTR, where it is of TA-Lib's family; and again on a series whose first ten bars are not there."""
    for kernel in ("parkinson", "garman_klass", "rogers_satchell"):
        add(warehouse, f"{kernel}_10", kernel, bars=10)
    add(warehouse, "sma_10", "sma", period=10)
    rows = read(shared / "oracles" / "ttr" / f"{name}.csv")[skipped:]
    warehouse.load(daily("X/USD", ([float(row[price.capitalize()]) for price in PRICES] for row in rows)))
    warehouse.refresh()
    found = features(warehouse, "X/USD")
    wrong = []
    compared = {column: reference for column, reference in TTR.items() if reference[0] in rows[0]}
    assert len(compared) >= 7
    for column, (reference, factor) in compared.items():
        expected = [None if (value := number(row[reference])) is None else value * factor for row in rows]
        wrong.append(differences(column, (row[column] for row in found), expected, (row["close"] for row in found)))
    assert not [text for text in wrong if text]
