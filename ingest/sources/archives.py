"""Candles by the month, as files that an exchange publishes with their checksums: for long histories of short candles."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ingest.sources.exchange import Inquiry
from titan.core.errors import SourceError

TIMEOUT = 30  # seconds without a byte
ATTEMPTS = 3
FEWEST_CANDLES = 10_000  # of a month that is fetched as a file: of fewer, pages come as fast

# By ccxt's name of the exchange: where the file of a month lies, and what the file's name calls its market and candles.
ARCHIVES = {
    "binance": "https://data.binance.vision/data/spot/monthly/klines",
    "binanceusdm": "https://data.binance.vision/data/futures/um/monthly/klines",
    "binancecoinm": "https://data.binance.vision/data/futures/cm/monthly/klines",
}


class ArchiveUnreachableError(SourceError):
    """The archive does not answer, whichever file it is asked for."""


@dataclass(frozen=True)
class Month:
    """A month of a series, UTC, that may lie in an archive. name: what the exchange itself calls the market."""

    inquiry: Inquiry
    name: str
    begins_at: datetime

    @property
    def ends_at(self) -> datetime:
        """Where the next one begins."""
        return (self.begins_at + timedelta(days=31)).replace(day=1)

    @property
    def label(self) -> str:
        """The month as people write it."""
        return f"{self.begins_at:%Y-%m}"

    @property
    def candles(self) -> int:
        """How many it holds at most."""
        return int((self.ends_at - self.begins_at) / self.inquiry.period.length)

    @property
    def path(self) -> str:
        """Of its file, below the archive's address."""
        interval = {"1D": "1d", "1W_ISO": "1w", "1MO": "1mo"}.get(self.inquiry.timeframe, self.inquiry.timeframe)
        return f"{self.name}/{interval}/{self.name}-{interval}-{self.label}.zip"


def months(inquiry: Inquiry, name: str, begins_at: datetime, ends_at: datetime) -> Iterator[Month]:
    """The whole months of a stretch of time that are worth a file."""
    if inquiry.exchange not in ARCHIVES:
        return
    begins_at = (begins_at.astimezone(UTC) - timedelta(microseconds=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    month = Month(inquiry, name, (begins_at.replace(day=1) + timedelta(days=31)).replace(day=1))
    while month.ends_at <= ends_at:
        if month.candles >= FEWEST_CANDLES:
            yield month
        month = Month(inquiry, name, month.ends_at)


def fetch(month: Month, folder: Path) -> Path | None:
    """The file of a month, fetched into a folder; None if the archive has none.

    `TITAN_ARCHIVE_<EXCHANGE>` is another address of the archive. Raises ArchiveUnreachableError when that does not answer,
    SourceError when the file is not what its checksum says.
    """
    exchange = month.inquiry.exchange
    base = os.environ.get(f"TITAN_ARCHIVE_{exchange.upper()}", ARCHIVES[exchange]).rstrip("/")
    url = f"{base}/{month.path}"
    path = folder / month.path.rpartition("/")[2]
    found, checksum = b"", None
    for _ in range(ATTEMPTS):
        checksum = _get(f"{url}.CHECKSUM")
        data = None if checksum is None else _get(url)
        if checksum is None or data is None:
            return None
        found = hashlib.sha256(data).hexdigest().encode()
        if re.match(rb"\s*" + found + rb"\b", checksum):
            path.write_bytes(data)
            return path
    raise SourceError(
        f"{url} is not what its checksum says, {(checksum or b'')[:64]!r}: that of what came is {found.decode()}"
    )


def _get(url: str) -> bytes | None:
    """What lies at an address; None if nothing does."""
    import requests

    for attempt in range(1, ATTEMPTS + 1):
        try:
            answer: Any = requests.get(url, timeout=TIMEOUT)
            if answer.status_code == requests.codes.not_found:
                return None
            answer.raise_for_status()
        except requests.RequestException as error:
            if attempt == ATTEMPTS:
                raise ArchiveUnreachableError(f"{url} cannot be fetched: {str(error).splitlines()[0][:200]}") from error
        else:
            return bytes(answer.content)
    raise AssertionError("unreachable")
