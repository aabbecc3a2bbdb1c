"""Options that commands share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from titan.core.errors import UsageError

if TYPE_CHECKING:
    from titan.core.database import Connection
    from titan.core.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def instant(text: str, option: str) -> datetime:
    """A UTC instant from an option's text. Raises UsageError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{option}: {text!r} is no date", hint="write it as 2020-01-01 or 2020-01-01T12:00Z") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def connect(settings: Settings | None = None, *, autocommit: bool = False) -> Connection:
    """titan.core.database.connect, whose driver is imported by the commands that need it."""
    from titan.core import database

    return database.connect(settings, autocommit=autocommit)
