"""Loads, as the command line and the run both call them: a source, a promotion, a line for each."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import psycopg

from expectations.gate import preload
from ingest.promotion import Promoted, promote
from ingest.sources.containers import find_files, open_pieces, shown
from ingest.sources.files import UNNAMED_EXCHANGE, FileOptions, SessionQuestion, read_file
from ingest.sources.synthetic import synthetic_batch
from titan.core.batch import Batch
from titan.core.clock import Session, find_session
from titan.core.database import Connection
from titan.core.errors import GateError, SourceError, TitanError
from titan.core.log import Progress, event

log = logging.getLogger("titan.loads")


@dataclass
class LoadReport:
    """What was promoted, and which files could not be read at all."""

    promoted: list[Promoted] = field(default_factory=list)
    failed: list[tuple[str, TitanError]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def add(self, promoted: Promoted, *, goes_on: bool = False) -> None:
        """One more batch; one that goes on where an earlier one of its market ended becomes one with it."""
        names = ("exchange", "market_type", "timeframe")
        for at, earlier in enumerate(self.promoted if goes_on else ()):
            if all(getattr(earlier, name) == getattr(promoted, name) for name in names):
                self.promoted[at] = promoted.after(earlier)
                return
        self.promoted.append(promoted)

    @property
    def quarantined(self) -> int:
        """Rows turned away, over all batches."""
        return sum(sum(batch.quarantined.values()) for batch in self.promoted)

    @property
    def batch_ids(self) -> list[int]:
        """The batches that the gate has judged, those that it stopped included."""
        stopped = [error.batch_id for _, error in self.failed if isinstance(error, GateError)]
        return sorted([*(batch_id for batch in self.promoted for batch_id in batch.batch_ids), *stopped])

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
    """One batch; one that the gate stops does not stop the others."""
    try:
        return promote_into(connection, batch, report)
    except GateError as error:
        event(log, "batch stopped", logging.WARNING, batch_id=error.batch_id, origin=batch.origin, error=str(error))
        report.failed.append((batch.origin, error))
        return None


def promote_into(connection: Connection, batch: Batch, report: LoadReport) -> Promoted:
    """Promote a batch and report it. Raises what `promote` raises."""
    promoted = promote(connection, batch)
    report.add(promoted, goes_on=batch.source == "exchange")
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
