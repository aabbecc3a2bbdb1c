"""The real ccxt against an exchange on loopback."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from ingest.sources.exchange import ExchangeUnreachableError
from tests.clocks import this_hour
from tests.commands import titan
from tests.local_exchange import SINCE, STEPS, Fault, LocalExchange
from tests.warehouse import Warehouse, as_commands_connect
from titan.core.errors import ExitCode, UsageError
from titan.ops.exchanges import Exchanges, Inquiry, Loader, load_exchange
from titan.ops.loads import LoadReport
from titan.ops.subscriptions import load_subscriptions

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # requests keeps its connections until it is collected


def load(warehouse: Warehouse, symbol: str = "BTC/USDT", timeframe: str = "1d", since: datetime = SINCE) -> LoadReport:
    with as_commands_connect() as connection:
        return load_exchange(connection, "binance", [symbol], timeframe, since)


def test_candles_land_with_all_that_the_exchange_tells(warehouse: Warehouse, exchange: LocalExchange) -> None:
    report = load(warehouse)
    assert report.promoted[0].inserted == 5
    assert warehouse.query("select close, volume, quote_volume, trade_count from raw.ohlcv order by closed_at")[0] == (
        100, 2.5, 250, 7,
    )  # fmt: skip
    assert warehouse.query("select exchange, symbol, base_timeframe from raw.instrument") == [("binance", "BTC/USDT", "1D")]
    observed = warehouse.value("select upper(observed) from raw.observed")
    assert observed == this_hour().replace(hour=0)
    assert load(warehouse).has_changed_nothing


def test_pages_are_followed_to_the_end(warehouse: Warehouse, exchange: LocalExchange) -> None:
    exchange.add("ETHUSDT", SINCE, "1h", [float(at % 50 + 1) for at in range(2500)])
    report = load(warehouse, "ETH/USDT", "1h")
    assert (report.promoted[0].inserted, report.promoted[0].duplicate) == (2500, 0)


def observed_of(warehouse: Warehouse) -> list[tuple[datetime, datetime]]:
    ranges = "select lower(stretch), upper(stretch) from raw.observed cross join unnest(observed) as stretch order by 1"
    return warehouse.query(ranges)


def test_a_quiet_stretch_is_passed_by_what_the_exchange_answers_for(warehouse: Warehouse, exchange: LocalExchange) -> None:
    """Of 2,100 hours after 320 quiet ones, 1,420 were loaded where an answer covers 300, and all counted as asked."""
    exchange.window = 300 * STEPS["1h"]
    since = this_hour() - timedelta(hours=2420)
    exchange.add("ETHUSDT", since + timedelta(hours=320), "1h", [float(at % 50 + 1) for at in range(2100)])
    report = load(warehouse, "ETH/USDT", "1h", since)
    assert (report.promoted[0].inserted, observed_of(warehouse)) == (2100, [(since, this_hour())])
    assert report.promoted[0].notices == [
        f"ETH/USDT begins on {since + timedelta(hours=320):%Y-%m-%d}, 13 days after the time asked for: "
        "binance has none before"
    ]


def test_an_empty_page_is_asked_for_again(warehouse: Warehouse, exchange: LocalExchange) -> None:
    since = this_hour() - timedelta(hours=1500)
    exchange.add("ETHUSDT", since, "1h", [float(at % 50 + 1) for at in range(1500)])
    exchange.faults = [Fault(200, b"[]")]
    report = load(warehouse, "ETH/USDT", "1h", since)
    assert (report.promoted[0].inserted, report.promoted[0].notices) == (1500, [])


def test_an_exchange_that_gives_its_newest_candles_alone_is_said(warehouse: Warehouse, exchange: LocalExchange) -> None:
    """It ended the loop after one page, and the years before counted as asked."""
    since, exchange.newest = this_hour() - timedelta(hours=1500), 720
    exchange.add("ETHUSDT", since, "1h", [float(at % 50 + 1) for at in range(1500)])
    report = load(warehouse, "ETH/USDT", "1h", since)
    begins = since + timedelta(hours=780)
    assert (report.promoted[0].inserted, observed_of(warehouse)) == (720, [(begins, this_hour())])
    assert report.promoted[0].notices == [
        f"ETH/USDT begins on {begins:%Y-%m-%d}, 32 days after the time asked for: binance did not answer for the time "
        "before, as if it gave its newest ones alone"
    ]


def test_a_time_that_cannot_be_is_quarantined_and_ends_nothing(warehouse: Warehouse, exchange: LocalExchange) -> None:
    """A time that fits no calendar was a traceback; one of 2100 ended the loop, and the rest counted as asked."""
    exchange.add("ETHUSDT", SINCE, "1h", [float(at % 50 + 1) for at in range(1500)])
    rows = exchange.candles["ETHUSDT"]
    for at, time in ((100, 4_102_444_800_000), (200, 10**18), (300, "soon")):
        rows[int(SINCE.timestamp() * 1000) + at * STEPS["1h"]][0] = time
    report = load(warehouse, "ETH/USDT", "1h")
    assert report.promoted[0].inserted == 1497
    assert dict(report.promoted[0].quarantined) == {"is_not_in_the_future": 2, "time_is_readable": 1}


def test_the_unfinished_candle_is_left_out(warehouse: Warehouse, exchange: LocalExchange) -> None:
    today = this_hour().replace(hour=0)
    exchange.add("BTCUSDT", today - timedelta(days=2), "1d", [7, 8, 9])
    report = load(warehouse, since=today - timedelta(days=2))
    assert (report.promoted[0].inserted, report.promoted[0].unfinished, report.quarantined) == (2, 1, 0)


def test_an_exchange_that_stays_down_is_said_in_one_line(warehouse: Warehouse, exchange: LocalExchange) -> None:
    exchange.faults = [Fault(503, b"busy")] * 20
    with pytest.raises(
        ExchangeUnreachableError, match=r"binance cannot be reached: .* 503 Service Unavailable busy"
    ) as failure:
        load(warehouse)
    assert "\n" not in str(failure.value)
    assert warehouse.value("select count(*) from raw.load_batch") == 0


def test_what_came_before_a_page_that_fails_for_ever_is_kept(warehouse: Warehouse, exchange: LocalExchange) -> None:
    """2,000 candles of two pages were lost with the third."""
    exchange.add("ETHUSDT", SINCE, "1h", [float(at % 50 + 1) for at in range(2500)])
    exchange.faults = [None, None, *[Fault(503, b"busy")] * 4]
    arguments = ("load", "exchange", "binance", "--symbols", "ETH/USDT", "--timeframe", "1h", "--since", "2024-01-01")
    result = titan(*arguments, "--json")
    assert result.returncode == ExitCode.PARTIAL
    told = json.loads(result.stdout)
    assert [batch["inserted"] for batch in told["promoted"]] == [2000]
    (failed,) = told["failed"]
    reached = SINCE + timedelta(hours=2000)
    assert failed["origin"] == "binance ETH/USDT 1h"
    assert failed["error"].startswith(
        f"2,000 candles are loaded, up to {reached:%Y-%m-%d %H:%M}, the rest is not: binance cannot be reached: "
    )
    assert observed_of(warehouse) == [(SINCE, reached)]
    report = load(warehouse, "ETH/USDT", "1h", reached)
    assert (report.promoted[0].inserted, report.failed) == (500, [])
    assert [start for start, _ in observed_of(warehouse)] == [SINCE]


def test_a_symbol_that_fails_does_not_stop_the_others(warehouse: Warehouse, exchange: LocalExchange) -> None:
    exchange.add("ETHUSDT", SINCE, "1d", [10.0] * 5)
    exchange.faults_of["BTCUSDT"] = [Fault(200, b"null")] * 4
    report = load_exchange(warehouse.connection, "binance", ["BTC/USDT", "ETH/USDT"], "1d", SINCE)
    assert [batch.symbols for batch in report.promoted] == [["ETH/USDT"]]
    assert [origin for origin, _ in report.failed] == ["binance BTC/USDT 1D"]


def test_a_poll_goes_on_where_it_was_cut_short_and_loads_its_other_series(
    warehouse: Warehouse, exchange: LocalExchange
) -> None:
    """A time that fits no calendar ended the poll of all series."""
    since = this_hour().replace(hour=0) - timedelta(days=60)
    count = (this_hour() - since) // timedelta(hours=1)
    exchange.candles.clear()
    for symbol in ("BTCUSDT", "ETHUSDT"):
        exchange.add(symbol, since, "1h", [float(at % 50 + 1) for at in range(count)])
        warehouse.query(
            "insert into config.subscription values ('binance', %s, '1h', %s)", f"{symbol[:3]}/USDT", since.date()
        )
    impossible = Fault(200, b'[[1000000000000000000, "1", "1", "1", "1", "1", 0, "1", 7]]')
    exchange.faults_of["BTCUSDT"] = [None, *[impossible] * 4]
    report = load_subscriptions(warehouse.connection)
    assert [batch.inserted for batch in report.promoted] == [1000 + count]
    assert ["no candle opens at 1000000000000000000" in str(error) for _, error in report.failed] == [True]
    requests = exchange.requests
    report = load_subscriptions(warehouse.connection)
    assert ([batch.inserted for batch in report.promoted], report.failed) == ([count - 1000], [])
    assert exchange.requests - requests == 2


def test_a_revised_candle_becomes_a_revision(warehouse: Warehouse, exchange: LocalExchange) -> None:
    load(warehouse)
    exchange.add("BTCUSDT", SINCE, "1d", [555])
    report = load(warehouse)
    assert (report.promoted[0].revised, report.promoted[0].unchanged) == (1, 4)
    assert warehouse.query("select close from raw.ohlcv_revision") == [(100,)]


def test_a_bad_candle_is_quarantined(warehouse: Warehouse, exchange: LocalExchange) -> None:
    exchange.candles["BTCUSDT"][int(SINCE.timestamp() * 1000)][2] = "1"
    report = load(warehouse)
    assert dict(report.promoted[0].quarantined) == {"high_is_not_below_low": 1}
    assert report.promoted[0].inserted == 4


@pytest.mark.parametrize(
    ("symbol", "timeframe", "message"),
    [("NOPE/USDT", "1d", "no market NOPE/USDT"), ("BTC/USDT", "7x", "unknown timeframe '7x'")],
)
def test_what_the_exchange_has_not_is_refused(
    warehouse: Warehouse, exchange: LocalExchange, symbol: str, timeframe: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        load(warehouse, symbol, timeframe)


def test_an_unknown_exchange_is_refused(warehouse: Warehouse) -> None:
    with pytest.raises(UsageError, match="unknown exchange 'nowhere'"):
        load_exchange(warehouse.connection, "nowhere", ["BTC/USDT"], "1d", SINCE)


def test_what_is_not_over_was_not_asked_about(warehouse: Warehouse, exchange: LocalExchange) -> None:
    """The running candle counted as observed to its end."""
    exchange.add("ETHUSDT", this_hour() - timedelta(hours=5), "1h", [7.0] * 6)
    load(warehouse, "ETH/USDT", "1h", this_hour() - timedelta(hours=5))
    assert observed_of(warehouse) == [(this_hour() - timedelta(hours=5), this_hour())]


def test_candles_are_finished_by_the_clock_of_the_exchange(warehouse: Warehouse, exchange: LocalExchange) -> None:
    """By a clock here that is ahead of the exchange's, its running candle was a finished one."""
    exchange.add("ETHUSDT", this_hour() - timedelta(hours=5), "1h", [7.0] * 5)
    exchange.skew = -timedelta(hours=1.5)
    report = load(warehouse, "ETH/USDT", "1h", this_hour() - timedelta(hours=5))
    there = (datetime.now(UTC) + exchange.skew).replace(minute=0, second=0, microsecond=0)
    assert observed_of(warehouse) == [(this_hour() - timedelta(hours=5), there)]
    assert warehouse.value("select max(closed_at) from raw.ohlcv") == there
    assert report.promoted[0].unfinished >= 1


