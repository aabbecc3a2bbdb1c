"""The `titan` command. Every command says what it does, with an example; results go to stdout, the rest to stderr."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingest.timeframes import parse_timeframe
from titan import cli_backtest, cli_strategy, output
from titan.errors import ExitCode, TitanError, UsageError
from titan.log import configure, is_json, log
from titan.options import Json, connect, instant
from titan.settings import Settings

if TYPE_CHECKING:
    from titan.refresh import Refreshed

Refreshes = Annotated[bool, typer.Option("--refresh", help="Bring the models up to date afterwards.")]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Titan: a market-data warehouse that computes inside the database.\n\n"
    "Exit codes: 0 done; 1 failed; 2 wrong usage; 3 done in part (rows in raw.quarantine, files that failed); 4 another run "
    "is under way.\n\nWhere stderr is no terminal it gets JSON lines, under the run's id, unless it goes where stdout goes: "
    "--log, or TITAN_LOG, chooses.",
)
db = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The database server and its schemas.")
load = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Load candles from files, an exchange, or nowhere.")
gate = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What the gate found of the batches.")
storage = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="How much is kept, and how: columnstore and retention."
)
quarantine = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The rows that were turned away.")
app.add_typer(db, name="db")
app.add_typer(load, name="load")
app.add_typer(gate, name="gate")
app.add_typer(quarantine, name="quarantine")
app.add_typer(storage, name="storage")
app.add_typer(cli_backtest.app, name="backtest")
app.add_typer(cli_strategy.app, name="strategy")


def _version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        print(f"titan {version('titan-warehouse')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and nothing else.")
    ] = False,
    log_format: Annotated[str | None, typer.Option("--log", help="What stderr gets: text or json.")] = None,
) -> None:
    if log_format is not None:
        configure(log_format)


def main() -> None:
    """Run the command line; failures that a user can act on end in one clear line and an exit code."""
    try:
        configure()
        app()
    except TitanError as error:
        _say(str(error), error.hint)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _say("interrupted; what was not committed has been rolled back", None)
        sys.exit(130)
    except Exception as error:
        if (told := _of_the_database(error)) is None:
            raise
        _say(*told)
        sys.exit(ExitCode.FAILED)


def _of_the_database(error: Exception) -> tuple[str, str] | None:
    """What to say of a failure of the database, and what helps; None if it is another one."""
    if "psycopg" not in sys.modules:
        return None
    import psycopg

    if not isinstance(error, psycopg.Error):
        return None
    not_ready = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.InvalidSchemaName)
    if isinstance(error, not_ready):
        return (
            f"the database is not ready: {_first_line(error)}",
            "titan db start creates the schemas, titan refresh the models",
        )
    return (
        f"the database failed: {_first_line(error)}",
        "what was not committed has been rolled back; running the command again is safe",
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _say(message: str, hint: str | None) -> None:
    """An error, on stderr: for a person, or a line of JSON."""
    if is_json() and log.handlers:
        log.error(message, extra={"hint": hint} if hint else {})
        return
    output.err.print(f"error: {message}", style="red", markup=False)
    if hint:
        output.err.print(f"  {hint}", markup=False)


# --- db -------------------------------------------------------------------------------------------------------------------


@db.command("start")
def db_start() -> None:
    """Start the embedded server (or reach yours, if PGHOST names one) and bring its schemas up to date.

    Example: titan db start
    """
    started, applied = _start()
    settings = Settings.from_environment()
    what = "started" if started else "running already" if settings.is_embedded else "reached"
    output.out.print(f"{what}: {settings.url}", markup=False)
    output.out.print(f"migrations applied: {', '.join(applied) if applied else 'none, all of them were'}", markup=False)


@db.command("stop")
def db_stop() -> None:
    """Stop the embedded server. Its data stays.

    Example: titan db stop
    """
    from titan.server import EmbeddedServer

    settings = Settings.from_environment()
    if not settings.is_embedded:
        raise UsageError(f"{settings.url} is not the embedded server; stop it by its own means")
    stopped = EmbeddedServer(settings).stop()
    output.out.print("stopped" if stopped else "not running", markup=False)


@db.command("status")
def db_status(as_json: Json = False) -> None:
    """Say which server is used, whether it answers, its version and the migrations it has.

    Example: titan db status --json
    """
    settings = Settings.from_environment()
    with connect(settings) as connection:
        version: Any = connection.execute("select version()").fetchone()
        ledger: Any = connection.execute("select to_regclass('ops.migration') is not null").fetchone()
        count: Any = connection.execute("select count(*) from ops.migration").fetchone() if ledger[0] else (0,)
    found = {
        "url": settings.url,
        "is_embedded": settings.is_embedded,
        "version": str(version[0]).split(" on ")[0],
        "migrations": int(count[0]),
    }
    if as_json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        output.out.print(f"{name}\t{value}", markup=False)


@db.command("url")
def db_url() -> None:
    """Print the libpq URL of the database and nothing else; the password is in the passfile or in PGPASSWORD.

    Example: psql "$(titan db url)"
    """
    print(Settings.from_environment().url)


def _start() -> tuple[bool, list[str]]:
    from titan.migrate import migrate
    from titan.server import EmbeddedServer

    settings = Settings.from_environment()
    started = EmbeddedServer(settings).start() if settings.is_embedded else False
    return started, migrate(settings)


# --- load -----------------------------------------------------------------------------------------------------------------


@load.command("file")
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
    from titan.loads import load_files

    if stamp not in (None, "open", "close"):
        raise UsageError(f"--stamp is open or close, not {stamp!r}")
    options = FileOptions(exchange, market, symbol, timeframe, timezone, stamp, session, revise, no_volume, covers)
    with connect() as connection, output.progress("loading files") as progress:
        report = load_files(connection, paths, options, progress)
    _finish_load(report, refreshes, as_json)


@load.command("exchange")
def load_exchange_command(
    exchange: Annotated[str, typer.Argument(help="ccxt's name of the exchange, e.g. binance.")],
    symbols: Annotated[str, typer.Option(help="One or more, separated by commas: BTC/USDT,ETH/USDT.")],
    since: Annotated[str, typer.Option(help="Date or time, UTC, of the first candle.")],
    timeframe: Annotated[str, typer.Option(help="E.g. 1m, 1h, 1D.")] = "1D",
    refreshes: Refreshes = False,
    as_json: Json = False,
) -> None:
    """Load an exchange's public candles; no key is needed.

    Example: titan load exchange binance --symbols BTC/USDT --timeframe 1d --since 2020-01-01
    """
    from titan.loads import load_exchange

    wanted = [symbol.strip() for symbol in symbols.split(",") if symbol.strip()]
    begin = instant(since, "--since")
    parse_timeframe(timeframe)
    with connect() as connection, output.progress(f"asking {exchange}") as progress:
        report = load_exchange(connection, exchange, wanted, timeframe, begin, progress)
    _finish_load(report, refreshes, as_json)


@load.command("adjustments")
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


@load.command("synthetic")
def load_synthetic_command(
    symbols: Annotated[int, typer.Option(min=1, max=30_000, help="Number of symbols.")] = 10,
    bars: Annotated[int, typer.Option(min=1, help="Bars of each.")] = 2_000,
    timeframe: Annotated[str, typer.Option(help="E.g. 1m, 1h, 1D.")] = "1D",
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another market.")] = 7,
    until: Annotated[str | None, typer.Option(help="Where it ends, UTC; the start of 2026 by default.")] = None,
    refreshes: Refreshes = False,
    as_json: Json = False,
) -> None:
    """Load a made-up market: the same seed gives the same candles. Its exchange is called synthetic.

    Example: titan load synthetic --symbols 20 --bars 50000 --timeframe 1m
    """
    from titan.loads import load_synthetic

    end = instant(until, "--until") if until else None
    with connect() as connection, output.progress("making up a market"):
        report = load_synthetic(connection, seed=seed, symbol_count=symbols, bar_count=bars, timeframe=timeframe, until=end)
    _finish_load(report, refreshes, as_json)


def _finish_load(report: Any, refreshes: bool, as_json: bool) -> None:
    if not as_json:
        output.show_load(report)
    refreshed = _refresh(is_full=False) if refreshes and report.promoted else None
    if as_json:
        batches = [{**vars(batch), "examples": [vars(row) for row in batch.examples]} for batch in report.promoted]
        failed = [{"origin": origin, "error": str(error)} for origin, error in report.failed]
        told = {} if refreshed is None else {"refreshed": _told(refreshed)}
        print(json.dumps({"promoted": batches, "failed": failed, **told}, default=str))
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


# --- delete, build, run, status -------------------------------------------------------------------------------------------


@app.command("delete")
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


@app.command("refresh")
def refresh_command(
    full: Annotated[bool, typer.Option("--full", help="Make every model anew, from everything.")] = False,
    as_json: Json = False,
) -> None:
    """Bring every model up to date with what has changed. The database does it; dbt is called where a definition changed.

    Example: titan refresh
    """
    done = _refresh(is_full=full)
    if as_json:
        print(json.dumps(_told(done)))
    else:
        output.show_refresh(done)
    if error := done.failure():
        raise error


def _refresh(*, is_full: bool) -> Refreshed:
    from titan.refresh import refresh

    with connect(autocommit=True) as connection, output.progress("refreshing", is_logged=False) as progress:
        return refresh(connection, progress, is_full=is_full)


def _told(refreshed: Refreshed) -> dict[str, Any]:
    return {
        "declared": refreshed.owed,
        "steps": [vars(step) for step in refreshed.steps],
        "seconds": round(refreshed.seconds, 3),
    }


@app.command("build")
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
        from titan.dbt import invoke
        from titan.project import project_files
        from titan.refresh import record_project

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


@app.command("status")
def status_command(as_json: Json = False) -> None:
    """Show every series, what is in quarantine, and which models are behind.

    Example: titan status --json | jq .series
    """
    from ingest.quarantine import count_by_reason
    from titan import status

    with connect() as connection:
        found = {
            "series": status.series(connection),
            "quarantine": count_by_reason(connection),
            "behind": status.behind(connection),
        }
    if as_json:
        print(json.dumps(found, default=str))
        return
    if not found["series"]:
        output.out.print("no candles yet: titan load file, exchange or synthetic")
    output.tables(
        {"": found["series"], "quarantine": found["quarantine"], "behind: titan refresh": found["behind"]},
        spare=("refreshed_at", "observed_until", "is_base", "missing", "first_at", "market"),
    )


@app.command("reconcile")
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
    from titan.reconcile import reconcile

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


@app.command("run")
def run_command(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files to load; without any, an exchange.")] = None,
    exchange: Annotated[str, typer.Option(help="ccxt's name of the exchange.")] = "binance",
    symbols: Annotated[str, typer.Option(help="Separated by commas.")] = "BTC/USDT,ETH/USDT,SOL/USDT",
    timeframe: Annotated[str, typer.Option(help="Of the exchange's candles.")] = "1D",
    since: Annotated[str, typer.Option(help="First day to ask the exchange for.")] = "2020-01-01",
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
    wanted = tuple(symbol.strip() for symbol in symbols.split(",") if symbol.strip())
    begin = instant(since, "--since").date()
    parse_timeframe(timeframe)
    if paths and subscribed:
        raise UsageError("--subscribed loads no files", hint="name files, or --subscribed, not both")
    if prefect and report:
        raise UsageError("--report is for runs without Prefect", hint="a flow leaves its report as an artifact of its run")
    from titan.pipeline import Request

    request = Request("run", tuple(paths or []), subscribed, exchange, wanted, timeframe, begin, wait_seconds=wait)
    if prefect:
        _run_as_flow(request)
    else:
        _run(request, report)


@app.command("poll")
def poll_command(
    report: Annotated[Path | None, typer.Option(help="Write what was done to this file, as Markdown.")] = None,
) -> None:
    """Load what is new of the series of config.subscription, and build what that changes. Run it every minute if you like:
    one that comes while another run is under way ends at once, with 4.

    Example: titan poll
    """
    from titan.pipeline import Request

    _run(Request("poll", is_subscribed=True, has_tests=False), report)


@app.command("watch")
def watch_command(
    cycles: Annotated[int | None, typer.Option(min=1, help="End after so many rounds that had something to do.")] = None,
    as_json: Annotated[
        bool | None, typer.Option("--json/--no-json", help="JSON lines, or lines for people; by default as stdout is read.")
    ] = None,
) -> None:
    """Follow the series of config.subscription: ask for each candle when it is due, load it, and refresh what it changes.

    One line a round on a terminal, one JSON object a round in a pipe. It outlives a lost server or exchange, and ends with
    SIGTERM or Ctrl-C. Prefect's poll, or titan poll from cron, do the same every minute without a process that stays.

    Example: titan watch
    """
    from titan.pipeline import prepare
    from titan.watch import WallClock, Watch

    prepare()
    has_json = not output.out.is_terminal if as_json is None else as_json
    clock = WallClock()
    with clock.stopped_by_signals():
        Watch(clock).run(output.tell_cycle if has_json else output.show_cycle, cycles)


def _run(request: Any, report: Path | None) -> None:
    from titan import pipeline
    from titan.report import markdown
    from titan.show_run import Shown

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


# --- gate, quarantine -----------------------------------------------------------------------------------------------------


@gate.command("list")
def gate_list(
    stopped: Annotated[bool, typer.Option("--stopped", help="Only batches that were stopped whole.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 20,
    as_json: Json = False,
) -> None:
    """List batches with their verdict and the expectations that they do not meet.

    Example: titan gate list --stopped
    """
    from expectations.results import latest

    with connect() as connection:
        rows = latest(connection, verdict="stopped" if stopped else None, limit=limit)
    _print(rows, as_json, "no batch" + (" was stopped" if stopped else " has passed the gate yet"))


@gate.command("show")
def gate_show(batch: Annotated[int, typer.Argument(help="Its number.")], as_json: Json = False) -> None:
    """Show every expectation of a batch: severity, threshold, the worst value, and the series that fail.

    Example: titan gate show 12
    """
    from expectations.results import of_batch

    with connect() as connection:
        rows = of_batch(connection, batch)
    if not as_json:
        for row in rows:
            row["series"] = ", ".join(f"{one['symbol']} {one['value']:.6g}" for one in row["series"])
    _print(rows, as_json, "")


@gate.command("docs")
def gate_docs(
    batch: Annotated[list[int] | None, typer.Option(help="Of this batch; may be repeated.")] = None,
    last: Annotated[int, typer.Option(min=1, help="Of the last so many, if none is named.")] = 20,
    out: Annotated[Path | None, typer.Option(help="Directory to write to; beside the database's data if not given.")] = None,
) -> None:
    """Write Great Expectations' data docs of batches, and print where the first page is.

    Example: titan gate docs --batch 12
    """
    from expectations import data_docs

    with connect() as connection, output.progress("writing data docs"):
        page = data_docs.write(connection, out or data_docs.default_directory() / "last", batch_ids=batch or [], last=last)
    print(page)


Ids = Annotated[list[int] | None, typer.Argument(help="Ids of rows, as list shows them.")]
Reason = Annotated[str | None, typer.Option(help="Rows with this reason.")]
Symbol = Annotated[str | None, typer.Option(help="Rows of this symbol.")]
BatchNumber = Annotated[int | None, typer.Option(help="Rows of this load batch.")]
All = Annotated[bool, typer.Option("--all", help="Every open row.")]


@quarantine.command("list")
def quarantine_list(
    reason: Reason = None,
    symbol: Symbol = None,
    batch: BatchNumber = None,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="Those released or dropped, instead of the open ones.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    as_json: Json = False,
) -> None:
    """List rows in quarantine: id, why, where from, and their text.

    Example: titan quarantine list --reason high_is_not_below_low
    """
    from ingest.quarantine import Selection, find

    with connect() as connection:
        rows = find(connection, Selection((), reason, symbol, batch), limit=limit, is_resolved=resolved)
    if not as_json:
        shown = ("quarantine_id", "batch_id", "exchange", "symbol", "timeframe", "reason", "origin", "row_number", "record")
        rows = [
            {name: row[name] for name in shown} | ({"resolution": row["resolution"]} if resolved else {}) for row in rows
        ]
    _print(rows, as_json, "nothing in quarantine" if not resolved else "nothing was released or dropped")


@quarantine.command("show")
def quarantine_show(row: Annotated[int, typer.Argument(help="Its id.")], as_json: Json = False) -> None:
    """Show a row whole: its text, what could be read of it, the rule that it fails, and what became of it.

    Example: titan quarantine show 7
    """
    from expectations import PREDICATES
    from ingest.quarantine import Selection, find

    with connect() as connection:
        rows = find(connection, Selection((row,)), is_resolved=None)
    if not rows:
        raise UsageError(f"there is no row {row} in quarantine", hint="titan quarantine list shows the open ones")
    found = rows[0]
    found["meaning"] = {predicate.name: predicate.meaning for predicate in PREDICATES}.get(found["reason"])
    if as_json:
        print(json.dumps(found, default=str))
        return
    for name, value in found.items():
        if value is not None:
            output.out.print(f"{name}\t{json.dumps(value) if isinstance(value, dict) else value}", markup=False)


@quarantine.command("release")
def quarantine_release(
    ids: Ids = None,
    reason: Reason = None,
    symbol: Symbol = None,
    batch: BatchNumber = None,
    everything: All = False,
    corrections: Annotated[
        list[str] | None, typer.Option("--set", help="A corrected value: close=42.5; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Send rows through the gate again, with corrected values if you give any; the good ones become candles.

    A row that is still bad stays where it is, and the command says why and exits with 3, or with 1 if none got in.

    Example: titan quarantine release 7 --set high=42.5
    """
    from ingest.release import release

    pairs = [pair.partition("=") for pair in corrections or []]
    if wrong := [name for name, sign, _ in pairs if not sign]:
        raise UsageError(f"--set {wrong[0]}: there is no = in it", hint="for example --set close=42.5")
    with connect() as connection, output.progress("releasing"):
        done = release(connection, _selection(ids, reason, symbol, batch, everything), {name: to for name, _, to in pairs})
    if as_json:
        print(json.dumps(vars(done)))
    else:
        if done.released:
            batches = ", ".join(str(one) for one in done.batches)
            output.out.print(
                f"{len(done.released):,} released (batch {batches}); titan refresh brings the models up to date"
            )
        for one, why in done.still_bad[:20]:
            output.out.print(f"row {one} is still bad: {why}", style="yellow", markup=False)
        if len(done.still_bad) > 20:
            output.out.print(f"and {len(done.still_bad) - 20:,} more are still bad", style="yellow")
        if not (done.released or done.still_bad):
            output.out.print("no open row matches")
    if done.still_bad:
        raise typer.Exit(ExitCode.PARTIAL if done.released else ExitCode.FAILED)


