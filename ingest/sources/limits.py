"""How often an exchange may be asked, and how long it is left alone after a failure."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from threading import Lock

# Of what an exchange allows: its windows of a minute begin when it likes, and requests arrive less evenly than they leave.
SHARE = 0.97


class RateLimit:
    """Turns of one exchange, evenly spaced, whichever thread takes them. `interval`: seconds of a request that costs 1."""

    def __init__(self, interval: float) -> None:
        self._interval = interval / SHARE
        self._lock = Lock()
        self._next = 0.0

    def wait(self, cost: float | None = None) -> None:
        """Wait for the next turn, after which others wait for so much longer."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._interval * (1 if cost is None else cost)
        if turn > now:
            time.sleep(turn - now)


@dataclass
class Backoff:
    """How long to wait after a failure: twice as long each time, up to a limit, and not in step with others."""

    first: float
    longest: float
    failures: int = 0

    def next(self) -> float:
        """Seconds to wait after one more failure."""
        self.failures += 1
        return min(self.longest, self.first * 2.0 ** min(self.failures - 1, 20)) * random.uniform(0.75, 1.0)  # noqa: S311

    def reset(self) -> None:
        """It works again."""
        self.failures = 0