def test_several_series_are_asked_at_once_and_make_one_batch(warehouse: Warehouse, exchange: LocalExchange) -> None:
    symbols = [f"{letter * 3}USDT" for letter in "ABCDEFGH"]
    for number, symbol in enumerate(symbols):
        exchange.add(symbol, SINCE, "1d", [float(number + 1)] * 5)
    exchange.answer_time = 0.1
    report = load_exchange(warehouse.connection, "binance", [f"{name[:3]}/USDT" for name in symbols], "1d", SINCE)
    assert exchange.most_at_once > 2
    assert report.promoted[0].inserted == 40
    assert warehouse.value("select count(*) from raw.load_batch where rows_inserted > 0") == 1
    assert warehouse.query("select symbol, min(close), max(close), count(*) from raw.ohlcv inner join raw.instrument "
                           "using (instrument_id) group by symbol order by symbol") == [
        (f"{name[:3]}/USDT", number, number, 5) for number, name in enumerate(symbols, start=1)
    ]  # fmt: skip


def test_pages_are_committed_as_they_come(warehouse: Warehouse, exchange: LocalExchange) -> None:
    since = this_hour() - timedelta(hours=3500)
    exchange.add("ETHUSDT", since, "1h", [float(at % 50 + 1) for at in range(3500)])
    exchange.answer_time = 0.6
    report = load(warehouse, "ETH/USDT", "1h", since)
    assert (report.promoted[0].inserted, report.promoted[0].duplicate) == (3500, 0)
    assert len(report.promoted[0].batch_ids) >= 2
    assert observed_of(warehouse) == [(since, this_hour())]


def test_silence_about_a_known_series_counts_as_an_answer(warehouse: Warehouse, exchange: LocalExchange) -> None:
    """Of a series that nobody knows it does not: there would be nothing to say it of."""
    asked = Inquiry("binance", "BTC/USDT", "1D", SINCE - timedelta(days=20), SINCE - timedelta(days=10))
    for is_known in (False, True):
        Loader(warehouse.connection, Exchanges()).load([asked], datetime.now(UTC))
        if is_known:
            assert observed_of(warehouse)[0] == (asked.since, asked.until)
        else:
            assert observed_of(warehouse) == []
            load(warehouse)
