"""How often an exchange may be asked, and how long it is left alone after a failure."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import random
import struct
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from titan.core.log import event

log = logging.getLogger("titan.limits")

# Of what an exchange allows: its windows of a minute begin when it likes, and requests arrive less evenly than they leave.
SHARE = 0.97


# A turn that lies so many seconds ahead was noted before the machine was started again: its clock began anew.
FARTHEST_TURN = 600.0


class RateLimit:
    """Turns of one exchange, evenly spaced, whichever thread takes them. `interval`: seconds of a request that costs 1.

    Processes that name the same file take turns as well: exchanges count what comes from one address.
    """

    def __init__(self, interval: float, shared: Path | None = None) -> None:
        self._interval = interval / SHARE
        self._lock = Lock()
        self._next = 0.0
        self._file = None if shared is None else _open(shared)
        if self._file is not None:  # whoever lets go of it says so, or not: a watch opens an exchange anew every few hours
            self._let_go = weakref.finalize(self, os.close, self._file)

    def wait(self, cost: float | None = None) -> None:
        """Wait for the next turn, after which others wait for so much longer."""
        length = self._interval * (1 if cost is None else cost)
        with self._lock:
            now = time.monotonic()
            turn = self._take(now, length) if self._file is None else self._take_shared(self._file, now, length)
        if turn > now:
            time.sleep(turn - now)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._file is not None:
                self._let_go()
                self._file = None

    def _take(self, now: float, length: float) -> float:
        turn = max(now, self._next)
        self._next = turn + length
        return turn

    def _take_shared(self, file: int, now: float, length: float) -> float:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            noted = os.pread(file, 8, 0)
            self._next = struct.unpack("d", noted)[0] if len(noted) == 8 else 0.0
            if not self._next < now + FARTHEST_TURN:
                self._next = 0.0
            turn = self._take(now, length)
            os.pwrite(file, struct.pack("d", self._next), 0)
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
        return turn


def turns_of(directory: Path, exchange: str, address: str) -> Path:
    """The file in which processes that ask an exchange at one address note their turns."""
    return directory / f"{exchange}-{hashlib.sha256(address.encode()).hexdigest()[:12]}"


def _open(path: Path) -> int | None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        event(log, "limit is not shared with other processes", logging.WARNING, file=str(path), error=str(error))
        return None


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
