"""What every source hands to the landing: one batch of parsed candles and what could not be parsed."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate
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
Stretches = Sequence[tuple[datetime, datetime]]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Rejected:
    """A record that does not get in, with its original text and what could be read of it."""

    row_number: int
    reason: str
    value: str | None
    record: str
    symbol: str | None = None
    candle: dict[str, Any] | None = None


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

    `answered` has, for each symbol, the stretches of time, [from, until) and in order, that the source was asked about and
    answered; it is empty for a file that covers no more than from the first open to the last close of each of its symbols.
    A piecemeal batch holds candles picked one by one: it observes no more than their own periods, and measures of the whole
    say nothing of it. A series of its own, as a file holds one, does not revise most of another one's candles. `unfinished`
    counts rows that the source itself marks as such; they are left out. With extended hours it may hold candles of trading
    days before their session and after it, and nothing else. `record_of` gives the original text of a row.
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
    answered: Sequence[Stretches] = ()
    details: dict[str, Any] = field(default_factory=dict)
    is_piecemeal: bool = False
    is_series_of_its_own: bool = False
    unfinished: int = 0
    has_extended_hours: bool = False

    @property
    def observed(self) -> tuple[datetime, datetime] | None:
        """From the first instant that the source answered for to the last one; None where only the candles tell."""
        spans = [span for stretches in self.answered for span in stretches]
        return (min(start for start, _ in spans), max(end for _, end in spans)) if spans else None


def join(batches: Sequence[Batch], origin: str) -> Batch:
    """One batch of several of one market. Of what two of them say of one candle, the later one comes later."""
    symbols = list(dict.fromkeys(symbol for batch in batches for symbol in batch.symbols))
    ends = list(accumulate(batch.rows_read for batch in batches))
    begins = [0, *ends[:-1]]
    parts: list[Candles] = []
    answered: dict[str, list[tuple[datetime, datetime]]] = defaultdict(list)
    for batch, begin in zip(batches, begins, strict=True):
        part = batch.candles.copy()
        part["series"] = np.array([symbols.index(symbol) for symbol in batch.symbols], "i2")[part["series"]]
        part["row_number"] += begin
        parts.append(part)
        for symbol, stretches in zip(batch.symbols, batch.answered or [()] * len(batch.symbols), strict=True):
            answered[symbol] += stretches

    def record_of(number: int) -> str:
        at = bisect_left(ends, number)
        return batches[at].record_of(number - begins[at])

    return replace(
        batches[0],
        origin=origin,
        symbols=symbols,
        candles=np.concatenate(parts),
        rows_read=ends[-1],
        record_of=record_of,
        as_of=max(batch.as_of for batch in batches),
        answered=[merged(answered[symbol]) for symbol in symbols] if any(answered.values()) else (),
        rejected=[
            replace(row, row_number=row.row_number + begin)
            for batch, begin in zip(batches, begins, strict=True)
            for row in batch.rejected
        ],
        unfinished=sum(batch.unfinished for batch in batches),
    )


def merged(stretches: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """The same time in order, in stretches of which none touches another."""
    found: list[tuple[Any, Any]] = []
    for start, stop in sorted(stretches):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(stop, found[-1][1]))
        else:
            found.append((start, stop))
    return found


def without(stretches: Iterable[tuple[Any, Any]], taken: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """What is left of stretches when others are taken out of them."""
    left = merged(stretches)
    for start, stop in taken:
        left = [
            (begin, end)
            for old_begin, old_end in left
            for begin, end in ((old_begin, min(old_end, start)), (max(old_begin, stop), old_end))
            if begin < end
        ]
    return left


def empty_candles(count: int) -> Candles:
    """An array of `count` candles without the nullable columns, all else zero."""
    return np.zeros(count, dtype=CANDLE_DTYPE)


def instant(microseconds: np.int64) -> datetime:
    """The instant that many microseconds after 1970."""
    return EPOCH + timedelta(microseconds=int(microseconds))


def plain(candles: Candles) -> list[dict[str, Any]]:
    """Candles as dictionaries of Python's own values, by column."""
    names = candles.dtype.names or ()
    return [dict(zip(names, values, strict=True)) for values in candles.tolist()]


def candle_of(row: dict[str, Any], unreadable: Collection[str] = ()) -> dict[str, Any]:
    """One candle as JSON has it: None for what could not be read, text for what is no finite number."""
    candle: dict[str, Any] = {}
    if "opened_at" not in unreadable:
        candle["opened_at"] = str(np.datetime64(row["opened_at"], "us"))  # in UTC; of any year, unlike a datetime
    for name in (*PRICE_COLUMNS, "volume", "quote_volume"):
        if name != "quote_volume" or row["has_quote_volume"]:
            candle[name] = row[name] if math.isfinite(row[name]) else str(row[name])
    if row["has_trade_count"]:
        candle["trade_count"] = row["trade_count"]
    return {**candle, **dict.fromkeys(unreadable)}
