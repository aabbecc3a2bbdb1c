"""Backfills of an exchange on loopback: what is missing, what of it is asked for, and what all that goes wrong leaves."""

from __future__ import annotations

import json
import random
import subprocess
import time
from datetime import UTC, datetime, timedelta

import pytest

from ingest.sources.exchange import ExchangeUnreachableError
from tests.clocks import this_hour
from tests.commands import QUICK_TITAN, titan
from tests.local_exchange import Fault, LocalExchange, random_trouble
from tests.warehouse import Warehouse, as_commands_connect
from titan.core.errors import ExitCode, UsageError
from titan.ops import backfill, status
from titan.ops.backfill import Backfilled, Wanted, plan
from titan.ops.run_lock import held
from titan.ops.subscriptions import load_subscriptions

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # requests keeps its connections until it is collected

HOUR = timedelta(hours=1)
SINCE = this_hour().replace(hour=0) - timedelta(days=150)
LIMITED = Fault(429, b'{"code": -1003, "msg": "Too many requests"}', {"Retry-After": "300"})


@pytest.fixture
def market(exchange: LocalExchange) -> LocalExchange:
    """Hours of BTC/USDT and ETH/USDT from SINCE to now: four pages each."""
    exchange.candles.clear()
    for symbol in ("BTCUSDT", "ETHUSDT"):
        exchange.add(symbol, SINCE, "1h", [float(at % 50 + 1) for at in range((this_hour() - SINCE) // HOUR)])
    return exchange


def run(warehouse: Warehouse, *symbols: str, since: datetime = SINCE, timeframe: str = "1h") -> Backfilled:
    wanted = [Wanted("binance", symbol, timeframe, since) for symbol in symbols or ("BTC/USDT",)]
    with as_commands_connect() as connection:
        return backfill.backfill(connection, wanted, sleep=lambda seconds: None)


def observed(warehouse: Warehouse) -> list[tuple[str, datetime, datetime]]:
    return warehouse.query(
        "select symbol, lower(stretch), upper(stretch) from raw.observed cross join unnest(observed) as stretch "
        "inner join raw.instrument using (instrument_id) order by 1, 2"
    )


def assert_complete(warehouse: Warehouse, market: LocalExchange, since: datetime = SINCE) -> None:
    """Every candle of the exchange is here as it has it, once, and all the time counts as asked."""
    rows = warehouse.query(
        "select symbol, opened_at, close, quote_volume, trade_count from raw.ohlcv "
        "inner join raw.instrument using (instrument_id) order by 1, 2"
    )
    expected = [
        (f"{symbol[:3]}/USDT", datetime.fromtimestamp(at / 1000, UTC), float(candle[4]), 2.5 * float(candle[4]), 7)
        for symbol, candles in sorted(market.candles.items())
        for at, candle in sorted(candles.items())
        if at >= since.timestamp() * 1000
    ]
    assert rows == expected
    assert warehouse.value("select count(*) from raw.ohlcv_revision") == 0
    assert observed(warehouse) == [(f"{symbol[:3]}/USDT", since, this_hour()) for symbol in sorted(market.candles)]


def test_what_is_here_is_not_asked_for_again(warehouse: Warehouse, market: LocalExchange) -> None:
    assert [one.reason for one in run(warehouse, "BTC/USDT", "ETH/USDT").stretches] == ["new", "new"]
    assert_complete(warehouse, market)
    requests = market.requests
    assert (run(warehouse, "BTC/USDT", "ETH/USDT").stretches, market.requests) == ([], requests)


def test_earlier_history_is_put_before_what_is_here(warehouse: Warehouse, market: LocalExchange) -> None:
    begun = this_hour() - 30 * HOUR
    run(warehouse, since=begun)
    requests = market.requests
    done = run(warehouse, since=begun - 500 * HOUR)
    (stretch,) = done.stretches
    assert (stretch.reason, stretch.from_at, stretch.until_at) == ("earlier", begun - 500 * HOUR, begun)
    assert done.report.promoted[0].inserted == 500
    assert market.requests == requests + 1
    assert observed(warehouse) == [("BTC/USDT", begun - 500 * HOUR, this_hour())]


def test_time_before_the_first_candle_is_asked_for_once(warehouse: Warehouse, market: LocalExchange) -> None:
    run(warehouse)
    run(warehouse, since=SINCE - 300 * HOUR)
    assert observed(warehouse) == [("BTC/USDT", SINCE - 300 * HOUR, this_hour())]
    assert run(warehouse, since=SINCE - 300 * HOUR).stretches == []


def test_a_hole_that_nobody_asked_about_is_filled_and_nothing_else_asked(
    warehouse: Warehouse, market: LocalExchange
) -> None:
    """Both sides were loaded, an hour's hole and a week's between them."""
    missing = {}
    for start, length in ((SINCE + 100 * HOUR, 1), (SINCE + 200 * HOUR, 168)):
        for at in range(length):
            opened = int((start + at * HOUR).timestamp() * 1000)
            missing[opened] = market.candles["BTCUSDT"].pop(opened)
    market.candles.pop("ETHUSDT")
    run(warehouse)
    warehouse.query(
        "update raw.observed set observed = observed - tstzmultirange(tstzrange(%s, %s), tstzrange(%s, %s))",
        SINCE + 100 * HOUR, SINCE + 101 * HOUR, SINCE + 200 * HOUR, SINCE + 368 * HOUR,
    )  # fmt: skip
    market.candles["BTCUSDT"] |= missing
    market.asked.clear()
    done = run(warehouse)
    assert [(one.reason, one.candles) for one in done.stretches] == [("not_fetched", 1), ("not_fetched", 168)]
    assert done.report.promoted[0].inserted == 169
    assert len(market.asked) == 2
    assert_complete(warehouse, market)
    warehouse.refresh()
    assert warehouse.value("select count(*) from bars.gap") == 0


def test_an_outage_is_asked_about_once_more(warehouse: Warehouse, market: LocalExchange) -> None:
    market.candles.pop("ETHUSDT")
    first, second = ([int((SINCE + (hour + at) * HOUR).timestamp() * 1000) for at in range(9)] for hour in (100, 300))
    missing = {opened: market.candles["BTCUSDT"].pop(opened) for opened in (*first, *second)}
    run(warehouse)
    warehouse.refresh()
    kinds = "select gap_kind, count(*) from bars.gap where timeframe = '1h' group by 1"
    assert warehouse.query(kinds) == [("outage", 2)]
    market.candles["BTCUSDT"] |= {opened: missing[opened] for opened in first}  # the exchange has mended one of them
    done = run(warehouse)
    assert [(one.reason, one.candles) for one in done.stretches] == [("outage", 9), ("outage", 9)]
    assert done.report.promoted[0].inserted == 9
    warehouse.refresh()
    assert warehouse.query(kinds) == [("outage", 1)]
    requests = market.requests
    assert (run(warehouse).stretches, market.requests) == ([], requests)
    warehouse.assert_incremental_equals_full()


@pytest.mark.parametrize("seed", range(3))
def test_a_bad_day_of_the_exchange_loses_nothing(warehouse: Warehouse, market: LocalExchange, seed: int) -> None:
    """A quarter of all answers is none; each page is asked for a bounded number of times."""
    market.trouble = random_trouble(seed, 0.25)
    done = run(warehouse, "BTC/USDT", "ETH/USDT")
    assert done.failed == {}
    assert_complete(warehouse, market)
    times = [market.asked.count(question) for question in set(market.asked)]
    assert max(times) <= 2 * 8  # attempts, and an empty page is asked for twice


def test_an_exchange_that_is_gone_for_a_while_is_waited_for(warehouse: Warehouse, market: LocalExchange) -> None:
    """It goes on where it stopped: no page comes twice."""
    waited: list[float] = []
    market.faults_of["BTCUSDT"] = [None, None, LIMITED]

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        warehouse.query("update ops.circuit_breaker set retry_at = now()")

    wanted = [Wanted("binance", symbol, "1h", SINCE) for symbol in ("BTC/USDT", "ETH/USDT")]
    done = backfill.backfill(warehouse.connection, wanted, sleep=sleep)
    assert done.failed == {}
    assert 290 <= sum(waited) <= 300
    assert_complete(warehouse, market)
    pages = [question for question in market.asked if question[0] == "BTCUSDT"]
    assert [pages.count(page) for page in dict.fromkeys(pages)].count(2) <= 1
    assert len(pages) <= 6
    assert status.left_alone(warehouse.connection) == []


def test_an_exchange_that_stays_away_is_given_up_and_what_came_is_kept(warehouse: Warehouse, market: LocalExchange) -> None:
    market.faults_of["BTCUSDT"] = [None, *[Fault(503, b"busy")] * 8]
    market.market_faults = [None, *[Fault(503, b"busy")] * 200]
    done = run(warehouse)
    assert [type(error) for error in done.failed.values()] == [ExchangeUnreachableError]
    assert warehouse.value("select count(*) from raw.ohlcv") == 1000
    assert observed(warehouse) == [("BTC/USDT", SINCE, SINCE + 1000 * HOUR)]
    (circuit,) = status.left_alone(warehouse.connection)
    assert (circuit["exchange"], circuit["failures"]) == ("binance", backfill.MOST_FRUITLESS + 1)


def test_who_asks_to_be_left_alone_is_by_every_process(warehouse: Warehouse, market: LocalExchange) -> None:
    warehouse.query("insert into config.subscription (exchange, symbol, timeframe, since) "
                    "values ('binance', 'BTC/USDT', '1h', %s)", SINCE.date())  # fmt: skip
    market.faults = [LIMITED]
    with pytest.raises(ExchangeUnreachableError, match="asks to wait for 300 s"):
        load_subscriptions(warehouse.connection)
    answers = market.answers  # of any kind: its markets are not asked for either
    with pytest.raises(
        ExchangeUnreachableError, match=r"binance is left alone until \d\d:\d\d:\d\d UTC: binance is rate limited"
    ):
        load_subscriptions(warehouse.connection)
    result = titan("load", "exchange", "binance", "--symbols", "BTC/USDT", "--timeframe", "1h", "--since", "2024-01-01")
    assert (result.returncode, market.answers) == (ExitCode.FAILED, answers)
    assert "is left alone until" in result.stderr
    result = titan("backfill", "--exchange", "binance", "--symbols", "BTC/*", "--timeframe", "1m", "--since", "2024-01-01")
    assert (result.returncode, market.answers) == (ExitCode.FAILED, answers)
    assert "exchange\tfailures" in titan("status").stdout
    warehouse.query("update ops.circuit_breaker set retry_at = now()")
    load_subscriptions(warehouse.connection)
    assert json.loads(titan("status", "--json").stdout)["left_alone"] == []
    assert warehouse.value("select count(*) from raw.ohlcv") == (this_hour() - SINCE) // HOUR


def test_killed_again_and_again_it_ends_as_if_nobody_had(warehouse: Warehouse, market: LocalExchange) -> None:
    chance = random.Random(1)
    market.candles.clear()
    since = this_hour() - timedelta(days=8)
    for symbol in ("AAAUSDT", "BBBUSDT", "CCCUSDT"):
        market.add(symbol, since, "1m", [float(at % 50 + 1) for at in range((this_hour() - since) // timedelta(minutes=1))])
    market.answer_time = 0.2
    command = [*QUICK_TITAN, "backfill", "--exchange", "binance", "--symbols", "*/USDT", "--timeframe", "1m"]
    command += ["--since", since.isoformat()]
    kills = 0
    while True:
        batches = warehouse.value("select count(*) from raw.load_batch")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while process.poll() is None and warehouse.value("select count(*) from raw.load_batch") == batches:
            time.sleep(0.02)
        if kills < 2 and process.poll() is None:
            time.sleep(chance.random())
            process.kill()
            kills += 1
        process.communicate(timeout=60)
        if process.returncode == 0:
            break
    assert kills == 2
    rows = warehouse.query("select symbol, count(*), count(distinct closed_at), sum(close) from raw.ohlcv "
                           "inner join raw.instrument using (instrument_id) group by 1 order by 1")  # fmt: skip
    closes = [float(candle[4]) for candle in market.candles["AAAUSDT"].values()]
    assert rows == [(f"{name}/USDT", len(closes), len(closes), sum(closes)) for name in ("AAA", "BBB", "CCC")]
    assert {(start, stop >= this_hour()) for _, start, stop in observed(warehouse)} == {(since, True)}
    assert len(observed(warehouse)) == 3


def test_the_plan_asks_nobody(warehouse: Warehouse, market: LocalExchange) -> None:
    command = ("backfill", "--exchange", "binance", "--symbols", "*/USDT", "--timeframe", "1h", "--since", SINCE.isoformat())
    rows = json.loads(titan(*command, "--dry-run", "--json").stdout)
    assert [(row["symbol"], row["reason"], row["candles"] >= 3600) for row in rows] == [
        ("BTC/USDT", "new", True),
        ("ETH/USDT", "new", True),
    ]
    assert market.requests == 0
    told = titan(*command, "--refresh")
    assert told.returncode == ExitCode.OK
    assert f"{2 * ((this_hour() - SINCE) // HOUR):,} rows read" in told.stdout
    assert titan(*command, "--dry-run").stdout == "nothing is missing\n"
    assert warehouse.value("select count(*) from marts.ohlcv where timeframe = '1h'") == 2 * ((this_hour() - SINCE) // HOUR)


def test_two_at_once_are_one(warehouse: Warehouse, market: LocalExchange) -> None:
    with held("backfill", lock="backfill"):
        result = titan("backfill", "--exchange", "binance", "--symbols", "BTC/USDT")
    assert result.returncode == ExitCode.BUSY
    assert "another backfill is under way: backfill" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing is subscribed to"),
        (("--exchange", "binance"), "go together"),
        (("--exchange", "binance", "--symbols", "XYZ/*"), "no market like 'XYZ/*'"),
        (("--universe", "nowhere"), "there is no universe 'nowhere'"),
        (("--symbols", "BTC/USDT", "--exchange", "binance", "--timeframe", "7x"), "unknown timeframe '7x'"),
    ],
)
def test_what_cannot_be_asked_is_said(
    warehouse: Warehouse, market: LocalExchange, arguments: tuple[str, ...], message: str
) -> None:
    result = titan("backfill", *arguments)
    assert (result.returncode, message in result.stderr) == (ExitCode.USAGE, True)


def test_a_series_without_a_beginning_goes_as_far_back_as_config_says(warehouse: Warehouse, market: LocalExchange) -> None:
    def begins(timeframe: str, exchange: str = "binance") -> datetime:
        (stretch,) = plan(warehouse.connection, [Wanted(exchange, "BTC/USDT", timeframe)], this_hour())
        return stretch.from_at

    midnight = this_hour().replace(hour=0)
    assert begins("1m") == begins("15m") == midnight - timedelta(days=180)
    assert begins("1h") == begins("1D") == datetime(2010, 7, 17, tzinfo=UTC)
    warehouse.query("insert into config.history values ('binance', '*', '30 days'), ('binance', '1m', '7 days')")
    assert begins("1m") == midnight - timedelta(days=7)
    assert begins("5m") == begins("1D") == midnight - timedelta(days=30)
    assert begins("5m", "kraken") == midnight - timedelta(days=180)


def test_a_universe_is_all_that_ever_belonged_to_it(warehouse: Warehouse, market: LocalExchange) -> None:
    warehouse.query("insert into config.universe values ('majors', 'binance', 'BTC/USDT', '2024-01-01', null), "
                    "('majors', 'binance', 'ETH/USDT', '2024-01-01', '2025-01-01')")  # fmt: skip
    wanted = backfill.wanted_of_universe(warehouse.connection, "majors", "1h", SINCE)
    assert [one.symbol for one in wanted] == ["BTC/USDT", "ETH/USDT"]
    assert warehouse.query("select symbol from config.universe_at('majors', '2024-06-01') order by 1") == [
        ("BTC/USDT",),
        ("ETH/USDT",),
    ]
    assert warehouse.query("select symbol from config.universe_at('majors', '2025-01-01') order by 1") == [("BTC/USDT",)]
    with pytest.raises(UsageError):
        backfill.wanted_of_universe(warehouse.connection, "minors", "1h", SINCE)


@pytest.fixture
def archive(market: LocalExchange, monkeypatch: pytest.MonkeyPatch) -> LocalExchange:
    """Candles of BTC/USDT of two whole months and a part of a third, on the exchange and in an archive beside it."""
    market.candles.clear()
    market.add("BTCUSDT", ARCHIVED, "3m", [float(at % 50 + 1) for at in range(70 * 480)])
    market.now = lambda: ARCHIVED + timedelta(days=70)
    market.archived = {"BTCUSDT-3m-2024-02.zip", "BTCUSDT-3m-2024-03.zip"}
    monkeypatch.setenv("TITAN_ARCHIVE_BINANCE", f"{market.url}/archive")
    monkeypatch.setattr("titan.ops.exchanges.present", market.now)
    return market


ARCHIVED = datetime(2024, 2, 1, tzinfo=UTC)


def test_whole_months_come_from_the_archive(warehouse: Warehouse, archive: LocalExchange) -> None:
    done = run(warehouse, since=ARCHIVED, timeframe="3m")
    assert (done.failed, done.report.failed, done.report.remarks) == ({}, [], [])
    assert [(promoted.inserted, promoted.revised) for promoted in done.report.promoted] == [(70 * 480, 0)]
    assert archive.requests <= 7  # of thirty-four pages
    assert observed(warehouse) == [("BTC/USDT", ARCHIVED, ARCHIVED + timedelta(days=70))]
    assert warehouse.value("select count(*) from raw.load_batch where source = 'file'") == 2
    assert run(warehouse, since=ARCHIVED, timeframe="3m").stretches == []


def test_a_file_that_is_not_what_its_checksum_says_is_not_loaded(warehouse: Warehouse, archive: LocalExchange) -> None:
    archive.spoilt = {"BTCUSDT-3m-2024-02.zip"}
    done = run(warehouse, since=ARCHIVED, timeframe="3m")
    (remark,) = done.report.remarks
    assert "BTCUSDT-3m-2024-02.zip is not what its checksum says" in remark
    assert warehouse.value("select count(*) from raw.load_batch where source = 'file'") == 1
    assert warehouse.value("select count(*) from raw.ohlcv") == 70 * 480
    assert observed(warehouse) == [("BTC/USDT", ARCHIVED, ARCHIVED + timedelta(days=70))]


def test_an_archive_that_cannot_be_reached_is_said_once_and_done_without(
    warehouse: Warehouse, archive: LocalExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TITAN_ARCHIVE_BINANCE", "http://127.0.0.1:1")
    done = run(warehouse, since=ARCHIVED, timeframe="3m")
    (remark,) = done.report.remarks
    assert "cannot be fetched" in remark
    assert warehouse.value("select count(*) from raw.ohlcv") == 70 * 480
