"""A second exchange through the unmodified ccxt: Kraken's names, times and refusals, and its newest 720 candles alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from ingest.sources import exchange as source
from ingest.sources.streams import Streams
from tests.clocks import stay_within_the_hour, this_hour, wait_until
from tests.local_exchange import local_exchange, random_trouble
from tests.local_kraken import BUSY, LIMITED, MOST_CANDLES, LocalKraken, LocalKrakenStream
from tests.warehouse import Warehouse, as_commands_connect
from titan.ops import backfill
from titan.ops.backfill import Backfilled, Wanted
from titan.ops.exchanges import load_exchange

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # requests keeps its connections until it is collected

HOUR = timedelta(hours=1)


@pytest.fixture
def kraken(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalKraken]:
    """1,500 hours of BTC/USDT and of ETH/USDT until now, and the hour that is running."""
    stay_within_the_hour()
    served = LocalKraken()
    with local_exchange(served):
        for name in ("XBTUSDT", "ETHUSDT"):
            served.add(name, this_hour() - 1500 * HOUR, "1h", [float(at % 50 + 1) for at in range(1501)])
        monkeypatch.setenv("TITAN_CCXT_KRAKEN", served.ccxt_options())
        monkeypatch.setattr(source, "wait", lambda seconds: None)
        yield served


def observed_of(warehouse: Warehouse) -> list[tuple[datetime, datetime]]:
    return warehouse.query("select lower(stretch), upper(stretch) from raw.observed "
                           "cross join unnest(observed) as stretch order by 1")  # fmt: skip


def run(warehouse: Warehouse, *symbols: str, since: datetime) -> Backfilled:
    wanted = [Wanted("kraken", symbol, "1h", since) for symbol in symbols]
    with as_commands_connect() as connection:
        return backfill.backfill(connection, wanted, sleep=lambda seconds: None)


def not_told(begin: datetime, end: datetime) -> str:
    return f"kraken does not answer for BTC/USDT from {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}"


def test_its_candles_are_loaded_by_its_names_and_times(warehouse: Warehouse, kraken: LocalKraken) -> None:
    since = this_hour() - 700 * HOUR
    report = load_exchange(warehouse.connection, "kraken", ["BTC/USDT"], "1h", since)
    assert (report.promoted[0].inserted, report.promoted[0].unfinished, report.promoted[0].notices) == (700, 1, [])
    assert observed_of(warehouse) == [(since, this_hour())]
    rows = warehouse.query("select opened_at, close, volume from raw.ohlcv order by opened_at")
    told = [(at, row) for at, row in sorted(kraken.candles["XBTUSDT"].items()) if since.timestamp() * 1000 <= at]
    assert rows == [(datetime.fromtimestamp(at / 1000, UTC), float(row[4]), 2.5) for at, row in told[:-1]]


def test_what_it_does_not_give_is_said_and_does_not_count_as_asked(warehouse: Warehouse, kraken: LocalKraken) -> None:
    """A hole of a series is answered by its newest candles, too: it passed for an empty one."""
    kraken.add("XBTUSDT", this_hour() - 3500 * HOUR, "1h", [float(at % 50 + 1) for at in range(3501)])
    then = this_hour() - 2000 * HOUR
    kraken.now = lambda: then + HOUR / 2
    begins = then - (MOST_CANDLES - 1) * HOUR  # one of the 720 is running
    done = run(warehouse, "BTC/USDT", since=begins - 500 * HOUR)
    assert observed_of(warehouse) == [(begins, then)]
    assert "did not answer for the time before" in done.report.promoted[0].notices[0]
    assert [str(error) for error in done.failed.values()] == [not_told(begins - 500 * HOUR, begins)]

    hole = (begins + 100 * HOUR, begins + 200 * HOUR)
    warehouse.query("update raw.observed set observed = observed - tstzmultirange(tstzrange(%s, %s))", *hole)
    kraken.now = None
    newest = this_hour() - (MOST_CANDLES - 1) * HOUR
    done = run(warehouse, "BTC/USDT", since=begins)
    assert [stretch.reason for stretch in done.stretches] == ["later", "not_fetched"]
    assert observed_of(warehouse) == [(begins, hole[0]), (hole[1], then), (newest, this_hour())]
    assert [str(error) for error in done.failed.values()] == [not_told(*hole), not_told(then, newest)]


@pytest.mark.parametrize("seed", range(2))
def test_a_bad_day_of_it_loses_nothing(warehouse: Warehouse, kraken: LocalKraken, seed: int) -> None:
    kraken.trouble = random_trouble(seed, 0.25, kraken)
    since = this_hour() - 700 * HOUR
    done = run(warehouse, "BTC/USDT", "ETH/USDT", since=since)
    assert done.failed == {}
    assert warehouse.query("select count(*), count(distinct (instrument_id, closed_at)), min(opened_at) from raw.ohlcv") == [
        (1400, 1400, since)
    ]
    assert observed_of(warehouse) == [(since, this_hour())] * 2


def test_its_streams_of_two_timeframes_are_kept_apart(kraken: LocalKraken, monkeypatch: pytest.MonkeyPatch) -> None:
    """ccxt told the hour's candle to who listened to minutes, and never subscribed to the second timeframe of a symbol."""
    minute, hour = ("kraken", "BTC/USDT", "1m"), ("kraken", "BTC/USDT", "1h")
    opened = int(this_hour().timestamp() * 1000)
    with LocalKrakenStream().running() as stream:
        options = json.loads(kraken.ccxt_options())
        options["urls"]["api"]["ws"] = {"publicV2": stream.url}
        monkeypatch.setenv("TITAN_CCXT_KRAKEN", json.dumps(options))
        streams = Streams()
        try:
            streams.follow({minute, hour})
            stream.wait_for("BTC/USDT 1", "BTC/USDT 60")
            for interval, step, close in (("1m", 60_000, "1.5"), ("1h", 3_600_000, "2.5")):
                for at in range(2):
                    stream.push("BTC/USDT", interval, [opened + at * step, close, close, close, close, "3"])
            wait_until(lambda: streams.closed(minute, opened) and streams.closed(hour, opened))
            assert streams.closed(minute, opened) == [opened, 1.5, 1.5, 1.5, 1.5, 3.0]
            assert streams.closed(hour, opened) == [opened, 2.5, 2.5, 2.5, 2.5, 3.0]
            assert streams.closed(minute, opened + 60_000) is None  # nothing has come after it
        finally:
            streams.close()


def test_its_refusals_pass(warehouse: Warehouse, kraken: LocalKraken) -> None:
    kraken.faults = [LIMITED, BUSY, LIMITED]
    report = load_exchange(warehouse.connection, "kraken", ["BTC/USDT"], "1h", this_hour() - 100 * HOUR)
    assert (report.promoted[0].inserted, kraken.requests) == (100, 4)
