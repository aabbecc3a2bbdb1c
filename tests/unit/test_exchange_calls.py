"""The real ccxt against faults of an exchange on loopback: what is tried again, after how long, and what is said."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from ingest.sources import exchange as source
from ingest.sources.calls import ATTEMPTS, ExchangeUnreachableError, RateLimitedError
from ingest.sources.exchange import ExchangeSource, Inquiry
from tests.local_exchange import SINCE, Fault, LocalExchange
from titan.core.batch import Batch, join
from titan.core.errors import SourceError
from titan.ops.pipeline import may_pass

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # requests keeps its connections until it is collected

HTML = b"<html><head><title>Just a moment...</title></head></html>"
LIMITED = b'{"code": -1003, "msg": "Too many requests"}'
NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def waits(exchange: LocalExchange, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited between attempts."""
    found: list[float] = []
    monkeypatch.setattr("ingest.sources.limits.random.uniform", lambda least, most: most)
    monkeypatch.setattr(source, "wait", found.append)
    return found


INQUIRY = Inquiry("binance", "BTC/USDT", "1D", SINCE)


def fetch(source: ExchangeSource | None = None) -> Batch:
    """All that is answered to the inquiry."""
    return join(list((source or ExchangeSource("binance")).ask(INQUIRY, datetime.now(UTC))), "test")


@pytest.mark.parametrize(
    "fault",
    [
        Fault(503, b"busy"),
        Fault(500, b"{}"),
        Fault(200, HTML, {"Content-Type": "text/html"}),
        Fault(200, HTML),
        Fault(200, b"null"),
        Fault(200, b""),
        Fault(200, b'[[1704067200000, "1"'),
        Fault(200, b"[[1704067200000]]"),
        Fault(200, b'[[1704067200000, "1", "1", "1", "1", "1", 0, "much", 7]]'),
        Fault(200, b'[[4102444800000, "1", "1", "1", "1", "1", 0, "1", 7]]'),
        Fault(200, b'["soon"]'),
        Fault(200, b'{"code": 0}'),
        Fault(200, b'[[1704067200000, "1"', is_truncated=True),
    ],
    ids=lambda fault: f"{fault.status} {fault.body[:30].decode()}",
)
def test_what_may_pass_is_tried_again(exchange: LocalExchange, waits: list[float], fault: Fault) -> None:
    """HTML, a body that is cut off and null failed the load at once: "string index out of range"."""
    exchange.faults = [fault] * 3
    assert len(fetch().candles) == 5
    assert waits == [1, 2, 4]


@pytest.mark.parametrize("status", [429, 418])
@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "37"}, 37),
        ({"Retry-After": "0"}, 1),
        (
            {
                "Retry-After": format_datetime(NOON + timedelta(seconds=45), usegmt=True),
                "Date": format_datetime(NOON, usegmt=True),
            },
            45,
        ),
        ({"Retry-After": format_datetime(NOON, usegmt=True)}, 1),
        ({"Retry-After": "soon"}, 10),
        ({}, 10),
    ],
)
def test_a_rate_limit_is_waited_for_as_long_as_it_asks(
    exchange: LocalExchange, waits: list[float], status: int, headers: dict[str, str], wait: float
) -> None:
    exchange.faults = [Fault(status, LIMITED, headers)]
    assert len(fetch().candles) == 5
    assert waits == [wait]


@pytest.mark.parametrize("status", [429, 418])
def test_a_rate_limit_that_stays_is_called_one(exchange: LocalExchange, waits: list[float], status: int) -> None:
    """It said: "cannot be reached", and asked for a way to the internet."""
    exchange.faults = [Fault(status, LIMITED, {"Retry-After": "30"})] * 20
    with pytest.raises(
        RateLimitedError, match=f"binance is rate limited, and asks to wait for 30 s: binance {status} "
    ) as failure:
        fetch()
    assert "internet" not in str(failure.value.hint)
    assert (waits, exchange.requests) == ([30, 30, 30], ATTEMPTS)
    assert not may_pass(failure.value)  # a run does not ask again either


