"""Databases with a history of their own length, and what the next candles of every symbol take on top of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median
from time import perf_counter
from typing import Any

from ingest.promotion import promote
from ingest.sources.synthetic import synthetic_batch
from tests.warehouse import create_database, use_database
from titan.core.database import connect
from titan.core.timeframes import parse_timeframe
from titan.ops import dbt
from titan.ops.refresh import Refreshed, Step, refresh, refresh_model
from titan.server.migrate import migrate

BATCH = 1_000_000
TOUCHED = """
select sum(heap_blks_read + heap_blks_hit + coalesce(idx_blks_read + idx_blks_hit, 0))
from pg_statio_user_tables where schemaname in ('raw', 'bars', 'features')
"""


@dataclass
class Rounds:
    """What appending took, round by round."""

    idle: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)

    @property
    def beyond(self) -> float:
        """Seconds beyond a refresh with nothing to do: between medians, as start-ups differ by as much."""
        return median(self.busy) - median(self.idle)

    def __str__(self) -> str:
        return f"{self.beyond * 1000:6.0f} ms beyond {median(self.idle):.2f} s,  {median(self.blocks):,.0f} blocks touched"


@dataclass
class History:
    """A database with some bars of each symbol until an instant, loaded and built."""

    bars: int
    until: datetime
    symbols: int = 20
    timeframe: str = "1D"
    prepare: str = ""  # SQL that runs before anything is loaded
    load_seconds: float = field(init=False)
    build_seconds: float = field(init=False)

    def __post_init__(self) -> None:
        create_database(self.database)
        use_database(self.database)
        migrate()
        if self.prepare:
            with connect(autocommit=True) as connection:
                connection.execute(self.prepare.encode())
        end, self.until = self.until, self.until - self.bars * self.step
        begun = perf_counter()
        self.load(end)
        self.load_seconds = perf_counter() - begun
        dbt.manifest()  # reading the project is no part of a build
        begun = perf_counter()
        self.refresh()
        self.build_seconds = perf_counter() - begun
        self.vacuum()

    @property
    def database(self) -> str:
        """Its name."""
        return f"bench_{self.timeframe.lower()}_{self.symbols}_{self.bars}"

    @property
    def candles(self) -> int:
        """How many it began with."""
        return self.bars * self.symbols

    @property
    def step(self) -> timedelta:
        """From one candle to the next."""
        return timedelta(seconds=parse_timeframe(self.timeframe).seconds)

    def load(self, until: datetime) -> None:
        """Promote the candles that follow, up to an instant, a million at once."""
        use_database(self.database)
        with connect() as connection:
            while self.until < until:
                count = min((until - self.until) // self.step, BATCH // self.symbols)
                self.until += count * self.step
                batch = synthetic_batch(
                    symbol_count=self.symbols, bar_count=count, timeframe=self.timeframe, until=self.until
                )
                promote(connection, batch)

    def build(self, *arguments: str) -> dbt.Invocation:
        """A dbt run that has to succeed."""
        use_database(self.database)
        result = dbt.invoke("run", arguments)
        assert not result.failed, [(node.name, node.message) for node in result.failed]
        return result

    def use(self) -> None:
        """Point Titan and dbt at it."""
        use_database(self.database)

    def refresh(self, *left_out: str) -> Refreshed:
        """Everything up to date but the nodes that are left out."""
        use_database(self.database)
        with connect(autocommit=True) as connection:
            done = refresh(connection, left_out=left_out, build=self._declare)
        assert not done.failed, done.failed
        return done

    def refresh_model(self, node: str, *, is_full: bool = False) -> Step:
        """One model."""
        use_database(self.database)
        with connect(autocommit=True) as connection:
            step = refresh_model(connection, node, is_full=is_full)
        assert step.action not in ("failed", "build owed"), step
        return step

    def _declare(self, names: Sequence[str]) -> None:
        self.build(*(["--select", *names] if names else []))

    def vacuum(self) -> None:
        """What autovacuum would do sooner or later, now."""
        with connect(autocommit=True) as connection:
            connection.execute("vacuum analyze")

    def append(self, rounds: Rounds) -> None:
        """Measure one round: a refresh with nothing to do, then the next candle of each symbol, loaded and refreshed."""
        begun = perf_counter()
        self.refresh()
        rounds.idle.append(perf_counter() - begun)
        before = _touched()
        begun = perf_counter()
        self.load(self.until + self.step)
        self.refresh()
        rounds.busy.append(perf_counter() - begun)
        rounds.blocks.append(_touched() - before)


def print_ratio(small: Rounds, large: Rounds) -> None:
    """What the longer history costs."""
    print(f"  ratio {large.beyond / small.beyond:.2f} in time, {median(large.blocks) / median(small.blocks):.2f} in blocks")


def _touched() -> int:
    with connect(autocommit=True) as connection:
        connection.execute("select pg_stat_force_next_flush()")
        row: Any = connection.execute(TOUCHED).fetchone()
    return int(row[0])
