"""Connections: one way to open them, one way to say why it failed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from titan.core.correlation import PREFERRED, connection_options
from titan.core.errors import DatabaseUnavailableError
from titan.core.settings import Settings

MINIMUM_VERSION = 15

Connection = psycopg.Connection[tuple[object, ...]]


def _options() -> str:
    """What the user asks of libpq (PGOPTIONS), after what Titan would rather have, and before what it needs.

    A landing of a million rows stays in memory with that many temporary buffers; they are taken as needed.
    """
    ours = "-c timezone=UTC -c client_min_messages=warning -c temp_buffers=256MB"
    return f"{PREFERRED} {os.environ.get('PGOPTIONS', '')} {ours} {connection_options()}"


def arguments(settings: Settings) -> dict[str, Any]:
    """Which server, by psycopg's names."""
    return {
        "host": settings.host, "port": settings.port, "user": settings.user, "dbname": settings.database,
        "connect_timeout": 10,
    }  # fmt: skip


def connect(settings: Settings | None = None, *, autocommit: bool = False) -> Connection:
    """Open a connection in UTC.

    Raises DatabaseUnavailableError when the server is down, refuses the login or is older than PostgreSQL 15.
    """
    settings = settings or Settings.from_environment()
    try:
        connection = psycopg.connect(
            **arguments(settings),
            application_name="titan",
            options=_options(),
            autocommit=autocommit,
        )
    except psycopg.OperationalError as error:
        hint = (
            "titan db start starts the embedded server"
            if settings.is_embedded
            else "PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE say which server to use; is it up?"
        )
        reason = str(error).strip().splitlines()[-1]
        raise DatabaseUnavailableError(f"cannot connect to {settings.url}: {reason}", hint=hint) from error
    if connection.info.server_version < MINIMUM_VERSION * 10000:
        version = connection.info.parameter_status("server_version")
        connection.close()
        raise DatabaseUnavailableError(
            f"{settings.url} is PostgreSQL {version}; Titan needs {MINIMUM_VERSION} or newer",
            hint="unset PGHOST to use the embedded server, or name a newer one",
        )
    return connection


Parameters = Mapping[str, Any] | Sequence[Any] | None
Query = sql.SQL | sql.Composed


def records(connection: Connection, query: str | Query, parameters: Parameters = None) -> list[dict[str, Any]]:
    """The rows of a query, each by the names of its columns."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode() if isinstance(query, str) else query, parameters).fetchall()


def record(connection: Connection, query: str | Query, parameters: Parameters = None) -> dict[str, Any] | None:
    """The first row of a query by the names of its columns; None where it has none."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode() if isinstance(query, str) else query, parameters).fetchone()


def statement(package: str, name: str, **parts: sql.Composable) -> Query:
    """The statement `name`.sql of a package, its parts filled in."""
    text = sql.SQL(resources.files(package).joinpath(f"{name}.sql").read_text("utf-8"))
    return text.format(**parts) if parts else text
