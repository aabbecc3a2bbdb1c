"""Features: built in full beside pandas and polars, over ten times the bars, of longer windows, and for one bar more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median
from time import perf_counter
from typing import Any

from tests.bench import rivals
from tests.bench.history import History, Rounds, print_ratio
from tests.bench.memory import peak_memory
from titan.core.database import connect

ROUNDS = 3
TENFOLD_ROUNDS = 2
APPENDS = 9
WINDOWS = 7
END = datetime(2026, 1, 1, tzinfo=UTC)
BASE_ALONE = """
update config.timeframe set compute_features = timeframe = '1h';
update config.signal set is_enabled = false
"""
TOUCHED = """
select sum(heap_blks_read + heap_blks_hit + coalesce(idx_blks_read + idx_blks_hit, 0) + coalesce(toast_blks_read, 0))
from pg_statio_user_tables where schemaname in ('bars', 'features')
"""

# What reads the features: it is behind, and nobody measures it.
AFTERWARDS = ["signals.fct_signals", "backtest.fill", "backtest.fct_strategy_equity", "backtest.equity_sum",
    "backtest.portfolio_return", "backtest.instrument_metric"]  # fmt: skip


def main() -> None:
    """Print the figures one after the other."""
    small = History(50_000, END, timeframe="1h", prepare=BASE_ALONE)
    _beside_rivals(small)
    _longer_windows(small)
    large = History(500_000, END, timeframe="1h", prepare=BASE_ALONE)
    _ten_times(small, large)
    _one_more(small, large)


def _full(history: History) -> float:
    """Seconds of the model alone, built in full, its key and statistics included."""
    return history.refresh_model("features.bar_features", is_full=True).seconds


def _seconds(work: Callable[[], object]) -> float:
    begun = perf_counter()
    work()
    return perf_counter() - begun


def _beside_rivals(history: History) -> None:
    ours: list[float] = []
    theirs: dict[str, list[float]] = {"polars, one connection": [], "polars, two connections": []}
    for _ in range(ROUNDS):
        ours.append(_full(history))
        for connections, name in enumerate(theirs, 1):
            theirs[name].append(_seconds(lambda: rivals.with_polars("1h", connections)))  # noqa: B023
    theirs["pandas"] = [_seconds(lambda: rivals.with_pandas("1h"))]
    with connect(autocommit=True) as connection:
        counted: Any = connection.execute(
            "select count(*), count(*) filter (where is_stored) from features.dim_feature"
        ).fetchone()
        rival: Any = connection.execute(
            "select count(*) from pg_attribute where attrelid = 'rival'::regclass and attnum > 0"
        )
        columns = rival.fetchone()[0] - 3
        connection.execute("drop table rival")
    print(f"features of {history.candles:,} bars of {history.symbols} symbols in full; medians of {ROUNDS} rounds in turn")
    print(f"  bar_features: {counted[0]} features, {counted[1]} stored  {median(ours):6.1f} s")
    for name, taken in theirs.items():
        print(f"  {name}: {columns} columns  {median(taken):6.1f} s, {median(taken) / median(ours):.2f} times as long")


def _longer_windows(history: History) -> None:
    """What the mean and deviation of a window add to a walk without any."""
    taken: dict[int, list[float]] = {0: [], 20: [], 252: []}
    walks = {}
    with connect(autocommit=True) as connection:
        connection.execute("create table kept as select * from config.indicator")
        for period in taken:
            connection.execute("delete from config.indicator")
            if period:
                params = f'{{"period": {period}, "deviations": 2}}'
                connection.execute("insert into config.indicator values ('window', 'bollinger', %s)", (params,))
            history.refresh(*AFTERWARDS)
            row: Any = connection.execute(
                """
                select pg_get_functiondef(oid), oid::regproc::text from pg_proc
                where pronamespace = 'features'::regnamespace and proname like 'walk%%'
                """
            ).fetchone()
            walks[period] = f"public.walk_{period}"
            connection.execute(row[0].replace(row[1], walks[period]).encode())
        for _ in range(WINDOWS):
            for period, walk in walks.items():
                query = f"select count(*) from bars.dim_instrument as i, lateral {walk}(i.instrument_id, '1h', '-infinity')"
                taken[period].append(_seconds(lambda: connection.execute(query.encode())))  # noqa: B023
        connection.execute("delete from config.indicator")
        connection.execute(b"insert into config.indicator select * from kept; drop table kept")
    history.refresh(*AFTERWARDS)
    bare = min(taken[0])
    added = {period: (min(times) - bare) / history.candles * 1e9 for period, times in taken.items() if period}
    print(f"a sliding mean and deviation, beyond a walk without any; best of {WINDOWS} rounds in turn")
    for period, nanoseconds in added.items():
        print(f"  of the last {period:3}  {nanoseconds:6.0f} ns a bar")
    print(f"  ratio {added[252] / added[20]:.2f}")


def _ten_times(small: History, large: History) -> None:
    print(f"the same build at ten times the bars; medians of {TENFOLD_ROUNDS} rounds in turn")
    times: dict[int, list[float]] = {small.candles: [], large.candles: []}
    memory: dict[int, list[int]] = {small.candles: [], large.candles: []}
    for _ in range(TENFOLD_ROUNDS):
        for history in (small, large):
            with peak_memory() as peak:
                times[history.candles].append(_full(history))
            memory[history.candles].append(peak[0])
    for candles, taken in times.items():
        print(
            f"  {candles:>10,} bars  {median(taken):6.1f} s, peak memory of the server {max(memory[candles]) / 1e6:,.0f} MB"
        )
    print(f"  ratio {median(times[large.candles]) / median(times[small.candles]):.2f}")


def _one_more(small: History, large: History) -> None:
    rounds = [(small, Rounds()), (large, Rounds())]
    for history, _ in rounds:
        history.refresh()
        history.vacuum()
    for _ in range(APPENDS):
        for history, taken in rounds:
            history.load(history.until + history.step)
            history.refresh("features.bar_features", *AFTERWARDS)
            idle = _seconds(lambda: history.refresh_model("bars.dim_timeframe"))  # noqa: B023
            before = _touched()
            busy = _seconds(lambda: history.refresh_model("features.bar_features"))  # noqa: B023
            taken.idle.append(idle)
            taken.busy.append(busy)
            taken.blocks.append(_touched() - before)
    print(f"features of one new bar of 20 symbols, beyond a model with nothing to do; medians of {APPENDS} rounds")
    for history, taken in rounds:
        print(f"  {history.candles:>10,} bars of history  {taken}")
    print_ratio(*(taken for _, taken in rounds))


def _touched() -> int:
    with connect(autocommit=True) as connection:
        connection.execute("select pg_stat_force_next_flush()")
        row: Any = connection.execute(TOUCHED).fetchone()
    return int(row[0])
