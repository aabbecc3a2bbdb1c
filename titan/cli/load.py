"""`titan load` and `titan delete`: what gets in, and what is taken out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from titan.cli import output
from titan.cli.options import Json, connect, instant
from titan.cli.refresh import as_data, refresh_models
from titan.core.errors import ExitCode, UsageError
from titan.core.timeframes import parse_timeframe

Refreshes = Annotated[bool, typer.Option("--refresh", help="Bring the models up to date afterwards.")]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Load candles from files, an exchange, or nowhere.")


@app.command("file")
def load_file(
    paths: Annotated[list[Path], typer.Argument(help="CSV, Parquet, Feather or JSON, packed or not, or directories.")],
    exchange: Annotated[str | None, typer.Option(help="The source, if the file's name does not tell.")] = None,
    market: Annotated[str | None, typer.Option(help="spot, perpetual, future or index; spot by default.")] = None,
    symbol: Annotated[str | None, typer.Option(help="BASE/QUOTE, if neither the name nor a column tells.")] = None,
    timeframe: Annotated[str | None, typer.Option(help="E.g. 1m, 1h, 1D, if neither name nor times tell.")] = None,
    timezone: Annotated[str | None, typer.Option(help="Of times without an offset; UTC by default.")] = None,
    stamp: Annotated[str | None, typer.Option(help="Whether times are the open or the close of a bar.")] = None,
    session: Annotated[str | None, typer.Option(help="Trading session, e.g. EQUITY (config.session).")] = None,
    covers: Annotated[str | None, typer.Option(help="Time the file is whole for: 2015, 2015-03, 2015..2016.")] = None,
    no_volume: Annotated[bool, typer.Option("--no-volume", help="Load files without a volume; it is zero.")] = False,
    revise: Annotated[bool, typer.Option("--revise", help="Let it revise most candles of another file.")] = False,
    refreshes: Refreshes = False,
    as_json: Json = False,
) -> None:
    """Load files. What the name and the columns tell is inferred, and said.

    Example: titan load file BTCUSDT-1d.csv.gz --exchange binance
    """
    from ingest.sources.files import FileOptions
    from titan.ops.loads import load_files

    if stamp not in (None, "open", "close"):
        raise UsageError(f"--stamp is open or close, not {stamp!r}")
    options = FileOptions(exchange, market, symbol, timeframe, timezone, stamp, session, revise, no_volume, covers)
    with connect() as connection, output.progress("loading files") as progress:
        report = load_files(connection, paths, options, progress)
    _finish_load(report, refreshes, as_json)


@app.command("exchange")
def load_exchange_command(
    exchange: Annotated[str, typer.Argument(help="ccxt's name of the exchange, e.g. binance; or alpacastocks.")],
    symbols: Annotated[str, typer.Option(help="One or more, separated by commas, or patterns: BTC/USDT,*/EUR.")],
    since: Annotated[str, typer.Option(help="Date or time, UTC, of the first candle.")],
    timeframe: Annotated[str, typer.Option(help="E.g. 1m, 1h, 1D.")] = "1D",
    refreshes: Refreshes = False,
    as_json: Json = False,
) -> None:
    """Load an exchange's public candles; no key is needed. Stocks of Alpaca need its keys in the environment.

    Example: titan load exchange binance --symbols BTC/USDT --timeframe 1d --since 2020-01-01
    """
    from titan.ops.exchanges import load_exchange

    wanted = [symbol.strip() for symbol in symbols.split(",") if symbol.strip()]
    begin = instant(since, "--since")
    parse_timeframe(timeframe)
    with connect() as connection, output.progress(f"asking {exchange}") as progress:
        report = load_exchange(connection, exchange, wanted, timeframe, begin, progress)
    _finish_load(report, refreshes, as_json)


@app.command("adjustments")
def load_adjustments_command(
    path: Annotated[Path, typer.Argument(help="CSV file of splits and dividends, gzipped or not.")],
    symbol: Annotated[str | None, typer.Option(help="Whose they are, unless a column tells.")] = None,
    exchange: Annotated[str | None, typer.Option(help="The source of its candles, if there are several.")] = None,
    market: Annotated[str, typer.Option(help="spot, perpetual, future or index.")] = "spot",
    as_json: Json = False,
) -> None:
    """Load splits and dividends; bars are adjusted by them at the next build, from the ex-date on.

    Its columns are ex_date,kind,value (kind split or dividend; known_at may follow), or date,dividends,stock splits, or,
    without a header, date,price_factor,split_factor (cumulative backward factors).

    Example: titan load adjustments AAPL-actions.csv --symbol AAPL
    """
    from ingest.adjustments import load_adjustments

    with connect() as connection:
        done = load_adjustments(connection, path, symbol=symbol, exchange=exchange, market_type=market)
    if as_json:
        print(json.dumps(vars(done)))
        return
    output.out.print(
        f"{done.origin}: {done.read:,} splits and dividends of {', '.join(done.symbols)} read, {done.inserted:,} new, "
        f"{done.revised:,} revised; titan refresh adjusts the bars",
        markup=False,
    )


@app.command("synthetic")
def load_synthetic_command(
    symbols: Annotated[int, typer.Option(min=1, max=30_000, help="Number of symbols.")] = 10,
    bars: Annotated[int, typer.Option(min=1, help="Bars of each.")] = 2_000,
    timeframe: Annotated[str, typer.Option(help="E.g. 1m, 1h, 1D.")] = "1D",
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another market.")] = 7,
    until: Annotated[str | None, typer.Option(help="Where it ends, UTC; the start of 2026 by default.")] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="What goes wrong with it, name=rate: a share of the candles, or of the symbols; repeat for others."
        ),
    ] = None,
    refreshes: Refreshes = False,
    as_json: Json = False,
) -> None:
    """Load a made-up market: the same seed gives the same candles. Its exchange is called synthetic.

    Faults of candles are gap, flat, spike, skew, revision and duplicate; of symbols split, halt and unfinished.

    Example: titan load synthetic --symbols 20 --bars 50000 --timeframe 1m --fault gap=0.01 --fault spike=0.0001
    """
    from ingest.sources.faults import parse_faults
    from titan.ops.loads import load_synthetic

    end = instant(until, "--until") if until else None
    faults = parse_faults(fault or ())
    with connect() as connection, output.progress("making up a market"):
        report = load_synthetic(
            connection, seed=seed, symbol_count=symbols, bar_count=bars, timeframe=timeframe, until=end, faults=faults
        )
    _finish_load(report, refreshes, as_json)


def _finish_load(report: Any, refreshes: bool, as_json: bool) -> None:
    if not as_json:
        output.show_load(report)
    refreshed = refresh_models(is_full=False) if refreshes and report.promoted else None
    if as_json:
        batches = [output.batch_data(batch) for batch in report.promoted]
        failed = [{"origin": origin, "error": str(error)} for origin, error in report.failed]
        told = {} if refreshed is None else {"refreshed": as_data(refreshed)}
        print(json.dumps({"promoted": batches, "failed": failed, "remarks": report.remarks, **told}, default=str))
    elif refreshed is not None:
        output.show_refresh(refreshed)
    if refreshed is not None and (error := refreshed.failure()):
        raise error
    if code := _load_exit(report):
        raise typer.Exit(code)


def _load_exit(report: Any) -> ExitCode:
    if report.failed:
        has_usage = all(isinstance(error, UsageError) for _, error in report.failed)
        return ExitCode.PARTIAL if report.promoted else ExitCode.USAGE if has_usage else ExitCode.FAILED
    return ExitCode.PARTIAL if report.quarantined else ExitCode.OK


def delete_command(
    symbol: Annotated[str | None, typer.Option(help="BASE/QUOTE.")] = None,
    exchange: Annotated[str | None, typer.Option(help="The source.")] = None,
    market: Annotated[str, typer.Option(help="spot, perpetual, future or index.")] = "spot",
    timeframe: Annotated[str | None, typer.Option(help="Only candles of this timeframe.")] = None,
    since: Annotated[str | None, typer.Option(help="Only candles that open at this time, UTC, or later.")] = None,
    until: Annotated[str | None, typer.Option(help="Only candles that open before this time, UTC.")] = None,
    synthetic: Annotated[bool, typer.Option("--synthetic", help="The synthetic market, all of it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete candles; their last version stays in raw.ohlcv_revision, and the next build forgets them.

    Example: titan delete --exchange binance --symbol BTC/USDT --since 2024-01-01 --yes
    """
    if synthetic:
        if symbol or exchange or timeframe or since or until or market != "spot":
            raise UsageError("--synthetic takes all of the synthetic market", hint="leave the other options out, but --yes")
        _delete_synthetic(yes)
        return
    if not (symbol and exchange):
        raise UsageError("name the --exchange and the --symbol", hint="or take out the synthetic market: --synthetic")
    from ingest.deletion import delete

    name = parse_timeframe(timeframe).name if timeframe else None
    begin = instant(since, "--since") if since else None
    end = instant(until, "--until") if until else None
    if begin and end and begin >= end:
        raise UsageError("--since has to lie before --until")
    if not yes:
        typer.confirm(f"Delete candles of {exchange} {symbol}?", abort=True)
    with connect() as connection:
        done = delete(
            connection,
            exchange=exchange,
            symbol=symbol.strip().upper(),
            market_type=market,
            timeframe=name,
            from_at=begin,
            until_at=end,
        )
    output.out.print(f"{done.deleted:,} candles deleted (batch {done.batch_id})", markup=False)
    if done.is_empty:
        output.out.print(f"{symbol} has none left: its next load may choose another timeframe", markup=False)


def _delete_synthetic(is_sure: bool) -> None:
    from ingest.deletion import delete_exchange
    from ingest.sources.synthetic import EXCHANGE

    if not is_sure:
        typer.confirm("Delete all candles of the synthetic market?", abort=True)
    with connect() as connection, output.progress("deleting the synthetic market"):
        done = delete_exchange(connection, EXCHANGE)
    candles = sum(one.deleted for one in done)
    output.out.print(f"{candles:,} synthetic candles of {len(done):,} instruments deleted; titan refresh forgets them")
