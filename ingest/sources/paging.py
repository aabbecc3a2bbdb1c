"""Where an exchange is to be asked next, and what it has answered so far. Knows nothing of any exchange; times are in ms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from titan.core.batch import EPOCH, merged
from titan.core.errors import SourceError

Row = list[Any]  # a candle as ccxt has it: its opening, open, high, low, close, volume and perhaps more
Span = tuple[int, int]  # [from, until)

DAY = 86_400_000

# Periods that an answer without a candle is taken to cover as long as none with candles has shown how far one goes: half
# of the least that ccxt documents of any exchange.
LEAST_REACH = 100

# A candle this many periods after the instant asked about comes at once: months differ by a tenth.
AT_ONCE = 1.2


class RefusedError(SourceError):
    """The exchange answers that it will not answer this."""


def moment(milliseconds: float) -> datetime:
    """The instant that many milliseconds after 1970."""
    return EPOCH + timedelta(milliseconds=int(milliseconds))


def is_time(value: Any, end: int) -> bool:
    """Whether a candle may open then: after 1970, and no later than a day from now, for clocks differ."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and 0 < value < end + DAY


class Paging:
    """One way through a series, from `since` to `end`, by `ask(cursor, until)`: the candles from the cursor on.

    `step` is the shortest period, `limit` the most candles that are asked for at once, `now` the present: the end, unless it
    is later. `strays` are rows without a time that may be: they come with the others, and nothing is concluded from them.
    """

    def __init__(
        self,
        ask: Callable[[int, int | None], list[Row]],
        *,
        since: int,
        end: int,
        step: int,
        limit: int,
        now: int | None = None,
    ) -> None:
        self._ask_exchange = ask
        self._since, self._end, self._step, self._limit = since, end, step, limit
        self._now = end if now is None else now
        self.strays: list[Row] = []
        self._answered: list[Span] = []
        self._silent: list[Span] = []
        self._doubtful: Span | None = None  # what lies before the first candles that came, until others follow them
        self._reach = 0  # periods that some answer has been seen to cover
        self._is_reach_known = False  # whether one ended there although there was more
        self._has_looked_ahead = False

    @property
    def answered(self) -> list[Span]:
        """What was asked and answered, with candles or by saying that there are none; in order, none touching another."""
        return merged([*self._answered, *((start, self._silent_until(start, stop)) for start, stop in self._silent)])

    @property
    def certain(self) -> list[Span]:
        """What of that nothing that comes later will call into question."""
        return self.answered if self._is_reach_known else merged(self._answered)

    def pages(self) -> Iterator[list[Row]]:
        """Pages of candles, each in order of time. What `ask` raises passes through; `answered` holds all the same."""
        yield from self._stretch(self._since, self._end)
        if self._doubtful:
            yield from self._before(*self._doubtful)
        for start, stop in list(self._silent):  # answers turned out to cover less: what was passed over is asked again
            if (reached := self._silent_until(start, stop)) < stop:
                yield from self._stretch(reached, stop)

    def _stretch(self, cursor: int, stop: int) -> Iterator[list[Row]]:
        follows_a_page = False
        while cursor < stop:
            found = self._twice(cursor)
            if not found:
                reached = min(cursor + self._width(cursor, stop) * self._step, stop)
                self._silent.append((cursor, reached))
                cursor, follows_a_page = reached, False
                continue
            is_at_once = found[0][0] - cursor <= AT_ONCE * self._step
            page = [row for row in found if row[0] < stop]
            if not page and not self._answered and not is_at_once:  # of a later time: it may give its newest ones alone
                self._doubtful = (cursor, stop)
                return
            if not page:
                self._answered.append((cursor, stop))
                return
            first, last = int(page[0][0]), int(page[-1][0])
            if not self._answered and not is_at_once:
                self._doubtful = (cursor, first)
            else:
                self._answered += [(cursor, first), *([self._doubtful] if self._doubtful else [])]
                self._doubtful = None
            is_last = last + 2 * self._step > self._end  # the next one is not over
            self._answered.append((first, self._end if is_last else last + self._step))
            self._is_reach_known |= follows_a_page and is_at_once
            self._see_reach(cursor, last)
            yield page
            if is_last:
                return
            cursor, follows_a_page = last + 1, True

    def _before(self, start: int, first: int) -> Iterator[list[Row]]:
        """What lies before the first candle of an exchange that gave one page, which begins late or past what was asked for.

        Either there is nothing, or it gives its newest candles whatever it is asked. Then it has older ones when it is asked
        about that time alone, or does not answer that.
        """
        while True:
            try:
                found = self._ask(start, first - 1) or self._ask(start, first - 1)
            except RefusedError:  # not every exchange lets say where to end
                return
            page = [row for row in found if start <= row[0] < first]
            if found and not page:  # of another time
                return
            self._answered.append((int(page[0][0]) if page else start, first))
            if not page:
                return
            yield page
            first = int(page[0][0])

    def _twice(self, cursor: int) -> list[Row]:
        """The candles from the cursor on; no candles only if it says so twice."""
        return self._from(cursor) or self._from(cursor)

    def _from(self, cursor: int) -> list[Row]:
        rows = self._ask(cursor, None)
        fresh = [row for row in rows if row[0] >= cursor]
        # Some begin with the period before; older ones alone are no answer.
        if rows and not fresh and rows[0][0] + 2 * self._step < cursor:
            asked, newest = (f"{moment(at):%Y-%m-%d %H:%M}" for at in (cursor, rows[-1][0]))
            raise SourceError(
                f"asked for candles since {asked}, it answers older ones, up to {newest}",
                hint="it has none later, or does not heed since when it is asked",
            )
        return fresh

    def _ask(self, cursor: int, until: int | None) -> list[Row]:
        rows = self._ask_exchange(cursor, until)
        self.strays += [row for row in rows if not is_time(row[0], self._now) and row not in self.strays]
        return sorted((row for row in rows if is_time(row[0], self._now)), key=lambda row: row[0])

    def _see_reach(self, cursor: int, last: int) -> None:
        self._reach = max(self._reach, min((last - cursor) // self._step + 1, self._limit))

    def _silent_until(self, start: int, stop: int) -> int:
        """How far a silence is believed: no farther than answers are known to go."""
        return min(stop, start + self._reach * self._step) if self._is_reach_known else stop

    def _width(self, cursor: int, stop: int) -> int:
        """How many periods an answer without candles covers. Before many are asked for, it is measured where candles are."""
        if not self._has_looked_ahead and stop - cursor > self._limit * self._step:
            self._has_looked_ahead = True
            newest = self._end - self._limit * self._step
            if found := self._from(newest):
                self._see_reach(newest, int(found[-1][0]))
        return self._reach if self._is_reach_known else min(max(self._reach, LEAST_REACH), self._limit)
