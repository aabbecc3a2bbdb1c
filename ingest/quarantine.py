"""What was turned away: kept with its reason, listed, dropped or released. No row ever leaves the table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ingest.load_batch import WRITER_LOCK
from titan.core.database import Connection, records
from titan.core.errors import UsageError

if TYPE_CHECKING:  # batches are made of numpy's arrays, which a list of rows does without
    from titan.core.batch import Batch, Rejected


@dataclass(frozen=True)
class Selection:
    """Which open rows: by their ids, or all that match every filter given."""

    ids: Sequence[int] = ()
    reason: str | None = None
    symbol: str | None = None
    batch_id: int | None = None
    is_everything: bool = False


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
        ids = [row["quarantine_id"] for row in open_rows(connection, selection)]
        resolve(connection, ids, "dropped", None)
    return ids


def open_rows(connection: Connection, selection: Selection) -> list[dict[str, Any]]:
    """The open rows of a selection, which nobody else decides of until the transaction ends.

    Raises UsageError where the selection names nothing, or an id that is not that of an open row.
    """
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


def resolve(connection: Connection, ids: list[int], resolution: str, batch_id: int | None) -> None:
    """Say what became of rows: released into a batch, or dropped."""
    connection.execute(
        """
        update raw.quarantine set
            resolution = %s, resolved_at = clock_timestamp(), resolved_by = session_user, resolved_batch = %s
        where quarantine_id = any (%s)
        """,
        (resolution, batch_id, ids),
    )
