"""Keys of the gateway: 256 random bits, told once, of which the database keeps the hash alone."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime
from typing import Any

import psycopg

from titan.core.database import Connection, records
from titan.core.errors import UsageError

SCOPES = ("market", "research", "operations")
PREFIX = "titan_"


def hashed(key: str) -> bytes:
    """What is kept of a key. It is as random as it is long, so that one round of a fast hash is enough."""
    return hashlib.sha256(key.encode()).digest()


def create(
    connection: Connection, name: str, scopes: list[str], requests_per_minute: int, expires_at: datetime | None
) -> str:
    """Make a key and return it, the only time that anybody can read it.

    Raises UsageError for a scope that there is not and a name that another key has.
    """
    if unknown := [scope for scope in scopes if scope not in SCOPES]:
        raise UsageError(f"there is no scope {unknown[0]!r}", hint=f"there are {', '.join(SCOPES)}")
    key = PREFIX + secrets.token_urlsafe(32)
    try:
        with connection.transaction():
            connection.execute(
                "insert into config.api_key (name, hash, scopes, requests_per_minute, expires_at) "
                "values (%s, %s, %s, %s, %s)",
                (name, hashed(key), scopes, requests_per_minute, expires_at),
            )
    except psycopg.errors.UniqueViolation as error:
        raise UsageError(f"there is a key {name!r} already", hint="revoked ones keep their names: choose another") from error
    except psycopg.errors.CheckViolation as error:
        raise UsageError("a key needs a name and a scope, and one request a minute at least") from error
    return key


def listed(connection: Connection) -> list[dict[str, Any]]:
    """One row per key, without the key."""
    with connection.transaction():
        return records(
            connection,
            """
            select
                name, array_to_string(scopes, ' ') as scopes, requests_per_minute, created_at, expires_at, revoked_at,
                case
                    when revoked_at is not null then 'revoked' when expires_at <= now() then 'expired' else 'active'
                end as state
            from config.api_key order by key_id
            """,
        )


def revoke(connection: Connection, name: str) -> None:
    """Let a key open nothing any more, from now on. Raises UsageError where there is none of that name that still does."""
    with connection.transaction():
        gone = connection.execute(
            "update config.api_key set revoked_at = now() where name = %s and revoked_at is null", (name,)
        ).rowcount
    if not gone:
        raise UsageError(f"there is no key {name!r} that is not revoked", hint="titan key list has them")
