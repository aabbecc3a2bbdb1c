"""`titan serve` and `titan key`: the gateway, and who may ask it."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from titan.cli import output
from titan.cli.options import Json, connect, instant

key_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Keys of the gateway (titan serve).")


def serve_command(
    host: Annotated[
        str, typer.Option(help="Where to listen; beyond this machine, every request needs a key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8000,
    require_key: Annotated[bool, typer.Option("--require-key", help="Ask for a key on this machine, too.")] = False,
    name: Annotated[
        list[str] | None, typer.Option(help="A name that it answers to (the Host header); again for another.")
    ] = None,
    connections: Annotated[int, typer.Option(min=1, max=200, help="To the database, at most.")] = 10,
) -> None:
    """Serve marts over HTTP, as the reader: bars, deep dives, correlation, signals, the leaderboard, what becomes new.

    It runs until SIGTERM or Ctrl-C. A database that is away is asked again by each request.

    Example: titan serve --port 8000
    """
    from titan.gateway.serve import serve

    def started(address: str) -> None:
        print(address, flush=True)
        output.err.print(f"serving; {address}/docs tells what there is", markup=False, highlight=False)

    with suppress(KeyboardInterrupt):  # uvicorn has ended by then, and passes it on
        serve(host, port, needs_key=require_key, names=name or [], connections=connections, started=started)


@key_app.command("create")
def create_command(
    name: Annotated[str, typer.Argument(help="Who it is for.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="market, research or operations; again for another. market where none is said.")
    ] = None,
    per_minute: Annotated[int, typer.Option(min=1, help="Requests a minute.")] = 600,
    expires: Annotated[str | None, typer.Option(help="Until when it opens something, UTC.")] = None,
) -> None:
    """Make a key and print it, the only time that it can be read.

    Example: titan key create anna --scope market --scope research --expires 2027-01-01
    """
    from titan.gateway import keys

    until = instant(expires, "--expires") if expires else None
    with connect() as connection:
        key = keys.create(connection, name, scope or ["market"], per_minute, until)
    print(key)
    output.err.print("send it as Authorization: Bearer …; it is not kept anywhere", markup=False)


@key_app.command("list")
def list_command(as_json: Json = False) -> None:
    """List keys: who, what for, how often, until when. None of them can be read again.

    Example: titan key list
    """
    from titan.gateway import keys

    with connect() as connection:
        output.listing(keys.listed(connection), as_json, "there are no keys")


@key_app.command("revoke")
def revoke_command(name: Annotated[str, typer.Argument(help="Whose key.")]) -> None:
    """Let a key open nothing any more, from the next request on.

    Example: titan key revoke anna
    """
    from titan.gateway import keys

    with connect() as connection:
        keys.revoke(connection, name)
    output.out.print(f"the key {name!r} opens nothing any more", markup=False)
