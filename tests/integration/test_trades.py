"""An exchange that has trades and no candles: bitFlyer's public API on loopback, through the unmodified ccxt."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.sources import exchange as source
from ingest.sources.exchange import ExchangeSource, Inquiry
from ingest.sources.paging import moment
from ingest.sources.trades import CandleMaker, NewestTrades, Trade, candles_of, in_order
from tests.local_bitflyer import LocalBitflyer
from tests.local_exchange import Fault, local_exchange, random_trouble
from tests.warehouse import Warehouse, as_commands_connect
from titan.core.batch import Candles
from titan.core.errors import SourceError, UsageError
from titan.ops import backfill
from titan.ops.backfill import Wanted

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # requests keeps its connections until it is collected

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
NOW = BEGIN + timedelta(minutes=600, seconds=20)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def bitflyer(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalBitflyer]:
    """Ten hours of BTC/JPY, 3,000 trades: some at one instant, some minutes without any."""
    served, chance = LocalBitflyer(), random.Random(7)
    served.now = lambda: NOW
    with local_exchange(served):
        at = BEGIN
        for _ in range(3000):
            at += timedelta(milliseconds=chance.choice([0, 0, 50, 9_000, 20_000, 20_000, 40_000, 40_000]))
            if chance.random() < 0.005:
                at += 7 * MINUTE
            served.trade("BTC_JPY", at, chance.randint(90, 110) / 10, chance.randint(1, 999) / 1000)
        monkeypatch.setenv("TITAN_CCXT_BITFLYER", served.ccxt_options())
        monkeypatch.setattr(source, "wait", lambda seconds: None)
        yield served


def asked(since: datetime, timeframe: str = "1m", until: datetime | None = None) -> tuple[Candles, list[Any]]:
    """The candles of an inquiry, and the time that its batches claim."""
    exchange = ExchangeSource("bitflyer", now=lambda: NOW)
    batches = list(exchange.ask(Inquiry("bitflyer", "BTC/JPY", timeframe, since, until), NOW))
    exchange.close()
    assert len(batches) == 1, batches
    return batches[0].candles, batches[0].answered[0]


def by_pandas(exchange: LocalBitflyer, timeframe: str, since: datetime, until: datetime) -> dict[datetime, list[float]]:
    """The candles that pandas makes of all trades, each in [since, until)."""
    made = pd.DataFrame(
        [exchange.trades["BTC_JPY"][number] for number in sorted(exchange.trades["BTC_JPY"])],
        columns=["at", "price", "amount"],
    )
    made.index = pd.to_datetime(made["at"], unit="ms", utc=True)
    made["turnover"] = made["price"] * made["amount"]
    bars = made["price"].resample(timeframe).ohlc()
    bars["volume"] = made["amount"].resample(timeframe).sum()
    bars["turnover"] = made["turnover"].resample(timeframe).sum()
    bars["trades"] = made["price"].resample(timeframe).count()
    bars = bars[(bars["trades"] > 0) & (bars.index >= since) & (bars.index < until)]
    return {at.to_pydatetime(): [float(value) for value in row] for at, row in zip(bars.index, bars.to_numpy(), strict=True)}


def told(candles: Candles) -> dict[datetime, list[float]]:
    names = ("open", "high", "low", "close", "volume", "quote_volume", "trade_count")
    return {moment(row["opened_at"] / 1000): [float(row[name]) for name in names] for row in candles}


def assert_same(found: dict[datetime, list[float]], expected: dict[datetime, list[float]]) -> None:
    assert list(found) == list(expected)
    for at, values in found.items():
        assert values[:4] == expected[at][:4], at
        assert values[4:] == pytest.approx(expected[at][4:], rel=1e-12), at


@pytest.mark.parametrize(("timeframe", "alias"), [("1m", "1min"), ("5m", "5min"), ("1h", "1h")])
def test_candles_are_those_that_another_makes_of_all_trades(bitflyer: LocalBitflyer, timeframe: str, alias: str) -> None:
    since = BEGIN + 180 * MINUTE
    candles, claims = asked(since, timeframe)
    end = NOW.replace(minute=0, second=0) if timeframe == "1h" else NOW.replace(second=0)
    assert claims == [(since, end)]
    assert_same(told(candles), by_pandas(bitflyer, alias, since, end))
    assert len(candles) < (end - since) / MINUTE or timeframe != "1m"  # minutes without trades are no candles


def test_a_part_of_its_time_can_be_asked_for(bitflyer: LocalBitflyer) -> None:
    since, until = BEGIN + 300 * MINUTE, BEGIN + 400 * MINUTE
    candles, claims = asked(since, until=until)
    assert claims == [(since, until)]
    assert_same(told(candles), by_pandas(bitflyer, "1min", since, until))


def test_what_lies_before_the_trades_that_it_still_has_counts_as_not_asked(bitflyer: LocalBitflyer) -> None:
    bitflyer.keeps = 1200
    kept = sorted(bitflyer.trades["BTC_JPY"].values())
    kept = [trade for trade in kept if trade[0] <= NOW.timestamp() * 1000][-1200:]
    candles, claims = asked(BEGIN)
    start = moment(kept[0][0]).replace(second=0, microsecond=0) + MINUTE
    assert claims == [(start, NOW.replace(second=0))]
    assert_same(told(candles), by_pandas(bitflyer, "1min", start, NOW.replace(second=0)))


def test_bad_answers_are_asked_for_again_and_change_nothing(bitflyer: LocalBitflyer) -> None:
    expected = asked(BEGIN + 60 * MINUTE)
    trades = bitflyer.trades["BTC_JPY"]
    bad = [
        Fault(429, b'{"status": -1, "error_message": "Over API limit per period"}'),
        Fault(503, b"busy"),
        Fault(200, b"<html>Just a moment...</html>"),
        Fault(200, b'[{"id": 5, "side": "BUY", "price": null, "size": 1, "exec_date": "2024-01-01T00:00:00"}]'),
        Fault(200, b'[{"id": 5, "side": "BUY", "price": 1, "size": 1, "exec_date": "soon"}]'),
    ]
    bitflyer.faults = [bad[0], None, bad[1], bad[2], None, bad[3], bad[4], None]
    found = asked(BEGIN + 60 * MINUTE)
    assert told(found[0]) == told(expected[0])
    assert found[1] == expected[1]
    assert not bitflyer.faults
    assert len(trades) == 3000


@pytest.mark.parametrize("seed", range(5))
def test_whatever_comes_on_a_bad_day_what_is_claimed_is_whole(bitflyer: LocalBitflyer, seed: int) -> None:
    """Parts of answers, empty ones and doubled ones cost time that is claimed, and no trade of what is."""
    bitflyer.trouble = random_trouble(seed, 0.3, bitflyer)
    exchange = ExchangeSource("bitflyer", now=lambda: NOW)
    claimed = 0
    for _ in range(5):
        for batch in exchange.ask(Inquiry("bitflyer", "BTC/JPY", "1m", BEGIN), NOW):
            ((start, stop),) = batch.answered[0]
            assert_same(told(batch.candles), by_pandas(bitflyer, "1min", start, stop))
            claimed += 1
    assert claimed
    exchange.close()


def test_what_it_does_not_have_is_refused_in_one_line(bitflyer: LocalBitflyer) -> None:
    exchange = ExchangeSource("bitflyer", now=lambda: NOW)
    with pytest.raises(UsageError, match="no 1W_ISO candles") as refused:
        exchange.check(["BTC/JPY"], Inquiry("bitflyer", "BTC/JPY", "1W_ISO", BEGIN).period)
    assert refused.value.hint == "it has 1m, 3m, 5m, 15m, 30m, 1h, 2h, 4h, 6h, 8h, 12h, 1d"
    bitflyer.faults = [Fault(200, b"[[1]]")] * 4
    with pytest.raises(SourceError, match="cannot be read"):
        list(exchange.ask(Inquiry("bitflyer", "BTC/JPY", "1m", BEGIN), NOW))
    exchange.close()


def test_a_backfill_loads_them_and_names_what_it_cannot_have(warehouse: Warehouse, bitflyer: LocalBitflyer) -> None:
    """Run again it has only that to ask for; days are made of trades, too."""
    bitflyer.keeps = 2000
    clock = backfill.patient_exchanges(lambda seconds: None)
    clock.now = lambda: NOW
    with as_commands_connect() as connection:
        wanted = [Wanted("bitflyer", "BTC/JPY", "1m", BEGIN)]
        done = backfill.backfill(connection, wanted, sleep=lambda seconds: None, exchanges=clock)
    (observed,) = warehouse.query("select lower(observed), upper(observed) from raw.observed")
    assert [str(error) for error in done.failed.values()] == [
        f"bitflyer does not answer for BTC/JPY from 2024-01-01 00:00 to {observed[0]:%Y-%m-%d %H:%M}"
    ]
    rows = warehouse.query(
        "select opened_at, open, high, low, close, volume, quote_volume, trade_count from raw.ohlcv order by opened_at"
    )
    assert_same({row[0]: [float(value) for value in row[1:]] for row in rows}, by_pandas(bitflyer, "1min", *observed))
    assert warehouse.query("select count(*) from raw.quarantine") == [(0,)]


# --- without an exchange ------------------------------------------------------------------------------------------------

TRADES = st.lists(
    st.tuples(st.integers(0, 400), st.integers(1, 9), st.integers(1, 9)), max_size=40
).map(lambda made: [
    {"id": str(number + 5), "timestamp": 1_000_000 + at, "price": float(price), "amount": amount / 10}
    for number, (at, price, amount) in enumerate(sorted(made, key=lambda one: one[0]))
])  # fmt: skip


@settings(max_examples=200)
@given(TRADES, st.integers(0, 450), st.integers(1, 7), st.integers(1, 60), st.booleans(), st.randoms())
def test_no_candle_that_is_certain_lacks_a_trade(
    trades: list[Trade], since: int, page: int, step: int, goes_back: bool, chance: random.Random
) -> None:
    """Whatever the pages, and in whatever order they come; what is claimed reaches back as far as was asked."""

    def ask(before: Trade | None) -> list[Trade]:
        rest = [trade for trade in trades if before is None or int(trade["id"]) < int(before["id"])][-page:]
        chance.shuffle(rest)
        return in_order(rest + rest[:1])

    now, since = 1_000_460, since + 1_000_000
    found = NewestTrades(ask, goes_back=goes_back).since(since)
    rows, span = candles_of(found, step, now)
    if span is None:
        assert rows == []
        return
    inside = {row[0]: row for row in rows}
    assert list(inside) == sorted({at for trade in trades if span[0] <= (at := trade["timestamp"] // step * step) < span[1]})
    assert (span[0] - step) // step == found[0]["timestamp"] // step
    assert span[1] <= now < span[1] + step
    if goes_back and trades[0]["timestamp"] < since:
        assert found[0]["timestamp"] < since
    for at, row in inside.items():
        of_period = [trade for trade in trades if at <= trade["timestamp"] < at + step]
        assert (row[1], row[4]) == (of_period[0]["price"], of_period[-1]["price"])
        assert row[5] == float(sum(Fraction(repr(trade["amount"])) for trade in of_period))
        assert (row[2], row[3], row[7]) == (
            max(trade["price"] for trade in of_period), min(trade["price"] for trade in of_period), len(of_period),
        )  # fmt: skip
        assert math.isclose(row[6], sum(trade["price"] * trade["amount"] for trade in of_period))


def test_a_trade_that_comes_after_its_candle_is_not_put_into_the_next() -> None:
    maker = CandleMaker(10)
    made = [{"id": str(at), "timestamp": at, "price": float(at), "amount": 1.0} for at in (15, 25, 14, 26, 31)]
    assert [row[:5] for trade in made for row in maker.add([trade])] == [
        [10, 15.0, 15.0, 15.0, 15.0],
        [20, 25.0, 26.0, 25.0, 26.0],
    ]


def test_trades_of_one_instant_are_in_the_order_of_their_numbers() -> None:
    """ccxt sorts ids as text, where 999 comes after 1000."""
    made = [{"id": name, "timestamp": 5, "price": price, "amount": 1.0} for name, price in (("1000", 2.0), ("999", 1.0))]
    before = {"id": "1", "timestamp": -1, "price": 5.0, "amount": 1.0}
    ((row,), _) = candles_of(in_order([*made, before]), 10, 10)
    assert (row[1], row[4]) == (1.0, 2.0)
    without_numbers = [{**trade, "id": None} for trade in made]
    assert [trade["price"] for trade in in_order(without_numbers)] == [2.0, 1.0]
