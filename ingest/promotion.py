"""One transaction per batch: land, inspect, promote, observe, quarantine. Nothing of it is visible until all of it is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from psycopg import sql
from psycopg.types.multirange import Multirange
from psycopg.types.range import TimestamptzRange

from expectations.gate import MEASURE_NAMES, Inspected, inspect, record, reject, unsettled
from expectations.remedies import REMEDIES
from expectations.verdict import VERDICTS, Finding, Profile
from ingest import quarantine
from ingest.instruments import find_or_create
from ingest.landing import land
from ingest.load_batch import close_batch, open_batch
from ingest.renames import by_todays_names
from titan.core.batch import Batch, Candles, Rejected, Stretches, instant
from titan.core.clock import Clock, find_session
from titan.core.database import Connection, statement
from titan.core.errors import GateError, UsageError
from titan.core.timeframes import TIMEFRAMES
from titan.core.trace import span

# The planner knows nothing of rows that landed a moment ago, so it is told how to find their standing versions. Landed rows
# come in the order of the key: merging a million of them with the index takes half the time of hashing (measured), and a
# few cost one look-up of the key each, whatever the history.
MANY_ROWS = 5_000
_MANY_ROWS: tuple[str, ...] = ("enable_hashjoin", "enable_nestloop")
_FEW_ROWS: tuple[str, ...] = ("enable_hashjoin", "enable_mergejoin", "enable_seqscan")

# So many candles have to differ until a file is taken for another series: a few are corrections.
FEWEST_REVISED = 10


@dataclass
class Promoted:
    """What one batch did. Counts are rows; `quarantined` counts them by reason, `examples` has some in full.

    `settled` are bad rows that were released or dropped before; `warnings` are expectations of the whole that are not met.
    """

    origin: str
    batch_id: int = 0
    earlier_batch_ids: list[int] = field(default_factory=list)
    exchange: str = ""
    market_type: str = ""
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
    settled: int = 0
    verdict: str = "passed"
    warnings: list[Finding] = field(default_factory=list)
    turned_away: dict[int, str] = field(default_factory=dict)  # reason by row number, of a piecemeal batch
    examples: list[Rejected] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)  # what was inferred to read it

    @property
    def has_changed_nothing(self) -> bool:
        """Whether every row of the batch was known already."""
        return not (self.inserted or self.revised)

    @property
    def batch_ids(self) -> list[int]:
        """This batch, after those that it was added to."""
        return [*self.earlier_batch_ids, self.batch_id]

    def after(self, earlier: Promoted) -> Promoted:
        """Both as one: what an earlier batch of the same market did, and then this one."""
        counts = ("read", "inserted", "revised", "unchanged", "duplicate", "unfinished", "settled", "already_quarantined")
        firsts = [at for at in (earlier.first_at, self.first_at) if at]
        lasts = [at for at in (earlier.last_at, self.last_at) if at]
        return replace(
            self,
            origin=earlier.origin,
            earlier_batch_ids=earlier.batch_ids,
            symbols=list(dict.fromkeys([*earlier.symbols, *self.symbols])),
            first_at=min(firsts, default=None),
            last_at=max(lasts, default=None),
            quarantined=earlier.quarantined + self.quarantined,
            verdict=max(earlier.verdict, self.verdict, key=VERDICTS.index),
            warnings=list({finding.expectation: finding for finding in (*earlier.warnings, *self.warnings)}.values()),
            examples=list({row.reason: row for row in (*self.examples, *earlier.examples)}.values()),
            notices=list(dict.fromkeys([*earlier.notices, *self.notices])),
            **{name: getattr(earlier, name) + getattr(self, name) for name in counts},
        )


def promote(connection: Connection, batch: Batch) -> Promoted:
    """Load one batch through the gate and say what it did.

    Raises GateError when the gate stops the batch: its bad rows are in quarantine then, and no candle of it got in. Raises
    UsageError when it contradicts what is stored of its instruments or config names what does not exist, and psycopg.Error
    when the server fails: then nothing has changed.
    """
    with span("batch", batch.origin, source=batch.source, read=batch.rows_read) as traced:
        result = _promote(connection, batch)
        counts = ("batch_id", "verdict", "inserted", "revised", "unchanged")
        traced.add(**{name: getattr(result, name) for name in counts}, quarantined=sum(result.quarantined.values()))
    return result


def _promote(connection: Connection, batch: Batch) -> Promoted:
    result = Promoted(
        batch.origin,
        exchange=batch.market.exchange,
        market_type=batch.market.market_type,
        symbols=list(batch.symbols),
        timeframe=batch.market.timeframe,
        read=batch.rows_read,
        details=batch.details if batch.source == "file" else {},
    )
    with connection.transaction():
        connection.execute("set local work_mem = '256MB'")
        # Chunks in the columnstore are written like others, however many rows are revised. A plain server does not mind.
        connection.execute("set local timescaledb.max_tuples_decompressed_per_dml_transaction = 0")
        session = find_session(connection, batch.market.exchange, named=batch.market.session_id)
        clock = Clock(TIMEFRAMES[batch.market.timeframe], session)
        batch = by_todays_names(connection, batch)
        land(connection, batch.candles)
        with span("inspect", batch.origin):
            inspected = inspect(connection, batch, clock)
        result.batch_id = open_batch(
            connection, batch.source, batch.origin, batch.market.timeframe, batch.as_of, batch.details
        )
        rejected = [*inspected.rejected]
        if len(inspected.candles) and not inspected.verdict.stopping:
            turned_away = _make_current(connection, batch, clock, inspected, result)
            _refuse_another_series(connection, batch, result)
            kept = unsettled(connection, batch, turned_away)
            result.settled = len(turned_away) - len(kept)
            rejected += kept
        if not inspected.verdict.stopping:
            _observe_silence(connection, batch, {row.symbol for row in rejected})
        rejected.sort(key=lambda row: row.row_number)
        _report(connection, batch, clock, inspected, rejected, result)
        stopped = _stopped(connection, batch, clock, inspected, result) if inspected.verdict.stopping else None
    if stopped:
        raise stopped
    return result


def _report(
    connection: Connection, batch: Batch, clock: Clock, inspected: Inspected, rejected: list[Rejected], result: Promoted
) -> None:
    """Keep what was turned away, what the gate found, and the counts."""
    result.unfinished = inspected.unfinished + batch.unfinished
    result.settled += inspected.settled
    result.verdict = inspected.verdict.name
    result.warnings = [finding for finding in inspected.verdict.warnings if finding.expectation in MEASURE_NAMES]
    result.quarantined = Counter(row.reason for row in rejected)
    result.examples = list({row.reason: row for row in reversed(rejected)}.values())[::-1]
    if batch.is_piecemeal:  # its rows are in quarantine already
        result.turned_away = {row.row_number: row.reason for row in rejected}
    else:
        kept = quarantine.keep(connection, batch, result.batch_id, clock.session.session_id, rejected)
        result.already_quarantined = len(rejected) - kept
    record(connection, result.batch_id, inspected.verdict)
    close_batch(
        connection,
        result.batch_id,
        rows_read=result.read,
        rows_inserted=result.inserted,
        rows_revised=result.revised,
        rows_unchanged=result.unchanged,
        rows_duplicate=result.duplicate,
        rows_unfinished=result.unfinished,
        rows_quarantined=len(rejected),
        is_stopped=bool(inspected.verdict.stopping),
    )


def _stopped(connection: Connection, batch: Batch, clock: Clock, inspected: Inspected, result: Promoted) -> GateError:
    """Why the gate stops the batch, one value that it stops at, and what would help."""
    bad = ", ".join(f"{count:,} {reason}" for reason, count in result.quarantined.most_common(3))
    found = "; ".join(str(finding) for finding in inspected.verdict.stopping)
    causes = [finding.expectation for finding in inspected.verdict.stopping]
    if "bad_row_share" in causes:
        causes = [reason for reason, _ in result.quarantined.most_common()] + causes
    value = next((_shown(row) for row in result.examples if row.reason == causes[0]), None)
    if value is None and "outside_session_share" in causes:
        value = _outside_session(connection, clock)
    remedy = next((f"{REMEDIES[cause]}; " for cause in causes if cause in REMEDIES), "")
    return GateError(
        f"{batch.origin}: stopped by the gate, none of its {len(inspected.candles):,} good rows was loaded: {found}"
        + (f"; bad rows, now in raw.quarantine: {bad}" if bad else "")
        + (f", e.g. {value}" if value else ""),
        hint=f"{remedy}titan gate show {result.batch_id} says more; if the candles are right, edit config.expectation",
        batch_id=result.batch_id,
    )


def _shown(row: Rejected) -> str:
    opened_at = (row.candle or {}).get("opened_at")
    where = f"{opened_at}: " if opened_at and row.value is None else ""
    return f"row {row.row_number}: {where}{row.value if row.value is not None else row.record}"[:120]


def _outside_session(connection: Connection, clock: Clock) -> str | None:
    """One landed candle in which the session is closed, in its local time."""
    query = sql.SQL(
        """
        with special_day as ({special_days})

        select {closed_at} at time zone {zone} from landing left join special_day on special_day.date = {trading_date}
        where {is_outside} order by 1 limit 1
        """
    ).format(
        special_days=clock.special_days,
        closed_at=clock.closed_at,
        zone=sql.Literal(clock.session.timezone),
        trading_date=clock.trading_date,
        is_outside=clock.is_outside_session,
    )
    row: Any = connection.execute(query).fetchone()
    if row is None:
        return None
    return f"the candle closing {row[0]:%Y-%m-%d %H:%M} {clock.session.timezone}, where {clock.session.session_id} is closed"


def _make_current(
    connection: Connection, batch: Batch, clock: Clock, inspected: Inspected, result: Promoted
) -> list[Rejected]:
    """Promote the good candles; returns those that a later row of the batch supersedes, or that are too old to be kept."""
    candles = inspected.candles
    rejected = _deduplicate(connection, batch, candles, result)
    instruments, result.notices = find_or_create(connection, batch, clock, np.unique(candles["series"]).tolist())
    if too_old := _before_horizon(connection, clock, instruments):
        rejected += reject(batch, [(row_number, series, "is_after_horizon") for row_number, series in too_old])
        candles = candles[~np.isin(candles["row_number"], [row_number for row_number, _ in too_old])]
    if len(candles):
        _write(connection, clock, instruments, candles, result)
        _observe(connection, batch, clock, instruments, inspected.verdict.profile, result)
    return rejected


def _refuse_another_series(connection: Connection, batch: Batch, result: Promoted) -> None:
    """Stop a file that says something else of most candles that it shares with another file: two series under one name."""
    if not batch.is_series_of_its_own or result.revised < FEWEST_REVISED or result.revised <= result.unchanged:
        return
    query = """
        select instrument.symbol, revision.closed_at, revision.close, ohlcv.close, load_batch.origin
        from raw.ohlcv_revision as revision
        inner join raw.ohlcv as ohlcv using (instrument_id, timeframe, closed_at)
        inner join raw.instrument as instrument using (instrument_id)
        inner join raw.load_batch as load_batch on revision.from_batch = load_batch.batch_id
        where revision.to_batch = %s and ohlcv.batch_id = %s and load_batch.origin <> %s
        order by revision.close is not distinct from ohlcv.close, revision.closed_at
        limit 1
    """
    row: Any = connection.execute(query, (result.batch_id, result.batch_id, batch.origin)).fetchone()
    if row is None:  # the same file again, corrected
        return
    symbol, closed_at, stood, comes, origin = row
    standing = result.revised + result.unchanged
    raise UsageError(
        f"{batch.origin}: {result.revised:,} of the {standing:,} candles that stand already would be revised, e.g. "
        f"{symbol} closing {closed_at:%Y-%m-%d %H:%M}: {stood:.10g} in {origin}, {comes:.10g} here",
        hint="another instrument or source: --symbol, --market or --exchange keeps them apart; --revise if it is the same",
    )


def _before_horizon(connection: Connection, clock: Clock, instruments: dict[int, int]) -> list[tuple[int, int]]:
    """Take out the landed rows whose bars are frozen, since the other candles of those were dropped (config.retention).

    Markets around the clock share the latest horizon of theirs: a continuous aggregate holds all of them, and is not
    refreshed before it. Of other sessions, one without a horizon takes the latest of all.
    """
    if not clock.timeframe.is_intraday:
        return []
    if not _has_horizon(connection):
        return []
    query = statement(
        "ingest.sql",
        "leave_out_frozen",
        instruments=sql.Literal(list(instruments.values())),
        instrument_id=_instrument_of_series(instruments),
        closed_at=clock.closed_at,
    )
    rows: list[Any] = connection.execute(query).fetchall()
    return sorted(rows)


def _has_horizon(connection: Connection) -> bool:
    row: Any = connection.execute("select exists (select from ops.horizon)").fetchone()
    return bool(row[0])


def _write(connection: Connection, clock: Clock, instruments: dict[int, int], candles: Candles, result: Promoted) -> None:
    # Wide enough for the longest period and for the hour that a day may be longer.
    reach = timedelta(seconds=clock.timeframe.seconds) + timedelta(days=3)
    first_at, last_at = instant(candles["opened_at"].min()), instant(candles["opened_at"].max()) + reach
    standing = sql.SQL("raw.ohlcv")
    forbidden = _MANY_ROWS if len(candles) >= MANY_ROWS else _FEW_ROWS
    if len(candles) >= MANY_ROWS and not _anything_stands(connection, clock, instruments, first_at, last_at):
        standing, forbidden = sql.SQL("(select * from raw.ohlcv where false)"), ()
    query = statement(
        "ingest.sql",
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
    connection: Connection, clock: Clock, instruments: dict[int, int], first_at: datetime, last_at: datetime
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
    rows: list[Any] = connection.execute(statement("ingest.sql", "deduplicate")).fetchall()
    result.duplicate = len(rows)
    conflicts = [(row_number, series, "is_superseded_in_batch") for row_number, series, is_conflict in rows if is_conflict]
    return reject(batch, conflicts)


def _is_strictly_increasing(keys: Candles) -> bool:
    series, opened_at = np.diff(keys["series"]), np.diff(keys["opened_at"])
    return bool(np.all((series > 0) | ((series == 0) & (opened_at > 0))))


def _observe(
    connection: Connection, batch: Batch, clock: Clock, instruments: dict[int, int], profile: Profile, result: Promoted
) -> None:
    """Record what the source was asked and answered, or from the first open to the last close of a file."""
    spans = {batch.symbols.index(one["symbol"]): (one["first_at"], one["last_at"]) for one in profile if one["first_at"]}
    result.first_at = min(first_at for first_at, _ in spans.values())
    result.last_at = max(last_at for _, last_at in spans.values())
    for series, instrument_id in instruments.items():
        if batch.is_piecemeal:
            observed = _periods(connection, clock, series)
        else:
            observed = _multirange((batch.answered and batch.answered[series]) or [spans[series]])
        _record_observed(connection, batch, instrument_id, observed)
        if batch.source == "file" and clock.session.is_24_7 and clock.timeframe.is_intraday:
            result.notices += _seams(connection, batch, series, instrument_id, observed)


def _observe_silence(connection: Connection, batch: Batch, doubtful: set[str | None]) -> None:
    """Record that a source was asked about a known series and had nothing to say; not if some row of it was turned away."""
    heard = set(np.unique(batch.candles["series"]).tolist())
    for series, stretches in enumerate(batch.answered):
        symbol = batch.symbols[series]
        if series in heard or not stretches or doubtful & {symbol, None}:
            continue
        row: Any = connection.execute(
            """
            select instrument.instrument_id from raw.instrument as instrument
            inner join raw.observed as observed using (instrument_id)
            where
                instrument.exchange = %s and instrument.market_type = %s and instrument.symbol = %s
                and observed.timeframe = %s
            """,
            (batch.market.exchange, batch.market.market_type, symbol, batch.market.timeframe),
        ).fetchone()
        if row:
            _record_observed(connection, batch, row[0], _multirange(stretches))


def _record_observed(connection: Connection, batch: Batch, instrument_id: int, observed: Multirange[datetime]) -> None:
    names = {"instrument_id": instrument_id, "timeframe": batch.market.timeframe, "observed": observed}
    connection.execute(statement("ingest.sql", "observe"), names)


def _multirange(stretches: Stretches) -> Multirange[datetime]:
    return Multirange([TimestamptzRange(*stretch) for stretch in stretches])


def _seams(
    connection: Connection, batch: Batch, series: int, instrument_id: int, observed: Multirange[datetime]
) -> list[str]:
    """Short holes between this file and its neighbours, which no file covers: they cost the bars across them."""
    query = """
        select lower(hole), upper(hole) from raw.observed
        cross join unnest(tstzmultirange(tstzrange(lower(observed), upper(observed))) - observed) as hole
        where
            instrument_id = %(instrument_id)s and timeframe = %(timeframe)s and hole -|- %(observed)s::tstzmultirange
            and upper(hole) - lower(hole) <= interval '1 day'
        order by 1
    """
    names = {"instrument_id": instrument_id, "timeframe": batch.market.timeframe, "observed": observed}
    return [
        f"{batch.symbols[series]}: no file covers {start:%Y-%m-%d %H:%M} … {end:%Y-%m-%d %H:%M}, so the bars across it are "
        "left out; if one does, load it with --covers"
        for start, end in connection.execute(query, names).fetchall()
    ]


def _periods(connection: Connection, clock: Clock, series: int) -> Multirange[datetime]:
    """The periods of the landed candles of a series and nothing between them."""
    query = sql.SQL("select range_agg(tstzrange(opened_at, {})) from landing where series = %s").format(clock.closed_at)
    row: Any = connection.execute(query, (series,)).fetchone()
    found: Multirange[datetime] = row[0]
    return found
