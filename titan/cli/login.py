"""`titan login`: logins of people and tools that read."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from titan.cli import output
from titan.cli.options import Json, connect
from titan.core.errors import UsageError

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Logins of people and tools that read (docs/connect.md)."
)


@app.command("create")
def create_command(
    name: Annotated[str, typer.Argument(help="Whose it is: a person, a tool.")],
    timeout: Annotated[str, typer.Option(help="What of its statements takes longer is ended; 0 for nothing.")] = "60s",
    password_env: Annotated[
        str | None, typer.Option(help="The variable that has its password; a random one is made and printed without.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Of a reader that there is: another password.")] = False,
) -> None:
    """Make a login that can read every table and view of the warehouse, and print its password, the only time.

    Its sessions only read; the server is given a hash.

    Example: titan login create anna --timeout 5min
    """
    from titan.server import logins

    password = None
    if password_env:
        password = os.environ.get(password_env)
        if not password:
            raise UsageError(f"{password_env} has no password", hint=f"set {password_env}, or leave --password-env out")
    with connect() as connection:
        made = logins.create(connection, name, timeout, password, is_replaced=replace)
        where = f"{connection.info.host} port {connection.info.port}, database {connection.info.dbname}"
    if password is None:
        print(made)
    output.err.print(f"{name} can read, at {where}; docs/connect.md has how", markup=False, highlight=False)


@app.command("list")
def list_command(as_json: Json = False) -> None:
    """List logins that read: how long a statement of theirs may take, how many sessions they have.

    Example: titan login list
    """
    from titan.server import logins

    with connect() as connection:
        output.listing(logins.listed(connection), as_json, "there are no logins that read")


@app.command("drop")
def drop_command(name: Annotated[str, typer.Argument(help="Whose login.")]) -> None:
    """Take a login away, and end its sessions.

    Example: titan login drop anna
    """
    from titan.server import logins

    with connect() as connection:
        ended = logins.drop(connection, name)
    output.out.print(f"{name} can read no more; {ended} sessions ended", markup=False)
