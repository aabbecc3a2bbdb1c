"""What the gate found, read back from ops.gate_result."""

from __future__ import annotations

from typing import Any

from titan.core.database import Connection, records
from titan.core.errors import UsageError

# One row per batch, newest first, with the expectations that are not met.
_BATCHES = """
select
    gate_result.batch_id,
    load_batch.origin,
    gate_result.suite,
    gate_result.verdict,
    (
        select string_agg(
            result.expectation || coalesce(' ' || to_char(result.observed, 'FM999999999990.0999'), ''), ', ' order by number
        )
        from rows from (
            jsonb_to_recordset(gate_result.results) as (expectation text, is_met boolean, observed double precision)
        ) with ordinality as result (expectation, is_met, observed, number)
        where not result.is_met
    ) as unmet,
    load_batch.rows_read,
    load_batch.rows_quarantined,
    gate_result.judged_at
from ops.gate_result as gate_result
inner join raw.load_batch as load_batch on gate_result.batch_id = load_batch.batch_id
where
    (%(batch_ids)s::bigint[] is null or gate_result.batch_id = any (%(batch_ids)s))
    and (%(verdict)s::text is null or gate_result.verdict = %(verdict)s)
order by gate_result.batch_id desc
limit %(limit)s
"""


def of_batches(connection: Connection, batch_ids: list[int]) -> list[dict[str, Any]]:
    """One row per batch: its verdict and the expectations that are not met."""
    return _rows(connection, _BATCHES, batch_ids=batch_ids, verdict=None, limit=None)


def latest(connection: Connection, *, verdict: str | None = None, limit: int = 20) -> list[dict[str, Any]]:
    """One row per batch, newest first, of any verdict or of the one named."""
    return _rows(connection, _BATCHES, batch_ids=None, verdict=verdict, limit=limit)


def of_batch(connection: Connection, batch_id: int) -> list[dict[str, Any]]:
    """One row per expectation of a batch. Raises UsageError when the gate has not seen it."""
    rows = _rows(
        connection,
        """
        select expectation, severity, threshold, is_met, observed, series
        from ops.expectation_result where batch_id = %(batch_id)s order by is_met
        """,
        batch_id=batch_id,
    )
    if not rows:
        raise UsageError(f"batch {batch_id} has no gate result", hint="titan gate list shows those that have")
    return rows


def _rows(connection: Connection, query: str, **parameters: Any) -> list[dict[str, Any]]:
    with connection.transaction():
        return records(connection, query, parameters)
