"""Connections: one way to open them, one way to say why it failed."""

from __future__ import annotations

from importlib import resources

import psycopg
from psycopg import sql

from titan.correlation import connection_options
from titan.errors import DatabaseUnavailableError
from titan.settings import Settings

MINIMUM_VERSION = 15

Connection = psycopg.Connection[tuple[object, ...]]


def connect(settings: Settings | None = None, *, autocommit: bool = False) -> Connection:
    """Open a connection in UTC.

    Raises DatabaseUnavailableError when the server is down, refuses the login or is older than PostgreSQL 15.
    """
    settings = settings or Settings.from_environment()
    try:
        connection = psycopg.connect(
            host=settings.host,
            port=settings.port,
            user=settings.user,
            dbname=settings.database,
            connect_timeout=10,
            application_name="titan",
            # A landing of a million rows stays in memory with that many temporary buffers; they are taken as needed.
            options=f"-c timezone=UTC -c client_min_messages=warning -c temp_buffers=256MB {connection_options()}",
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


def statement(package: str, name: str, **parts: sql.Composable) -> sql.SQL | sql.Composed:
    """The statement `name`.sql of a package, its parts filled in."""
    text = sql.SQL(resources.files(package).joinpath(f"{name}.sql").read_text("utf-8"))
    return text.format(**parts) if parts else text
