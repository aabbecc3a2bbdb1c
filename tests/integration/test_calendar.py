"""Calendars: the days and hours of New York are those of the exchange, and an edit of them cuts again what it must."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import psycopg
import pytest

from tests import brute_force
from tests.brute_force import UNPLANNED
from tests.warehouse import BARS_ALONE, Row, Warehouse, instant, make_batch
from titan.core.errors import GateError

LEFT_ALONE = BARS_ALONE

NEW_YORK = ZoneInfo("America/New_York")
HOLIDAY = date(2024, 2, 6)  # a Tuesday like any other
HOURS = "date, opened_at, closed_at"


@cache
def exchange_days() -> dict[date, tuple[pd.Timestamp, pd.Timestamp]]:
    """Opens and closes of New York by exchange_calendars, the unplanned ones of UNPLANNED included."""
    return brute_force.new_york().days


def trading_days(warehouse: Warehouse, columns: str = HOURS, first: str = "1990-01-01", last: str = "2030-12-31") -> Any:
    return warehouse.query(
        f"""
        select {columns} from bars.dim_calendar
        where session_id = 'EQUITY' and is_trading_day and date between %s and %s order by date
        """,
        first,
        last,
    )


# --- New York -------------------------------------------------------------------------------------------------------------


def test_trading_days_are_those_of_the_exchange(untouched: Warehouse) -> None:
    expected = [day for day in exchange_days() if 1990 <= day.year <= 2030]
    assert [row[0] for row in trading_days(untouched)] == expected


def test_hours_are_those_of_the_exchange(untouched: Warehouse) -> None:
    found = {day: hours for day, *hours in trading_days(untouched)}
    assert {day: hours for day, hours in found.items() if hours != list(exchange_days()[day])} == {}


def test_unplanned_hours_are_listed_by_date(untouched: Warehouse) -> None:
    listed = untouched.query(
        """
        select date::text, to_char(open_local, 'HH24:MI'), to_char(close_local, 'HH24:MI') from config.holiday
        where session_id = 'EQUITY' and num_nonnulls(open_local, close_local) > 0
        """
    )
    planned = {"1997-12-26", "1999-12-31", "2003-12-26"}  # known ahead, by no rule
    assert {day: tuple(hours) for day, *hours in listed if day not in planned} == UNPLANNED


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("lean_AAPL_1d_x10000", "time"),
        ("lean_SPY_1d_x10000", "time"),
        ("backtestingpy_GOOG", "Unnamed: 0"),
        ("pandas_ta_SPY_1d", "date"),
        ("mplfinance_yahoofinance-AAPL-20040819-20180120", "Date"),
    ],
)
def test_no_trading_day_of_a_real_file_is_missing_or_invented(
    untouched: Warehouse, shared: Path, name: str, column: str
) -> None:
    times = pd.read_csv(shared / "data" / "equity" / f"{name}.csv.gz")[column]
    dates = sorted(date.fromisoformat(text.split()[0]) for text in times)
    assert [row[0] for row in trading_days(untouched, "date", str(dates[0]), str(dates[-1]))] == dates


def test_trading_days_are_counted_without_holes(untouched: Warehouse) -> None:
    for session in ("EQUITY", "CRYPTO"):
        rows = untouched.query(
            "select is_trading_day, trading_day_number from bars.dim_calendar where session_id = %s order by date", session
        )
        expected = 0
        for is_trading_day, number in rows:
            assert number == expected  # a closed day has the number of the next trading day
            expected += is_trading_day


@pytest.mark.parametrize(
    ("values", "said", "hint"),
    [
        ("('X', 'x', false, 5, 'UTC', '16:00', '09:30')", "opens at 16:00:00 and closes at 09:30:00", "one local date"),
        ("('X', 'x', false, 5, 'UTC', '09:30', '09:30')", "not after it", "wants a timezone in which it does not"),
        ("('X', 'x', false, 5, 'Mars/Olympus', '09:30', '16:00')", "unknown timezone 'Mars/Olympus'", "pg_timezone_names"),
    ],
)
def test_a_session_that_cannot_be_is_refused(untouched: Warehouse, values: str, said: str, hint: str) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match=r"^config\.session: X ") as caught:
        untouched.query(f"insert into config.session values {values}")
    assert said in str(caught.value.diag.message_primary)
    assert hint in str(caught.value.diag.message_hint)


# --- edits ----------------------------------------------------------------------------------------------------------------


def local(day: date, time: str = "00:00") -> datetime:
    return datetime.fromisoformat(f"{day}T{time}").replace(tzinfo=NEW_YORK)


def equities(warehouse: Warehouse) -> None:
    """AAPL by the day and SPY by the half hour, early in 2024."""
    days = [day for day in exchange_days() if date(2024, 1, 2) <= day <= date(2024, 3, 15)]
    daily = [Row(local(day), 100 + day.toordinal() % 9, "AAPL") for day in days]
    warehouse.load(make_batch(daily, timeframe="1D", session="EQUITY"))
    halves = [
        Row(local(day, "09:30") + timedelta(minutes=30 * at), 400 + day.day + at % 5, "SPY")
        for day in days
        if date(2024, 2, 1) <= day <= date(2024, 2, 12)
        for at in range(13)
    ]
    warehouse.load(make_batch(halves, timeframe="30m", session="EQUITY"))
    warehouse.refresh()


def stored(warehouse: Warehouse) -> dict[tuple[Any, ...], str]:
    """The transaction that wrote each stored bar."""
    rows = warehouse.query(
        " union all ".join(
            f"""
            select symbol, timeframe, closed_at, bar.xmin::text
            from bars.{table} as bar inner join bars.dim_instrument using (instrument_id)
            """
            for table in ("candle", "rollup_stored", "daily", "multi_day")
        )
    )
    return {row[:-1]: row[-1] for row in rows}


def assert_untouched_until(moment: datetime, before: dict[tuple[Any, ...], str], after: dict[tuple[Any, ...], str]) -> None:
    """Nothing that closed before the moment was written again, but for the rows to date of periods that it lies in."""
    known = {key: xmin for key, xmin in before.items() if key[-1] < moment and not key[1].endswith("_TD")}
    assert len(known) > 150
    assert {key: xmin for key, xmin in after.items() if key[-1] < moment and not key[1].endswith("_TD")} == known


def known_by(warehouse: Warehouse, moment: datetime) -> list[tuple[Any, ...]]:
    """Every bar that closed before the moment."""
    return warehouse.query("select bar::text from bars.fct_bars as bar where closed_at < %s order by 1", moment)


def spans(warehouse: Warehouse, timeframe: str) -> list[tuple[date, date, int]]:
    """First and last local date of each bar of AAPL, and how many days are in it."""
    return [
        (opened_at.astimezone(NEW_YORK).date(), closed_at.astimezone(NEW_YORK).date(), count)
        for opened_at, closed_at, count in warehouse.query(
            """
            select opened_at, closed_at, bar_count from bars.fct_bars inner join bars.dim_instrument using (instrument_id)
            where symbol = 'AAPL' and timeframe = %s order by closed_at
            """,
            timeframe,
        )
    ]


def test_a_holiday_cuts_again_what_follows_it_and_its_removal_restores_every_bit(warehouse: Warehouse) -> None:
    equities(warehouse)
    contents, before, fives = warehouse.contents(), stored(warehouse), spans(warehouse, "5D")
    known = known_by(warehouse, local(HOLIDAY))
    warehouse.query("insert into config.holiday (session_id, date, name) values ('EQUITY', %s, 'Surprise')", HOLIDAY)
    warehouse.refresh()
    assert_untouched_until(local(HOLIDAY), before, stored(warehouse))
    assert known_by(warehouse, local(HOLIDAY)) == known
    assert HOLIDAY not in {first for first, _, _ in spans(warehouse, "1D")}
    shifted = spans(warehouse, "5D")
    assert [span for span in shifted if span[1] < HOLIDAY] == [span for span in fives if span[1] < HOLIDAY]
    days = [day for day in exchange_days() if day != HOLIDAY]
    for first, last, count in shifted:
        assert count == 5
        assert days.index(last) == days.index(first) + 4
        assert days.index(first) % 5 == 0
    assert {span for span in shifted if span[0] > HOLIDAY}.isdisjoint(fives)
    assert warehouse.value("select count(*) from bars.candle where not is_in_session") == 1 + 13
    warehouse.assert_incremental_equals_full()

    warehouse.query("delete from config.holiday where name = 'Surprise'")
    warehouse.refresh()
    restored = warehouse.contents()
    assert {table for table, rows in contents.items() if restored[table] != rows} == set()


def test_an_early_close_moves_the_end_of_the_day(warehouse: Warehouse) -> None:
    equities(warehouse)
    before = stored(warehouse)
    bar = """
        select closed_at, bar_count from bars.fct_bars inner join bars.dim_instrument using (instrument_id)
        where symbol = %s and timeframe = '1D' and (opened_at at time zone 'America/New_York')::date = %s
    """
    assert warehouse.query(bar, "SPY", HOLIDAY) == [(local(HOLIDAY, "16:00"), 13)]
    warehouse.query("insert into config.holiday values ('EQUITY', %s, 'Snow', null, '13:00')", HOLIDAY)
    warehouse.refresh()
    assert warehouse.query(bar, "AAPL", HOLIDAY) == [(local(HOLIDAY, "13:00"), 1)]
    assert warehouse.query(bar, "SPY", HOLIDAY) == [(local(HOLIDAY, "13:00"), 7)]
    assert_untouched_until(local(HOLIDAY), before, stored(warehouse))
    warehouse.query("update config.holiday set close_local = '14:30' where name = 'Snow'")
    warehouse.refresh()
    assert warehouse.query(bar, "AAPL", HOLIDAY) == [(local(HOLIDAY, "14:30"), 1)]
    assert warehouse.query(bar, "SPY", HOLIDAY) == [(local(HOLIDAY, "14:30"), 10)]
    warehouse.assert_incremental_equals_full()


# --- candles that the calendar contradicts --------------------------------------------------------------------------------


def test_a_candle_on_a_holiday_is_kept_warned_of_and_in_no_bar(warehouse: Warehouse) -> None:
    days = [date(2024, 1, 8) + timedelta(days=at) for at in range(12)]
    closed = date(2024, 1, 15)  # Martin Luther King Jr. Day
    rows = [Row(local(day), 999 if day == closed else 100, "AAPL") for day in days if day.weekday() < 5]
    loaded = warehouse.load(make_batch(rows, timeframe="1D", session="EQUITY"))
    assert [str(finding) for finding in loaded.warnings if finding.expectation == "closed_date_count"] == [
        "closed_date_count: AAPL 1 (threshold 0)"
    ]
    warehouse.refresh()
    assert warehouse.query("select opened_at, close from bars.candle where not is_in_session") == [
        (local(closed, "09:30"), 999)
    ]
    assert warehouse.query("select timeframe from bars.fct_bars where high >= 999") == []
    assert warehouse.value("select count(*) from bars.fct_bars where timeframe = '1D'") == len(rows) - 1


def test_a_market_around_the_clock_in_a_session_is_stopped_whole(warehouse: Warehouse) -> None:
    start = instant("2024-01-06")
    rows = [Row(start + timedelta(minutes=at), 100) for at in range(3 * 1440)]
    with pytest.raises(
        GateError, match=r"outside_session_share.*, e\.g\. the candle closing 2024-01-05 19:01 America/N"
    ) as stop:
        warehouse.load(make_batch(rows, timeframe="1m", session="EQUITY"))
    assert "--session" in str(stop.value.hint)
    for table in ("ohlcv", "instrument", "observed"):
        assert warehouse.value(f"select count(*) from raw.{table}") == 0


def test_bars_come_from_the_timeframe_that_was_loaded_first(warehouse: Warehouse) -> None:
    start = instant("2024-01-01")
    warehouse.load(make_batch([Row(start + timedelta(minutes=at), 100) for at in range(2 * 1440)], timeframe="1m"))
    warehouse.load(make_batch([Row(start + timedelta(days=at), 777) for at in range(4)], timeframe="1D"))
    warehouse.refresh()
    assert warehouse.query("select closed_at, close, bar_count from bars.fct_bars where timeframe = '1D' order by 1") == [
        (start + timedelta(days=1), 100, 1440),
        (start + timedelta(days=2), 100, 1440),
    ]
    assert warehouse.value("select count(*) from bars.fct_bars where close = 777") == 0
    assert warehouse.value("select count(*) from raw.ohlcv where timeframe = '1D'") == 4
