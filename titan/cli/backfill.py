"""`titan backfill`: what is missing of series, asked for and loaded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from titan.cli import output
from titan.cli.options import Json, connect, instant
from titan.cli.refresh import as_data, refresh_models
from titan.core.errors import ExitCode, UsageError
from titan.core.timeframes import parse_timeframe

if TYPE_CHECKING:
    from datetime import datetime

    from titan.core.database import Connection
    from titan.ops.backfill import Stretch, Wanted
    from titan.ops.exchanges import Exchanges


def backfill_command(
    exchange: Annotated[str | None, typer.Option(help="Of these --symbols; ccxt's name, e.g. binance.")] = None,
    symbols: Annotated[
        str | None, typer.Option(help="Separated by commas, patterns among them: BTC/USDT,*/EUR. Needs --exchange.")
    ] = None,
    universe: Annotated[str | None, typer.Option(help="Every symbol that ever belonged to it (config.universe).")] = None,
    timeframe: Annotated[str, typer.Option(help="Of --symbols or of a --universe.")] = "1D",
    since: Annotated[str | None, typer.Option(help="First day, UTC; as config.history says by default.")] = None,
    archives: Annotated[
        bool, typer.Option("--archives/--no-archives", help="Take whole months from files that the exchange publishes.")
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what is missing; ask for no candle.")] = False,
    refreshes: Annotated[bool, typer.Option("--refresh", help="Bring the models up to date afterwards.")] = False,
    as_json: Json = False,
) -> None:
    """Load what is missing: history, holes that no source was asked about, and, once more, outages.

    Of the series of config.subscription, unless others are named. What has come is committed every second: run again, it
    goes on where it stopped. Exits with 3 if something is missing still.

    Example: titan backfill --exchange binance --symbols 'BTC/*' --timeframe 1h --since 2024-01-01
    """
    from ingest.sources.exchange import present
    from titan.ops.backfill import backfill, patient_exchanges, plan
    from titan.ops.run_lock import held

    begin = instant(since, "--since") if since else None
    period = parse_timeframe(timeframe).name
    exchanges = patient_exchanges()
    with connect() as connection:
        wanted = _wanted(connection, exchanges, exchange, symbols, universe, period, begin)
        if dry_run:
            _show_plan(plan(connection, wanted, present()), as_json)
            return
        with held("backfill", lock="backfill") as lock, output.progress("asking what is missing") as progress:
            done = backfill(connection, wanted, progress, exchanges=exchanges, has_archives=archives)
            outcome = "done in part" if done.failed else "done"
            lock.record_end(outcome)
    if not as_json:
        output.show_load(done.report)
        if not done.stretches:
            output.out.print("nothing is missing")
    refreshed = refresh_models(is_full=False) if refreshes and done.report.promoted else None
    if as_json:
        told: dict[str, Any] = {
            "stretches": [_row(stretch) for stretch in done.stretches],
            "promoted": [output.batch_data(batch) for batch in done.report.promoted],
            "failed": [{"series": str(inquiry), "error": str(error)} for inquiry, error in done.failed.items()],
            **({} if refreshed is None else {"refreshed": as_data(refreshed)}),
        }
        print(json.dumps(told, default=str))
    elif refreshed is not None:
        output.show_refresh(refreshed)
    if refreshed is not None and (error := refreshed.failure()):
        raise error
    if done.failed:
        raise typer.Exit(ExitCode.PARTIAL if done.report.promoted else ExitCode.FAILED)
    if done.report.quarantined:
        raise typer.Exit(ExitCode.PARTIAL)


def _wanted(
    connection: Connection,
    exchanges: Exchanges,
    exchange: str | None,
    symbols: str | None,
    universe: str | None,
    timeframe: str,
    since: datetime | None,
) -> list[Wanted]:
    from titan.ops import backfill

    if bool(exchange) != bool(symbols) or (exchange and universe):
        raise UsageError(
            "--exchange and --symbols go together, and without a --universe",
            hint="titan backfill --exchange binance --symbols BTC/USDT --timeframe 1h, or --universe NAME, or neither",
        )
    if universe:
        return backfill.wanted_of_universe(connection, universe, timeframe, since)
    if exchange and symbols:
        name = exchange.strip().lower()
        found = exchanges.source_for(connection, name).find(symbols.split(","))
        return [backfill.Wanted(name, symbol, timeframe, since) for symbol in found]
    return backfill.wanted_by_subscription(connection, since)


def _row(stretch: Stretch) -> dict[str, Any]:
    return {
        "exchange": stretch.exchange,
        "symbol": stretch.symbol,
        "timeframe": stretch.timeframe,
        "reason": stretch.reason,
        "from_at": stretch.from_at,
        "until_at": stretch.until_at,
        "candles": stretch.candles,
    }


def _show_plan(stretches: list[Stretch], as_json: bool) -> None:
    rows = [_row(stretch) for stretch in stretches]
    if as_json:
        print(json.dumps(rows, default=str))
        return
    if not rows:
        output.out.print("nothing is missing")
        return
    output.table(rows, spare=("reason", "exchange"))
    if output.out.is_terminal:
        total = sum(stretch.candles for stretch in stretches)
        output.out.print(f"{len(rows):,} stretches, {total:,} candles at most", markup=False)
