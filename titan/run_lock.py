"""One run at a time: a lock of the database's own, which ends with the connection, and the record of what the run does."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import psycopg

from titan.correlation import run_id
from titan.database import Connection, connect
from titan.errors import BusyError

_LOCK = "pg_try_advisory_lock(hashtext('titan'), hashtext('run'))"
_POLL_SECONDS = 1.0


class RunLock:
    """The lock and the run's rows in ops.run and ops.step, over a connection that is opened again when it is lost."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._connection: Connection | None = None

    def acquire(self, wait_seconds: float = 0) -> Connection:
        """Take the lock, or take it again after the connection was lost; returns the connection that holds it.

        Raises BusyError when another run holds it for longer than `wait_seconds`, DatabaseUnavailableError when the server
        is away.
        """
        if self._connection is not None and self._is_alive(self._connection):
            return self._connection
        self.close()  # the server let go of the lock when it lost the connection
        connection = connect(autocommit=True)
        deadline = time.monotonic() + wait_seconds
        while not self._try_lock(connection):
            if time.monotonic() >= deadline:
                holder = self._holder(connection)
                connection.close()
                raise BusyError(f"another run is under way{holder}", hint="it is safe to try again when it has ended")
            time.sleep(_POLL_SECONDS)
        connection.execute(
            """
            insert into ops.run (run_id, command) values (%s, %s)
            on conflict (run_id) do update set finished_at = null, outcome = null, message = null
            """,
            (run_id(), self._command),
        )
        self._connection = connection
        return connection

    def execute(self, query: str, **parameters: Any) -> Any:
        """Record something of the run, under the lock; returns the row that the statement returns, if any."""
        cursor = self.acquire().execute(query.encode(), parameters)
        return cursor.fetchone() if cursor.description else None

    def close(self) -> None:
        """Let go."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    @staticmethod
    def _is_alive(connection: Connection) -> bool:
        try:
            connection.execute("select")
        except psycopg.OperationalError:
            return False
        return True

    @staticmethod
    def _try_lock(connection: Connection) -> bool:
        row: Any = connection.execute(f"select {_LOCK}").fetchone()
        return bool(row[0])

    @staticmethod
    def _holder(connection: Connection) -> str:
        row = connection.execute(
            """
            select command, run_id, date_trunc('second', started_at) from ops.run
            where finished_at is null order by started_at desc limit 1
            """
        ).fetchone()
        return "" if row is None else f": {row[0]} {row[1]}, since {row[2]}"


@contextlib.contextmanager
def held(command: str, wait_seconds: float = 0) -> Iterator[RunLock]:
    """Hold the lock until the block ends. Raises BusyError when another run has it."""
    lock = RunLock(command)
    lock.acquire(wait_seconds)
    try:
        yield lock
    finally:
        lock.close()
