"""A watch that listens: ccxt's own websockets against streams on loopback, by a clock that runs as fast as they do."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from ingest.sources.streams import Streams
from tests.clocks import FastClock, wait_until
from tests.local_bitstamp import LocalBitstamp, LocalBitstampStream
from tests.local_exchange import SINCE, Fault, LocalExchange, local_exchange
from tests.local_stream import LocalStream
from tests.warehouse import Warehouse
from titan.ops.watch import Cycle, Watch

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # requests keeps its connections until it is collected

MINUTE = timedelta(minutes=1)
START = SINCE + timedelta(hours=2)
KEY = ("binance", "BTC/USDT", "1m")


@pytest.fixture
def stream(exchange: LocalExchange, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalStream]:
    """Streams beside an exchange with minutes before and after START, one series of which is subscribed to."""
    exchange.candles.clear()
    exchange.add("BTCUSDT", SINCE, "1m", [100 + at % 7 for at in range(180)])
    warehouse.query("insert into config.subscription (exchange, symbol, timeframe, since) "
                    "values ('binance', 'BTC/USDT', '1m', %s)", SINCE.date())  # fmt: skip
    with LocalStream().running() as stream:
        options: dict[str, Any] = json.loads(os.environ["TITAN_CCXT_BINANCE"])
        options["urls"]["api"]["ws"] = {"spot": stream.url}
        monkeypatch.setenv("TITAN_CCXT_BINANCE", json.dumps(options))
        yield stream


@pytest.fixture
def streams(stream: LocalStream) -> Iterator[Streams]:
    """A listener to BTC/USDT, once it is listened to."""
    streams = Streams()
    streams.follow({KEY})
    stream.wait_for("btcusdt@kline_1m")
    yield streams
    streams.close()


def ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def tell(stream: LocalStream, streams: Streams, candle: list[Any], *, is_closed: bool = True) -> None:
    """Push a candle, and wait until it is heard."""
    stream.push("BTCUSDT", "1m", candle, is_closed=is_closed)
    wait_until(lambda: streams.is_live(KEY) and candle[0] in streams._heard[KEY].candles)
    if is_closed:
        wait_until(lambda: streams.closed(KEY, candle[0]))


def run(clock: FastClock, exchange: LocalExchange, streams: Streams) -> list[Cycle]:
    exchange.now = clock.now
    told: list[Cycle] = []
    Watch(clock, streams=streams).run(told.append)
    return told


def test_a_candle_is_known_once_its_period_is_over(stream: LocalStream, streams: Streams, exchange: LocalExchange) -> None:
    first, second = (exchange.candles["BTCUSDT"][ms(START + at * MINUTE)] for at in range(2))
    tell(stream, streams, first, is_closed=False)
    assert streams.closed(KEY, first[0]) is None
    tell(stream, streams, second, is_closed=False)  # the exchange did not say that the first one is closed, but it went on
    assert streams.closed(KEY, first[0]) == [first[0], *map(float, first[1:6]), first[7], first[8]]
    assert streams.closed(KEY, second[0]) is None
    tell(stream, streams, second)
    assert streams.closed(KEY, second[0])
    assert streams.closed(KEY, second[0] + 60_000) is None
    assert not streams.is_live(("binance", "ETH/USDT", "1m"))


def test_a_candle_is_here_within_a_second_of_its_close_and_confirmed_later(
    warehouse: Warehouse, exchange: LocalExchange, stream: LocalStream, streams: Streams
) -> None:
    exchange.lateness = timedelta(seconds=2.5)
    clock = FastClock(START + timedelta(seconds=3), START + 3.9 * MINUTE)
    candles = exchange.candles["BTCUSDT"]

    def tell_of(opened_at: datetime) -> Callable[[], None]:
        return lambda: tell(stream, streams, candles[ms(opened_at)])

    closings = [START + at * MINUTE for at in range(3)]
    clock.at = [(opened_at + timedelta(seconds=58), tell_of(opened_at)) for opened_at in closings]
    tell(stream, streams, exchange.candles["BTCUSDT"][ms(START)], is_closed=False)
    cycles = run(clock, exchange, streams)
    heard = [cycle for cycle in cycles if cycle.heard]
    assert [(cycle.heard, cycle.asked, cycle.inserted) for cycle in heard] == [(1, 0, 1)] * 3
    assert all((cycle.at - START) % MINUTE < timedelta(seconds=1) for cycle in heard)
    assert [cycle.fresh["1m"] for cycle in heard] == [START + at * MINUTE for at in (1, 2, 3)]
    asked = [cycle for cycle in cycles[1:] if cycle.asked]
    assert [(cycle.inserted, cycle.revised) for cycle in asked] == [(0, 0)] * 3  # it says the same when it is asked
    assert warehouse.query("select source, sum(rows_inserted)::int from raw.load_batch group by 1 order by 1") == [
        ("exchange", 120), ("stream", 3),
    ]  # fmt: skip
    assert warehouse.value("select count(*) from raw.ohlcv_revision") == 0
    assert warehouse.value("select upper(observed) from raw.observed") == START + 3 * MINUTE
    warehouse.assert_incremental_equals_full()


def test_what_a_stream_had_wrong_is_revised_by_asking(
    warehouse: Warehouse, exchange: LocalExchange, stream: LocalStream, streams: Streams
) -> None:
    right = exchange.candles["BTCUSDT"][ms(START)]
    clock = FastClock(START + timedelta(seconds=3), START + 1.9 * MINUTE)
    wrong = [*right[:5], "2.25", *right[6:]]
    clock.at = [(START + timedelta(seconds=58), lambda: tell(stream, streams, wrong))]
    tell(stream, streams, wrong, is_closed=False)
    cycles = run(clock, exchange, streams)
    assert [(cycle.heard, cycle.inserted, cycle.revised) for cycle in cycles[1:]] == [(1, 1, 0), (0, 0, 1)]
    assert warehouse.query("select volume from raw.ohlcv_revision") == [(2.25,)]
    assert warehouse.value("select volume from raw.ohlcv where closed_at = %s", START + MINUTE) == 2.5


def test_a_stream_that_is_lost_is_done_without_and_comes_back(
    warehouse: Warehouse, exchange: LocalExchange, stream: LocalStream, streams: Streams
) -> None:
    candles = exchange.candles["BTCUSDT"]
    clock = FastClock(START + timedelta(seconds=3), START + 3.9 * MINUTE)

    def lose() -> None:
        stream.is_refusing = True
        stream.drop()
        wait_until(lambda: not streams.is_live(KEY))

    def come_back() -> None:
        stream.is_refusing = False
        stream.wait_for("btcusdt@kline_1m")
        tell(stream, streams, candles[ms(START + 2 * MINUTE)])

    clock.at = [
        (START + timedelta(seconds=58), lambda: tell(stream, streams, candles[ms(START)])),
        (START + timedelta(seconds=80), lose),
        (START + timedelta(seconds=160), come_back),
    ]
    tell(stream, streams, candles[ms(START)], is_closed=False)
    cycles = run(clock, exchange, streams)
    news = [(cycle.heard, cycle.asked) for cycle in cycles[1:] if cycle.inserted]
    assert news == [(1, 0), (0, 1), (1, 0)]
    assert not any(cycle.failed for cycle in cycles)
    assert warehouse.value("select max(closed_at) from raw.ohlcv") == START + 3 * MINUTE


def test_a_candle_that_the_stream_left_out_is_asked_for(
    warehouse: Warehouse, exchange: LocalExchange, stream: LocalStream, streams: Streams
) -> None:
    candles = exchange.candles["BTCUSDT"]
    clock = FastClock(START + timedelta(seconds=3), START + 2.9 * MINUTE)
    clock.at = [(START + timedelta(seconds=118), lambda: tell(stream, streams, candles[ms(START + MINUTE)]))]
    tell(stream, streams, candles[ms(START - 5 * MINUTE)], is_closed=False)
    cycles = run(clock, exchange, streams)
    assert [(cycle.heard, cycle.asked) for cycle in cycles[1:] if cycle.inserted] == [(0, 1), (1, 0)]
    assert warehouse.value("select count(*) from raw.ohlcv") == 122


def test_an_exchange_without_streams_is_let_go_like_any_other() -> None:
    """Ending a watch of one was a traceback."""
    streams = Streams()
    streams.follow({("bitso", "BTC/USDT", "1m")})
    wait_until(lambda: streams._exchanges and all(opening.done() for opening in streams._exchanges.values()))
    streams.close()
    assert not streams.is_live(("bitso", "BTC/USDT", "1m"))


def test_an_exchange_that_asked_to_be_left_alone_is_not_opened_for_a_stream(
    warehouse: Warehouse, exchange: LocalExchange, stream: LocalStream, streams: Streams
) -> None:
    """Its stream goes on; opening it to take a candle would be asking it, again and again."""
    candles = exchange.candles["BTCUSDT"]
    clock = FastClock(START + timedelta(seconds=3), START + 2.9 * MINUTE)
    answers: list[int] = []

    def count() -> None:
        answers.append(exchange.answers)
        tell(stream, streams, candles[ms(START + MINUTE)])

    clock.at = [
        (START + timedelta(seconds=58), lambda: tell(stream, streams, candles[ms(START)])),
        (START + timedelta(seconds=59), lambda: exchange.faults.append(Fault(418, b"{}", {"Retry-After": "300"}))),
        (START + timedelta(seconds=118), count),
    ]
    tell(stream, streams, candles[ms(START)], is_closed=False)
    cycles = run(clock, exchange, streams)
    assert next(cycle.at for cycle in cycles if cycle.failed) < START + timedelta(seconds=65)
    assert answers == [exchange.answers]
    assert warehouse.value("select max(closed_at) from raw.ohlcv") == START + MINUTE


# --- an exchange that streams trades alone ---------------------------------------------------------------------------------

TRADED = ("bitstamp", "BTC/USD", "1m")


@pytest.fixture
def bitstamp(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[LocalBitstamp, LocalBitstampStream, Streams]]:
    """Bitstamp, whose trades of BTC/USD are listened to."""
    served = LocalBitstamp()
    with local_exchange(served), LocalBitstampStream().running() as stream:
        served.add("btcusd", SINCE, "1m", [100.0] * 180)
        monkeypatch.setenv("TITAN_CCXT_BITSTAMP", served.ccxt_options(stream.url))
        streams = Streams()
        streams.follow({TRADED})
        assert isinstance(stream, LocalBitstampStream)
        stream.wait_for("live_trades_btcusd")
        yield served, stream, streams
        streams.close()


def trade(stream: LocalBitstampStream, streams: Streams, number: int, at: datetime, price: float, amount: float) -> None:
    """Tell of a trade, and wait until it is heard."""
    heard = streams._heard[TRADED]
    heard.spoke_at = None
    stream.trade("btcusd", number, at, price, amount)
    wait_until(lambda: heard.spoke_at is not None)


def test_trades_make_candles_of_whole_periods_alone(bitstamp: tuple[LocalBitstamp, LocalBitstampStream, Streams]) -> None:
    """The minute in which the listening began may lack trades; so may the one in which a lost stream came back."""
    _, stream, streams = bitstamp
    seconds = [50, 61, 61, 100, 119.999, 121, 130, 185]
    for number, second in enumerate(seconds):
        trade(stream, streams, 995 + number, START + timedelta(seconds=second), 100.0 + number, 0.1)
    first, second, third = (ms(START + at * MINUTE) for at in (0, 1, 2))
    assert streams.closed(TRADED, first) is None
    assert streams.closed(TRADED, second) == [second, 101.0, 104.0, 101.0, 104.0, 0.4]
    assert streams.closed(TRADED, third) == [third, 105.0, 106.0, 105.0, 106.0, 0.2]
    assert streams.closed(TRADED, third + 60_000) is None
    stream.drop()
    wait_until(lambda: not streams.is_live(TRADED))
    stream.wait_for("live_trades_btcusd")
    for number, second in enumerate((200, 241, 301)):
        trade(stream, streams, 2000 + number, START + timedelta(seconds=second), 100.0, 0.1)
    assert streams.closed(TRADED, third + 60_000) is None
    assert streams.closed(TRADED, third + 120_000) == [third + 120_000, 100.0, 100.0, 100.0, 100.0, 0.1]


def test_a_candle_of_trades_is_here_at_its_close_and_asking_says_the_same(
    warehouse: Warehouse, bitstamp: tuple[LocalBitstamp, LocalBitstampStream, Streams]
) -> None:
    served, stream, streams = bitstamp
    warehouse.query("insert into config.subscription (exchange, symbol, timeframe, since) "
                    "values ('bitstamp', 'BTC/USD', '1m', %s)", SINCE.date())  # fmt: skip
    clock = FastClock(START + timedelta(seconds=3), START + 1.9 * MINUTE)
    clock.at = [
        (START + timedelta(seconds=second), lambda at=second: trade(stream, streams, at, clock.now(), 100.0, 1.25))
        for second in (20, 40, 60.1)
    ]
    trade(stream, streams, 1, START - timedelta(seconds=1), 100.0, 1.0)
    cycles = run(clock, served, streams)
    heard = [cycle for cycle in cycles if cycle.heard]
    assert [(cycle.heard, cycle.asked, cycle.inserted) for cycle in heard] == [(1, 0, 1)]
    assert heard[0].at - (START + MINUTE) < timedelta(seconds=1)
    assert sum(cycle.revised for cycle in cycles) == 0
    assert warehouse.value("select volume from raw.ohlcv where closed_at = %s", START + MINUTE) == 2.5
    assert warehouse.query("select source from raw.load_batch order by 1") == [("exchange",), ("exchange",), ("stream",)]