def test_a_date_is_read_by_our_clock_where_the_exchange_tells_no_time(exchange: LocalExchange, waits: list[float]) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    exchange.faults = [Fault(429, LIMITED, {"Retry-After": date})]
    assert len(fetch().candles) == 5
    assert 60 < waits[0] <= 100


def test_an_exchange_that_asks_to_be_left_alone_for_long_is(exchange: LocalExchange, waits: list[float]) -> None:
    exchange.faults = [Fault(418, LIMITED, {"Retry-After": "3600"})] * 20
    binance = ExchangeSource("binance")
    for _ in range(2):  # a second series is not asked for at all
        with pytest.raises(RateLimitedError, match="asks to wait for 3,600 s"):
            fetch(binance)
    assert (waits, exchange.requests) == ([], 1)


def test_an_outage_that_tells_its_end_is_waited_for(exchange: LocalExchange, waits: list[float]) -> None:
    exchange.faults = [Fault(503, b"busy", {"Retry-After": "20"})]
    assert len(fetch().candles) == 5
    assert waits == [20]


def test_a_wait_of_an_earlier_answer_says_nothing_of_a_later_one(exchange: LocalExchange, waits: list[float]) -> None:
    exchange.faults = [Fault(429, LIMITED, {"Retry-After": "30"}), Fault(0, b""), Fault(429, LIMITED)]
    assert len(fetch().candles) == 5
    assert waits == [30, 2, 40]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (HTML, "sent an answer that cannot be read, '<html><head><title>Just a moment...</title></head></html>'"),
        (b"null", "sent an answer that cannot be read, 'null': it is no JSON"),
        (b'[[4102444800000, "1", "1", "1", "1", "1", 0, "1", 7]]', "no candle opens at 4102444800000"),
    ],
)
def test_an_answer_that_stays_unreadable_is_shown(
    exchange: LocalExchange, waits: list[float], body: bytes, told: str
) -> None:
    exchange.faults = [Fault(200, body)] * 20
    with pytest.raises(SourceError) as failure:
        fetch()
    assert told in str(failure.value)
    assert "\n" not in str(failure.value)
    assert exchange.requests == ATTEMPTS


def test_markets_are_asked_for_again_like_candles(exchange: LocalExchange, waits: list[float]) -> None:
    """Without markets it said that there is no BTC/USDT."""
    exchange.market_faults = [Fault(200, b"null"), Fault(200, b'{"symbols": []}'), Fault(429, LIMITED, {"Retry-After": "9"})]
    assert len(fetch().candles) == 5
    assert waits == [1, 2, 9]


@pytest.mark.parametrize(("port", "hint"), [("1", "internet"), (None, "a fault of its own")])
def test_the_hint_asks_for_the_internet_only_where_nothing_answers(
    exchange: LocalExchange, waits: list[float], monkeypatch: pytest.MonkeyPatch, port: str | None, hint: str
) -> None:
    if port:
        options = os.environ["TITAN_CCXT_BINANCE"].replace(exchange.url, f"http://127.0.0.1:{port}")
        monkeypatch.setenv("TITAN_CCXT_BINANCE", options)
    exchange.faults = [Fault(502, b"busy")] * 20
    with pytest.raises(ExchangeUnreachableError, match="binance cannot be reached") as failure:
        fetch()
    assert hint in str(failure.value.hint)
    assert may_pass(failure.value)


def test_older_candles_than_asked_for_are_seen_and_no_silence(exchange: LocalExchange, waits: list[float]) -> None:
    """ccxt drops them, and what is left is an empty page."""
    exchange.faults = [None, Fault(200, json.dumps(list(exchange.candles["BTCUSDT"].values())).encode())]
    answers = ExchangeSource("binance").ask(INQUIRY, datetime.now(UTC))
    assert next(answers).observed == (SINCE, SINCE + timedelta(days=5))
    with pytest.raises(SourceError, match="it answers older ones, up to 2024-01-05"):
        next(answers)


def test_a_no_is_not_asked_again(exchange: LocalExchange, waits: list[float]) -> None:
    exchange.faults = [Fault(400, b'{"code": -1121, "msg": "Invalid symbol."}')] * 20
    with pytest.raises(SourceError, match=r"binance refused: .*Invalid symbol"):
        fetch()
    assert (waits, exchange.requests) == ([], 1)
