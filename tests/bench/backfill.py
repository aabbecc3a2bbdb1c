"""A backfill of minutes from an exchange with Binance's limit: how much of it is used, and never more."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.local_exchange import Fault, LocalExchange, local_exchange, random_trouble
from tests.warehouse import create_database, use_database
from titan.core.database import connect
from titan.ops.backfill import Wanted, backfill
from titan.server.migrate import migrate

SYMBOLS = 20
DAYS = 90
ANSWER_TIME = 0.1  # seconds, as it is from one continent to another
LIMIT = 50  # requests a second: 6,000 of weight a minute, of which a page of candles costs 2
WINDOW = 10  # seconds, in which no more than so many are answered
DATABASE = "bench_backfill"


class LimitedExchange(LocalExchange):
    """Minutes of many symbols, pages of which are cut out of one text; more than the limit is answered by 429."""

    def __init__(self, begins: datetime, days: int = DAYS) -> None:
        super().__init__()
        self._begins = int(begins.timestamp() * 1000)
        self._times: deque[float] = deque()
        self.refused = 0
        self._rows = [
            json.dumps([at, close, close, close, close, "2.5", at + 59_999, "99.5", 7, "1", "1", "0"]).encode()
            for number in range(days * 1440)
            for at, close in [(self._begins + number * 60_000, f"{close_of(number)}")]
        ]

    def answer(self, path: str, query: dict[str, list[str]]) -> Fault:
        if not path.endswith("/klines"):
            return super().answer(path, query)
        self.requests += 1
        now = time.monotonic()
        while self._times and self._times[0] < now - WINDOW:
            self._times.popleft()
        self._times.append(now)
        if len(self._times) > LIMIT * WINDOW:
            self.refused += 1
            return Fault(429, b'{"code": -1003, "msg": "Too many requests"}', {"Retry-After": "10"})
        first = max(-(-(int(query["startTime"][0]) - self._begins) // 60_000), 0)
        answer = Fault(200, b"[" + b",".join(self._rows[first : first + int(query["limit"][0])]) + b"]")
        return self.trouble(answer) if self.trouble else answer


def close_of(number: int) -> float:
    """The close of a minute, counted from the first one."""
    return 100.5 + number % 97


def serve(pipe: Pipe, begins: datetime, days: int = DAYS, trouble_rate: float = 0.0) -> None:
    """Serve the exchange until something comes, and answer with how many requests there were, and how many refused."""
    exchange = LimitedExchange(begins, days)
    exchange.answer_time = ANSWER_TIME
    exchange.trouble = random_trouble(1, trouble_rate) if trouble_rate else None
    for number in range(SYMBOLS):
        exchange.candles[f"A{number:02}USDT"] = {}
    with local_exchange(exchange):
        pipe.send(exchange.ccxt_options())
        pipe.recv()
        pipe.send((exchange.requests, exchange.refused))


def main() -> None:
    """Print what came, how fast, and how much of the limit that is; beside it, what one thread would have made."""
    print(f"a backfill of series of {DAYS} days of minutes, where {LIMIT} requests a second are allowed")
    _measure("at once", SYMBOLS)
    with patch("ingest.sources.exchange.LARGEST_CREW", 1):
        _measure("one after the other", 2)


def _measure(how: str, symbols: int) -> None:
    create_database(DATABASE)
    use_database(DATABASE)
    migrate()
    begins = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=DAYS)
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, begins), daemon=True)
    server.start()
    os.environ["TITAN_CCXT_BINANCE"] = json.dumps({**json.loads(ours.recv()), "rateLimit": 50})
    wanted = [Wanted("binance", f"A{number:02}/USDT", "1m", begins) for number in range(symbols)]
    with connect() as connection:
        begun = time.perf_counter()
        done = backfill(connection, wanted, has_archives=False)
        seconds = time.perf_counter() - begun
    ours.send(None)
    requests, refused = ours.recv()
    server.join()
    assert not done.failed, done.failed
    (promoted,) = done.report.promoted
    print(
        f"  {symbols} series, {how}: {promoted.inserted:,} candles in {seconds:.1f} s, "
        f"{promoted.inserted / seconds:,.0f} a second, in {len(promoted.batch_ids)} batches; {requests:,} requests, "
        f"{requests / seconds:.1f} a second: {requests / seconds / LIMIT:.0%} of the limit, {refused} of them refused; "
        f"{_memory() / 1e6:.0f} MB",
        flush=True,
    )


def _memory() -> int:
    pages: Any = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()
