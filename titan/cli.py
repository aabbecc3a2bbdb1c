"""The `titan` command. Every command says what it does, with an example; results go to stdout, the rest to stderr."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer

from ingest.timeframes import parse_timeframe
from titan import output
from titan.database import connect
from titan.errors import BuildError, ExitCode, TitanError, UsageError
from titan.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Titan: a market-data warehouse that computes inside the database.\n\n"
    "Exit codes: 0 done; 1 failed; 2 wrong usage; 3 done in part (rows in raw.quarantine, files that failed).",
)
db = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The database server and its schemas.")
load = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Load candles from files, an exchange, or nowhere.")
app.add_typer(db, name="db")
app.add_typer(load, name="load")

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def main() -> None:
    """Run the command line; failures that a user can act on end in one clear line and an exit code."""
    try:
        app()
    except TitanError as error:
        output.err.print(f"error: {error}", style="red", markup=False)
        if error.hint:
            output.err.print(f"  {error.hint}", markup=False)
        sys.exit(error.exit_code)
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
        missing = (str(error).splitlines() or [""])[0]
        output.err.print(f"error: the database is not ready: {missing}", style="red", markup=False)
        output.err.print("  titan db start creates the schemas, titan build the models")
        sys.exit(ExitCode.FAILED)
    except psycopg.Error as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        output.err.print(f"error: the database failed: {reason}", style="red", markup=False)
        output.err.print("  what was not committed has been rolled back; running the command again is safe")
        sys.exit(ExitCode.FAILED)
    except KeyboardInterrupt:
        output.err.print("interrupted; what was not committed has been rolled back")
        sys.exit(130)


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
    paths: Annotated[list[Path], typer.Argument(help="CSV or Parquet files, gzipped or not, or directories of them.")],
    exchange: Annotated[str | None, typer.Option(help="The source, if the file's name does not tell.")] = None,
    market: Annotated[str | None, typer.Option(help="spot, perpetual, future or index; spot by default.")] = None,
    symbol: Annotated[str | None, typer.Option(help="BASE/QUOTE, if neither the name nor a column tells.")] = None,
    timeframe: Annotated[str | None, typer.Option(help="E.g. 1m, 1h, 1D, if neither name nor times tell.")] = None,
    timezone: Annotated[str | None, typer.Option(help="Of times without an offset; UTC by default.")] = None,
    stamp: Annotated[str | None, typer.Option(help="Whether times are the open or the close of a bar.")] = None,
    session: Annotated[str | None, typer.Option(help="Trading session, e.g. EQUITY (config.session).")] = None,
    as_json: Json = False,
) -> None:
    """Load files. What the name and the columns tell is inferred, and said.

    Example: titan load file BTCUSDT-1d.csv.gz --exchange binance
    """
    from ingest.sources.files import FileOptions
    from titan.loads import load_files

    if stamp not in (None, "open", "close"):
        raise UsageError(f"--stamp is open or close, not {stamp!r}")
    options = FileOptions(exchange, market, symbol, timeframe, timezone, stamp, session)
    with connect() as connection, output.progress("loading files") as progress:
        report = load_files(connection, paths, options, progress)
    _finish_load(report, as_json)


@load.command("exchange")
def load_exchange_command(
    exchange: Annotated[str, typer.Argument(help="ccxt's name of the exchange, e.g. binance.")],
    symbols: Annotated[str, typer.Option(help="One or more, separated by commas: BTC/USDT,ETH/USDT.")],
    since: Annotated[str, typer.Option(help="Date or time, UTC, of the first candle.")],
    timeframe: Annotated[str, typer.Option(help="E.g. 1m, 1h, 1D.")] = "1D",
    as_json: Json = False,
) -> None:
    """Load an exchange's public candles; no key is needed.

    Example: titan load exchange binance --symbols BTC/USDT --timeframe 1d --since 2020-01-01
    """
    from titan.loads import load_exchange

    wanted = [symbol.strip() for symbol in symbols.split(",") if symbol.strip()]
    begin = _instant(since, "--since")
    parse_timeframe(timeframe)
    with connect() as connection, output.progress(f"asking {exchange}") as progress:
        report = load_exchange(connection, exchange, wanted, timeframe, begin, progress)
    _finish_load(report, as_json)


@load.command("synthetic")
def load_synthetic_command(
    symbols: Annotated[int, typer.Option(min=1, max=30_000, help="Number of symbols.")] = 10,
    bars: Annotated[int, typer.Option(min=1, help="Bars of each.")] = 2_000,
    timeframe: Annotated[str, typer.Option(help="E.g. 1m, 1h, 1D.")] = "1D",
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another market.")] = 7,
    until: Annotated[str | None, typer.Option(help="Where it ends, UTC; the start of 2026 by default.")] = None,
    as_json: Json = False,
) -> None:
    """Load a made-up market: the same seed gives the same candles. Its exchange is called synthetic.

    Example: titan load synthetic --symbols 20 --bars 50000 --timeframe 1m
    """
    from titan.loads import load_synthetic

    end = _instant(until, "--until") if until else None
    with connect() as connection, output.progress("making up a market"):
        report = load_synthetic(connection, seed=seed, symbol_count=symbols, bar_count=bars, timeframe=timeframe, until=end)
    _finish_load(report, as_json)


def _instant(text: str, option: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{option}: {text!r} is no date", hint="write it as 2020-01-01 or 2020-01-01T12:00Z") from error
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _finish_load(report: Any, as_json: bool) -> None:
    if as_json:
        batches = [{**vars(batch), "examples": [vars(row) for row in batch.examples]} for batch in report.promoted]
        failed = [{"origin": origin, "error": str(error)} for origin, error in report.failed]
        print(json.dumps({"promoted": batches, "failed": failed}, default=str))
    else:
        output.show_load(report)
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
    symbol: Annotated[str, typer.Option(help="BASE/QUOTE.")],
    exchange: Annotated[str, typer.Option(help="The source.")],
    market: Annotated[str, typer.Option(help="spot, perpetual, future or index.")] = "spot",
    timeframe: Annotated[str | None, typer.Option(help="Only candles of this timeframe.")] = None,
    since: Annotated[str | None, typer.Option(help="Only candles that open at this time, UTC, or later.")] = None,
    until: Annotated[str | None, typer.Option(help="Only candles that open before this time, UTC.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete candles; their last version stays in raw.ohlcv_revision, and the next build forgets them.

    Example: titan delete --exchange binance --symbol BTC/USDT --since 2024-01-01 --yes
    """
    from ingest.deletion import delete
    from ingest.sources.names import split_symbol

    name = parse_timeframe(timeframe).name if timeframe else None
    begin = _instant(since, "--since") if since else None
    end = _instant(until, "--until") if until else None
    if begin and end and begin >= end:
        raise UsageError("--since has to lie before --until")
    if not yes:
        typer.confirm(f"Delete candles of {exchange} {symbol}?", abort=True)
    with connect() as connection:
        done = delete(
            connection,
            exchange=exchange,
            symbol=split_symbol(symbol),
            market_type=market,
            timeframe=name,
            from_at=begin,
            until_at=end,
        )
    output.out.print(f"{done.deleted:,} candles deleted (batch {done.batch_id})", markup=False)
    if done.is_empty:
        output.out.print(f"{symbol} has none left: its next load may choose another timeframe", markup=False)


