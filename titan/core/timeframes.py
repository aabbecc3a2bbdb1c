"""Timeframes by their canonical names, their spellings in the wild, and their periods as SQL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from titan.core.errors import UsageError

_SECONDS = {"MIN": 60, "H": 3600, "D": 86_400, "W": 604_800, "MO": 2_629_746}
_INTERVAL = {"MIN": "minutes", "H": "hours", "D": "days", "W": "weeks", "MO": "months"}
_TRUNCATE = {"D": "day", "W": "week", "MO": "month"}
_MONDAY = datetime(1970, 1, 5, tzinfo=UTC)  # at which periods of every length begin


@dataclass(frozen=True)
class Timeframe:
    """A timeframe that a source may deliver; the rows of config.timeframe are these."""

    name: str
    base_unit: str
    quantity: int

    @property
    def is_intraday(self) -> bool:
        """Whether the period is shorter than a day."""
        return self.base_unit in ("MIN", "H")

    @property
    def seconds(self) -> int:
        """Length of the period; for a month the mean one."""
        return self.quantity * _SECONDS[self.base_unit]

    @property
    def interval(self) -> str:
        """The period as a PostgreSQL interval."""
        return f"{self.quantity} {_INTERVAL[self.base_unit]}"

    @property
    def truncation(self) -> str:
        """The field of date_trunc at which a period of a day or longer begins."""
        return _TRUNCATE[self.base_unit]

    def last_close(self, instant: datetime, grid: datetime = _MONDAY) -> datetime:
        """The end of the last period that was over at that instant, around the clock; one ends at `grid`."""
        if self.base_unit == "MO":
            return instant.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return instant - (instant - grid) % timedelta(seconds=self.seconds)

    def close_of(self, opened_at: datetime) -> datetime:
        """When a candle of a market around the clock closes."""
        return self.last_close(opened_at + timedelta(days=31)) if self.base_unit == "MO" else opened_at + self.length

    @property
    def length(self) -> timedelta:
        """Length of the period; for a month the mean one."""
        return timedelta(seconds=self.seconds)

    @property
    def ccxt_name(self) -> str:
        """ccxt's spelling."""
        return {"1D": "1d", "1W_ISO": "1w", "1MO": "1M"}.get(self.name, self.name)


TIMEFRAMES = {
    timeframe.name: timeframe
    for timeframe in (
        *(Timeframe(f"{quantity}m", "MIN", quantity) for quantity in (1, 3, 5, 15, 30)),
        *(Timeframe(f"{quantity}h", "H", quantity) for quantity in (1, 2, 4, 6, 8, 12)),
        Timeframe("1D", "D", 1),
        Timeframe("1W_ISO", "W", 1),
        Timeframe("1MO", "MO", 1),
    )
}

_SPELLINGS = {
    "1d": "1D", "day": "1D", "daily": "1D", "d": "1D", "1day": "1D", "24h": "1D",
    "1w": "1W_ISO", "week": "1W_ISO", "weekly": "1W_ISO", "1week": "1W_ISO", "7d": "1W_ISO",
    "1mo": "1MO", "1mon": "1MO", "1month": "1MO", "monthly": "1MO",
    "hourly": "1h", "60m": "1h", "60min": "1h", "120m": "2h", "240m": "4h",
}  # fmt: skip


def parse_timeframe(text: str) -> Timeframe:
    """The timeframe that a spelling means: Titan's, ccxt's or a common one. Raises UsageError for anything else."""
    if found := find_timeframe(text):
        return found
    raise UsageError(f"unknown timeframe {text!r}", hint=f"one of {', '.join(TIMEFRAMES)}")


def find_timeframe(text: str) -> Timeframe | None:
    """Like parse_timeframe, but None for what is none. `1M` is a month, as in ccxt; `1m` a minute."""
    if text in TIMEFRAMES:
        return TIMEFRAMES[text]
    if text == "1M":
        return TIMEFRAMES["1MO"]
    folded = text.lower()
    folded = re.sub(r"^(\d+)(min|mins|minute|minutes)$", r"\1m", folded)
    folded = re.sub(r"^(\d+)(hr|hrs|hour|hours)$", r"\1h", folded)
    return TIMEFRAMES.get(_SPELLINGS.get(folded, folded)) or TIMEFRAMES.get(_SPELLINGS.get(folded, folded).upper())


def timeframe_of_seconds(seconds: float) -> Timeframe | None:
    """The timeframe whose periods have that length; months may be 28 to 31 days long."""
    if 28 * 86_400 <= seconds <= 31 * 86_400:
        return TIMEFRAMES["1MO"]
    return next((found for found in TIMEFRAMES.values() if found.seconds == seconds), None)
