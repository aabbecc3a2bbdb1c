"""Splits and dividends: three layouts of files, bars adjusted from the ex-date on, and every edit through the feed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from ingest.adjustments import load_adjustments
from ingest.sources.adjustments import Adjustment, read_adjustments
from ingest.sources.files import FileOptions
from tests.warehouse import BARS_ALONE, DATABASE, TEMPLATE, Row, Warehouse, create_database, instant, make_batch
from titan.core.errors import SourceError, UsageError
from titan.ops.loads import load_files

LEFT_ALONE = BARS_ALONE

NEW_YORK = ZoneInfo("America/New_York")
START = date(2024, 3, 4)  # a Monday; the clocks go forward on Sunday the 10th
DAYS = [day for at in range(19) if (day := START + timedelta(days=at)).weekday() < 5]
CLOSES = {day: 100.0 + at for at, day in enumerate(DAYS)}
DAY_BEFORE, EX_DATE = date(2024, 3, 12), date(2024, 3, 13)


# --- files ----------------------------------------------------------------------------------------------------------------


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "actions.csv"
    path.write_text(text)
    return path


def test_one_action_a_line(tmp_path: Path) -> None:
    text = "ex_date,kind,value,price_factor,known_at\n2014-06-09,split,7,,\n20240209,Dividend,0.24,,2024-02-10T09:00Z\n"
    assert read_adjustments(write(tmp_path, text + "05/10/2024,dividend,,0.99,\n")) == [
        Adjustment(date(2014, 6, 9), "split", ratio=7),
        Adjustment(date(2024, 2, 9), "dividend", amount=0.24, known_at=instant("2024-02-10T09:00")),
        Adjustment(date(2024, 5, 10), "dividend", price_factor=0.99),
    ]


def test_one_date_a_line(tmp_path: Path) -> None:
    text = "Date,Dividends,Stock Splits\n2014-06-09 00:00:00-04:00,0.0,7.0\n2014-08-07,0.47,0\n"
    assert read_adjustments(write(tmp_path, text)) == [
        Adjustment(date(2014, 6, 9), "split", ratio=7),
        Adjustment(date(2014, 8, 7), "dividend", amount=0.47),
    ]


def test_cumulative_factors(tmp_path: Path) -> None:
    text = "20140507,0.98,0.142857,592\n20140606,0.99,0.142857,645\n20140806,0.99,1,95\n20501231,1,1,0\n"
    assert read_adjustments(write(tmp_path, text)) == [
        Adjustment(date(2014, 5, 8), "dividend", price_factor=0.98 / 0.99),
        Adjustment(date(2014, 6, 7), "split", ratio=7),
        Adjustment(date(2014, 8, 7), "dividend", price_factor=0.99),
    ]


def test_cash_of_one_ex_date_is_added_up(tmp_path: Path) -> None:
    text = "ex_date,kind,value\n2024-02-09,dividend,0.25\n2024-02-09,dividend,0.5\n"
    assert read_adjustments(write(tmp_path, text)) == [Adjustment(date(2024, 2, 9), "dividend", amount=0.75)]


HEADER = "ex_date,kind,value,price_factor,known_at\n2024-03-05,split,2,,\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEADER + "13th of March,split,2,,", "line 3: '13th of March' is not a date"),
        (HEADER + "2024-03-13,split,two,,", "line 3: 'two' is not a number"),
        (HEADER + "2024-03-13,split,0,,", "line 3: 0 is not above 0"),
        (HEADER + "2024-03-13,split,nan,,", "line 3: nan is not above 0"),
        (HEADER + "2024-03-13,dividend,-1,,", "line 3: -1 is not above 0"),
        (HEADER + "2024-03-13,dividend,,1.5,", "line 3: price_factor 1.5 of a dividend is not below 1"),
        (HEADER + "2024-03-13,merger,2,,", "line 3: kind 'merger' is neither split nor dividend"),
        (HEADER + "2024-03-13,split,2,,soon", "line 3: 'soon' is not a time"),
        ("date,dividends\n2024-03-05,1\n2024-03-13,cash", "line 3: 'cash' is not a number"),
        ("20240305,0.5,0.5,9\n20240313,0.5", "line 2: it has no price_factor and split_factor"),
        ("day,what\n2024-03-13,split", "its columns day, what are not those"),
        ("", "is empty"),
    ],
)
def test_a_bad_file_is_refused_whole(untouched: Warehouse, tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SourceError) as caught:
        load_adjustments(untouched.connection, write(tmp_path, text), symbol="AAPL", exchange=None)
    assert said in str(caught.value)
    assert caught.value.hint
    for table in ("raw.adjustment", "raw.load_batch"):
        assert untouched.value(f"select count(*) from {table}") == 0


def test_actions_of_an_unknown_symbol_are_refused_with_those_of_a_known_one(warehouse: Warehouse, tmp_path: Path) -> None:
    warehouse.load(candles("AAPL"))
    path = write(tmp_path, "symbol,ex_date,kind,value\nAAPL,2024-03-13,split,2\nAPPL,2024-03-13,split,2\n")
    with pytest.raises(UsageError, match="there are no candles of spot APPL"):
        load_adjustments(warehouse.connection, path, symbol=None, exchange=None)
    assert warehouse.value("select count(*) from raw.adjustment") == 0


def test_whose_actions_they_are_has_to_be_said(warehouse: Warehouse, tmp_path: Path) -> None:
    path = write(tmp_path, "ex_date,kind,value\n2024-03-13,split,2\n")
    warehouse.load(candles("AAPL"))
    warehouse.load(candles("AAPL", exchange="other"))
    with pytest.raises(UsageError, match="does not say whose"):
        load_adjustments(warehouse.connection, path, symbol=None, exchange=None)
    with pytest.raises(UsageError, match="AAPL is traded on other, test"):
        load_adjustments(warehouse.connection, path, symbol="aapl", exchange=None)
    assert load_adjustments(warehouse.connection, path, symbol="aapl", exchange="other").inserted == 1
    again = load_adjustments(warehouse.connection, path, symbol="aapl", exchange="other")
    assert (again.read, again.inserted, again.revised) == (1, 0, 0)


# --- bars -----------------------------------------------------------------------------------------------------------------


def local(day: date, time: str = "00:00") -> datetime:
    return datetime.fromisoformat(f"{day}T{time}").replace(tzinfo=NEW_YORK)


def candles(*symbols: str, exchange: str = "test", close_on: dict[date, float] | None = None) -> Any:
    rows = [Row(local(day), close, symbol, 1000.0) for symbol in symbols for day, close in (close_on or CLOSES).items()]
    return make_batch(rows, timeframe="1D", session="EQUITY", exchange=exchange)


Bars = dict[date, tuple[float, float, float, str]]  # close, volume, factor and writing transaction of each day


def bars(warehouse: Warehouse, symbol: str) -> Bars:
    return {
        row[0]: row[1:]
        for row in warehouse.query(
            """
            select trading_date, close, volume, price_factor, daily.xmin::text
            from bars.daily inner join bars.dim_instrument using (instrument_id) where symbol = %s order by 1
            """,
            symbol,
        )
    }


@dataclass
class Edited:
    """Bars of each symbol before an edit of its own and after it, and every table as built in steps and at once."""

    before: dict[str, Bars]
    after: dict[str, Bars]
    back_adjusted: list[tuple[Any, ...]]
    incremental: dict[str, list[str]]
    full: dict[str, list[str]]


SYMBOLS = ("SPLIT", "CASH", "LATE", "REVISED", "DELETED", "BOTH")


@pytest.fixture(scope="module")
def edited(manifest: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edited]:
    """One warehouse for all edits, each of a symbol of its own: they cost one build."""
    folder = tmp_path_factory.mktemp("actions")
    create_database(DATABASE, TEMPLATE)
    warehouse = Warehouse()

    def act(text: str) -> None:
        load_adjustments(warehouse.connection, write(folder, f"{header}\n{text}\n"), symbol=None, exchange=None)

    header = "symbol,ex_date,kind,value,known_at"
    warehouse.load(candles(*SYMBOLS))
    act(f"REVISED,{EX_DATE},dividend,5.3,\nDELETED,{EX_DATE},split,4,\nDELETED,2024-03-18,split,3,")
    warehouse.refresh()
    before = {symbol: bars(warehouse, symbol) for symbol in SYMBOLS}
    act(f"SPLIT,{EX_DATE},split,4,\nCASH,{EX_DATE},dividend,5.3,\nBOTH,{EX_DATE},split,4,\nBOTH,{EX_DATE},dividend,5.3,")
    act(f"LATE,{EX_DATE},split,4,2024-03-15T15:00Z")
    warehouse.load(candles("REVISED", close_on={DAY_BEFORE: 53.0}))
    warehouse.query(
        "delete from raw.adjustment using raw.instrument where symbol = 'DELETED' and ex_date = %s "
        "and adjustment.instrument_id = instrument.instrument_id",
        EX_DATE,
    )
    warehouse.refresh()
    after = {symbol: bars(warehouse, symbol) for symbol in SYMBOLS}
    back_adjusted = warehouse.query(
        """
        select symbol, traded.opened_at, bar.close, traded.close, bar.volume, traded.volume
        from marts.ohlcv_back_adjusted as bar
        inner join raw.ohlcv as traded using (instrument_id, timeframe)
        where timeframe = '1D' and (bar.opened_at at time zone 'America/New_York')::date
            = (traded.opened_at at time zone 'America/New_York')::date
        order by symbol, traded.opened_at
        """
    )
    incremental = warehouse.contents()
    warehouse.refresh(is_full=True)
    yield Edited(before, after, back_adjusted, incremental, warehouse.contents())
    warehouse.close()


def values(bars: Bars) -> dict[date, tuple[float, float, float]]:
    return {day: bar[:3] for day, bar in bars.items()}


def assert_adjusted_from(edited: Edited, symbol: str, first: date, factor: float, divisor: float = 1) -> None:
    """Days before are as they were, those from then on are as traded times the factor."""
    before, after = edited.before[symbol], edited.after[symbol]
    # The feed is told of an action a day early, which is early enough for every timezone: that day is written as it was.
    early = EX_DATE - timedelta(days=1)
    assert {day: bar for day, bar in after.items() if day < early} == {
        day: bar for day, bar in before.items() if day < early
    }
    for day in DAYS:
        close, volume, price_factor, _ = after[day]
        if day < first:
            assert (close, volume, price_factor) == (CLOSES[day], 1000, 1)
        else:
            assert price_factor == pytest.approx(factor, rel=1e-15)
            assert (close, volume) == (CLOSES[day] * price_factor, 1000 / divisor)


def test_a_split_adjusts_from_the_ex_date_on(edited: Edited) -> None:
    assert_adjusted_from(edited, "SPLIT", EX_DATE, factor=4, divisor=4)


def test_a_dividend_adjusts_from_the_ex_date_on(edited: Edited) -> None:
    close = CLOSES[DAY_BEFORE]
    assert_adjusted_from(edited, "CASH", EX_DATE, factor=close / (close - 5.3))


def test_a_split_and_a_dividend_of_one_day_both_adjust(edited: Edited) -> None:
    close = CLOSES[DAY_BEFORE]
    assert_adjusted_from(edited, "BOTH", EX_DATE, factor=4 * close / (close - 5.3), divisor=4)


def test_a_split_known_late_adjusts_from_when_it_was_known(edited: Edited) -> None:
    # It became known during Friday's session: the bar of that day is all of one kind, so Monday's is the first.
    assert_adjusted_from(edited, "LATE", date(2024, 3, 18), factor=4, divisor=4)


def test_a_revised_close_before_a_dividend_changes_its_factor(edited: Edited) -> None:
    before, after = values(edited.before["REVISED"]), values(edited.after["REVISED"])
    close = CLOSES[DAY_BEFORE]
    for day in DAYS:
        if day < DAY_BEFORE:
            assert edited.after["REVISED"][day] == edited.before["REVISED"][day]
        elif day >= EX_DATE:
            assert before[day][2] == pytest.approx(close / (close - 5.3), rel=1e-15)
            assert after[day][2] == pytest.approx(53 / (53 - 5.3), rel=1e-15)
    assert after[DAY_BEFORE] == (53, 1000, 1)


def test_a_deleted_split_no_longer_adjusts(edited: Edited) -> None:
    before, after = values(edited.before["DELETED"]), values(edited.after["DELETED"])
    assert [before[day][2] for day in (DAY_BEFORE, EX_DATE, date(2024, 3, 18))] == [1, 4, 12]
    assert [after[day][2] for day in (DAY_BEFORE, EX_DATE, date(2024, 3, 18))] == [1, 1, 3]
    assert {day for day in DAYS if before[day] != after[day]} == {day for day in DAYS if day >= EX_DATE}


def test_back_adjusted_prices_end_as_traded(edited: Edited) -> None:
    last = {str(row[0]): row[2:] for row in edited.back_adjusted}
    assert last.keys() == set(SYMBOLS)
    for close, traded_close, volume, traded_volume in last.values():
        assert (close, volume) == (pytest.approx(traded_close, rel=1e-15), traded_volume)
    first = {str(row[0]): row[2:] for row in reversed(edited.back_adjusted)}
    assert first["SPLIT"] == (25, 100, 4000, 1000)


def test_edits_in_steps_equal_a_full_build(edited: Edited) -> None:
    assert edited.incremental.keys() == edited.full.keys()
    assert [table for table, rows in edited.full.items() if edited.incremental[table] != rows] == []


# --- real data ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def apple(warehouse: Warehouse, shared: Path) -> pd.Series[float]:
    """Forward-adjusted closes of AAPL by date, 1998 to 2021."""
    equity = shared / "data" / "equity"
    report = load_files(
        warehouse.connection,
        [equity / "lean_AAPL_1d_x10000.csv.gz"],
        FileOptions(timezone="America/New_York", session="EQUITY"),
    )
    assert report.failed == []
    load_adjustments(warehouse.connection, equity / "lean_factor_aapl.csv", symbol="AAPL", exchange=None)
    warehouse.build("--select", "+daily")
    rows = warehouse.query("select trading_date, close from bars.daily order by 1")
    return pd.Series([close for _, close in rows], index=pd.DatetimeIndex([day for day, _ in rows]))


# The traded closes of the two sources differ on these days, before any adjustment, by 0.5 to 1.4 %.
SOURCES_DIFFER = [
    "2004-09-21", "2004-10-05", "2008-01-17", "2008-10-06", "2008-10-22", "2008-10-29", "2011-04-29",
]  # fmt: skip


def test_forward_adjusted_closes_follow_those_of_yahoo(apple: pd.Series[float], shared: Path) -> None:
    path = shared / "data" / "equity" / "mplfinance_yahoofinance-AAPL-20040819-20180120.csv.gz"
    yahoo = pd.read_csv(path, index_col="Date", parse_dates=True)["Adj Close"]
    ratio = (apple / yahoo).dropna()
    assert len(ratio) == len(yahoo)
    deviation = (ratio / ratio.median() - 1).abs()
    assert [str(day.date()) for day in deviation[deviation >= 0.005].index] == SOURCES_DIFFER
    returns = apple.pct_change()
    for split in ("2000-06-21", "2005-02-28", "2014-06-09", "2020-08-31"):
        assert abs(returns[split]) < 0.15
