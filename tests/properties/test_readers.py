"""Readers beside builds: whoever reads, in whatever order and for however long, sees no error, and no build does either."""

from __future__ import annotations

import os
import random
import subprocess
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg

from tests.commands import TITAN
from tests.warehouse import DATABASE, Row, Warehouse, create_database, instant, make_batch
from titan.database import connect

IS_LONG = bool(os.environ.get("TITAN_SOAK"))
READERS = 20
QUERIES = 100_000  # beside full refreshes, if it is long
HOURS = 2_000 if IS_LONG else 100

MARTS = ["ohlcv", "features", "market_summary", "signal_feed", "strategy_leaderboard", "ohlcv_back_adjusted"]
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


def full_refreshes(folder: Path) -> None:
    """Two builds of everything at the same time, each a process."""
    processes = []
    for number in range(2):
        paths = {name: str(folder / f"{name}-{number}") for name in ("DBT_TARGET_PATH", "DBT_LOG_PATH")}
        processes.append(
            subprocess.Popen(
                [TITAN, "build", "--full-refresh"],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, **paths, "TITAN_LOG": "text"},
            )
        )
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said


def rebuild_everything(relations: list[tuple[str, str | None]]) -> None:
    """What a full refresh does to readers, without what it computes: every table copied aside, swapped in and published."""
    with closing(connect()) as connection:
        for relation, definition in relations:
            with connection.transaction():
                connection.execute("select ops.lock_node(%s)", (relation,))
                if definition is not None:
                    connection.execute("select ops.replace_view(%s, %s)", (relation, definition))
                    continue
                schema, table = relation.split(".")
                connection.execute(
                    f"create table {relation}__new (like {relation} including all);"
                    f"insert into {relation}__new select * from {relation};"
                    f"select ops.swap_table('{schema}', '{table}', '{table}__new');"
                    f"insert into ops.change (node) values ('{relation}')".encode()
                )


def relations(warehouse: Warehouse) -> list[tuple[str, str | None]]:
    """Tables, without those in chunks, and views of the project, with their definitions."""
    found = warehouse.query(
        """
        select format('%I.%I', nspname, relname), case when relkind = 'v' then rtrim(pg_get_viewdef(class.oid), ';') end
        from pg_class as class join pg_namespace as namespace on relnamespace = namespace.oid
        where nspname in ('bars', 'features', 'signals', 'backtest', 'marts') and relkind in ('r', 'v')
        and not exists (select from pg_inherits where inhparent = class.oid)
        """
    )
    return [(name, definition) for name, definition in found]


def test_readers_and_two_builds_at_once_do_not_hurt_each_other(small: str, manifest: Any, tmp_path: Path) -> None:
    create_database(DATABASE, small)
    with closing(Warehouse(manifest)) as warehouse:
        for symbol in ("BTC/USDT", "ETH/USDT"):
            start = instant("2024-01-01")
            warehouse.load(make_batch([Row(start + at * timedelta(hours=1), 100 + at % 17, symbol) for at in range(HOURS)]))
        warehouse.build()
        before = warehouse.contents()
        with Readers(READERS) as readers:
            if IS_LONG:
                while readers.queries < QUERIES:
                    full_refreshes(tmp_path)
            else:
                with ThreadPoolExecutor(2) as builders:
                    list(builders.map(rebuild_everything, [relations(warehouse)] * 2))
        assert not readers.errors
        assert warehouse.contents() == before
        print(f"{readers.queries} queries of {READERS} readers, no error")
