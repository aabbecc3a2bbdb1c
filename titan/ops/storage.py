"""How much is kept and how: the columnstore and the retention that config.storage and config.retention ask for."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg import sql

from ingest.load_batch import close_batch, open_batch
from titan.core.database import Connection, records, statement
from titan.core.errors import UsageError
from titan.core.log import Progress
from titan.ops.refresh import needs_refresh

_SEGMENTS = "instrument_id, timeframe"

_SHOWN = """
select
    growth.relation,
    growth.row_estimate,
    growth.bytes,
    growth.grown_bytes,
    growth.grown_in,
    growth.bytes_a_year,
    growth.kept,
    growth.rule,
    storage.columnstore_after,
    {chunks}
from ops.growth as growth
left join config.storage as storage on growth.relation = storage.relation
where growth.bytes >= %s or storage.relation is not null
order by growth.bytes desc, growth.relation
"""
_PLAIN = "null::bigint as chunks, null::bigint as columnar_chunks"
_CHUNKED = """
    (
        select nullif(count(*), 0) from timescaledb_information.chunks
        where format('%%I.%%I', hypertable_schema, hypertable_name) = growth.relation
    ) as chunks,
    (
        select nullif(count(*), 0) from timescaledb_information.chunks
        where format('%%I.%%I', hypertable_schema, hypertable_name) = growth.relation and is_compressed
    ) as columnar_chunks
"""
SMALL = 1_000_000  # bytes


HAS_CHECKPOINTS = """
select 1 from pg_attribute
where attrelid = to_regclass('features.bar_features') and attname = 'checkpoint' and not attisdropped
"""


@dataclass
class Stored:
    """What was done: chunks converted, by table, and candles dropped, with the horizon up to which they are gone."""

    converted: dict[str, int] = field(default_factory=dict)
    dropped: int = 0
    horizon_at: datetime | None = None


def show(connection: Connection, *, is_everything: bool = False) -> list[dict[str, Any]]:
    """One row per table, largest first: its size, what it grew by within a week and what a year of that comes to, for how
    long its rows are kept, its chunks. Sizes are bytes; tables of less than a megabyte are left out unless all are wanted.
    """
    has_chunks = engine(connection) != "postgres"
    query = _SHOWN.format(chunks=_CHUNKED if has_chunks else _PLAIN)
    rows = records(connection, query, (0 if is_everything else SMALL,))
    connection.commit()
    return rows


def apply(connection: Connection, now: datetime, progress: Progress = lambda text: None) -> Stored:
    """Do what config.storage and config.retention ask for.

    Raises UsageError where the engine cannot, or a model has not read yet what would be dropped.
    """
    done = Stored()
    _drop(connection, now, done, progress)
    _convert(connection, now, done, progress)
    return done


def engine(connection: Connection) -> str:
    """What the server can do: postgres, apache (TimescaleDB) or community."""
    row: Any = connection.execute("select ops.engine()").fetchone()
    connection.commit()
    return str(row[0])


def _convert(connection: Connection, now: datetime, done: Stored, progress: Progress) -> None:
    wanted: list[Any] = connection.execute("select relation, %s - columnstore_after from config.storage", (now,)).fetchall()
    connection.commit()
    if wanted and engine(connection) != "community":
        raise UsageError(
            "config.storage asks for the columnstore, which only TimescaleDB's Community edition has",
            hint="delete from config.storage, or use a server of that edition",
        )
    for relation, older_than in wanted:
        name = sql.SQL(relation)
        with connection.transaction():
            connection.execute(
                sql.SQL(
                    "alter table {} set (timescaledb.enable_columnstore = true, timescaledb.segmentby = {}, "
                    "timescaledb.orderby = 'closed_at')"
                ).format(name, sql.Literal(_SEGMENTS))
            )
        chunks: list[Any] = connection.execute(
            "select format('%%I.%%I', chunk_schema, chunk_name) from timescaledb_information.chunks "
            "where format('%%I.%%I', hypertable_schema, hypertable_name) = %s and range_end <= %s and not is_compressed "
            "order by range_end",
            (relation, older_than),
        ).fetchall()
        connection.commit()
        for (chunk,) in chunks:
            progress(f"{relation}: converting {chunk}")
            with connection.transaction():
                connection.execute("select compress_chunk(%s::regclass)", (chunk,))
            done.converted[relation] = done.converted.get(relation, 0) + 1


def _drop(connection: Connection, now: datetime, done: Stored, progress: Progress) -> None:
    """Drop the candles of less than a day that are older than config.retention keeps them.

    The bars made of them are frozen by ops.horizon in the same transaction. The last ones before it stay, from where a walk
    over the series is taken up (docs/features.md): 256 at most, or all while it has no checkpoint.
    """
    wanted: Any = connection.execute("select %s - candles_for from config.retention", (now,)).fetchone()
    connection.commit()
    if wanted is None:
        return
    if needs_refresh(connection):
        raise UsageError(
            "some models have changes to read, which may be of candles to be dropped", hint="titan refresh, then again"
        )
    if not connection.execute(HAS_CHECKPOINTS).fetchone():
        raise UsageError("features.bar_features was not built by this release", hint="titan refresh, then again")
    connection.commit()
    has_aggregates = engine(connection) == "community"
    progress("dropping old candles")
    with connection.transaction():
        connection.execute("set local timescaledb.max_tuples_decompressed_per_dml_transaction = 0")
        batch_id = open_batch(connection, "retention", "config.retention", None, now, {"candles_before": str(wanted[0])})
        if has_aggregates:
            connection.execute(statement("titan.ops.sql", "freeze"), {"until": wanted[0]})
        # A local midnight: no day has a part of its candles. It never moves back.
        connection.execute(
            """
            insert into ops.horizon as standing (instrument_id, timeframe, horizon_at)
            select instrument.instrument_id, instrument.base_timeframe, date_trunc('day', %s::timestamptz, session.timezone)
            from raw.instrument as instrument
            inner join config.session as session on instrument.session_id = session.session_id
            inner join config.timeframe as timeframe on instrument.base_timeframe = timeframe.timeframe
            where timeframe.is_intraday
            on conflict (instrument_id) do update set horizon_at = excluded.horizon_at
                where standing.horizon_at < excluded.horizon_at
            """,
            (wanted[0],),
        )
        horizons: list[Any] = connection.execute(statement("titan.ops.sql", "horizons")).fetchall()
        for instrument_id, timeframe, horizon_at, kept_from in horizons:
            for relation in ("raw.ohlcv", "bars.candle"):
                # Literals: chunks are pruned by constants alone. Before null there is nothing.
                dropped = connection.execute(
                    sql.SQL("delete from {} where instrument_id = {} and timeframe = {} and closed_at < {}").format(
                        sql.SQL(relation), sql.Literal(instrument_id), sql.Literal(timeframe), sql.Literal(kept_from)
                    )
                ).rowcount
                done.dropped += dropped if relation == "raw.ohlcv" else 0
            done.horizon_at = max(horizon_at, done.horizon_at or horizon_at)
        close_batch(connection, batch_id, rows_deleted=done.dropped)
