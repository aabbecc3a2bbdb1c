"""A warehouse for tests: a database of its own, real loads, real dbt, and its contents as something to compare."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from ingest.promotion import Promoted, promote
from titan.core.batch import Batch, Market, empty_candles
from titan.core.database import Connection, connect
from titan.core.settings import REPOSITORY, Settings
from titan.core.timeframes import TIMEFRAMES
from titan.ops import dbt
from titan.ops.refresh import Refreshed, refresh, refresh_model

DATABASE = f"titan_test_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
TEMPLATE = f"{DATABASE}_template"
SMALL = f"{DATABASE}_small"
LARGE = 20_000
SHARED = Path(__file__).resolve().parents[2] / "shared"
AGING = ("marts.market_summary", "marts.data_health")  # tell how old the newest bar is, by the clock
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Timeframes of every kind, and few of each: the rest is the same code over other quantities (test_bars.py).
SMALL_TIMEFRAMES = [
    "1m", "30m", "1h", "2h", "4h", "12h", "1D", "2D", "5D", "7CD",
    "1W_US", "1W_ISO", "2W_ISO", "1MO", "2MO", "1Y", "1W_ISO_TD", "1MO_TD",
]  # fmt: skip

# Schemas that a module whose MODELS these are leaves as they are: it is about what comes first.
FEATURES_ALONE = ["signals", "backtest"]
BARS_ALONE = [*FEATURES_ALONE, "features", "marts"]

# signal, type, timeframe, params, direction, execution
QUICK_SIGNALS = [
    (
        "quick_rsi", "rsi_mean_revert", "1h", '{"period": 2, "oversold": 40, "overbought": 60, "exit": 50}', "both",
        '{"stop_loss": 0.03, "take_profit": 0.04}',
    ),
    (
        "quick_mean", "ema_crossover", "2h", '{"fast": 2, "slow": 3}', "long",
        '{"execution_timeframe": "1h", "trailing_stop": 0.02}',
    ),
    ("quick_day", "ema_crossover", "1D", '{"fast": 2, "slow": 3}', "both", '{"pyramiding": 2, "exit_units": 1}'),
]  # fmt: skip


def instant(text: str) -> datetime:
    """A UTC instant from its ISO text."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - EPOCH) // timedelta(microseconds=1)


@dataclass(frozen=True)
class Row:
    """One candle of a test batch."""

    opened_at: datetime
    close: float
    symbol: str = "BTC/USDT"
    volume: float = 1.0


def make_batch(
    rows: Sequence[Row],
    *,
    timeframe: str = "1h",
    exchange: str = "test",
    session: str | None = None,
    observed: tuple[datetime, datetime] | None = None,
    as_of: datetime | None = None,
) -> Batch:
    """A batch of candles that open at the close before; symbols in order of appearance."""
    symbols = list(dict.fromkeys(row.symbol for row in rows))
    candles = empty_candles(len(rows))
    for at, row in enumerate(rows):
        high, low = max(row.close, row.close * 1.01), min(row.close, row.close * 0.99)
        candles[at] = (
            at + 1, symbols.index(row.symbol), microseconds(row.opened_at), row.close, high, low, row.close, row.volume,
            0, False, 0, False,
        )  # fmt: skip
    return Batch(
        source="test",
        origin="test",
        market=Market(exchange, "spot", TIMEFRAMES[timeframe].name, session),
        symbols=symbols,
        candles=candles,
        rows_read=len(rows),
        record_of=lambda number: repr(rows[number - 1]),
        as_of=as_of or datetime.now(UTC),
        answered=[[observed]] * len(symbols) if observed else (),
    )


