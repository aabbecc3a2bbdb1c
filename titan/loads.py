"""Loads, as the command line and the run both call them: a source, a promotion, a line for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from ingest.promotion import Promoted, promote
from ingest.sources.exchange import fetch
from ingest.sources.files import UNNAMED_EXCHANGE, FileOptions, SessionQuestion, find_files, read_file
from ingest.sources.synthetic import synthetic_batch
from ingest.timeframes import parse_timeframe
from titan.database import Connection
from titan.errors import SourceError, TitanError, UsageError

Progress = Callable[[str], None]


@dataclass
class LoadReport:
    """What was promoted, and which files could not be read at all."""

    promoted: list[Promoted] = field(default_factory=list)
    failed: list[tuple[str, TitanError]] = field(default_factory=list)
    inferred: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def quarantined(self) -> int:
        """Rows turned away, over all batches."""
        return sum(sum(batch.quarantined.values()) for batch in self.promoted)

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

    def session_of(question: SessionQuestion) -> tuple[str, str]:
        return _session(connection, question)

    for path in find_files(paths):
        progress(f"loading {path.name}")
        try:
            batch = read_file(path, options, session_of)
            report.inferred[batch.origin] = batch.details
            promoted = promote(connection, batch)
            if batch.market.exchange == UNNAMED_EXCHANGE and 2 * promoted.revised > promoted.read:
                promoted.notices.append(
                    f"{promoted.revised:,} candles differ from those of an earlier file of the same symbol: if it is "
                    "another source, delete these and load it again with --exchange"
                )
            report.promoted.append(promoted)
        except psycopg.DataError as error:
            report.failed.append((str(path), SourceError(f"{path}: {str(error).splitlines()[0]}")))
        except TitanError as error:
            report.failed.append((str(path), error))
    return report


def load_exchange(
    connection: Connection,
    exchange: str,
    symbols: Sequence[str],
    timeframe: str,
    since: datetime,
    progress: Progress = lambda text: None,
) -> LoadReport:
    """Load the candles of an exchange's symbols since an instant, one batch a symbol."""
    report = LoadReport()

    def on_page(symbol: str, reached: datetime) -> None:
        progress(f"{exchange} {symbol}: reached {reached:%Y-%m-%d}")

    progress(f"asking {exchange} for {', '.join(symbols)}")
    for batch in fetch(exchange.lower(), symbols, parse_timeframe(timeframe), since, on_page):
        report.promoted.append(promote(connection, batch))
    return report


def load_synthetic(
    connection: Connection,
    *,
    seed: int,
    symbol_count: int,
    bar_count: int,
    timeframe: str,
    until: datetime | None = None,
) -> LoadReport:
    """Load the synthetic market."""
    batch = synthetic_batch(seed=seed, symbol_count=symbol_count, bar_count=bar_count, timeframe=timeframe, until=until)
    return LoadReport([promote(connection, batch)])


def _session(connection: Connection, question: SessionQuestion) -> tuple[str, str]:
    row: Any = connection.execute(
        """
        select session_id, timezone from config.session
        where session_id = coalesce(
            upper(%(named)s),
            (
                select session_id from raw.instrument
                where
                    exchange = %(exchange)s and market_type = %(market_type)s
                    and symbol = any (%(symbols)s) and base_timeframe is not null
                limit 1
            ),
            %(guess)s,
            (
                select session_id from config.exchange
                where exchange in (%(exchange)s, '*') order by exchange = '*' limit 1
            )
        )
        """,
        vars(question),
    ).fetchone()
    connection.commit()
    if row is None:
        raise UsageError(f"unknown session {question.named!r}", hint="select session_id from config.session lists them")
    return str(row[0]), str(row[1])
