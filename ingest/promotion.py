"""One transaction per batch: land, mark, quarantine, promote, observe. Nothing of it is visible until all of it is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any

import numpy as np
from psycopg import sql

from expectations import PREDICATES
from ingest.batch import Batch, Candles, Market, Rejected
from ingest.landing import land
from ingest.timeframes import TIMEFRAMES, Timeframe
from titan.database import Connection
from titan.errors import UsageError

WRITER_LOCK = "select pg_advisory_xact_lock(hashtext('titan'), hashtext('promote'))"

# The planner knows nothing of rows that landed a moment ago, so it is told how to find their standing versions. Landed rows
# come in the order of the key: merging a million of them with the index takes half the time of hashing (measured), and a
# few cost one look-up of the key each, whatever the history.
MANY_ROWS = 50_000
_MANY_ROWS: tuple[str, ...] = ("enable_hashjoin", "enable_nestloop")
_FEW_ROWS: tuple[str, ...] = ("enable_hashjoin", "enable_mergejoin", "enable_seqscan")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Promoted:
    """What one batch did. Counts are rows; `quarantined` counts them by reason, `examples` has some in full."""

    origin: str
    batch_id: int = 0
    exchange: str = ""
    symbols: list[str] = field(default_factory=list)
    timeframe: str = ""
    first_at: datetime | None = None
    last_at: datetime | None = None
    read: int = 0
    inserted: int = 0
    revised: int = 0
    unchanged: int = 0
    duplicate: int = 0
    unfinished: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    already_quarantined: int = 0
    examples: list[Rejected] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    @property
    def has_changed_nothing(self) -> bool:
        """Whether every row of the batch was known already."""
        return not (self.inserted or self.revised)


@dataclass(frozen=True)
class _Clock:
    """How the times of a batch are read: its timeframe in the timezone of its session."""

    timeframe: Timeframe
    session_id: str
    is_24_7: bool
    timezone: str

    @property
    def closed_at(self) -> sql.Composable:
        """SQL: the exclusive end of the period that begins at landing.opened_at. Days are those of the timezone."""
        if self.timeframe.is_intraday or self.timezone == "UTC":
            return sql.SQL("(landing.opened_at + {}::interval)").format(sql.Literal(self.timeframe.interval))
        return sql.SQL("((landing.opened_at at time zone {zone} + {period}::interval) at time zone {zone})").format(
            zone=sql.Literal(self.timezone), period=sql.Literal(self.timeframe.interval)
        )

    @property
    def is_on_grid(self) -> sql.Composable:
        """SQL: whether landing.opened_at begins a period. Sessions that open at half past have bars that do, too."""
        if self.timeframe.is_intraday:
            seconds = self.timeframe.seconds if self.is_24_7 else min(self.timeframe.seconds, 1800)
            return sql.SQL("date_bin({}::interval, landing.opened_at, timestamptz 'epoch') = landing.opened_at").format(
                sql.Literal(f"{seconds} seconds")
            )
        return sql.SQL("date_trunc({}, landing.opened_at, {}) = landing.opened_at").format(
            sql.Literal(self.timeframe.truncation), sql.Literal(self.timezone)
        )


def promote(connection: Connection, batch: Batch) -> Promoted:
    """Load one batch and say what it did.

    Raises UsageError when the batch contradicts what is stored of its instruments; psycopg.Error when the server fails. In
    either case nothing has changed.
    """
    result = Promoted(
        batch.origin,
        exchange=batch.market.exchange,
        symbols=list(batch.symbols),
        timeframe=batch.market.timeframe,
        read=batch.rows_read,
    )
    with connection.transaction():
        connection.execute("set local work_mem = '256MB'")
        clock = _clock(connection, batch.market)
        land(connection, batch.candles)
        connection.execute(WRITER_LOCK)
        result.batch_id = _open_batch(connection, batch)
        failing = _mark(connection, batch, clock)
        candles = _without(connection, batch.candles, [row_number for row_number, _, _ in failing])
        rejected = [*batch.rejected]
        for row_number, series, reason in failing:
            if reason == "unfinished":
                result.unfinished += 1
            else:
                rejected.append(_rejected(batch, row_number, series, reason))
        if len(candles):
            rejected += _deduplicate(connection, batch, candles, result)
            instruments = _instruments(connection, batch, clock, candles, result)
            _make_current(connection, clock, instruments, candles, result)
            _observe(connection, batch, clock, instruments, candles, result)
        _quarantine(connection, batch, rejected, result)
        _close_batch(connection, result)
    return result


def statement(name: str, **parts: sql.Composable) -> sql.SQL | sql.Composed:
    """The statement of ingest/sql with that name, its parts filled in."""
    text = sql.SQL(resources.files("ingest.sql").joinpath(f"{name}.sql").read_text("utf-8"))
    return text.format(**parts) if parts else text


def _clock(connection: Connection, market: Market) -> _Clock:
    """The session of the batch: the one asked for, or the exchange's own."""
    found = connection.execute(
        """
        select session_id, is_24_7, timezone from config.session
        where session_id = coalesce(
            %(session_id)s,
            (
                select session_id from config.exchange
                where exchange in (%(exchange)s, '*')
                order by exchange = '*' limit 1
            )
        )
        """,
        {"session_id": market.session_id, "exchange": market.exchange},
    ).fetchone()
    if found is None:
        raise UsageError(f"unknown session {market.session_id!r}", hint="select session_id from config.session lists them")
    session_id, is_24_7, timezone = found
    return _Clock(TIMEFRAMES[market.timeframe], str(session_id), bool(is_24_7), str(timezone))


