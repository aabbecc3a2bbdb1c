"""Yahoo's chart format: prices that it has divided by every later split, made what was traded; its splits and dividends.

The chart API of finance.yahoo.com answers
`{"chart": {"result": [{"meta": …, "timestamp": […], "indicators": {"quote": [{"open": […], …}]}, "events": …}]}}`.
Numbers are text here: digits stay as they are written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from titan.core.errors import SourceError
from titan.core.timeframes import find_timeframe

HEADER = ["exchange", "symbol", "timeframe", "timestamp", "open", "high", "low", "close", "volume"]
PRICES = ("open", "high", "low", "close")
WITHOUT_SPLITS = ("CRYPTOCURRENCY", "CURRENCY", "INDEX", "FUTURE")
ASK = "ask for it with interval=1d, range=max and events=div,splits"


@dataclass(frozen=True)
class Split:
    """So many shares after it for one before."""

    ex_date: date
    ratio: Decimal


@dataclass(frozen=True)
class Dividend:
    """Cash per share as it was traded before."""

    ex_date: date
    amount: Decimal


def is_chart(data: Any) -> bool:
    """Whether JSON is an answer of Yahoo's chart API."""
    return isinstance(data, dict) and isinstance(data.get("chart"), dict) and "result" in data["chart"]


def candles(label: str, data: Any) -> tuple[list[list[str]], list[str]]:
    """The rows, as HEADER has them, of all that is finished, and what to say of them.

    Days and longer are dates of the exchange; prices are as traded. Raises SourceError where that cannot be known.
    """
    rows: list[list[str]] = []
    notes: list[str] = []
    for chart in _charts(label, data):
        rows += chart.rows
        notes += [f"{chart.symbol}: {note}" for note in chart.notes]
    return rows, notes


def actions(label: str, data: Any) -> Iterator[tuple[str, Split | Dividend]]:
    """The splits and dividends by symbol. Raises SourceError where amounts cannot be known."""
    for chart in _charts(label, data):
        for split in chart.splits:
            yield chart.symbol, split
        for dividend in chart.dividends:
            yield chart.symbol, dividend


def _charts(label: str, data: Any) -> Iterator[_Chart]:
    told = data["chart"]
    if told.get("error") or not told.get("result"):
        why = (told.get("error") or {}).get("description") or "no result"
        raise SourceError(f"{label}: Yahoo answered with {why}", hint=ASK)
    for result in told["result"]:
        try:
            yield _Chart(label, result)
        except (
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
            IndexError,
            InvalidOperation,
            ZoneInfoNotFoundError,
        ) as error:
            raise SourceError(f"{label}: not a whole chart of Yahoo's ({error!r})", hint=ASK) from error


class _Chart:
    """One symbol's answer."""

    def __init__(self, label: str, result: dict[str, Any]) -> None:
        self._label, meta = label, result["meta"]
        self.symbol: str = meta["symbol"]
        self._zone = ZoneInfo(meta["exchangeTimezoneName"])
        self._asked_at = int(meta["regularMarketTime"])
        self._session_ends_at = int(meta["currentTradingPeriod"]["regular"]["end"])
        self._timeframe = {"1wk": "1w"}.get(meta["dataGranularity"], meta["dataGranularity"])
        self._times = [int(at) for at in result.get("timestamp") or ()]
        self._quote = result["indicators"]["quote"][0]
        self.notes: list[str] = []
        events = result.get("events") or {}
        self.splits = self._splits(events, str(meta.get("instrumentType", "EQUITY")))
        self.dividends = [
            Dividend(day, Decimal(one["amount"]) * self._factor(day))
            for one in (events.get("dividends") or {}).values()
            for day in [self._day(int(one["date"]))]
        ]
        self.rows = self._rows()
        if self.splits or self.dividends:
            self.notes.append(
                f"{len(self.splits)} splits are taken out of its prices again; load them, and {len(self.dividends)} "
                "dividends, with titan load adjustments"
            )

    def _day(self, at: int) -> date:
        return datetime.fromtimestamp(at, UTC).astimezone(self._zone).date()

    def _splits(self, events: dict[str, Any], kind: str) -> list[Split]:
        """Every split since the first candle. Raises SourceError where some may be missing: prices are divided by all."""
        if kind in WITHOUT_SPLITS:
            return []
        if "splits" not in events:
            raise SourceError(
                f"{self._label}: {self.symbol} comes without its splits, and Yahoo has divided prices by them",
                hint=f'{ASK}; if there never was one, put "events": {{"splits": {{}}}} into its result',
            )
        if self._times and self._day(self._times[-1]) < self._day(self._asked_at):
            raise SourceError(
                f"{self._label}: {self.symbol} ends on {self._day(self._times[-1])}, and its prices are divided by every "
                f"split until {self._day(self._asked_at)}, of which it does not tell",
                hint=ASK,
            )
        return sorted(
            (
                Split(self._day(int(one["date"])), Decimal(one["numerator"]) / Decimal(one["denominator"]))
                for one in events["splits"].values()
            ),
            key=lambda split: split.ex_date,
        )

    def _factor(self, day: date) -> Decimal:
        """What prices of a day have to be multiplied by to be those that were traded."""
        factor = Decimal(1)
        for split in self.splits:
            if split.ex_date > day:
                factor *= split.ratio
        return factor

    def _rows(self) -> list[list[str]]:
        rows = []
        for at, opened in enumerate(self._times):
            values = [self._quote[name][at] for name in (*PRICES, "volume")]
            if all(value is None for value in values):
                continue  # a day without trades, for Yahoo's own grid
            factor = self._factor(self._day(opened))
            prices = ["" if value is None else _plain(Decimal(value) * factor) for value in values[:4]]
            volume = "" if values[4] is None else _plain(Decimal(values[4]) / factor)
            rows.append(["yahoo", self.symbol, self._timeframe, self._time(opened), *prices, volume])
        if self._times and self._is_running(self._times[-1]) and self._quote["close"][len(self._times) - 1] is not None:
            rows.pop()
            self.notes.append("its last candle was not finished when it was asked for, and is left out")
        return rows

    def _time(self, opened: int) -> str:
        found = find_timeframe(self._timeframe)
        return str(opened) if found is None or found.is_intraday else str(self._day(opened))

    def _is_running(self, opened: int) -> bool:
        """Whether the last candle could still change when it was asked for; the last week could."""
        found = find_timeframe(self._timeframe)
        if found is not None and found.name == "1D":
            return self._day(opened) == self._day(self._asked_at) and self._asked_at < self._session_ends_at
        return found is None or opened + found.seconds > self._asked_at


def _plain(number: Decimal) -> str:
    return format(number.normalize(), "f")
