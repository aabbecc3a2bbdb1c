"""Servers for tests, lint and benchmarks: an embedded one of their own, gone when they end."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
from psycopg import sql

from titan.core.database import connect
from titan.core.settings import Settings
from titan.server.embedded import SUPERUSER, EmbeddedServer

# Nothing has to survive, and nobody waits for statistics of databases that live for a second.
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "autovacuum": "off"}

_AUTO_EXPLAIN = ("log_format", "log_level", "log_min_duration", "log_nested_statements", "log_analyze", "log_timing")

_VARIABLES = ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGPASSFILE", "TITAN_HOME")


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def temporary_server(
    *, is_durable: bool = False, room: int | None = None, programs: Path | None = None
) -> Iterator[EmbeddedServer]:
    """An embedded server in a directory of its own; the environment points at it, as if it were a server of the user's.

    Its programs are the wheel's or those of a folder. With room, in bytes, the directory is a disk of that size, for which
    we have to be root (`mount`).
    """
    before = dict(os.environ)
    for variable in _VARIABLES:
        os.environ.pop(variable, None)
    root = Path(tempfile.mkdtemp(prefix="titan-test-", dir=None if is_durable else _memory()))
    if room:
        assert mount(root, room), "no disk of its own"
    root.chmod(0o755)  # as root, the server runs as another user
    os.environ.update(TITAN_HOME=str(root), PGPORT=str(free_port()), PGPASSFILE=str(root / "pgpass"))
    overrides = {"max_wal_size": "256MB"} if room else {} if is_durable else _NOT_DURABLE
    embedded = EmbeddedServer(Settings.from_environment(), overrides=overrides, programs=programs)
    embedded.start()
    os.environ["PGHOST"] = "127.0.0.1"
    if not is_durable:
        _connect_quickly()
        _let_plans_be_logged(embedded)
    try:
        yield embedded
    finally:
        embedded.stop()
        if room:
            unmount(root)
        shutil.rmtree(root)
        os.environ.clear()
        os.environ.update(before)


def mount(folder: Path, room: int) -> bool:
    """Make a folder a disk of its own, in memory. False where we may not."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={room}", "titan-test", str(folder)]
    return shutil.which("mount") is not None and not subprocess.run(command, capture_output=True, check=False).returncode


def unmount(folder: Path) -> bool:
    """Take the disk away again, with what is on it."""
    return not subprocess.run(["umount", str(folder)], capture_output=True, check=False).returncode


def _memory() -> str | None:
    """A folder in memory, where there is one with room: a database a test is ten gigabytes that nobody needs on a disk."""
    shared = Path("/dev/shm")  # noqa: S108 - what is made in it is a folder of its own
    return str(shared) if shared.is_dir() and shutil.disk_usage(shared).free > 4 * 2**30 else None


def _let_plans_be_logged(embedded: EmbeddedServer) -> None:
    """A superuser's right, which the role that Titan works as has not: tests read the plans of a run."""
    with psycopg.connect(
        host="127.0.0.1",
        port=embedded.settings.port,
        user=SUPERUSER,
        password=(embedded.root / "superuser-password").read_text(),
        dbname="postgres",
    ) as connection:
        for name in ("session_preload_libraries", *(f"auto_explain.{name}" for name in _AUTO_EXPLAIN)):
            statement = sql.SQL("grant set on parameter {} to {}")
            connection.execute(statement.format(sql.Identifier(*name.split(".")), sql.Identifier(embedded.settings.user)))


def _connect_quickly() -> None:
    """Store the password hashed once instead of 4,096 times: a connection takes 3 ms instead of 6, and builds make many."""
    with connect(replace(Settings.from_environment(), database="postgres"), autocommit=True) as connection:
        connection.execute("set scram_iterations = 1")
        password = Path(os.environ["PGPASSFILE"]).read_text().strip().rpartition(":")[2]
        connection.execute(sql.SQL("alter role current_user password {}").format(password))
