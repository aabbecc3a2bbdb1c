"""Locks that outlast a transaction: of tables and rows, since a reader may take no such lock, and any advisory lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from titan.core.database import Connection, connect
from titan.core.settings import Settings


def lock(connection: Connection, statement: str, *parameters: Any) -> bool:
    """Take a lock in a transaction that stays open for it; False where the statement says `nowait` and somebody has it."""
    try:
        connection.execute("set local idle_in_transaction_session_timeout = 0")
        connection.execute(statement.encode(), parameters)
    except psycopg.errors.LockNotAvailable:
        connection.rollback()
        return False
    return True


@contextmanager
def locked(statement: str, *parameters: Any, settings: Settings | None = None) -> Iterator[bool]:
    """Hold a lock in a session of its own until the block ends; whether it was had at all."""
    with connect(settings) as connection:
        yield lock(connection, statement, *parameters)
