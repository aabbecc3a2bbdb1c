"""The whole way once: start, load, build, test, summary. The steps are those of the single commands."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from ingest.sources.exchange import ExchangeUnreachableError
from ingest.sources.files import FileOptions
from ingest.sources.synthetic import EXCHANGE as SYNTHETIC
from titan import output, status
from titan.database import Connection, connect
from titan.errors import ExitCode
from titan.loads import LoadReport, load_exchange, load_files, load_synthetic
from titan.settings import Settings


def run(paths: Sequence[Path], exchange: str, symbols: Sequence[str], timeframe: str, since: datetime) -> ExitCode:
    """Run every step and print what each did; returns the exit code. Raises TitanError when a step cannot be taken."""
    from titan.migrate import migrate
    from titan.server import EmbeddedServer

    settings = Settings.from_environment()
    _heading("Database")
    if settings.is_embedded:
        EmbeddedServer(settings).start()
    migrate(settings)
    output.out.print(settings.url, markup=False)

    _heading("Load")
    with connect(settings) as connection:
        if paths:
            with output.progress("loading files") as progress:
                report = load_files(connection, paths, FileOptions(), progress)
        else:
            report = _load_market(connection, exchange, symbols, timeframe, since)
        output.show_load(report)
        if not report.promoted and report.failed:
            return ExitCode.FAILED

    _heading("Build and test")
    has_failed = _build()

    _heading("Summary")
    with connect(settings) as connection:
        _summarise(connection, settings)
    if has_failed:
        return ExitCode.FAILED
    return ExitCode.PARTIAL if report.quarantined or report.failed else ExitCode.OK


def _load_market(
    connection: Connection, exchange: str, symbols: Sequence[str], timeframe: str, since: datetime
) -> LoadReport:
    """Real candles or made-up ones, never both: what the database holds decides, then whether the exchange answers."""
    held = status.exchanges(connection)
    if held == {SYNTHETIC}:
        output.out.print(
            "the database holds the synthetic market, so it stays synthetic "
            "(point PGDATABASE or TITAN_HOME elsewhere, or delete its instruments, to load real candles)"
        )
        return _load_made_up(connection)
    try:
        with output.progress(f"asking {exchange}") as progress:
            return load_exchange(connection, exchange, symbols, timeframe, since, progress)
    except ExchangeUnreachableError as error:
        if held:
            output.out.print(f"{error}; going on with the candles that are here", markup=False)
            return LoadReport()
        output.out.print(f"{exchange} cannot be reached: using the synthetic market instead", markup=False)
        return _load_made_up(connection)


def _load_made_up(connection: Connection) -> LoadReport:
    return load_synthetic(connection, seed=7, symbol_count=10, bar_count=10_000, timeframe="1h")


def _build() -> bool:
    with output.progress("starting dbt") as progress:
        from titan.dbt import invoke

        begun = time.monotonic()
        built = invoke("run", on_start=progress)
        building = time.monotonic() - begun
        begun = time.monotonic()
        tested = invoke("test", on_start=progress) if not built.failed else None
        testing = time.monotonic() - begun
    output.show_build(built, building)
    if tested is not None:
        output.show_build(tested, testing)
    return bool(built.failed or (tested and tested.failed))


def _summarise(connection: Connection, settings: Settings) -> None:
    output.table(status.summary(connection), is_report=True)
    turned_away = status.quarantine(connection)
    if turned_away:
        output.out.print("\nraw.quarantine:")
        output.table(turned_away, is_report=True)
    output.out.print("\nA first query:")
    output.out.print(f'  psql "{settings.url}" -c "{status.FIRST_QUERY}"\n', markup=False)
    output.table(status.first_query(connection), is_report=True)
    output.out.print(f"\nConnect with: {settings.url}", markup=False)


def _heading(text: str) -> None:
    output.out.print(f"\n{text}", style="bold")