def _mark(connection: Connection, batch: Batch, clock: _Clock) -> list[tuple[int, int, str]]:
    """The rows that do not get in: (row number, series, reason), `unfinished` among the reasons."""
    cases = sql.SQL("\n            ").join(
        sql.SQL("when ({}) is not true then {}").format(
            sql.SQL(predicate.sql),
            sql.Literal(predicate.name),
        )
        for predicate in PREDICATES
    )
    query = statement(
        "mark",
        cases=cases,
        closed_at=clock.closed_at,
        is_on_grid=clock.is_on_grid,
        as_of=sql.SQL("{}::timestamptz").format(sql.Literal(batch.as_of)),
    )
    rows: list[Any] = connection.execute(query).fetchall()
    return rows


def _without(connection: Connection, candles: Candles, row_numbers: list[int]) -> Candles:
    if not row_numbers:
        return candles
    connection.execute("delete from landing where row_number = any (%s)", (row_numbers,))
    return candles[~np.isin(candles["row_number"], row_numbers)]


def _rejected(batch: Batch, row_number: int, series: int, reason: str) -> Rejected:
    return Rejected(row_number, reason, None, batch.record_of(row_number), batch.symbols[series])


def _open_batch(connection: Connection, batch: Batch) -> int:
    """Number the batch. Numbers are drawn under the writer's lock, so their order is that of taking effect."""
    row: Any = connection.execute(
        """
        insert into raw.load_batch (source, origin, timeframe, started_at, details)
        values (%s, %s, %s, %s, %s) returning batch_id
        """,
        (batch.source, batch.origin, batch.market.timeframe, batch.as_of, json.dumps(batch.details)),
    ).fetchone()
    return int(row[0])


