"""Promoting a million fresh candles, and the same ones again, beside raw binary COPY of the same rows into the same key."""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import Any

from ingest.promotion import promote
from ingest.sources.synthetic import synthetic_batch
from titan.core.database import Connection, connect
from titan.server.migrate import migrate

ROUNDS = 5
COPY_COLUMNS = "copy {} (instrument_id, timeframe, opened_at, closed_at, open, high, low, close, volume, quote_volume, trade_count, batch_id)"  # noqa: E501  # fmt: skip


def main() -> None:
    """Print medians over the rounds, and the medians of the ratios within each round."""
    migrate()
    batch = synthetic_batch(symbol_count=20, bar_count=50_000, timeframe="1m")
    rows = len(batch.candles)
    copied, fresh, again, wal = [], [], [], []
    with connect() as connection:
        promote(connection, batch)
        content = _exported(connection)
        connection.execute("create table public.copied (like raw.ohlcv including all)")
        for _ in range(ROUNDS):
            connection.execute("truncate public.copied")
            connection.commit()
            copied.append(_timed_copy(connection, content))
            _clear(connection)
            begun = perf_counter()
            promote(connection, batch)
            fresh.append(perf_counter() - begun)
            before = _wal(connection)
            begun = perf_counter()
            result = promote(connection, batch)
            again.append(perf_counter() - begun)
            wal.append(_wal(connection) - before)
            assert result.has_changed_nothing
    print(f"promotion of {rows:,} candles in 20 series, medians of {ROUNDS} rounds")
    ratio = median(one / other for one, other in zip(copied, fresh, strict=True))
    for name, times, remark in (
        ("raw binary COPY", copied, ""),
        ("promotion, fresh", fresh, f", {ratio:.2f} of COPY's rate"),
        ("promotion, again", again, f", {median(wal):,.0f} bytes of WAL"),
    ):
        print(f"  {name:18}{median(times):6.2f} s  {rows / median(times) / 1e6:5.2f} M rows/s{remark}")


def _exported(connection: Connection) -> list[bytes]:
    with connection.cursor() as cursor, cursor.copy(COPY_COLUMNS.format("raw.ohlcv") + " to stdout (format binary)") as copy:
        content = b"".join(bytes(block) for block in copy)
    connection.commit()
    return [content[at : at + (1 << 20)] for at in range(0, len(content), 1 << 20)]


def _timed_copy(connection: Connection, blocks: list[bytes]) -> float:
    begun = perf_counter()
    with (
        connection.cursor() as cursor,
        cursor.copy(COPY_COLUMNS.format("public.copied") + " from stdin (format binary)") as copy,
    ):
        for block in blocks:
            copy.write(block)
    connection.commit()
    return perf_counter() - begun


def _clear(connection: Connection) -> None:
    connection.execute("truncate raw.ohlcv, raw.ohlcv_revision, raw.observed, raw.load_batch, ops.gate_result, ops.change")
    connection.commit()


def _wal(connection: Connection) -> int:
    position: Any = connection.execute("select pg_current_wal_insert_lsn() - '0/0'").fetchone()
    connection.commit()
    return int(position[0])
