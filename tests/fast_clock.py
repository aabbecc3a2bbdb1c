"""A clock for watches: time passes when somebody waits, and not otherwise."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from threading import RLock

from titan.ops.watch import Stopped


class FastClock:
    """It stops at an instant, unless never; `at` does things at instants, in their order."""

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
