"""Numbered SQL files, applied once each, in order, recorded with their hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources

import psycopg

from titan.core.database import Connection, connect
from titan.core.errors import MigrationError
from titan.core.locks import locked
from titan.core.settings import Settings

LEDGER = """
create schema if not exists ops;
create table if not exists ops.migration (
    version integer primary key,
    name text not null,
    sha256 text not null,
    applied_at timestamptz not null default clock_timestamp()
);
"""


@dataclass(frozen=True)
class Migration:
    """One file of titan/server/migrations: its number, its name and its text."""

    version: int
    name: str
    text: str

    @property
    def sha256(self) -> str:
        """Hash of the file, to notice that one was edited after it had been applied."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def available() -> list[Migration]:
    """Every migration of this checkout, in order."""
    files = sorted(
        (file for file in resources.files("titan.server.migrations").iterdir() if file.name.endswith(".sql")),
        key=lambda file: file.name,
    )
    return [Migration(int(file.name[:4]), file.name[5:-4], file.read_text("utf-8")) for file in files]


def migrate(settings: Settings | None = None) -> list[str]:
    """Bring the database to the version of this checkout; returns the names of what was applied.

    Safe to call again and from several processes: a lock of the ledger lets one of them work while the others wait and then
    find nothing to do. Raises MigrationError when an applied file was edited or the database is newer than this checkout.
    """
    with connect(settings, autocommit=True) as connection:
        if connection.execute("select to_regclass('ops.migration')").fetchone() == (None,):
            # An advisory lock, which anybody could take: there is nothing yet that only we may lock, and no reader.
            connection.execute("select pg_advisory_lock(hashtext('titan'), hashtext('migrate'))")
            connection.execute(LEDGER)
            connection.execute("select pg_advisory_unlock_all()")
        if not _pending(connection):
            return []
        with locked("lock table ops.migration in share update exclusive mode", settings=settings):
            pending = _pending(connection)
            for migration in pending:
                _apply(connection, migration)
        return [f"{migration.version:04d} {migration.name}" for migration in pending]


def assert_current(connection: Connection) -> None:
    """Raises MigrationError where the database lacks migrations of this checkout, or has others."""
    if connection.execute("select to_regclass('ops.migration')").fetchone() == (None,):
        raise MigrationError("the database has no Titan schemas yet", hint="titan db start makes them")
    if pending := _pending(connection):
        names = ", ".join(f"{migration.version:04d}_{migration.name}" for migration in pending)
        raise MigrationError(f"the database lacks the migrations {names}", hint="titan db start applies them")


def _pending(connection: Connection) -> list[Migration]:
    known = {
        version: (name, sha256)
        for version, name, sha256 in connection.execute("select version, name, sha256 from ops.migration")
    }
    migrations = available()
    _refuse_surprises(migrations, known)
    return [migration for migration in migrations if migration.version not in known]


def _refuse_surprises(migrations: list[Migration], known: dict[object, tuple[object, object]]) -> None:
    by_version = {migration.version: migration for migration in migrations}
    for version, (name, sha256) in known.items():
        migration = by_version.get(version)  # type: ignore[call-overload]
        if migration is None:
            raise MigrationError(
                f"the database has migration {version} ({name}), which this checkout does not know",
                hint="update the checkout: an older one must not write to a newer database",
            )
        if migration.sha256 != sha256:
            raise MigrationError(
                f"migration {version} ({name}) was edited after it had been applied",
                hint="restore the file and put the change into a new migration",
            )


def _apply(connection: Connection, migration: Migration) -> None:
    try:
        with connection.transaction():
            connection.execute(migration.text.encode())
            connection.execute(
                "insert into ops.migration (version, name, sha256) values (%s, %s, %s)",
                (migration.version, migration.name, migration.sha256),
            )
    except psycopg.Error as error:
        raise MigrationError(
            f"migration {migration.version} ({migration.name}) failed and was rolled back: {error}",
            hint="it needs a role that may create schemas in this database",
        ) from error
