"""The same sweep by vectorbt, in a process of its own: read, simulate, and write trades and metrics back.

Its first run on a few bars, which compiles its functions, is not counted. Prints seconds, peak memory and trades as JSON.
"""

from __future__ import annotations

import io
import json
import resource
import sys
import warnings
from time import perf_counter
from typing import Any

import numpy
import pandas

from titan.core.database import connect

warnings.simplefilter("ignore")
import vectorbt  # noqa: E402


def sweep(
    opens: Any, closes: Any, fast: list[int], slow: list[int], frequency: str
) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Trades and metrics of every pair on every instrument, with fees of 0.1 and slippage of 0.05 %, at the next open."""
    pairs = [(a, b) for a in fast for b in slow]
    quick = vectorbt.MA.run(closes, [a for a, _ in pairs], short_name="fast")
    tardy = vectorbt.MA.run(closes, [b for _, b in pairs], short_name="slow")
    entries = quick.ma_crossed_above(tardy).vbt.signals.fshift(1)
    exits = quick.ma_crossed_below(tardy).vbt.signals.fshift(1)
    portfolio = vectorbt.Portfolio.from_signals(
        closes, entries, exits, price=opens, init_cash=100, fees=0.001, slippage=0.0005, freq=frequency
    )
    metrics = pandas.concat(
        {
            "total_return": portfolio.total_return(),
            "sharpe": portfolio.sharpe_ratio(),
            "sortino": portfolio.sortino_ratio(),
            "calmar": portfolio.calmar_ratio(),
            "max_drawdown": portfolio.max_drawdown(),
            "win_rate": portfolio.trades.win_rate(),
            "profit_factor": portfolio.trades.profit_factor(),
        },
        axis=1,
    )
    return portfolio.trades.records, metrics.reset_index()


def write(frame: pandas.DataFrame, table: str) -> None:
    """Into a new table, by COPY."""
    text = io.StringIO()
    frame.to_csv(text, index=False, header=False)
    columns = ", ".join(f"c{at} float8" if kind.kind in "if" else f"c{at} text" for at, kind in enumerate(frame.dtypes))
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"drop table if exists {table}; create table {table} ({columns})".encode())
        with cursor.copy(f"copy {table} from stdin (format csv)".encode()) as copy:
            copy.write(text.getvalue())


def main() -> None:
    """Simulate a few bars, then all of them."""
    timeframe, (fast, slow) = sys.argv[1], json.loads(sys.argv[2])
    frequency = {"1D": "1D", "1h": "1h"}[timeframe]
    few = pandas.DataFrame(numpy.random.default_rng(1).random((300, 2)) + 100, columns=[1, 2])
    few.index = pandas.date_range("2020-01-01", periods=300)
    sweep(few, few, fast[:2], slow[:2], frequency)

    begun = perf_counter()
    with connect() as connection:
        rows = connection.execute(
            "select instrument_id, opened_at, open, close from bars.fct_bars where timeframe = %s order by 1, 2",
            (timeframe,),
        ).fetchall()
    bars = pandas.DataFrame(rows, columns=["instrument", "opened_at", "open", "close"])
    del rows
    opens = bars.pivot(index="opened_at", columns="instrument", values="open")
    closes = bars.pivot(index="opened_at", columns="instrument", values="close")
    trades, metrics = sweep(opens, closes, fast, slow, frequency)
    write(trades, "rival_trade")
    write(metrics, "rival_metric")
    seconds = perf_counter() - begun
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "memory": memory, "trades": len(trades)}))


if __name__ == "__main__":
    main()
