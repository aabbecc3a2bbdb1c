"""`titan audit`: who changed what people decide."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from titan.cli import output
from titan.cli.options import Json, connect, instant
from titan.core.errors import ExitCode

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Who changed configuration, approvals and quarantine.")


@app.command("list")
def list_command(
    relation: Annotated[str | None, typer.Option(help="Only this table, e.g. config.subscription.")] = None,
    login: Annotated[str | None, typer.Option(help="Only this login.")] = None,
    since: Annotated[str | None, typer.Option(help="Only from then on, UTC.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: Json = False,
) -> None:
    """List the entries, newest first: what each row was before and after.

    Example: titan audit list --relation config.signal --since 2024-01-01
    """
    from titan.ops import audit

    begin = instant(since, "--since") if since else None
    with connect() as connection:
        found = audit.entries(connection, relation, login, begin, limit)
    if not as_json and output.out.is_terminal:
        for row in found:
            row["changes"] = json.dumps(row["changes"], ensure_ascii=False)[:200]
    output.listing(found, as_json, "no entry is like that")


@app.command("verify")
def verify_command(
    head: Annotated[str | None, typer.Option(help="An entry that has to be there: number:hash, as told before.")] = None,
    as_json: Json = False,
) -> None:
    """Prove that no entry is missing or altered, and that each table is what its entries come to.

    The last entry is remembered on this machine, so that the next one notices if it is gone.

    Exit codes: 0 all is well; 1 something is not.

    Example: titan audit verify
    """
    from titan.ops import audit

    with connect() as connection:
        found = audit.verify(connection, head)
    if as_json:
        print(json.dumps(vars(found)))
    else:
        for fault in found.faults:
            output.out.print(fault, markup=False)
        if not found.faults:
            output.out.print(
                f"{found.entries:,} entries, all as they were entered; the last one is {found.head}", markup=False
            )
    if found.faults:
        raise typer.Exit(ExitCode.FAILED)