def _instruments(connection: Connection, batch: Batch, clock: _Clock, candles: Candles, result: Promoted) -> dict[int, int]:
    """Instrument of each series that has a candle left, created if new; the first load sets its base timeframe."""
    market = batch.market
    instruments: dict[int, int] = {}
    for series in np.unique(candles["series"]).tolist():
        symbol = batch.symbols[series]
        connection.execute(
            """
            insert into raw.instrument (exchange, market_type, symbol, base_timeframe, session_id)
            values (%(exchange)s, %(market_type)s, %(symbol)s, %(timeframe)s, %(session_id)s)
            on conflict (exchange, market_type, symbol) do update
                set base_timeframe = excluded.base_timeframe, session_id = excluded.session_id
                where instrument.base_timeframe is null
            """,
            {
                "exchange": market.exchange,
                "market_type": market.market_type,
                "symbol": symbol,
                "timeframe": market.timeframe,
                "session_id": clock.session_id,
            },
        )
        row: Any = connection.execute(
            """
            select instrument_id, base_timeframe, session_id from raw.instrument
            where exchange = %s and market_type = %s and symbol = %s
            """,
            (market.exchange, market.market_type, symbol),
        ).fetchone()
        instrument_id, base_timeframe, session_id = row
        if session_id != clock.session_id:
            raise UsageError(
                f"{market.exchange} {symbol} trades in session {session_id}, not {clock.session_id}",
                hint=f"load it with --session {session_id}, or delete the instrument first",
            )
        if base_timeframe != market.timeframe:
            result.notices.append(
                f"{symbol}: bars come from its {base_timeframe} candles; these {market.timeframe} ones are kept in raw "
                "for cross-checks only"
            )
        instruments[series] = int(instrument_id)
    return instruments


def _make_current(
    connection: Connection, clock: _Clock, instruments: dict[int, int], candles: Candles, result: Promoted
) -> None:
    # Wide enough for the longest period and for the hour that a day may be longer.
    reach = timedelta(seconds=clock.timeframe.seconds) + timedelta(days=3)
    first_at, last_at = _instant(candles["opened_at"].min()), _instant(candles["opened_at"].max()) + reach
    standing = sql.SQL("raw.ohlcv")
    forbidden = _MANY_ROWS if len(candles) >= MANY_ROWS else _FEW_ROWS
    if len(candles) >= MANY_ROWS and not _anything_stands(connection, clock, instruments, first_at, last_at):
        standing, forbidden = sql.SQL("(select * from raw.ohlcv where false)"), ()
    query = statement(
        "promote",
        standing=standing,
        instrument_id=_instrument_of_series(instruments),
        first_instrument=sql.Literal(min(instruments.values())),
        last_instrument=sql.Literal(max(instruments.values())),
        closed_at=clock.closed_at,
        timeframe=sql.Literal(clock.timeframe.name),
        batch_id=sql.Literal(result.batch_id),
        first_at=sql.SQL("{}::timestamptz").format(sql.Literal(first_at)),
        last_at=sql.SQL("{}::timestamptz").format(sql.Literal(last_at)),
    )
    for setting in forbidden:
        connection.execute(f"set local {setting} = off")
    row: Any = connection.execute(query).fetchone()
    for setting in forbidden:
        connection.execute(f"set local {setting} = on")
    result.inserted, result.revised = row
    result.unchanged = len(candles) - result.duplicate - result.inserted - result.revised


def _anything_stands(
    connection: Connection, clock: _Clock, instruments: dict[int, int], first_at: datetime, last_at: datetime
) -> bool:
    """Whether any candle stands where the batch goes: one look-up a series that spares new history the comparison."""
    found = connection.execute(
        """
        select from unnest(%(instruments)s::integer[]) as instrument (instrument_id)
        cross join lateral (
            select from raw.ohlcv
            where
                ohlcv.instrument_id = instrument.instrument_id
                and ohlcv.timeframe = %(timeframe)s
                and ohlcv.closed_at between %(first_at)s and %(last_at)s
            limit 1
        ) as standing
        limit 1
        """,
        {
            "instruments": list(instruments.values()),
            "timeframe": clock.timeframe.name,
            "first_at": first_at,
            "last_at": last_at,
        },
    )
    return found.fetchone() is not None


