"""`titan universe`: sets of symbols, and when each belonged to them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from titan.cli import output
from titan.cli.options import Json, connect, instant

Name = Annotated[str, typer.Argument(help="Of the universe.")]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Sets of symbols, and when each belonged to them.")


@app.command("choose")
def choose_command(
    name: Name,
    exchange: Annotated[str, typer.Option(help="Whose symbols.")],
    top: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    pattern: Annotated[str, typer.Option(help="Of the symbols, with * and ?.")] = "*/USDT",
    market: Annotated[str, typer.Option(help="spot, perpetual or future.")] = "spot",
    days: Annotated[int, typer.Option(min=1, help="Before a rebalancing, over which turnover is added up.")] = 30,
    every: Annotated[str, typer.Option(help="day, week, month or quarter.")] = "month",
    since: Annotated[str, typer.Option(help="The first rebalancing, UTC.")] = "2020-01-01",
    as_json: Json = False,
) -> None:
    """Choose the symbols with the largest turnover, again and again, each time by the days before it alone.

    It looks at the daily bars that are here, also of symbols that trade no longer, and replaces what the universe had.

    Example: titan universe choose top20 --exchange binance --top 20 --every month --since 2021-01-01
    """
    from titan.ops.universes import Rule, choose

    begin, today = instant(since, "--since").date(), datetime.now(UTC).date()
    rule = Rule(exchange.strip().lower(), top, days, every, begin, today, pattern, market)
    with connect() as connection:
        output.listing(choose(connection, name, rule), as_json)


@app.command("add")
def add_command(
    name: Name,
    exchange: Annotated[str, typer.Option(help="Whose symbol.")],
    symbol: Annotated[str, typer.Option(help="BASE/QUOTE.")],
    since: Annotated[str, typer.Option(help="The first day on which it belongs to it, UTC.")],
    until: Annotated[str | None, typer.Option(help="The first day on which it does no longer.")] = None,
) -> None:
    """Let a symbol belong to a universe from a day on.

    Example: titan universe add majors --exchange binance --symbol LUNA/USDT --since 2021-01-01 --until 2022-05-13
    """
    from titan.ops.universes import add

    begin, end = instant(since, "--since").date(), instant(until, "--until").date() if until else None
    with connect() as connection:
        add(connection, name, exchange.strip().lower(), symbol.strip(), begin, end)
    output.out.print(f"{symbol} belongs to {name} from {begin}" + (f" to {end}" if end else ""), markup=False)


@app.command("list")
def list_command(
    name: Annotated[str | None, typer.Argument(help="Only this one.")] = None,
    as_json: Json = False,
) -> None:
    """List the universes: which symbol belonged to each, and when.

    Example: titan universe list top20
    """
    from titan.ops.universes import members

    with connect() as connection:
        output.listing(members(connection, name), as_json, "no universe yet: titan universe choose, or add")
