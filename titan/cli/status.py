"""`titan status` and `titan reconcile`: what is here, and whether it is right."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from titan.cli import output
from titan.cli.options import Json, connect, instant
from titan.core.errors import ExitCode


def status_command(as_json: Json = False) -> None:
    """Show every series, what is in quarantine, which models are behind, and which exchanges are left alone.

    Example: titan status --json | jq .series
    """
    from ingest.quarantine import count_by_reason
    from titan.ops import status

    with connect() as connection:
        found = {
            "series": status.series(connection),
            "quarantine": count_by_reason(connection),
            "behind": status.behind(connection),
            "left_alone": status.left_alone(connection),
        }
    if as_json:
        print(json.dumps(found, default=str))
        return
    if not found["series"]:
        output.out.print("no candles yet: titan load file, exchange or synthetic")
    output.tables(
        {
            "": found["series"],
            "quarantine": found["quarantine"],
            "behind: titan refresh": found["behind"],
            "exchanges that did not answer": found["left_alone"],
        },
        spare=("refreshed_at", "observed_until", "is_base", "missing", "first_at", "market"),
    )


def listings_command(
    exchange: Annotated[
        str | None, typer.Option(help="Every market of it; of all that have candles here by default.")
    ] = None,
    symbol: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    as_json: Json = False,
) -> None:
    """List how exchanges list markets, and how they did before: names, whether they are traded, and in which steps.

    Example: titan listings --symbol BTC/USDT
    """
    from titan.ops import status

    with connect() as connection:
        found = status.listings(connection, exchange.strip().lower() if exchange else None, symbol)
    output.listing(found, as_json, "no list of markets has been read yet: titan load exchange, poll, watch or backfill do")


def reconcile_command(
    symbol: Annotated[str | None, typer.Option(help="Only this one; all by default.")] = None,
    exchange: Annotated[str | None, typer.Option(help="Only of this source.")] = None,
    timeframe: Annotated[str | None, typer.Option(help="Only bars of this timeframe.")] = None,
    since: Annotated[str | None, typer.Option(help="Only bars that open at this time, UTC, or later.")] = None,
    until: Annotated[str | None, typer.Option(help="Only bars that close by this time, UTC.")] = None,
    as_json: Json = False,
) -> None:
    """Compute bars again from the raw candles and name every stored one that differs. Exits with 1 if any does.

    Example: titan reconcile --symbol BTC/USDT --timeframe 1h --since 2025-06-01
    """
    from titan.ops.reconcile import reconcile

    with connect() as connection, output.progress("reconciling") as progress:
        done = reconcile(
            connection,
            symbol=symbol,
            exchange=exchange,
            timeframe=timeframe,
            since=instant(since, "--since") if since else None,
            until=instant(until, "--until") if until else None,
            progress=progress,
        )
    if as_json:
        print(json.dumps(vars(done), default=str))
    else:
        for bar in done.differing:
            output.out.print(
                f"{bar['fault']}: {bar['exchange']} {bar['symbol']} {bar['timeframe']} "
                f"closed {bar['closed_at']:%Y-%m-%d %H:%M}: "
                + (
                    f"stored {bar['stored']}, from raw {bar['recomputed']}"
                    if bar["fault"] == "wrong"
                    else f"it should be {bar['recomputed']}"
                    if bar["fault"] == "missing"
                    else f"there should be none, stored {bar['stored']}"
                ),
                markup=False,
            )
        output.out.print(f"{done.compared:,} bars computed again, {len(done.differing):,} differ", markup=False)
    if done.differing:
        raise typer.Exit(ExitCode.FAILED)