@quarantine.command("drop")
def quarantine_drop(
    ids: Ids = None,
    reason: Reason = None,
    symbol: Symbol = None,
    batch: BatchNumber = None,
    everything: All = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Decide that rows are bad. They stay in raw.quarantine, marked as dropped; loading them again says nothing of them.

    Example: titan quarantine drop --reason close_is_within_range --symbol SPY --yes
    """
    from ingest.quarantine import drop

    selection = _selection(ids, reason, symbol, batch, everything)
    if not yes:
        typer.confirm("Drop these rows?", abort=True)
    with connect() as connection:
        dropped = drop(connection, selection)
    output.out.print(f"{len(dropped):,} dropped" if dropped else "no open row matches")


# --- storage --------------------------------------------------------------------------------------------------------------


@storage.command("show")
def storage_show(as_json: Json = False) -> None:
    """Show the large tables: their chunks, those in the columnstore, and their size in bytes.

    Example: titan storage show
    """
    from titan import storage as store

    with connect() as connection:
        _print(store.show(connection), as_json, "no tables yet: titan refresh")


@storage.command("apply")
def storage_apply(as_json: Json = False) -> None:
    """Convert old chunks to the columnstore (config.storage) and drop old candles (config.retention), as the rows there ask.

    Bars made of dropped candles stay, and are never computed again. Without rows nothing happens.

    Example: psql "$(titan db url)" -c "insert into config.retention (candles_for) values ('2 years')" && titan storage apply
    """
    from titan import storage as store

    with connect() as connection, output.progress("storage") as progress:
        done = store.apply(connection, datetime.now(UTC), progress)
    if as_json:
        print(json.dumps(vars(done), default=str))
        return
    for relation, count in done.converted.items():
        output.out.print(f"{relation}: {count:,} chunks converted to the columnstore", markup=False)
    if done.horizon_at:
        output.out.print(f"{done.dropped:,} candles dropped; they are kept from {done.horizon_at:%Y-%m-%d} on", markup=False)
    if not done.converted and not done.horizon_at:
        output.out.print("nothing to do: config.storage and config.retention ask for nothing", markup=False)


def _selection(ids: list[int] | None, reason: str | None, symbol: str | None, batch: int | None, everything: bool) -> Any:
    from ingest.quarantine import Selection

    return Selection(ids or (), reason, symbol, batch, everything)


def _print(rows: list[dict[str, Any]], as_json: bool, nothing: str) -> None:
    if as_json:
        print(json.dumps(rows, default=str))
    elif rows:
        output.table(rows)
    elif is_json():
        log.info(nothing)
    else:
        output.err.print(nothing, markup=False)


if __name__ == "__main__":
    main()
