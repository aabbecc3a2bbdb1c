"""What was turned away: kept with its reason, listed, corrected and released, or dropped. No row ever leaves the table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ingest.batch import EPOCH, NULLABLE_COLUMNS, PRICE_COLUMNS, Batch, Market, Rejected, empty_candles
from ingest.load_batch import WRITER_LOCK
from titan.database import Connection, records
from titan.errors import UsageError

FIELDS = ("opened_at", *PRICE_COLUMNS, "volume", *NULLABLE_COLUMNS)
_REQUIRED = ("opened_at", *PRICE_COLUMNS, "volume")


@dataclass(frozen=True)
class Selection:
    """Which open rows: by their ids, or all that match every filter given."""

    ids: Sequence[int] = ()
    reason: str | None = None
    symbol: str | None = None
    batch_id: int | None = None
    is_everything: bool = False


@dataclass
class Released:
    """What became of the rows to be released: promoted as candles of `batches`, or still bad, with the reason."""

    released: list[int] = field(default_factory=list)
    still_bad: list[tuple[int, str]] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)


def keep(connection: Connection, batch: Batch, batch_id: int, session_id: str, rejected: Sequence[Rejected]) -> int:
    """Keep what was turned away, each record once: loading the same file again adds nothing. Returns how many were new."""
    if not rejected:
        return 0
    market = batch.market
    kept = connection.execute(
        """
        insert into raw.quarantine (
            batch_id, exchange, market_type, symbol, timeframe, session_id, origin, row_number, reason, value, record, candle
        )
        select
            %(batch_id)s, %(exchange)s, %(market_type)s, symbol, %(timeframe)s, %(session_id)s, %(origin)s, row_number,
            reason, value, record, candle::jsonb
        from unnest(
            %(symbols)s::text[], %(row_numbers)s::bigint[], %(reasons)s::text[], %(values)s::text[], %(records)s::text[],
            %(candles)s::text[]
        ) with ordinality as rejected (symbol, row_number, reason, value, record, candle, number)
        order by number
        on conflict do nothing
        """,
        {
            "batch_id": batch_id,
            "exchange": market.exchange,
            "market_type": market.market_type,
            "timeframe": market.timeframe,
            "session_id": session_id,
            "origin": batch.origin,
            "symbols": [row.symbol for row in rejected],
            "row_numbers": [row.row_number for row in rejected],
            "reasons": [row.reason for row in rejected],
            "values": [row.value for row in rejected],
            "records": [row.record for row in rejected],
            "candles": [None if row.candle is None else json.dumps(row.candle) for row in rejected],
        },
    )
    return kept.rowcount


def find(
    connection: Connection, selection: Selection, *, limit: int | None = None, is_resolved: bool | None = False
) -> list[dict[str, Any]]:
    """The rows of a selection, newest first; `is_resolved` None takes those that were released or dropped, too."""
    with connection.transaction():
        return _select(connection, selection, limit=limit, is_resolved=is_resolved)


def count_by_reason(connection: Connection) -> list[dict[str, Any]]:
    """One row per reason: how many open rows it has, and since when."""
    with connection.transaction():
        return records(
            connection,
            """
            select reason, count(*)::integer as rows, max(quarantined_at) as latest
            from raw.quarantine where resolution is null group by reason order by count(*) desc, reason
            """,
        )


def drop(connection: Connection, selection: Selection) -> list[int]:
    """Decide that the rows are bad: they stay in the table, and loading them again is not complained of any more.

    Raises UsageError when an id is not that of an open row.
    """
    with connection.transaction():
        ids = [row["quarantine_id"] for row in _open_rows(connection, selection)]
        _resolve(connection, ids, "dropped", None)
    return ids


def release(connection: Connection, selection: Selection, corrections: dict[str, str]) -> Released:
    """Send the rows through the gate again, with corrected values if any; those that are good now become candles.

    One transaction: a row is promoted and marked as released, or neither. Raises UsageError when an id is not that of an
    open row or a correction cannot be read.
    """
    from ingest.promotion import promote

    values = {name: _read(name, text) for name, text in corrections.items()}
    done = Released()
    with connection.transaction():
        groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for row in sorted(_open_rows(connection, selection), key=lambda row: row["quarantine_id"]):
            if why := _missing(row, values):
                done.still_bad.append((row["quarantine_id"], why))
                continue
            market = tuple(row[name] or "" for name in ("exchange", "market_type", "timeframe", "session_id"))
            groups.setdefault(market, []).append(row)
        for rows in groups.values():
            batch = _batch(rows, values)
            promoted = promote(connection, batch)
            failed = promoted.turned_away
            done.still_bad += failed.items()
            released = [row["quarantine_id"] for row in rows if row["quarantine_id"] not in failed]
            _resolve(connection, released, "released", promoted.batch_id)
            done.released += released
            done.batches.append(promoted.batch_id)
    return done


def _open_rows(connection: Connection, selection: Selection) -> list[dict[str, Any]]:
    is_bounded = selection.ids or selection.reason or selection.symbol or selection.batch_id is not None
    if not is_bounded and not selection.is_everything:
        raise UsageError("which rows?", hint="name their ids, or --reason, --symbol, --batch; --all takes every open one")
    connection.execute(WRITER_LOCK)  # nobody else decides of them meanwhile
    rows = _select(connection, selection, is_resolved=False)
    if missing := set(selection.ids) - {row["quarantine_id"] for row in rows}:
        listed = ", ".join(str(one) for one in sorted(missing))
        raise UsageError(
            f"no open row in quarantine has id {listed}", hint="titan quarantine list shows those that are open"
        )
    return rows


def _select(
    connection: Connection, selection: Selection, *, limit: int | None = None, is_resolved: bool | None
) -> list[dict[str, Any]]:
    return records(
        connection,
        """
        select
            quarantine_id, batch_id, exchange, market_type, symbol, timeframe, session_id, origin, row_number, reason,
            value, record, candle, quarantined_at, resolution, resolved_at, resolved_by, resolved_batch
        from raw.quarantine
        where
            (%(ids)s::bigint[] is null or quarantine_id = any (%(ids)s))
            and (%(reason)s::text is null or reason = %(reason)s)
            and (%(symbol)s::text is null or symbol = upper(%(symbol)s))
            and (%(batch_id)s::bigint is null or batch_id = %(batch_id)s)
            and (%(is_resolved)s::boolean is null or (resolution is not null) = %(is_resolved)s)
        order by quarantine_id desc
        limit %(limit)s
        """,
        {
            "ids": list(selection.ids) or None,
            "reason": selection.reason,
            "symbol": selection.symbol,
            "batch_id": selection.batch_id,
            "is_resolved": is_resolved,
            "limit": limit,
        },
    )


def _resolve(connection: Connection, ids: list[int], resolution: str, batch_id: int | None) -> None:
    connection.execute(
        """
        update raw.quarantine set
            resolution = %s, resolved_at = clock_timestamp(), resolved_by = session_user, resolved_batch = %s
        where quarantine_id = any (%s)
        """,
        (resolution, batch_id, ids),
    )


def _read(name: str, text: str) -> int | float:
    """A corrected value as the landing takes it."""
    if name not in FIELDS:
        raise UsageError(f"--set {name}: a candle has no such value", hint=f"it has {', '.join(FIELDS)}")
    try:
        if name == "opened_at":
            moment = datetime.fromisoformat(text)
            return (moment.replace(tzinfo=moment.tzinfo or UTC) - EPOCH) // timedelta(microseconds=1)
        return _count(text) if name == "trade_count" else float(text)
    except ValueError as error:
        what = "a UTC time such as 2020-01-01T12:00" if name == "opened_at" else "a number"
        raise UsageError(f"--set {name}={text}: this is not {what}") from error


def _count(text: str) -> int:
    if abs(count := int(text)) >= 2**63:
        raise ValueError(text)
    return count


def _missing(row: dict[str, Any], corrections: dict[str, int | float]) -> str | None:
    """Why a row cannot become a candle as it stands, if so: what is unreadable and was not given."""
    if not row["symbol"]:
        return "no symbol is known of it: correct the file and load it again"
    stored = row["candle"] or dict.fromkeys(_REQUIRED)
    if unread := [name for name, value in stored.items() if value is None and name not in corrections]:
        return f"no readable {', '.join(unread)}; give {' '.join(f'--set {name}=…' for name in unread)}"
    return None


def _batch(rows: list[dict[str, Any]], corrections: dict[str, int | float]) -> Batch:
    """Rows of one market as candles again; a row's number is its id in quarantine."""
    symbols = sorted({row["symbol"] or "" for row in rows})
    candles = empty_candles(len(rows))
    for at, row in enumerate(rows):
        stored = row["candle"] or dict.fromkeys(_REQUIRED)
        values = {name: _read(name, str(value)) for name, value in stored.items() if value is not None} | corrections
        candles[at]["row_number"] = row["quarantine_id"]
        candles[at]["series"] = symbols.index(row["symbol"] or "")
        for name, value in values.items():
            candles[at][name] = value
            if name in NULLABLE_COLUMNS:
                candles[at][f"has_{name}"] = True
    records = {row["quarantine_id"]: row["record"] for row in rows}
    first = rows[0]
    return Batch(
        source="release",
        origin=f"quarantine {', '.join(str(row) for row in list(records)[:5])}{' …' if len(records) > 5 else ''}",
        market=Market(first["exchange"], first["market_type"], first["timeframe"], first["session_id"]),
        symbols=symbols,
        candles=candles,
        rows_read=len(rows),
        record_of=records.__getitem__,
        as_of=datetime.now(UTC),
        details={"quarantine_ids": list(records), "corrections": {name: str(value) for name, value in corrections.items()}},
        is_piecemeal=True,
    )
