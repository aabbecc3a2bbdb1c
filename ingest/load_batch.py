"""The log of what took effect: one row of raw.load_batch per promotion or deletion."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from psycopg import sql

from titan.core.database import Connection

WRITER_LOCK = "lock table locks.promotion in exclusive mode"


def open_batch(
    connection: Connection, source: str, origin: str, timeframe: str | None, started_at: datetime, details: dict[str, Any]
) -> int:
    """Take the writer's lock and draw a number under it, so that the order of numbers is that of taking effect."""
    connection.execute(WRITER_LOCK)
    row: Any = connection.execute(
        """
        insert into raw.load_batch (source, origin, timeframe, started_at, details)
        values (%s, %s, %s, %s, %s) returning batch_id
        """,
        (source, origin, timeframe, started_at, json.dumps(details)),
    ).fetchone()
    return int(row[0])


def close_batch(connection: Connection, batch_id: int, **counts: int | bool) -> None:
    """Say what the batch did: values of raw.load_batch by column."""
    columns = sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in counts)
    query = sql.SQL("update raw.load_batch set {} where batch_id = {}").format(columns, sql.Placeholder("batch_id"))
    connection.execute(query, {**counts, "batch_id": batch_id})
