"""A day of a watch on which everything goes wrong ends as if nothing had. By a fast clock; an hour of it in the suite."""

from __future__ import annotations

import os
import random
from datetime import datetime, timedelta

import pytest

from tests.clocks import FastClock
from tests.local_exchange import SINCE, Fault, LocalExchange, random_trouble
from tests.warehouse import Warehouse
from titan.ops.watch import Cycle, Watch

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # requests keeps its connections until it is collected

MINUTE = timedelta(minutes=1)
START = SINCE + timedelta(hours=2)
LENGTH = timedelta(hours=24) if os.environ.get("TITAN_SOAK") else timedelta(minutes=40)
CALM = timedelta(minutes=12)  # at the end, in which whoever waited for anything has waited long enough
SYMBOLS = ("AAAUSDT", "BBBUSDT", "CCCUSDT")
LIMITED = Fault(429, b'{"code": -1003, "msg": "Too many requests"}', {"Retry-After": "90"})
DOWN = Fault(0, b"")
GATEWAY = Fault(502, b"<html>Bad gateway</html>", {"Content-Type": "text/html"})


class BadDay:
    """What goes wrong when: outages and bans of minutes, late and revised candles, lost connections to the database."""

    def __init__(self, exchange: LocalExchange, warehouse: Warehouse, seed: int) -> None:
        self._exchange, self._warehouse = exchange, warehouse
        self._chance = random.Random(seed)
        self._answer = exchange.answer
        self._trouble = random_trouble(seed, 0.05)
        self._windows: list[tuple[datetime, datetime, Fault]] = []
        self.clock = FastClock(START)
        at = START + 5 * MINUTE
        while at < START + LENGTH - CALM:
            length = self._chance.choice([0.5, 2, 4]) * MINUTE
            self._windows.append((at, at + length, self._chance.choice([DOWN, GATEWAY, LIMITED])))
            at += length + self._chance.uniform(4, 12) * MINUTE
        minutes = int((LENGTH - CALM) / MINUTE)
        losses = [START + self._chance.random() * minutes * MINUTE for _ in range(3)]
        revisions = [START + number * MINUTE + timedelta(seconds=50) for number in range(minutes)]
        things = [*((at, self._lose_the_database) for at in losses), *((at, self._revise) for at in revisions)]
        self.clock.at = sorted(things, key=lambda thing: thing[0])
        exchange.answer = self.answer  # type: ignore[method-assign]
        exchange.now = self.clock.now

    def answer(self, path: str, query: dict[str, list[str]]) -> Fault:
        now = self.clock.now()
        for start, stop, fault in self._windows:
            if start <= now < stop:
                return fault
        is_calm = now >= START + LENGTH - CALM
        self._exchange.lateness = timedelta(0) if is_calm else timedelta(seconds=self._chance.choice([0, 0, 1, 3, 8]))
        self._exchange.trouble = None if is_calm else self._trouble
        return self._answer(path, query)

    def _revise(self) -> None:
        """The last candle that is over turns out to have been another, while it is among those that are read again."""
        newest = int(self.clock.now().timestamp()) // 60 * 60_000 - 60_000
        candle = self._exchange.candles[self._chance.choice(SYMBOLS)].get(newest)
        if candle and self._chance.random() < 0.2:
            candle[5] = f"{self._chance.uniform(1, 9):.4f}"

    def _lose_the_database(self) -> None:
        self._warehouse.query(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() "
            "and pid <> pg_backend_pid() and backend_type = 'client backend'"
        )


@pytest.mark.parametrize("seed", [3])
def test_a_day_of_everything_ends_like_a_clean_load(warehouse: Warehouse, exchange: LocalExchange, seed: int) -> None:
    exchange.candles.clear()
    chance = random.Random(seed)
    for symbol in SYMBOLS:
        exchange.add(symbol, SINCE, "1m", [100 + chance.random() for _ in range(int((START + LENGTH - SINCE) / MINUTE) + 5)])
        warehouse.query(
            "insert into config.subscription (exchange, symbol, timeframe, since) values ('binance', %s, '1m', %s)",
            f"{symbol[:3]}/USDT", SINCE.date(),
        )  # fmt: skip
    for opened_at in list(exchange.candles["CCCUSDT"]):  # this one trades now and then
        if chance.random() < 0.3:
            del exchange.candles["CCCUSDT"][opened_at]
    day = BadDay(exchange, warehouse, seed)
    cycles: list[Cycle] = []
    for until in (START + LENGTH / 3, START + LENGTH / 2, START + LENGTH):  # two restarts
        day.clock._until = until
        Watch(day.clock).run(cycles.append)
    assert sum(bool(cycle.failed) for cycle in cycles) >= 3
    rows = warehouse.query(
        "select symbol, extract(epoch from opened_at) * 1000, close, volume from raw.ohlcv "
        "inner join raw.instrument using (instrument_id) order by 1, 2"
    )
    newest = int((START + LENGTH - MINUTE).timestamp() * 1000)
    assert rows == [
        (f"{symbol[:3]}/USDT", opened_at, float(candle[4]), float(candle[5]))
        for symbol in SYMBOLS
        for opened_at, candle in sorted(exchange.candles[symbol].items())
        if opened_at < newest
    ]
    assert warehouse.value(
        "select bool_and(observed = tstzmultirange(tstzrange(%s, upper(observed)))) from raw.observed", SINCE
    )
    assert not cycles[-1].failed
    warehouse.assert_incremental_equals_full()
