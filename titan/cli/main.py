"""The `titan` command. Every command says what it does, with an example; results go to stdout, the rest to stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from titan.cli import (
    alert,
    audit,
    backfill,
    backtest,
    db,
    events,
    gate,
    load,
    login,
    output,
    quarantine,
    refresh,
    run,
    serve,
    status,
    storage,
    strategy,
    universe,
)
from titan.core import trace
from titan.core.errors import ExitCode, TitanError
from titan.core.log import configure, is_json, log

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Titan: a market-data warehouse that computes inside the database.\n\n"
    "Exit codes: 0 done; 1 failed; 2 wrong usage; 3 done in part (rows in raw.quarantine, files that failed); 4 another run "
    "is under way.\n\nWhere stderr is no terminal it gets JSON lines, under the run's id, unless it goes where stdout goes: "
    "--log, or TITAN_LOG, chooses.",
)
for name, group in {
    "db": db, "load": load, "gate": gate, "quarantine": quarantine, "storage": storage, "backtest": backtest,
    "strategy": strategy, "events": events, "universe": universe, "alert": alert, "audit": audit, "login": login,
}.items():  # fmt: skip
    app.add_typer(group.app, name=name)
app.add_typer(serve.key_app, name="key")
_COMMANDS: dict[str, Callable[..., None]] = {
    "backfill": backfill.backfill_command,
    "delete": load.delete_command,
    "refresh": refresh.refresh_command,
    "build": refresh.build_command,
    "status": status.status_command,
    "trace": status.trace_command,
    "health": status.health_command,
    "listings": status.listings_command,
    "rename": status.rename_command,
    "reconcile": status.reconcile_command,
    "backup": db.backup_command,
    "restore": db.restore_command,
    "run": run.run_command,
    "poll": run.poll_command,
    "watch": run.watch_command,
    "serve": serve.serve_command,
}
for name, command in _COMMANDS.items():
    app.command(name)(command)


def _version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        print(f"titan {version('titan-warehouse')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and nothing else.")
    ] = False,
    log_format: Annotated[str | None, typer.Option("--log", help="What stderr gets: text or json.")] = None,
) -> None:
    if log_format is not None:
        configure(log_format)


def main() -> None:
    """Run the command line; failures that a user can act on end in one clear line and an exit code."""
    try:
        configure()
        _run()
    except TitanError as error:
        _say(str(error), error.hint)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _say("interrupted; what was not committed has been rolled back", None)
        sys.exit(130)
    except Exception as error:
        if (told := _of_the_database(error)) is None:
            raise
        _say(*told)
        sys.exit(ExitCode.FAILED)


def _run() -> None:
    """The command, and then what it tells of how long it took; most tell nothing, and open no connection for it."""
    try:
        app()
    finally:
        if trace.waiting():
            from titan.ops.traces import write_rest

            write_rest()


def _of_the_database(error: Exception) -> tuple[str, str] | None:
    """What to say of a failure of the database, and what helps; None if it is another one."""
    if "psycopg" not in sys.modules:
        return None
    import psycopg

    if not isinstance(error, psycopg.Error):
        return None
    not_ready = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.InvalidSchemaName)
    if isinstance(error, not_ready):
        return (
            f"the database is not ready: {_first_line(error)}",
            "titan db start creates the schemas, titan refresh the models",
        )
    rolled_back = "what was not committed has been rolled back; running the command again is safe"
    if isinstance(error, psycopg.errors.DiskFull):
        return (
            f"the server has no room: {_first_line(error)}",
            f"make some, or let titan storage show say what is large; {rolled_back}",
        )
    return f"the database failed: {_first_line(error)}", rolled_back


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _say(message: str, hint: str | None) -> None:
    """An error, on stderr: for a person, or a line of JSON."""
    if is_json() and log.handlers:
        log.error(message, extra={"hint": hint} if hint else {})
        return
    output.err.print(f"error: {message}", style="red", markup=False)
    if hint:
        output.err.print(f"  {hint}", markup=False)


if __name__ == "__main__":
    main()