@app.command("build")
def build_command(
    select: Annotated[str | None, typer.Option(help="Only these models, in dbt's syntax.")] = None,
    full_refresh: Annotated[bool, typer.Option("--full-refresh", help="Rebuild tables from everything.")] = False,
    test: Annotated[bool, typer.Option("--test", help="Run the tests, too.")] = False,
) -> None:
    """Bring the models up to date with what has changed; the same as `dbt run` in the repository.

    Example: titan build --select bar_features+
    """
    arguments = [*(["--select", select] if select else []), *(["--full-refresh"] if full_refresh else [])]
    _dbt("build" if test else "run", arguments)


def _dbt(command: str, arguments: list[str]) -> None:
    with output.progress("starting dbt") as progress:
        from titan.dbt import invoke

        with connect():
            pass  # a server that is down is said in one line here, not in dbt's twenty
        begun = time.monotonic()
        result = invoke(command, arguments, on_start=progress)
    output.show_build(result, time.monotonic() - begun)
    if result.failed:
        raise BuildError(f"{len(result.failed)} of {len(result.nodes)} failed", hint="logs/dbt.log has the whole story")


@app.command("status")
def status_command(as_json: Json = False) -> None:
    """Show every series, what is in quarantine, and which models are behind.

    Example: titan status --json | jq .series
    """
    from titan import status

    with connect() as connection:
        found = {
            "series": status.series(connection),
            "quarantine": status.quarantine(connection),
            "behind": status.behind(connection),
        }
    if as_json:
        print(json.dumps(found, default=str))
        return
    if not found["series"]:
        output.out.print("no candles yet: titan load file, exchange or synthetic")
    output.table(found["series"])
    output.table(found["quarantine"], title="quarantine")
    output.table(found["behind"], title="behind: titan build")


@app.command("run")
def run_command(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files to load; without any, an exchange.")] = None,
    exchange: Annotated[str, typer.Option(help="ccxt's name of the exchange.")] = "binance",
    symbols: Annotated[str, typer.Option(help="Separated by commas.")] = "BTC/USDT,ETH/USDT,SOL/USDT",
    timeframe: Annotated[str, typer.Option(help="Of the exchange's candles.")] = "1D",
    since: Annotated[str, typer.Option(help="First day to ask the exchange for.")] = "2020-01-01",
) -> None:
    """Start the database, load, build, test, and print a summary.

    Without files it asks an exchange; where that cannot be reached it takes the synthetic market, and says so.

    Example: titan run data/BTCUSDT-1d.csv.gz
    """
    from titan.run import run

    wanted = [symbol.strip() for symbol in symbols.split(",") if symbol.strip()]
    code = run(paths or [], exchange, wanted, timeframe, _instant(since, "--since"))
    if code:
        raise typer.Exit(code)


if __name__ == "__main__":
    main()
