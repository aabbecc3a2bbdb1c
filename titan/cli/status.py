"""`titan status` and `titan reconcile`: what is here, and whether it is right."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from titan.cli import output
from titan.cli.options import Json, connect, instant
from titan.core.errors import ExitCode, UsageError


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
            "left_behind": status.left_behind(connection),
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
            "of models that are gone, never refreshed: drop what nobody reads": found["left_behind"],
        },
        spare=("refreshed_at", "observed_until", "is_base", "missing", "first_at", "market"),
    )


def trace_command(
    trace: Annotated[str | None, typer.Argument(help="Its id, or a run's; the last run's if left out.")] = None,
    as_json: Json = False,
) -> None:
    """Show where the time of a run went: its steps, batches and models, as a tree.

    Example: titan trace
    """
    from titan.ops import traces

    with connect() as connection:
        output.listing(traces.tree(connection, trace), as_json, "nothing was traced yet: titan run, titan refresh")


def health_command(
    probe: Annotated[str, typer.Argument(help="live, startup or ready.")] = "ready", as_json: Json = False
) -> None:
    """Say whether the server lives, this checkout can work with it (startup), or all is as it should be (ready).

    Exit codes: 0 it is, also where something is degraded; 1 something fails.

    Example: titan health ready --json
    """
    from titan.ops.health import Check, health

    if probe not in ("live", "startup", "ready"):
        raise UsageError(f"there is no probe {probe!r}", hint="live, startup or ready")
    found = health(probe)  # type: ignore[arg-type]

    def show(check: Check, depth: int) -> None:
        text = f"{'  ' * depth}{check.name}: {check.status}" + (f" ({check.message})" if check.message else "")
        output.out.print(text, markup=False)
        for part in check.parts:
            show(part, depth + 1)

    if as_json:
        print(json.dumps(found.as_json()))
    else:
        show(found, 0)
    if found.status == "failing":
        raise typer.Exit(ExitCode.FAILED)


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


def rename_command(
    exchange: Annotated[str, typer.Argument(help="Whose symbols.")],
    symbol: Annotated[str, typer.Argument(help="What it was called.")],
    new_symbol: Annotated[str, typer.Argument(help="What it is called since.")],
    at: Annotated[str | None, typer.Option(help="Since when, UTC: a candle that closes later has the new symbol.")] = None,
    ratio: Annotated[float, typer.Option(help="Units of the new asset for one of the old.")] = 1.0,
    market: Annotated[str, typer.Option(help="spot, perpetual, future or index.")] = "spot",
    undo: Annotated[bool, typer.Option("--undo", help="Take its last rename to that symbol back.")] = False,
    as_json: Json = False,
) -> None:
    """Say that an instrument goes by another symbol since then: it is one, with its history and its subscriptions.

    What is loaded under the old symbol is its history; what closes under that one later is another instrument.

    Example: titan rename binance MATIC/USDT POL/USDT --at '2024-09-13 10:00'
    """
    from dataclasses import asdict

    from ingest import renames

    exchange, symbol, new_symbol = exchange.strip().lower(), symbol.strip().upper(), new_symbol.strip().upper()
    if undo == (at is not None):
        raise UsageError("say since when, with --at" if not undo else "--undo takes no --at")
    with connect() as connection:
        if undo:
            done = renames.undo(connection, exchange, market, symbol, new_symbol)
        else:
            wanted = renames.Rename(exchange, market, symbol, new_symbol, instant(str(at), "--at"), ratio)
            done = renames.rename(connection, wanted)
    if as_json:
        print(json.dumps(asdict(done)))
        return
    now, then = (symbol, new_symbol) if undo else (new_symbol, symbol)
    output.out.print(
        f"{then} of {exchange} is {now} (batch {done.batch_id}): {done.came:,} candles came to it, {done.went:,} stay with "
        f"{then}; titan refresh brings the bars up to date",
        markup=False,
    )
    for notice in done.notices:
        output.out.print(notice, markup=False)


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
        print(json.dumps({"compared": done.compared, "differing": done.differing}, default=str))
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
