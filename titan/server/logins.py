"""Logins of people and tools that read: members of titan_reader, whose sessions only read and end what takes too long."""

from __future__ import annotations

import secrets
from typing import Any

import psycopg
from psycopg import sql

from titan.core.database import Connection, records, statement
from titan.core.errors import UsageError

LONGEST_NAME = 63  # bytes; PostgreSQL would cut the rest off


def create(
    connection: Connection, name: str, timeout: str, password: str | None = None, *, is_replaced: bool = False
) -> str:
    """Make a login that reads this warehouse, and return its password, the only time that anybody can read it.

    The server gets a hash of it. With `is_replaced`, one that there is already gets another password and these settings.
    Raises UsageError for a name that cannot be one, is taken by anything but a reader, and where we may not make logins.
    """
    if not 0 < len(name.encode()) <= LONGEST_NAME or name.startswith(("pg_", "titan_")):
        raise UsageError(
            f"{name!r} cannot be a login", hint=f"up to {LONGEST_NAME} bytes that begin neither with pg_ nor with titan_"
        )
    password = password or secrets.token_urlsafe(24)
    hashed = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
    role, database = sql.Identifier(name), sql.Identifier(connection.info.dbname)
    with connection.transaction():
        is_there = connection.execute("select 1 from pg_roles where rolname = %s", (name,)).fetchone()
        if is_there and not (is_replaced and name in [one["name"] for one in listed(connection)]):
            told = "--replace gives a reader another password" if not is_replaced else "choose another name"
            raise UsageError(f"there is a role {name!r} already", hint=told)
        try:
            with connection.transaction():
                verb = sql.SQL("alter" if is_there else "create")
                connection.execute(sql.SQL("{} role {} login password {}").format(verb, role, sql.Literal(hashed)))
                if not is_there:
                    connection.execute(sql.SQL("grant titan_reader to {}").format(role))
                for setting, value in {
                    "default_transaction_read_only": "on",
                    "statement_timeout": timeout,
                    "timezone": "UTC",
                    "jit": "off",
                }.items():
                    connection.execute(
                        sql.SQL("alter role {} in database {} set {} = {}").format(
                            role, database, sql.Identifier(setting), sql.Literal(value)
                        )
                    )
        except psycopg.errors.InvalidParameterValue as error:
            raise UsageError(f"{timeout!r} is no length of time", hint="such as 60s, 5min; 0 for none") from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise UsageError(
                f"{connection.info.user} may not make logins that read: {str(error).splitlines()[0]}",
                hint="it needs createrole, and titan_reader with admin option; or let an administrator do it",
            ) from error
        except psycopg.errors.UndefinedObject as error:
            raise UsageError(str(error).splitlines()[0], hint="titan db start makes the role titan_reader") from error
    return password


def listed(connection: Connection) -> list[dict[str, Any]]:
    """One row per login that reads: its statements' timeout, until when it opens something, how many sessions it has."""
    with connection.transaction():
        return records(connection, statement("titan.server.sql", "logins"))


def drop(connection: Connection, name: str) -> int:
    """Take a login away and end its sessions; returns how many those were.

    Raises UsageError where it is no reader, and where it owns or was granted something by itself: then it stays.
    """
    if name not in [one["name"] for one in listed(connection)]:
        raise UsageError(f"there is no login {name!r} that reads", hint="titan login list has them")
    role = sql.Identifier(name)
    with connection.transaction():
        connection.execute(sql.SQL("alter role {} nologin").format(role))  # seen by who connects while its sessions end
    try:
        with connection.transaction():
            ended = connection.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = %s", (name,)
            ).fetchall()
            connection.execute(sql.SQL("drop role {}").format(role))
    except psycopg.Error as error:
        with connection.transaction():
            connection.execute(sql.SQL("alter role {} login").format(role))
        if not isinstance(error, psycopg.errors.DependentObjectsStillExist):
            raise
        raise UsageError(
            f"{name} owns something, or was granted it by name: {error.diag.message_detail or error}",
            hint="reassign or revoke it, in the database that it is in, and drop the login then",
        ) from error
    return len(ended)
