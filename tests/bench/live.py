"""A watch in real time, of an exchange on a bad day: how soon after its close a candle is in the marts, and what is missing.

TITAN_BENCH_HOURS says for how long; a quarter of an hour by default.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import threading
import time
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from ingest.sources.streams import Streams
from tests.local_exchange import LocalExchange, local_exchange, random_trouble
from tests.local_stream import LocalStream
from tests.warehouse import create_database, use_database
from titan.core.database import connect
from titan.ops.refresh import refresh
from titan.ops.watch import Cycle, Stopped, WallClock, Watch
from titan.server.migrate import migrate

SYMBOLS = [f"A{number:02}USDT" for number in range(50)]
HISTORY = 300  # minutes before the first round
TROUBLE = 0.05  # of the answers are refusals, HTML, parts, doubled, or none
LEFT_OUT = 0.02  # of the candles are not told by their streams
LOST_EVERY, LOST_FOR = 1200.0, 20.0  # seconds, of every stream
SHOWN_EVERY = timedelta(minutes=10)
MINUTE = timedelta(minutes=1)
DATABASE = "bench_live"
FRESH = """
select instrument.symbol, latest.closed_at from bars.dim_instrument as instrument
cross join lateral (
    select closed_at from marts.ohlcv as bar
    where bar.instrument_id = instrument.instrument_id and bar.timeframe = '1m' order by bar.closed_at desc limit 1
) as latest
"""


def close_of(number: int, minute: int) -> float:
    """The close of a symbol's minute."""
    return 100.0 + (minute * 7 + number * 3) % 23


def _serve(pipe: Pipe, begins: datetime, minutes: int) -> None:
    """An exchange with a clock, and streams that leave out candles and are lost now and then."""
    exchange, chance = LocalExchange(), random.Random(3)
    exchange.now = lambda: datetime.now(UTC)
    exchange.answer_time = 0.05
    for number, symbol in enumerate(SYMBOLS):
        exchange.add(symbol, begins, "1m", [close_of(number, minute) for minute in range(minutes)])
    with local_exchange(exchange), LocalStream().running() as stream:
        options = json.loads(exchange.ccxt_options())
        options["urls"]["api"]["ws"] = {"spot": stream.url}
        pipe.send(json.dumps(options))
        exchange.trouble = random_trouble(1, TROUBLE)
        ended = threading.Event()

        def end() -> None:
            pipe.recv()
            ended.set()

        threading.Thread(target=end, daemon=True).start()
        lost_at = time.monotonic() + LOST_EVERY
        while not ended.is_set():
            now = datetime.now(UTC)
            close = now.replace(second=0, microsecond=0) + MINUTE
            ended.wait((close - now).total_seconds() + 0.05)
            opened = int((close - MINUTE).timestamp() * 1000)
            for symbol in SYMBOLS:
                if chance.random() >= LEFT_OUT and (candle := exchange.candles[symbol].get(opened)):
                    stream.push(symbol, "1m", candle, is_closed=True)
            if time.monotonic() > lost_at:
                stream.is_refusing = True
                stream.drop()
                ended.wait(LOST_FOR)
                stream.is_refusing, lost_at = False, time.monotonic() + LOST_EVERY
        pipe.send(exchange.requests)


class _UntilThen(WallClock):
    """The machine's clock, until an instant."""

    def __init__(self, until: datetime) -> None:
        super().__init__()
        self._until = until

    def check(self) -> None:
        super().check()
        if self.now() >= self._until:
            raise Stopped


class _Told:
    """How long after its close each candle was in the marts."""

    def __init__(self) -> None:
        self.delays: list[float] = []
        self.failed = 0
        self._fresh: dict[str, datetime] = {}
        self._shown_at = datetime.now(UTC)
        self._connection = connect(autocommit=True)

    def __call__(self, cycle: Cycle) -> None:
        self.failed += len(cycle.failed)
        if cycle.inserted:
            rows: list[Any] = self._connection.execute(FRESH).fetchall()
            now = datetime.now(UTC)
            for symbol, closed_at in rows:
                before = self._fresh.get(symbol, closed_at)
                for minute in range(int((closed_at - before) / MINUTE)):
                    self.delays.append((now - before).total_seconds() - 60 * (minute + 1))
                self._fresh[symbol] = closed_at
        if datetime.now(UTC) - self._shown_at > SHOWN_EVERY and self.delays:
            self.show()
            self._shown_at = datetime.now(UTC)

    def show(self) -> None:
        """Print a line of what there was so far."""
        p95 = quantiles(self.delays, n=20)[-1]
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        print(
            f"  {datetime.now(UTC):%H:%M}  {len(self.delays):7,} candles  p50 {median(self.delays):.2f} s  p95 {p95:.2f} s  "
            f"worst {max(self.delays):.1f} s  {self.failed:,} failures  {pages * resource.getpagesize() / 1e6:.0f} MB",
            flush=True,
        )


def main() -> None:
    """Print a line every so many minutes, and at the end what was missing or wrong."""
    hours = float(os.environ.get("TITAN_BENCH_HOURS", "0.25"))
    create_database(DATABASE)
    use_database(DATABASE)
    migrate()
    with connect(autocommit=True) as connection:
        refresh(connection)
    begins = datetime.now(UTC).replace(second=0, microsecond=0) - HISTORY * MINUTE
    ours, theirs = multiprocessing.Pipe()
    minutes = HISTORY + int(hours * 60) + 10
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, begins, minutes), daemon=True)
    server.start()
    os.environ["TITAN_CCXT_BINANCE"] = ours.recv()
    with connect(autocommit=True) as connection:
        for symbol in SYMBOLS:
            connection.execute(
                "insert into config.subscription (exchange, symbol, timeframe, since) values ('binance', %s, '1m', %s)",
                (symbol.replace("USDT", "/USDT"), begins.date()),
            )
        print(
            f"a watch of {len(SYMBOLS)} series of minutes in real time, {hours:g} hours; {TROUBLE:.0%} of answers are none"
        )
        told, streams = _Told(), Streams()
        Watch(_UntilThen(datetime.now(UTC) + timedelta(hours=hours)), streams=streams).run(told)
        told.show()
        streams.close()
        ours.send(None)
        reached: Any = connection.execute("select min(last_at) from (select max(closed_at) as last_at from raw.ohlcv "
                                          "group by instrument_id) as series").fetchone()  # fmt: skip
        rows: list[Any] = connection.execute("select symbol, opened_at, close from raw.ohlcv "
                                             "inner join raw.instrument using (instrument_id)").fetchall()  # fmt: skip
        revised: Any = connection.execute("select count(*) from raw.ohlcv_revision").fetchone()
        sources: list[Any] = connection.execute("select source, sum(rows_inserted)::bigint from raw.load_batch "
                                                "group by 1 order by 1").fetchall()  # fmt: skip
    found = {(symbol, int((opened - begins) / MINUTE)): close for symbol, opened, close in rows}
    expected = {
        (symbol.replace("USDT", "/USDT"), minute): close_of(number, minute)
        for number, symbol in enumerate(SYMBOLS)
        for minute in range(int((reached[0] - begins) / MINUTE))
    }
    wrong = sum(found.get(key) != close for key, close in expected.items())
    print(
        f"  {len(expected):,} candles until {reached[0]:%H:%M}, {wrong} of them missing or wrong; {revised[0]} revisions; "
        + ", ".join(f"{rows:,} by {source}" for source, rows in sources)
        + f"; {ours.recv():,} requests",
        flush=True,
    )
    assert not wrong
