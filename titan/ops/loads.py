"""Loads, as the command line and the run both call them: a source, a promotion, a line for each."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import psycopg

from expectations.gate import preload
from ingest.promotion import Promoted, promote
from ingest.sources.containers import find_files, open_pieces, shown
from ingest.sources.exchange import ExchangeSource
from ingest.sources.files import UNNAMED_EXCHANGE, FileOptions, SessionQuestion, read_file
from ingest.sources.synthetic import synthetic_batch
from titan.core.batch import Batch
from titan.core.clock import Session, find_session
from titan.core.database import Connection
from titan.core.errors import GateError, SourceError, TitanError
from titan.core.log import Progress, event
from titan.core.timeframes import TIMEFRAMES, parse_timeframe

log = logging.getLogger("titan.loads")

# History that begins later than this, and than two periods, after the instant asked for is said to begin late.
LATE_BEGINNING = timedelta(days=1)


@dataclass
class LoadReport:
    """What was promoted, and which files could not be read at all."""

    promoted: list[Promoted] = field(default_factory=list)
    failed: list[tuple[str, TitanError]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def quarantined(self) -> int:
        """Rows turned away, over all batches."""
        return sum(sum(batch.quarantined.values()) for batch in self.promoted)

    @property
    def batch_ids(self) -> list[int]:
        """The batches that the gate has judged, those that it stopped included."""
        stopped = [error.batch_id for _, error in self.failed if isinstance(error, GateError)]
        return sorted([*(batch.batch_id for batch in self.promoted), *stopped])

    @property
    def has_changed_nothing(self) -> bool:
        """Whether every row was known already."""
        return all(batch.has_changed_nothing for batch in self.promoted)


def load_files(
    connection: Connection,
    paths: Sequence[Path],
    options: FileOptions,
    progress: Progress = lambda text: None,
) -> LoadReport:
    """Load files and directories of files, each in a transaction of its own; one bad file does not stop the others."""
    report = LoadReport()

    def session_of(question: SessionQuestion) -> Session:
        with connection.transaction():
            return find_session(
                connection,
                question.exchange,
                named=question.named,
                market_type=question.market_type,
                symbols=[question.symbol],
                guess=question.guess,
            )

    files = find_files(paths)
    preload()
    for path in files:
        progress(f"loading {shown(path)}")
        try:
            pieces = open_pieces(path)
        except TitanError as error:
            report.failed.append((shown(path), error))
            continue
        for piece in pieces:
            try:
                for batch in read_file(piece, options, session_of):
                    if promoted := _promote(connection, batch, report):
                        _warn_of_another_source(promoted)
            except psycopg.DataError as error:
                report.failed.append((piece.label, SourceError(f"{piece.label}: {str(error).splitlines()[0]}")))
            except TitanError as error:
                report.failed.append((piece.label, error))
    return report


def _warn_of_another_source(promoted: Promoted) -> None:
    if promoted.exchange == UNNAMED_EXCHANGE and 2 * promoted.revised > promoted.read:
        promoted.notices.append(
            f"{promoted.revised:,} candles differ from those of an earlier file of the same symbol: if it is "
            "another source, delete these and load it again with --exchange"
        )


def load_exchange(
    connection: Connection,
    exchange: str,
    symbols: Sequence[str],
    timeframe: str,
    since: datetime,
    progress: Progress = lambda text: None,
) -> LoadReport:
    """Load the candles of an exchange's symbols since an instant, one batch a symbol; one that fails does not stop others.

    Raises the first one's error when all of them fail.
    """
    report = LoadReport()

    def on_page(symbol: str, reached: datetime) -> None:
        progress(f"{exchange} {symbol}: reached {reached:%Y-%m-%d}")

    period = parse_timeframe(timeframe)
    progress(f"asking {exchange} for {', '.join(symbols)}")
    source = ExchangeSource(exchange.lower())
    source.check(symbols, period)
    preload()
    errors: list[TitanError] = []
    for symbol in symbols:
        try:
            batch = source.fetch(symbol, period, since, on_page)
            if promoted := _promote(connection, batch, report):
                tell_of_late_beginning(promoted, batch, since)
        except TitanError as error:
            errors.append(error)
            report.failed.append((f"{exchange} {symbol} {period.name}", error))
    if errors and len(errors) == len(symbols):
        raise errors[0]
    return report


def tell_of_late_beginning(promoted: Promoted, batch: Batch, since: datetime) -> None:
    """Say when history begins long after the instant that was asked for, and whether the source has none before."""
    late = max(LATE_BEGINNING, 2 * timedelta(seconds=TIMEFRAMES[promoted.timeframe].seconds))
    if promoted.first_at is None or promoted.first_at - since <= late:
        return
    is_answered = batch.observed is not None and batch.observed[0] <= since
    promoted.notices.append(
        f"its candles begin on {promoted.first_at:%Y-%m-%d}, {(promoted.first_at - since).days:,} days after the time asked "
        f"for: {batch.market.exchange} "
        + ("has none before" if is_answered else "did not answer for the time before, as if it gave its newest ones alone")
    )


def load_synthetic(
    connection: Connection,
    *,
    seed: int,
    symbol_count: int,
    bar_count: int,
    timeframe: str,
    until: datetime | None = None,
    faults: Mapping[str, float] | None = None,
) -> LoadReport:
    """Load the synthetic market, with faults planted into it by their rates."""
    batch = synthetic_batch(
        seed=seed, symbol_count=symbol_count, bar_count=bar_count, timeframe=timeframe, until=until, faults=faults
    )
    report = LoadReport()
    if planted := batch.details.get("faults"):
        report.remarks.append("planted, in candles: " + ", ".join(f"{count:,} {name}" for name, count in planted.items()))
    _promote(connection, batch, report)
    return report


def _promote(connection: Connection, batch: Batch, report: LoadReport) -> Promoted | None:
    """One batch; one that the gate stops does not stop the others, and one that was cut short is loaded and has failed."""
    if batch.cut_short:
        event(log, "batch cut short", logging.WARNING, origin=batch.origin, error=str(batch.cut_short))
        report.failed.append((batch.origin, batch.cut_short))
    try:
        return promote_into(connection, batch, report)
    except GateError as error:
        event(log, "batch stopped", logging.WARNING, batch_id=error.batch_id, origin=batch.origin, error=str(error))
        report.failed.append((batch.origin, error))
        return None


def promote_into(connection: Connection, batch: Batch, report: LoadReport) -> Promoted:
    """Promote a batch and report it. Raises what `promote` raises."""
    promoted = promote(connection, batch)
    report.promoted.append(promoted)
    counts = ("read", "inserted", "revised", "unchanged", "duplicate", "unfinished", "settled")
    event(
        log,
        "batch promoted",
        batch_id=promoted.batch_id,
        origin=batch.origin,
        verdict=promoted.verdict,
        quarantined=dict(promoted.quarantined),
        **{name: getattr(promoted, name) for name in counts},
    )
    return promoted
