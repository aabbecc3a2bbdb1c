"""The one exception tree of the project, and the exit codes that go with it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """What a command's exit code tells."""

    OK = 0
    FAILED = 1  # nothing was done, or a build or a test failed
    USAGE = 2  # the command line itself is wrong (typer's own code)
    PARTIAL = 3  # good rows landed, others are in raw.quarantine or some files failed
    BUSY = 4  # another run is under way; nothing was done


class TitanError(Exception):
    """A failure that the user can act on: what and where, and in `hint` what to do."""

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class DatabaseUnavailableError(TitanError):
    """The server cannot be reached, refuses the login, or is too old."""


class MigrationError(TitanError):
    """The database is not at the version that this checkout needs and cannot be brought there."""


class SourceError(TitanError):
    """A source cannot be read as candles at all; nothing of it was loaded."""


class UsageError(TitanError):
    """What was asked for contradicts itself or what is stored."""

    exit_code = ExitCode.USAGE


class BuildError(TitanError):
    """dbt could not build or some of its tests failed."""


class GateError(TitanError):
    """The gate stopped a batch whole: none of it got in."""

    def __init__(self, message: str, *, hint: str, batch_id: int) -> None:
        super().__init__(message, hint=hint)
        self.batch_id = batch_id


class BusyError(TitanError):
    """Another run is under way."""

    exit_code = ExitCode.BUSY


def some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4:,} more" if len(names) > 4 else "")
