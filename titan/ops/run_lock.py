"""One run at a time, one watch and one backfill: a lock of the database's own, which ends with the connection, and the
record of what the run does.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Any, Literal

import psycopg

from titan.core.correlation import run_id
from titan.core.database import Connection, connect
from titan.core.errors import BusyError, TitanError
from titan.core.locks import lock
from titan.core.log import event

log = logging.getLogger("titan.run_lock")

_POLL_SECONDS = 1.0

LockName = Literal["run", "watch", "backfill"]


class RunLock:
    """The lock and the run's rows in ops.run and ops.step, over connections that are opened again when one is lost.

    One is in a transaction for as long as it holds the lock; the other one records.
    """

    def __init__(self, command: str, lock: LockName = "run") -> None:
        self._command, self._lock = command, lock
        self._holder: Connection | None = None
        self._recorder: Connection | None = None

    def acquire(self, wait_seconds: float = 0) -> Connection:
        """Take the lock, or take it again after a connection was lost; returns the one to record by.

        Raises BusyError when another run holds it for longer than `wait_seconds`, DatabaseUnavailableError when the server
        is away.
        """
        if self._recorder is not None and _is_alive(self._holder) and _is_alive(self._recorder):
            return self._recorder
        return self._open(wait_seconds)

    def _open(self, wait_seconds: float) -> Connection:
        if self._recorder is None or not _is_alive(self._recorder):
            self._recorder = connect(autocommit=True)
        if self._holder is None or not _is_alive(self._holder):
            self._holder = connect()  # the server let go of the lock when it lost the other one
            deadline = time.monotonic() + wait_seconds
            while not lock(self._holder, f"lock table locks.{self._lock} in exclusive mode nowait"):
                if time.monotonic() >= deadline:
                    told = _told_holder(self._recorder, self._lock)
                    self.close()
                    raise BusyError(
                        f"another {self._lock} is under way{told}", hint="it is safe to try again when it has ended"
                    )
                time.sleep(_POLL_SECONDS)
        self._recorder.execute(
            """
            insert into ops.run (run_id, command) values (%s, %s)
            on conflict (run_id) do update set finished_at = null, outcome = null, message = null
            """,
            (run_id(), self._command),
        )
        return self._recorder

    def execute(self, query: str, **parameters: Any) -> Any:
        """Record something of the run, under the lock; returns the row that the statement returns, if any."""
        cursor = self.acquire().execute(query.encode(), parameters)
        return cursor.fetchone() if cursor.description else None

    def record_end(self, outcome: str) -> None:
        """Say in ops.run how it ended; a server that is away by then does not hear of it."""
        try:
            self.execute(
                "update ops.run set finished_at = clock_timestamp(), outcome = %(outcome)s where run_id = %(run_id)s",
                outcome=outcome,
                run_id=run_id(),
            )
        except (TitanError, psycopg.Error) as error:
            event(log, "end not recorded", logging.WARNING, error=str(error))

    def close(self) -> None:
        """Let go."""
        for connection in (self._holder, self._recorder):
            if connection is not None:
                connection.close()
        self._holder = self._recorder = None


def _told_holder(connection: Connection, lock: LockName) -> str:
    row = connection.execute(
        """
        select command, run_id, date_trunc('second', started_at) from ops.run
        where finished_at is null and case when command in ('watch', 'backfill') then command else 'run' end = %s
        order by started_at desc limit 1
        """,
        (lock,),
    ).fetchone()
    return "" if row is None else f": {row[0]} {row[1]}, since {row[2]}"


def _is_alive(connection: Connection | None) -> bool:
    if connection is None:
        return False
    try:
        connection.execute("select")
    except psycopg.OperationalError:
        connection.close()
        return False
    return True


@contextlib.contextmanager
def held(command: str, wait_seconds: float = 0, lock: LockName = "run") -> Iterator[RunLock]:
    """Hold the lock until the block ends. Raises BusyError when another run has it."""
    ours = RunLock(command, lock)
    ours.acquire(wait_seconds)
    try:
        yield ours
    finally:
        ours.close()