def _instrument_of_series(instruments: dict[int, int]) -> sql.Composable:
    """SQL: the instrument of landing.series. A subscript is cheaper than a join over every landed row."""
    by_series = [instruments.get(series) for series in range(max(instruments) + 1)]
    return sql.SQL("({}::integer[])[landing.series + 1]").format(sql.Literal(by_series))


def _deduplicate(connection: Connection, batch: Batch, candles: Candles, result: Promoted) -> list[Rejected]:
    """Let the last row of each candle stand; returns the earlier ones that say something else."""
    keys = candles[["series", "opened_at"]]
    if _is_strictly_increasing(keys) or len(np.unique(keys)) == len(keys):
        return []
    rows: list[Any] = connection.execute(statement("deduplicate")).fetchall()
    result.duplicate = len(rows)
    return [
        _rejected(batch, row_number, series, "is_superseded_in_batch")
        for row_number, series, is_conflict in rows
        if is_conflict
    ]


def _is_strictly_increasing(keys: Candles) -> bool:
    series, opened_at = np.diff(keys["series"]), np.diff(keys["opened_at"])
    return bool(np.all((series > 0) | ((series == 0) & (opened_at > 0))))


def _instant(microseconds: np.int64) -> datetime:
    return EPOCH + timedelta(microseconds=int(microseconds))


def _observe(
    connection: Connection,
    batch: Batch,
    clock: _Clock,
    instruments: dict[int, int],
    candles: Candles,
    result: Promoted,
) -> None:
    """Record what the source was asked about: the range requested, or from the first open to the last close of a file."""
    query = statement("observe")
    closed_at = sql.SQL("select {} from (select %s::timestamptz as opened_at) as landing").format(clock.closed_at)
    for series, instrument_id in instruments.items():
        opened_at = candles["opened_at"][candles["series"] == series]
        last: Any = connection.execute(closed_at, (_instant(opened_at.max()),)).fetchone()
        first_at, last_at = _instant(opened_at.min()), last[0]
        result.first_at = min(filter(None, (result.first_at, first_at)))
        result.last_at = max(filter(None, (result.last_at, last_at)))
        from_at, until_at = batch.observed or (first_at, last_at)
        connection.execute(
            query,
            {
                "instrument_id": instrument_id,
                "timeframe": batch.market.timeframe,
                "from_at": from_at,
                "until_at": until_at,
            },
        )


def _quarantine(connection: Connection, batch: Batch, rejected: Sequence[Rejected], result: Promoted) -> None:
    """Keep what was turned away, each record once: loading the same file again adds nothing."""
    if not rejected:
        return
    market = batch.market
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            insert into raw.quarantine (
                batch_id, exchange, market_type, symbol, timeframe, origin, row_number, reason, value, record
            ) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            on conflict do nothing
            """,
            [
                (
                    result.batch_id,
                    market.exchange,
                    market.market_type,
                    row.symbol,
                    market.timeframe,
                    batch.origin,
                    row.row_number,
                    row.reason,
                    row.value,
                    row.record,
                )
                for row in rejected
            ],
        )
        kept = cursor.rowcount
    result.quarantined = Counter(row.reason for row in rejected)
    result.already_quarantined = len(rejected) - kept
    seen: set[str] = set()
    for row in rejected:
        if row.reason not in seen:
            seen.add(row.reason)
            result.examples.append(row)


def _close_batch(connection: Connection, result: Promoted) -> None:
    connection.execute(
        """
        update raw.load_batch set
            rows_read = %s, rows_inserted = %s, rows_revised = %s, rows_unchanged = %s, rows_duplicate = %s,
            rows_unfinished = %s, rows_quarantined = %s
        where batch_id = %s
        """,
        (
            result.read,
            result.inserted,
            result.revised,
            result.unchanged,
            result.duplicate,
            result.unfinished,
            sum(result.quarantined.values()),
            result.batch_id,
        ),
    )
