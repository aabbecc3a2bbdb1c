"""`titan db`: the server and its schemas."""

from __future__ import annotations

import json
from typing import Any

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
