"""One new daily bar for 20 symbols, loaded and built, over a hundred thousand and over a million bars of history."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from statistics import median
from time import perf_counter
from typing import Any

from ingest.promotion import promote
from ingest.sources.synthetic import synthetic_batch
from tests.warehouse import create_database, use_database
from titan import dbt
from titan.database import connect
from titan.migrate import migrate

ROUNDS = 25
END = datetime(2026, 1, 1, tzinfo=UTC)
TOUCHED = """
select sum(heap_blks_read + heap_blks_hit + coalesce(idx_blks_read + idx_blks_hit, 0))
from pg_statio_user_tables where schemaname in ('raw', 'bars', 'features')
"""


@dataclass
class History:
    """A database with some bars of each symbol, and what appending to it took."""

    bars: int
    manifest: Any = None
    idle: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)

    @property
    def beyond(self) -> float:
        """Seconds beyond a build with nothing to do: between medians, as start-ups differ by as much."""
        return median(self.busy) - median(self.idle)

    @property
    def database(self) -> str:
        """Its name."""
        return f"bench_{self.bars}"


def main() -> None:
    """Print medians of the rounds; the two histories take turns, so noise falls on both."""
    histories = [History(5_000), History(50_000)]
    for history in histories:
        create_database(history.database)
        use_database(history.database)
        migrate()
        with connect() as connection:
            promote(connection, synthetic_batch(symbol_count=20, bar_count=history.bars, until=END))
        history.manifest = dbt.parse_manifest()
        assert not dbt.invoke("run", manifest=history.manifest).failed
        with connect(autocommit=True) as connection:
            connection.execute("vacuum analyze")
    for day in range(1, ROUNDS + 1):
        for history in histories:
            _append(history, END + timedelta(days=day))
    small, large = histories
    print(
        f"one new daily bar for 20 symbols, loaded and built, beyond a build with nothing to do; medians of {ROUNDS} rounds"
    )
    for history in histories:
        print(
            f"  {history.bars * 20:>9,} bars of history  {history.beyond * 1000:6.0f} ms beyond"
            f" {median(history.idle):.2f} s,  {median(history.blocks):,.0f} blocks touched"
        )
    print(f"  ratio {large.beyond / small.beyond:.2f} in time, {median(large.blocks) / median(small.blocks):.2f} in blocks")


def _append(history: History, until: datetime) -> None:
    use_database(history.database)
    begun = perf_counter()
    dbt.invoke("run", manifest=history.manifest)
    idle = perf_counter() - begun
    before = _touched()
    begun = perf_counter()
    with connect() as connection:
        promote(connection, synthetic_batch(symbol_count=20, bar_count=1, until=until))
    result = dbt.invoke("run", manifest=history.manifest)
    history.busy.append(perf_counter() - begun)
    assert not result.failed
    history.idle.append(idle)
    history.blocks.append(_touched() - before)


def _touched() -> int:
    with connect(autocommit=True) as connection:
        connection.execute("select pg_stat_force_next_flush()")
        row: Any = connection.execute(TOUCHED).fetchone()
    return int(row[0])
