"""The id of the run that this process works for: in its connections, its logs, and dbt's.

A flow takes its own run's id, `TITAN_RUN_ID` may bring one from elsewhere; otherwise every process has a new one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

from titan.core.errors import UsageError

VARIABLE = "TITAN_RUN_ID"
_current: UUID | None = None


def run_id() -> UUID:
    """The id of the current run. Raises UsageError when TITAN_RUN_ID holds something else than a UUID."""
    global _current
    if _current is None:
        try:
            _current = UUID(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else uuid4()
        except ValueError as error:
            raise UsageError(f"{VARIABLE} is no UUID: {os.environ[VARIABLE]!r}") from error
    return _current


@contextmanager
def run(identity: UUID) -> Iterator[None]:
    """Work for the run with that id until the block ends."""
    global _current
    before, _current = _current, identity
    try:
        yield
    finally:
        _current = before


# Compiled by LLVM, Titan's many short statements take longer to be compiled than to be executed: on a server whose estimates
# ask for it, a third of the time goes. A PGOPTIONS of the user's has the last word.
PREFERRED = "-c jit=off"


def connection_options() -> str:
    """libpq options that stamp whatever a connection writes with the run's id (ops.current_run)."""
    return f"-c titan.run_id={run_id()}"


@contextmanager
def in_environment(traceparent: str = "") -> Iterator[None]:
    """Let every libpq connection of this process carry the id and what Titan would rather have: dbt opens its own.

    With a traceparent, what they do is a part of that span.
    """
    before = os.environ.get("PGOPTIONS")
    traced = f"-c titan.traceparent={traceparent}" if traceparent else ""
    os.environ["PGOPTIONS"] = f"{PREFERRED} {before or ''} {connection_options()} {traced}"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PGOPTIONS"]
        else:
            os.environ["PGOPTIONS"] = before
