"""What the gate found, read back from ops.gate_result."""

from __future__ import annotations

from typing import Any

from titan.core.database import Connection, Query, records, statement
from titan.core.errors import UsageError


def of_batches(connection: Connection, batch_ids: list[int]) -> list[dict[str, Any]]:
    """One row per batch: its verdict and the expectations that are not met."""
    return _rows(connection, statement("expectations.sql", "batches"), batch_ids=batch_ids, verdict=None, limit=None)


def latest(connection: Connection, *, verdict: str | None = None, limit: int = 20) -> list[dict[str, Any]]:
    """One row per batch, newest first, of any verdict or of the one named."""
    return _rows(connection, statement("expectations.sql", "batches"), batch_ids=None, verdict=verdict, limit=limit)


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


def _rows(connection: Connection, query: str | Query, **parameters: Any) -> list[dict[str, Any]]:
    with connection.transaction():
        return records(connection, query, parameters)
