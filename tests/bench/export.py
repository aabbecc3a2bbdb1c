"""A million rows of marts.ohlcv to pandas and polars as docs/connect.md does it, beside binary COPY of the same."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import timedelta

import adbc_driver_postgresql.dbapi as adbc
import pandas
import polars
from psycopg import sql

from ingest.sources.synthetic import synthetic_batch
from tests.bench.rivals import uri
from tests.clocks import this_hour
from tests.warehouse import Warehouse, create_database, use_database
from titan.core.database import connect
from titan.core.settings import Settings
from titan.server.migrate import migrate

DATABASE = "bench_export"
SYMBOLS, BARS = 20, 50_000
ROUNDS = 5
QUERY = "select symbol, closed_at, open, high, low, close, volume from marts.ohlcv where timeframe = '1h'"


def copied() -> int:
    """Bytes of a binary COPY, which are read and forgotten."""
    with (
        connect(Settings.from_environment()) as connection,
        connection.cursor() as cursor,
        cursor.copy(sql.SQL("copy ({}) to stdout (format binary)").format(sql.SQL(QUERY))) as copy,
    ):
        return sum(len(block) for block in copy)


def to_pandas() -> int:
    with adbc.connect(uri()) as connection:
        return len(pandas.read_sql(QUERY, connection))


def to_polars() -> int:
    return polars.read_database_uri(QUERY, uri(), engine="adbc").height


WAYS: dict[str, Callable[[], int]] = {"binary COPY, thrown away": copied, "pandas": to_pandas, "polars": to_polars}


def main() -> None:
    """Print the table."""
    create_database(DATABASE)
    use_database(DATABASE)
    migrate()
    warehouse = Warehouse()
    until = this_hour() - timedelta(days=3)
    warehouse.load(synthetic_batch(symbol_count=SYMBOLS, bar_count=BARS, timeframe="1h", until=until))
    warehouse.refresh()
    warehouse.query("vacuum analyze")
    taken: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(ROUNDS):  # by turns
        for name, way in WAYS.items():
            begun = time.perf_counter()
            counted = way()
            taken[name].append(time.perf_counter() - begun)
            assert counted >= SYMBOLS * BARS
    base = statistics.median(taken["binary COPY, thrown away"])
    print(f"{SYMBOLS * BARS:,} rows of marts.ohlcv, {ROUNDS} times by turns:")
    for name, seconds in taken.items():
        median = statistics.median(seconds)
        print(f"  {name:30} {median:6.2f} s, {median / base:.2f} times", flush=True)
    warehouse.close()
