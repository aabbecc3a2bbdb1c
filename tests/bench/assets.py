"""What an asset costs that is added with ten years of days, and the next day of a hundred: load, bars of every timeframe,
features, signals, and what the six signals would have earned.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from statistics import median
from time import perf_counter

from ingest.promotion import promote
from ingest.sources.synthetic import synthetic_batch
from tests.bench.history import History
from titan.core.batch import Market
from titan.core.database import connect
from titan.ops.refresh import refresh

ASSETS = 100
DAYS = 3_650
UNTIL = datetime(2026, 1, 1, tzinfo=UTC)
ROUNDS = 5
COUNTS = "select (select count(*) from bars.fct_bars), (select count(*) from features.bar_features)"


def main() -> None:
    """Print both, medians of some rounds over one warehouse."""
    history = History(DAYS, UNTIL, symbols=ASSETS)
    history.use()
    with connect(autocommit=True) as connection:
        bars, features = connection.execute(COUNTS).fetchone() or (0, 0)
    print(f"{ASSETS} assets of {DAYS:,} days: {bars:,} bars of all timeframes, {features:,} rows of features and signals")
    print(f"  loaded in {history.load_seconds:.1f} s, built in {history.build_seconds:.1f} s")
    print(f"  one asset of {DAYS:,} days more: {median(_add(number) for number in range(ROUNDS)):.2f} s")
    seconds = []
    for number in range(1, ROUNDS + 1):
        begun = perf_counter()
        history.load(UNTIL + timedelta(days=number))
        history.refresh()
        seconds.append(perf_counter() - begun)
    print(f"  the next day of all {ASSETS} and {ROUNDS} more assets that stay behind: {median(seconds):.2f} s", flush=True)


def _add(number: int) -> float:
    """Seconds from a batch of an asset that nobody has heard of to its leaderboard."""
    batch = synthetic_batch(seed=1_000 + number, symbol_count=1, bar_count=DAYS, until=UNTIL)
    batch = replace(batch, market=Market(f"added{number}", "spot", "1D"))
    with connect(autocommit=True) as connection:
        begun = perf_counter()
        promote(connection, batch)
        done = refresh(connection)
        seconds = perf_counter() - begun
        assert not done.failed, done.failed
        leaderboard = "select 1 from marts.strategy_leaderboard where exchange = %s limit 1"
        assert connection.execute(leaderboard, (f"added{number}",)).fetchone(), "no backtest of it"
    return seconds
