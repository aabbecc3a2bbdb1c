"""Stocks of a provider on loopback: its candles by session, its splits and dividends, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from ingest.sources import exchange as source
from ingest.sources.paging import RefusedError
from tests.clocks import FastClock
from tests.commands import titan
from tests.local_alpaca import LocalAlpaca
from tests.local_exchange import Fault, local_exchange
from tests.warehouse import Warehouse, as_commands_connect
from titan.core.errors import ExitCode, UsageError
from titan.ops import backfill
from titan.ops.backfill import Backfilled, Wanted
from titan.ops.exchanges import Exchanges, load_exchange
from titan.ops.loads import LoadReport
from titan.ops.subscriptions import load_subscriptions
from titan.ops.watch import Cycle, Watch

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # requests keeps its connections until it is collected

NEW_YORK = ZoneInfo("America/New_York")
SINCE = datetime(2024, 1, 1, tzinfo=UTC)
HOLIDAYS = {date(2024, 1, 1), date(2024, 1, 15), date(2024, 2, 19), date(2024, 3, 29)}
# Over the change to summer time of 2024-03-10, with its holidays.
DAYS = [
    day for day in (date(2024, 1, 2) + timedelta(days=at) for at in range(100)) if day.weekday() < 5 and day not in HOLIDAYS
]
SPLIT = {
    "symbol": "AAA",
    "new_rate": 4,
    "old_rate": 1,
    "ex_date": DAYS[20].isoformat(),
    "process_date": DAYS[20].isoformat(),
}
CASH = {"symbol": "AAA", "rate": 0.5, "special": False, "foreign": False, "ex_date": DAYS[40].isoformat()}


def local(day: date, hour: int = 0, minute: int = 0) -> datetime:
    """A time of New York."""
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=NEW_YORK).astimezone(UTC)


def set_clock(monkeypatch: pytest.MonkeyPatch, served: LocalAlpaca, now: datetime) -> None:
    """It is now, here and there."""
    served.now = lambda: now
    monkeypatch.setattr("titan.ops.exchanges.present", served.now)
    monkeypatch.setattr("ingest.sources.alpaca.AlpacaStocks.milliseconds", lambda _: int(now.timestamp() * 1000))


@pytest.fixture
def alpaca(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalAlpaca]:
    """Days of AAA, which was split 4:1 and paid two dividends on one day, and of BBB; it is noon, some days later."""
    served = LocalAlpaca()
    with local_exchange(served):
        closes = [400.0 + at if at < 20 else 100.0 + at / 4 for at in range(len(DAYS))]
        served.add_stock("AAA", "1Day", [local(day) for day in DAYS], closes)
        served.add_stock("BBB", "1Day", [local(day) for day in DAYS], [50.0 + at for at in range(len(DAYS))])
        served.actions = {"forward_split": [SPLIT], "cash_dividend": [CASH, {**CASH, "rate": 0.25, "special": True}]}
        set_clock(monkeypatch, served, local(DAYS[-1] + timedelta(days=3), 12))
        monkeypatch.setenv("TITAN_CCXT_ALPACASTOCKS", served.options())
        monkeypatch.setenv("APCA_API_KEY_ID", "PKTEST")
        monkeypatch.setenv("APCA_API_SECRET_KEY", "secret")
        monkeypatch.setattr(source, "wait", lambda seconds: None)
        yield served


def load(warehouse: Warehouse, *symbols: str, timeframe: str = "1d", since: datetime = SINCE) -> LoadReport:
    with as_commands_connect() as connection:
        return load_exchange(connection, "alpacastocks", list(symbols or ("AAA",)), timeframe, since)


def ask_for(exchanges: Exchanges, warehouse: Warehouse, symbol: str, timeframe: str, since: datetime) -> Backfilled:
    wanted = [Wanted("alpacastocks", symbol, timeframe, since)]
    with as_commands_connect() as connection:
        return backfill.backfill(connection, wanted, sleep=lambda seconds: None, exchanges=exchanges)


def test_days_are_those_of_the_session_with_its_splits_and_dividends(warehouse: Warehouse, alpaca: LocalAlpaca) -> None:
    report = load(warehouse, "AAA", "BBB")
    assert [promoted.inserted for promoted in report.promoted] == [2 * len(DAYS)]
    assert report.failed == []
    assert report.remarks == ["alpacastocks splits and dividends: 2 new, 0 revised, of AAA"]
    assert warehouse.query("select distinct session_id, base_timeframe from raw.instrument") == [("EQUITY", "1D")]
    opened = [at for (at,) in warehouse.query("select distinct opened_at from raw.ohlcv order by 1")]
    assert opened == [local(day) for day in DAYS]
    assert warehouse.query("select kind, ex_date, ratio, amount from raw.adjustment order by ex_date") == [
        ("split", DAYS[20], 4.0, None),
        ("dividend", DAYS[40], None, 0.75),
    ]
    warehouse.refresh()
    assert warehouse.query("select distinct gap_kind from bars.gap") == [("outside_session",)]
    # Back from the last close by exact fractions: 1/4 at the split, (close before - cash) / close before at the dividend.
    before = 100.0 + 39 / 4
    (first,) = warehouse.query(
        "select close from marts.ohlcv_back_adjusted where symbol = 'AAA' and timeframe = '1D' order by closed_at limit 1"
    )
    assert first[0] == pytest.approx(400.0 / 4 * (before - 0.75) / before, rel=1e-14)


def test_what_is_known_leaves_no_trace_and_what_is_revised_does(warehouse: Warehouse, alpaca: LocalAlpaca) -> None:
    load(warehouse)
    batches = "select count(*) from raw.load_batch where source = 'adjustments'"
    assert (load(warehouse).remarks, warehouse.value(batches)) == ([], 1)
    alpaca.actions["forward_split"] = [{**SPLIT, "new_rate": 2}]
    alpaca.actions["stock_dividend"] = [{"symbol": "AAA", "rate": 0.05, "ex_date": DAYS[50].isoformat()}]
    alpaca.actions["reverse_split"] = [{**SPLIT, "symbol": "BBB", "new_rate": 1, "old_rate": 10}]
    assert load(warehouse, "AAA", "BBB").remarks == ["alpacastocks splits and dividends: 2 new, 1 revised, of AAA, BBB"]
    assert warehouse.query("select ratio from raw.adjustment where kind = 'split' order by ex_date, ratio") == [
        (0.1,),
        (2.0,),
        (1.05,),
    ]


def test_actions_that_cannot_be_had_lose_no_candles_and_are_asked_for_again(
    warehouse: Warehouse, alpaca: LocalAlpaca
) -> None:
    alpaca.action_faults = [Fault(403, b'{"message": "not for you"}')]
    report = load(warehouse)
    assert [promoted.inserted for promoted in report.promoted] == [len(DAYS)]
    ((origin, error),) = report.failed
    assert (origin, "403 Forbidden not for you" in str(error)) == ("alpacastocks splits and dividends", True)
    alpaca.actions["forward_split"] = [{**SPLIT, "old_rate": 0}]
    assert "0 is not above 0" in str(load(warehouse).failed[0][1])
    exchanges = Exchanges()
    ((origin, _),) = ask_for(exchanges, warehouse, "AAA", "1D", SINCE - timedelta(days=5)).report.failed
    assert origin == "alpacastocks splits and dividends"
    assert warehouse.value("select count(*) from raw.adjustment") == 0
    alpaca.actions["forward_split"] = [SPLIT]
    assert ask_for(exchanges, warehouse, "AAA", "1D", SINCE - timedelta(days=10)).report.failed == []
    assert warehouse.value("select count(*) from raw.adjustment") == 2


def minutes(day: date, begin: int, end: int) -> list[datetime]:
    """The minutes of a day of New York from one minute of it to another."""
    return [local(day) + timedelta(minutes=at) for at in range(begin, end)]


def test_hours_before_and_after_the_session_are_kept_and_stop_nothing(warehouse: Warehouse, alpaca: LocalAlpaca) -> None:
    """A poll of an evening brings nothing but such minutes: the gate took them for a market around the clock."""
    day = DAYS[3]
    evening = minutes(day, 16 * 60, 20 * 60)
    alpaca.add_stock("CCC", "1Min", evening, [10.0] * len(evening))
    assert [promoted.inserted for promoted in load(warehouse, "CCC", timeframe="1m").promoted] == [240]
    whole = minutes(day, 9 * 60, 20 * 60)
    alpaca.add_stock("CCC", "1Min", whole, [10.0] * len(whole))
    assert [promoted.inserted for promoted in load(warehouse, "CCC", timeframe="1m").promoted] == [420]
    warehouse.refresh()
    assert warehouse.value("select count(*) from bars.candle where not is_in_session") == 270
    days = "select bar_count, missing_count, volume, is_partial from marts.ohlcv where symbol = 'CCC' and timeframe = '1D'"
    assert warehouse.query(days) == [(390, 0, 39_000.0, False)]


def test_days_off_stop_a_batch_whatever_its_hours(warehouse: Warehouse, alpaca: LocalAlpaca) -> None:
    weekend = minutes(date(2024, 1, 6), 0, 24 * 60)
    alpaca.add_stock("CCC", "1Min", weekend, [10.0] * len(weekend))
    done = ask_for(Exchanges(), warehouse, "CCC", "1m", SINCE)
    ((_, error),) = done.report.failed
    assert "outside_session_share: CCC 1" in str(error)
    assert warehouse.value("select count(*) from raw.ohlcv") == 0


def test_pages_are_followed_whatever_their_length(warehouse: Warehouse, alpaca: LocalAlpaca) -> None:
    alpaca.page, alpaca.has_empty_pages = 2, True
    assert sum(promoted.inserted for promoted in load(warehouse).promoted) == len(DAYS)
    assert warehouse.query("select kind, coalesce(ratio, amount) from raw.adjustment order by ex_date") == [
        ("split", 4.0),
        ("dividend", 0.75),
    ]


def test_what_is_not_there_yet_does_not_count_as_asked(
    warehouse: Warehouse, alpaca: LocalAlpaca, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trades of all exchanges come a quarter of an hour late; it refuses to be asked about that time."""
    now = local(DAYS[3], 14)
    set_clock(monkeypatch, alpaca, now + timedelta(seconds=30))
    alpaca.add_stock("CCC", "1Min", minutes(DAYS[3], 9 * 60, 14 * 60), [10.0] * 300)
    report = load(warehouse, "CCC", timeframe="1m", since=local(DAYS[3], 9))
    assert (report.failed, report.promoted[0].inserted) == ([], 285)
    newest = "select max(closed_at), max(upper(observed)) from raw.ohlcv cross join raw.observed"
    assert warehouse.query(newest) == [(now - timedelta(minutes=15),) * 2]
    monkeypatch.setenv("TITAN_CCXT_ALPACASTOCKS", alpaca.options(feed="iex"))
    assert load(warehouse, "CCC", timeframe="1m", since=local(DAYS[3], 9)).promoted[0].inserted == 15
    assert warehouse.query(newest) == [(now, now)]


