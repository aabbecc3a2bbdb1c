"""Candles made of trades, of exchanges that tell those alone. Knows nothing of any exchange; times are in ms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

from ingest.sources.paging import Row, Span

Trade = dict[str, Any]  # as ccxt has it: id, timestamp, price, amount

MOST_PAGES = 50  # that are gone back at once: a load that asks for years would never end


class Candle:
    """A candle in the making. Sums are those of the numbers as they are written, as exchanges have them, too."""

    def __init__(self, opened_at: int, price: float) -> None:
        self.opened_at = opened_at
        self._open = self._high = self._low = self._close = price
        self._volume, self._turnover, self._count = Decimal(0), Decimal(0), 0

    def add(self, price: float, amount: float) -> None:
        """One more trade."""
        self._high, self._low, self._close = max(self._high, price), min(self._low, price), price
        self._volume += Decimal(repr(amount))
        self._turnover += Decimal(repr(amount)) * Decimal(repr(price))
        self._count += 1

    @property
    def row(self) -> Row:
        """As ccxt has one, with quote volume and number of trades."""
        prices = [self._open, self._high, self._low, self._close]
        return [self.opened_at, *prices, float(self._volume), float(self._turnover), self._count]


class CandleMaker:
    """Candles of `step` ms from trades as they come, in order of time. A trade of an earlier period comes too late."""

    def __init__(self, step: int) -> None:
        self._step = step
        self._candle: Candle | None = None
        self.certain_from: int | None = None  # where the first period opens of which no trade can be missing

    def add(self, trades: Iterable[Trade]) -> list[Row]:
        """The candles that these trades end."""
        ended: list[Row] = []
        for trade in trades:
            opened_at = int(trade["timestamp"]) // self._step * self._step
            if self.certain_from is None:
                self.certain_from = opened_at + self._step
            if self._candle is None or opened_at > self._candle.opened_at:
                ended += self.running
                self._candle = Candle(opened_at, float(trade["price"]))
            if opened_at == self._candle.opened_at:
                self._candle.add(float(trade["price"]), float(trade["amount"]))
        return ended

    @property
    def running(self) -> list[Row]:
        """The last candle, to which more may come; none at first."""
        return [self._candle.row] if self._candle else []


class NewestTrades:
    """The newest trades of a market, and as far back as the exchange goes on being asked for.

    `ask(before)` gives trades in order of time: the newest ones, or those before the trade `before`. An exchange that cannot
    be asked for the latter (`goes_back` is false) has said all with its first answer.
    """

    def __init__(self, ask: Callable[[Trade | None], list[Trade]], *, goes_back: bool) -> None:
        self._ask, self._goes_back = ask, goes_back

    def since(self, since: int) -> list[Trade]:
        """Trades without a hole among them, up to the newest; the first is before `since`, if they go back that far."""
        found = self._ask(None)
        for _ in range(MOST_PAGES if self._goes_back else 0):
            if not found or int(found[0]["timestamp"]) < since:
                break
            known = {trade["id"] for trade in found}
            earlier = [trade for trade in self._ask(found[0]) if trade["id"] not in known]
            if not earlier:
                break
            found = in_order(earlier + found)
        return found


def in_order(trades: Iterable[Trade]) -> list[Trade]:
    """Trades by time, each once; at one instant by their numbers, where they have such, else as they came."""
    once = {trade["id"] or at: trade for at, trade in enumerate(trades)}
    return sorted(once.values(), key=lambda one: (int(one["timestamp"]), _number(one["id"])))


def _number(name: str | None) -> int:
    return int(name) if name and name.isdecimal() else 0


def candles_of(trades: Sequence[Trade], step: int, now: int) -> tuple[list[Row], Span | None]:
    """The candles of `step` ms, and [from, until), the whole periods of which no trade can be missing by `now`."""
    maker = CandleMaker(step)
    rows = [*maker.add(trades), *maker.running]
    until = now // step * step
    if maker.certain_from is None or maker.certain_from >= until:
        return [], None
    span = (maker.certain_from, until)
    return [row for row in rows if span[0] <= row[0] < span[1]], span