class Warehouse:
    """The test database as loaded and built so far."""

    def __init__(self, project: Path = REPOSITORY) -> None:
        self._project = project
        self.left_alone: list[str] = []
        self._connection: Connection | None = None

    @property
    def connection(self) -> Connection:
        """One open connection in autocommit, made when first asked for."""
        if self._connection is None or self._connection.closed:
            self._connection = connect(autocommit=True)
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def query(self, text: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of a query, or nothing for a statement without any."""
        cursor = self.connection.execute(text.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []

    def value(self, text: str, *parameters: Any) -> Any:
        """The one value of a query."""
        return self.query(text, *parameters)[0][0]

    def load(self, batch: Batch) -> Promoted:
        return promote(self.connection, batch)

    def run(self, *arguments: str, command: str = "run") -> dbt.Invocation:
        """A dbt command, whatever becomes of it."""
        return dbt.invoke(command, arguments, project=self._project)

    def build(self, *arguments: str) -> dbt.Invocation:
        """A dbt run that has to succeed."""
        result = self.run(*arguments)
        assert not result.failed, [(node.name, node.message) for node in result.failed]
        return result

    def refresh(self, *, is_full: bool = False) -> Refreshed:
        """A refresh that has to succeed, of all but the schemas that are left alone; dbt declares what is owed."""
        done = self.try_refresh(is_full=is_full)
        assert not done.failed, done.failed
        return done

    def try_refresh(self, *, is_full: bool = False) -> Refreshed:
        """A refresh, whatever becomes of it."""
        left_out = self.query("select node from ops.model where split_part(node, '.', 1) = any (%s)", self.left_alone)
        return refresh(
            self.connection,
            is_full=is_full,
            left_out=[str(node) for (node,) in left_out],
            build=self._declare,
            project=self._project,
        )

    def refresh_models(self, selection: str) -> None:
        """Refresh one model, by its name; with a plus sign after it also what reads it."""
        name = selection.rstrip("+")
        (node,) = (node for (node,) in self.query("select node from ops.model") if node.split(".")[1] == name)
        for (each,) in self.query(
            "select node from ops.model where node = %s or (%s and node = any (ops.readers_of(array[%s]))) "
            "order by depth, node",
            node,
            selection.endswith("+"),
            node,
        ):
            step = refresh_model(self.connection, str(each))
            assert step.action != "failed", step
            if step.action == "build owed":
                self.build("--select", str(each).split(".")[1])

    def _declare(self, names: Sequence[str]) -> None:
        if error := self.run(*(["--select", *names] if names else [])).failure():
            raise error

    def relations(self) -> list[str]:
        """The tables and views that dbt has built, and the continuous aggregates, which are views to the server."""
        return [
            f"{schema}.{name}"
            for schema, name in self.query(
                """
                select nspname, relname from pg_class inner join pg_namespace on relnamespace = pg_namespace.oid
                where relkind in ('r', 'v') and nspname in ('bars', 'features', 'signals', 'backtest', 'marts') order by 1, 2
                """
            )
        ]

    def contents(self) -> dict[str, list[str]]:
        """Every row of every relation as text: floats print with every bit that they have. Large ones as one hash."""
        return {relation: self._contents(relation) for relation in self.relations() if relation not in AGING}

    def _contents(self, relation: str) -> list[str]:
        if relation.startswith("bars.rollup_") and relation != "bars.rollup_stored":
            # A continuous aggregate. What is frozen stands in the table; of that it has what is left from before.
            frozen_until = "coalesce((select max(horizon_at) from ops.horizon), '-infinity')"
            relation = f"(select * from {relation} where closed_at > {frozen_until})"
        if self.value(f"select count(*) from {relation} as contents") > LARGE:
            every_row = "string_agg(contents::text, '|' order by contents::text)"
            return [self.value(f"select md5({every_row}) from {relation} as contents")]
        return [row[0] for row in self.query(f"select contents::text from {relation} as contents order by 1")]

    def assert_incremental_equals_full(self) -> None:
        """Promise 1: a full refresh over the same data changes no bit of any table, view or aggregate."""
        incremental = self.contents()
        self.refresh(is_full=True)
        full = self.contents()
        assert incremental.keys() == full.keys()
        for relation, rows in full.items():
            assert incremental[relation] == rows, f"{relation}: {_difference(incremental[relation], rows)}"


def _difference(incremental: Iterable[str], full: Iterable[str]) -> str:
    only_incremental = sorted(set(incremental) - set(full))[:3]
    only_full = sorted(set(full) - set(incremental))[:3]
    return f"only incremental {only_incremental}, only full {only_full}"


@contextmanager
def as_commands_connect() -> Iterator[Connection]:
    """A connection as commands have it. It fails where a transaction is open at the end: whatever came after its beginning
    was not committed, and the writer's lock was kept.
    """
    with connect() as connection:
        yield connection
        assert connection.info.transaction_status == TransactionStatus.IDLE


def create_database(name: str, template: str | None = None) -> None:
    """Drop and create a database of the test server; a template that it is copied from is closed to everybody then."""
    if template:
        seal_template(template)
    settings = Settings.from_environment()
    with connect(Settings(settings.host, settings.port, settings.user, "postgres", False), autocommit=True) as server:
        drop_database(server, name)
        # Files copied cost half of what blocks written to the log do.
        clause = sql.SQL(" template {} strategy file_copy").format(sql.Identifier(template)) if template else sql.SQL("")
        server.execute(sql.SQL("create database {}").format(sql.Identifier(name)) + clause)


def drop_database(server: Connection, name: str) -> None:
    """A vacuum by the server itself is none of ours to end: it is over soon."""
    statement = sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(psycopg.errors.InsufficientPrivilege):
            server.execute(statement)
            return
        time.sleep(0.1)
    server.execute(statement)


def seal_template(name: str) -> None:
    """Let nobody connect to the template any more, TimescaleDB's own workers included: a copy needs it quiet."""
    settings = Settings.from_environment()
    with connect(Settings(settings.host, settings.port, settings.user, "postgres", False), autocommit=True) as server:
        server.execute(sql.SQL("alter database {} with allow_connections false").format(sql.Identifier(name)))
        server.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and pid <> pg_backend_pid()", (name,)
        )


def use_database(name: str) -> None:
    """Point Titan and dbt at a database of the test server."""
    os.environ["PGDATABASE"] = name


def separate_warehouse(name: str) -> Warehouse:
    """A warehouse in a database of its own, migrated and built, for many tests of a module; each has to use_database it."""
    database = f"{DATABASE}_{name}"
    create_database(database, TEMPLATE)
    use_database(database)
    return Warehouse()


def use_server(url: str) -> None:
    """Point Titan and dbt at the server of a libpq URL."""
    parts = psycopg.conninfo.conninfo_to_dict(url)
    for variable, key in (
        ("PGHOST", "host"),
        ("PGPORT", "port"),
        ("PGUSER", "user"),
        ("PGPASSWORD", "password"),
    ):
        if parts.get(key):
            os.environ[variable] = str(parts[key])