def test_a_backfill_and_a_poll_of_stocks_are_as_of_any_exchange(warehouse: Warehouse, alpaca: LocalAlpaca) -> None:
    wanted = [Wanted("alpacastocks", symbol, "1D", SINCE) for symbol in ("AAA", "BBB")]
    done = backfill.backfill(warehouse.connection, wanted, sleep=lambda seconds: None)
    assert (done.failed, [promoted.inserted for promoted in done.report.promoted]) == ({}, [2 * len(DAYS)])
    requests = alpaca.requests
    done = backfill.backfill(warehouse.connection, wanted, sleep=lambda seconds: None)
    assert (done.failed, alpaca.requests) == ({}, requests)
    warehouse.query("insert into config.subscription (exchange, symbol, timeframe, since) "
                    "values ('alpacastocks', 'AAA', '1D', '2024-01-01')")  # fmt: skip
    assert load_subscriptions(warehouse.connection).has_changed_nothing
    told = json.loads(titan("listings", "--exchange", "alpacastocks", "--json").stdout)
    assert [row["symbol"] for row in told] == ["AAA", "BBB"]


def test_a_watch_follows_what_comes_late(warehouse: Warehouse, alpaca: LocalAlpaca, monkeypatch: pytest.MonkeyPatch) -> None:
    """Minutes that are there a quarter of an hour after their close: none is asked for before, which would never end."""
    clock = FastClock(local(DAYS[3], 12), local(DAYS[3], 12, 30))
    alpaca.now = clock.now
    monkeypatch.setattr("ingest.sources.alpaca.AlpacaStocks.milliseconds", lambda _: int(clock.now().timestamp() * 1000))
    alpaca.add_stock("CCC", "1Min", minutes(DAYS[3], 9 * 60, 16 * 60), [10.0 + at % 7 for at in range(420)])
    warehouse.query("insert into config.subscription (exchange, symbol, timeframe, since) "
                    "values ('alpacastocks', 'CCC', '1m', %s)", DAYS[3])  # fmt: skip
    cycles: list[Cycle] = []
    Watch(clock).run(cycles.append)
    assert not [cycle.failed for cycle in cycles if cycle.failed]
    assert local(DAYS[3], 12, 13) <= warehouse.value("select max(closed_at) from raw.ohlcv") <= local(DAYS[3], 12, 15)
    assert warehouse.value("select count(*) from raw.ohlcv_revision") == 0
    assert alpaca.requests < 2 * 30
    warehouse.assert_incremental_equals_full()


def test_what_it_refuses_is_said_with_what_to_do(
    warehouse: Warehouse, alpaca: LocalAlpaca, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="alpacastocks has no market ZZZ"):
        load(warehouse, "ZZZ")
    alpaca.faults = [Fault(403, b'{"message": "subscription does not permit querying recent SIP data"}')]
    with pytest.raises(RefusedError, match="does not permit querying recent SIP data"):
        load(warehouse)
    monkeypatch.setenv("TITAN_CCXT_ALPACASTOCKS", alpaca.options(delay="none"))
    with pytest.raises(UsageError, match="TITAN_CCXT_ALPACASTOCKS: a delay of 'none' is no number of minutes"):
        load(warehouse)
    monkeypatch.delenv("APCA_API_KEY_ID")
    result = titan("load", "exchange", "alpacastocks", "--symbols", "AAA", "--timeframe", "1d", "--since", "2024-01-01")
    assert (result.returncode, "APCA_API_KEY_ID" in result.stderr) == (ExitCode.USAGE, True)
