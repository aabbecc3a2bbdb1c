"""`titan run`, `titan poll` and `titan watch`: the whole way, once or again and again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from titan.cli import output
from titan.cli.options import instant
from titan.core.errors import ExitCode, UsageError
from titan.core.timeframes import parse_timeframe


def run_command(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files to load; without any, an exchange.")] = None,
    exchange: Annotated[str | None, typer.Option(help="ccxt's name of the exchange.", show_default="binance")] = None,
    symbols: Annotated[
        str | None, typer.Option(help="Separated by commas.", show_default="BTC/USDT,ETH/USDT,SOL/USDT")
    ] = None,
    timeframe: Annotated[str | None, typer.Option(help="Of the exchange's candles.", show_default="1D")] = None,
    since: Annotated[str | None, typer.Option(help="First day to ask the exchange for.", show_default="2020-01-01")] = None,
    subscribed: Annotated[
        bool, typer.Option("--subscribed", help="Load the series of config.subscription instead.")
    ] = False,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for another run to end.")] = 0,
    report: Annotated[Path | None, typer.Option(help="Write what was done to this file, as Markdown.")] = None,
    prefect: Annotated[bool, typer.Option("--prefect", help="Run it as the flow, on PREFECT_API_URL's server.")] = False,
) -> None:
    """Start the database, load, build, test, and print a summary.

    Without files it asks an exchange; where that cannot be reached it takes the synthetic market, and says so.

    Example: titan run data/BTCUSDT-1d.csv.gz
    """
    asked = {"--exchange": exchange, "--symbols": symbols, "--timeframe": timeframe, "--since": since}
    if paths and subscribed:
        raise UsageError("--subscribed loads no files", hint="name files, or --subscribed, not both")
    if (paths or subscribed) and (given := [name for name, value in asked.items() if value is not None]):
        raise UsageError(
            f"{given[0]} is for asking an exchange, not for {'files' if paths else 'the series of config.subscription'}",
            hint="titan load file says what files are, then titan refresh" if paths else "leave it out",
        )
    if prefect and report:
        raise UsageError("--report is for runs without Prefect", hint="a flow leaves its report as an artifact of its run")
    from titan.ops.pipeline import Request

    request = Request("run", tuple(paths or []), subscribed, wait_seconds=wait)
    if exchange is not None:
        request = replace(request, exchange=exchange)
    if symbols is not None:
        request = replace(request, symbols=tuple(symbol.strip() for symbol in symbols.split(",") if symbol.strip()))
    if timeframe is not None:
        parse_timeframe(timeframe)
        request = replace(request, timeframe=timeframe)
    if since is not None:
        request = replace(request, since=instant(since, "--since").date())
    if prefect:
        _run_as_flow(request)
    else:
        _run(request, report)


def poll_command(
    report: Annotated[Path | None, typer.Option(help="Write what was done to this file, as Markdown.")] = None,
) -> None:
    """Load what is new of the series of config.subscription, and build what that changes. Run it every minute if you like:
    one that comes while another run is under way ends at once, with 4.

    Example: titan poll
    """
    from titan.ops.pipeline import Request

    _run(Request("poll", is_subscribed=True, has_tests=False), report)


def watch_command(
    cycles: Annotated[int | None, typer.Option(min=1, help="End after so many rounds that had something to do.")] = None,
    streams: Annotated[
        bool, typer.Option("--streams/--no-streams", help="Listen to exchanges that push candles, besides asking.")
    ] = True,
    as_json: Annotated[
        bool | None, typer.Option("--json/--no-json", help="JSON lines, or lines for people; by default as stdout is read.")
    ] = None,
) -> None:
    """Follow the series of config.subscription: ask for each candle when it is due, load it, and refresh what it changes.

    One line a round on a terminal, one JSON object a round in a pipe. It outlives a lost server or exchange, and ends with
    SIGTERM or Ctrl-C. Prefect's poll, or titan poll from cron, do the same every minute without a process that stays.

    Example: titan watch
    """
    from ingest.sources.streams import Streams
    from titan.ops.alerts import Telling, tellers
    from titan.ops.pipeline import prepare
    from titan.ops.watch import WallClock, Watch

    telling = Telling(tellers())
    prepare()
    has_json = not output.out.is_terminal if as_json is None else as_json
    clock, heard = WallClock(), Streams() if streams else None
    with clock.stopped_by_signals(), telling:
        try:
            Watch(clock, streams=heard).run(output.tell_cycle if has_json else output.show_cycle, cycles)
        finally:
            if heard:
                heard.close()


def _run(request: Any, report: Path | None) -> None:
    from titan.cli.show_run import Shown
    from titan.ops import pipeline
    from titan.ops.report import markdown

    if report is not None:
        _write(report, "", mode="a")  # a mistyped path is said now, not after everything is done
    progressed = pipeline.run(request, listener=Shown())
    if report is not None:
        _write(report, markdown(progressed))
    if progressed.code:
        raise typer.Exit(progressed.code)


def _run_as_flow(request: Any) -> None:
    from flows.pipeline import PARTIAL, SKIPPED, check_server, pipeline

    check_server()
    state: Any = pipeline(
        paths=[str(path) for path in request.paths],
        symbols=list(request.symbols),
        **{name: getattr(request, name) for name in ("is_subscribed", "exchange", "timeframe", "since", "wait_seconds")},
        return_state=True,
    )
    output.out.print(f"flow run {state.state_details.flow_run_id}: {state.name}: {state.message}", markup=False)
    codes = {"Completed": ExitCode.OK, PARTIAL: ExitCode.PARTIAL, SKIPPED: ExitCode.BUSY}
    if code := codes.get(state.name, ExitCode.FAILED):
        raise typer.Exit(code)


def _write(path: Path, text: str, mode: str = "w") -> None:
    try:
        with path.open(mode, encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
