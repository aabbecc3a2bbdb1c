"""What every source hands to the landing: one batch of parsed candles and what could not be parsed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

PRICE_COLUMNS = ("open", "high", "low", "close")
NULLABLE_COLUMNS = ("quote_volume", "trade_count")

# One landed candle, big-endian and packed as PostgreSQL's binary COPY wants it (landing.py adds the lengths).
CANDLE_DTYPE = np.dtype(
    [
        ("row_number", "<i8"),
        ("series", "<i2"),
        ("opened_at", "<i8"),  # microseconds since 1970-01-01 UTC
        ("open", "<f8"),
        ("high", "<f8"),
        ("low", "<f8"),
        ("close", "<f8"),
        ("volume", "<f8"),
        ("quote_volume", "<f8"),
        ("has_quote_volume", "?"),
        ("trade_count", "<i8"),
        ("has_trade_count", "?"),
    ]
)

Candles = npt.NDArray[Any]


@dataclass(frozen=True)
class Rejected:
    """A record that could not be parsed into a typed row, with its original text."""

    row_number: int
    reason: str
    value: str | None
    record: str
    symbol: str | None = None


@dataclass(frozen=True)
class Market:
    """Where the candles of a batch come from and how its times are to be read."""

    exchange: str
    market_type: str
    timeframe: str
    session_id: str | None = None  # None: the exchange's own


@dataclass
class Batch:
    """Candles of one market and timeframe, for one or more symbols.

    `observed` is the time, [from, until), that the source was asked about; None for a file, which observes
    from the first open to the last close of each of its symbols. `record_of` gives the original text of a row.
    """

    source: str
    origin: str
    market: Market
    symbols: Sequence[str]
    candles: Candles
    rows_read: int
    record_of: Callable[[int], str]
    as_of: datetime
    rejected: list[Rejected] = field(default_factory=list)
    observed: tuple[datetime, datetime] | None = None
    details: dict[str, Any] = field(default_factory=dict)


def empty_candles(count: int) -> Candles:
    """An array of `count` candles without the nullable columns, all else zero."""
    return np.zeros(count, dtype=CANDLE_DTYPE)
