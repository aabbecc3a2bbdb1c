"""Readers beside builds: whoever reads, in whatever order and for however long, sees no error, and no build does either."""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg

from tests.warehouse import DATABASE, Row, Warehouse, create_database, instant, make_batch
from titan.core.database import connect
from titan.ops.refresh import refresh

IS_LONG = bool(os.environ.get("TITAN_SOAK"))
READERS = 20
QUERIES = 100_000 if IS_LONG else 1_000  # at least, while everything is made anew twice at the same time
HOURS = 2_000 if IS_LONG else 100

MARTS = ["ohlcv", "features", "market_summary", "signal_feed", "strategy_leaderboard", "ohlcv_back_adjusted",
    "deep_dive", "correlation", "feature_outlier", "data_health"]  # fmt: skip
TABLES = ["bars.candle", "bars.dim_instrument", "bars.dim_timeframe", "bars.gap", "features.bar_features", "bars.daily",
    "bars.multi_day", "bars.rollup_stored", "signals.fct_signals", "backtest.fill"]  # fmt: skip
VIEWS = [*(f"marts.{mart}" for mart in MARTS), "bars.fct_bars", "features.fct_returns", "backtest.fct_strategy_trade"]


def statements(chance: random.Random) -> list[str]:
    """What one reader asks in one transaction: a mart; a table and then a view over it, in one statement or in two."""
    view, table = chance.choice(VIEWS), chance.choice(TABLES)
    return chance.choice(
        [
            [f"select * from {view} limit 20"],
            [f"select count(*) from {view}"],
            [f"select count(*) from (select 1 from {table} limit 1) as one, (select 1 from {view} limit 1) as two"],
            [f"select * from {table} limit 20", "select pg_sleep(0.02)", f"select * from {view} limit 20"],
            [f"select * from {view} limit 20", "select pg_sleep(0.05)", f"select count(*) from {table}"],
        ]
    )


class Readers:
    """Threads that read until they are told to stop; what went wrong is kept."""

    def __init__(self, count: int) -> None:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._read, args=(seed,)) for seed in range(count)]
        self.queries = 0
        self.errors: Counter[str] = Counter()

    def __enter__(self) -> Readers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _read(self, seed: int) -> None:
        chance = random.Random(seed)
        with closing(connect()) as connection:
            connection.execute("set role titan_reader")
            connection.commit()
            while not self._stop.is_set():
                for statement in statements(chance):
                    try:
                        connection.execute(statement.encode())
                    except psycopg.Error as error:
                        self.errors[f"{statement}: {str(error).splitlines()[0]}"] += 1
                        break
                    self.queries += 1
                connection.rollback()
                self._stop.wait(chance.expovariate(10))


def full_refresh(_: int) -> list[str]:
    """Everything anew, over a connection of its own; the models that failed."""
    with closing(connect(autocommit=True)) as connection:
        return [f"{step.node}: {step.reason}" for step in refresh(connection, is_full=True).failed]


def test_readers_and_two_builds_at_once_do_not_hurt_each_other(small: str, manifest: Any) -> None:
    create_database(DATABASE, small)
    with closing(Warehouse()) as warehouse:
        for symbol in ("BTC/USDT", "ETH/USDT"):
            start = instant("2024-01-01")
            warehouse.load(make_batch([Row(start + at * timedelta(hours=1), 100 + at % 17, symbol) for at in range(HOURS)]))
        warehouse.refresh()
        before = warehouse.contents()
        with Readers(READERS) as readers:
            while readers.queries < QUERIES:
                with ThreadPoolExecutor(2) as builders:
                    assert list(builders.map(full_refresh, range(2))) == [[], []]
        assert not readers.errors
        assert warehouse.contents() == before
        print(f"{readers.queries} queries of {READERS} readers, no error")
