"""Clocks of tests: a fast one for watches, and the machine's for what compares by it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import RLock

from titan.ops.watch import Stopped

LONGEST_TEST = timedelta(seconds=90)
SETTLED = timedelta(seconds=3)


class FastClock:
    """Time passes when somebody waits, and not otherwise; at an instant, unless never, it stops.

    `at` has what is done at instants, in their order.
    """

    def __init__(self, start: datetime, until: datetime | None = None) -> None:
        self.instant, self._until = start, until
        self._turn = RLock()
        self.at: list[tuple[datetime, Callable[[], object]]] = []

    def now(self) -> datetime:
        """The present instant."""
        return self.instant

    def sleep(self, seconds: float) -> None:
        """Let so many seconds pass at once. Raises Stopped when the end has come."""
        with self._turn:
            self.instant += timedelta(seconds=max(seconds, 0))
            while self.at and self.at[0][0] <= self.instant:
                self.at.pop(0)[1]()
        self.check()

    def check(self) -> None:
        """Raises Stopped when the end has come."""
        if self._until is not None and self.instant >= self._until:
            raise Stopped


def this_hour() -> datetime:
    """The beginning of the hour that it is."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def stay_within_the_hour() -> None:
    """Wait for the next hour where this one ends within a test: what it asks and what it compares would be of two hours.

    And until some seconds of it have passed: exchanges whose clock tells whole ones are still in the hour before.
    """
    begun = this_hour() + SETTLED
    if datetime.now(UTC) > this_hour() + timedelta(hours=1) - LONGEST_TEST:
        begun += timedelta(hours=1)
    time.sleep(max((begun - datetime.now(UTC)).total_seconds(), 0))


def wait_until(is_so: Callable[[], object]) -> None:
    """Wait until it is so; fails after twenty seconds."""
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)
