"""Months of candles that exchanges publish as files: fetched a few at a time, checked, and loaded like files of ours."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from ingest.sources import archives
from ingest.sources.archives import ArchiveUnreachableError, Month
from ingest.sources.files import FileOptions
from titan.core.database import Connection
from titan.core.errors import SourceError
from titan.core.log import Progress, event
from titan.ops.loads import LoadReport, load_files

log = logging.getLogger("titan.archives")

AT_ONCE = 4  # files that are fetched while one is loaded


def load_months(
    connection: Connection,
    months: Sequence[Month],
    report: LoadReport,
    on_month: Callable[[Month, int], None],
    progress: Progress = lambda text: None,
) -> None:
    """Load months from archives, each a batch of its own. What an archive has not, or has wrong, stays missing: it is said
    where it is wrong, and the exchange can be asked for it.
    """
    away: set[str] = set()
    with TemporaryDirectory(prefix="titan-archive-") as folder, ThreadPoolExecutor(AT_ONCE) as pool:
        for month, fetched in _ahead(pool, months, Path(folder)):
            if month.inquiry.exchange in away:
                continue
            progress(f"{month.inquiry} {month.label} from the archive")
            try:
                path = fetched()
            except SourceError as error:
                event(
                    log, "archive refused", logging.WARNING, month=month.label, series=str(month.inquiry), error=str(error)
                )
                report.remarks.append(f"{error}; {month.inquiry.exchange} is asked page by page instead")
                if isinstance(error, ArchiveUnreachableError):
                    away.add(month.inquiry.exchange)
                continue
            if path is None:
                continue
            loaded = load_files(connection, [path], _options(month))
            path.unlink()
            for promoted in loaded.promoted:
                report.add(promoted, goes_on=True)
            report.failed += loaded.failed
            on_month(month, sum(promoted.read for promoted in loaded.promoted))


def _ahead(
    pool: ThreadPoolExecutor, months: Sequence[Month], folder: Path
) -> Iterator[tuple[Month, Callable[[], Path | None]]]:
    """Each month and how to wait for its file; a few files are on their way meanwhile."""
    under_way = [pool.submit(archives.fetch, month, folder) for month in months[:AT_ONCE]]
    for at, month in enumerate(months):
        yield month, under_way[at].result
        if at + AT_ONCE < len(months):
            under_way.append(pool.submit(archives.fetch, months[at + AT_ONCE], folder))


def _options(month: Month) -> FileOptions:
    inquiry = month.inquiry
    market = "spot" if inquiry.exchange == "binance" else "perpetual"
    return FileOptions(
        exchange=inquiry.exchange,
        market=market,
        symbol=inquiry.symbol,
        timeframe=inquiry.timeframe,
        may_revise=True,
        covers=month.label,
    )
