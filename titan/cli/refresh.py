"""`titan refresh` and `titan build`: models brought up to date, by the database or by dbt."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from titan.cli import output
from titan.cli.options import Json, connect

if TYPE_CHECKING:
    from titan.ops.refresh import Refreshed


def refresh_command(
    full: Annotated[bool, typer.Option("--full", help="Make every model anew, from everything.")] = False,
    as_json: Json = False,
) -> None:
    """Bring every model up to date with what has changed. The database does it; dbt is called where a definition changed.

    Example: titan refresh
    """
    done = refresh_models(is_full=full)
    if as_json:
        print(json.dumps(as_data(done)))
    else:
        output.show_refresh(done)
    if error := done.failure():
        raise error


def refresh_models(*, is_full: bool) -> Refreshed:
    """Bring every model up to date, with a line that says how far it is."""
    from titan.ops.refresh import refresh

    with connect(autocommit=True) as connection, output.progress("refreshing", is_logged=False) as progress:
        return refresh(connection, progress, is_full=is_full)


def as_data(refreshed: Refreshed) -> dict[str, Any]:
    """What a refresh did, for a program."""
    return {
        "declared": refreshed.owed,
        "steps": [vars(step) for step in refreshed.steps],
        "seconds": round(refreshed.seconds, 3),
    }


def build_command(
    select: Annotated[str | None, typer.Option(help="Only these models, in dbt's syntax.")] = None,
    full_refresh: Annotated[bool, typer.Option("--full-refresh", help="Rebuild tables from everything.")] = False,
    test: Annotated[bool, typer.Option("--test", help="Run the tests, too.")] = False,
) -> None:
    """Run dbt over the models, as `dbt run` in the repository does: for those who change them. See titan refresh.

    Example: titan build --select bar_features+
    """
    _dbt("build" if test else "run", ["--full-refresh"] if full_refresh else [], select)


def _dbt(command: str, arguments: list[str], select: str | None = None) -> None:
    with output.progress("starting dbt") as progress:
        from titan.ops.dbt import invoke
        from titan.ops.project import project_files
        from titan.ops.refresh import record_project

        with connect():
            pass  # a server that is down is said in one line here, not in dbt's twenty
        begun = time.monotonic()
        files = project_files()
        result = invoke(command, [*arguments, *(["--select", select] if select else [])], on_start=progress)
        if not select and not any(node.kind == "model" for node in result.failed):
            with connect(autocommit=True) as connection:
                record_project(connection, files)
    output.show_build(result, time.monotonic() - begun)
    if error := result.failure():
        raise error
