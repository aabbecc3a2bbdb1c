"""Every bar of every timeframe equals its recomputation from base candles by other code, on real data."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ingest.sources.files import FileOptions
from tests import brute_force
from tests.brute_force import Bar, Calendar
from tests.warehouse import BARS_ALONE, SMALL_TIMEFRAMES, Warehouse
from titan.ops.loads import load_files

LEFT_ALONE = BARS_ALONE

SECONDS = {"1m": 60, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "4h": 14400}


def load(warehouse: Warehouse, path: Path, **options: Any) -> None:
    report = load_files(warehouse.connection, [path], FileOptions(**options))
    assert not report.failed, report.failed
    warehouse.refresh()


def keep_few_timeframes(warehouse: Warehouse, is_of_few: bool) -> None:
    """Of long histories whose days are checked elsewhere: every kind of timeframe instead of all of each."""
    if is_of_few:
        warehouse.query("delete from config.timeframe where timeframe <> all (%s)", SMALL_TIMEFRAMES)


def frame(warehouse: Warehouse, query: str) -> pd.DataFrame:
    cursor = warehouse.connection.execute(query.encode())
    assert cursor.description
    return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description])


def assert_every_bar(warehouse: Warehouse, shared: Path, calendar: Calendar) -> int:
    """Compare fct_bars of the one instrument with brute force; returns how many bars were compared."""
    candles = frame(
        warehouse, "select opened_at, closed_at, open, high, low, close, volume from raw.ohlcv order by closed_at"
    )
    base, first_at, last_at = warehouse.query(
        """
        select timeframe, lower(observed), upper(observed) from raw.observed
        inner join raw.instrument using (instrument_id) where timeframe = base_timeframe
        """
    )[0]
    observed = (pd.Timestamp(first_at), pd.Timestamp(last_at))
    expected: dict[tuple[str, pd.Timestamp], Bar] = {}
    if base == "1D":
        daily = [
            (day, row)
            for row in candles.itertuples()
            if (day := brute_force.local_date(row.opened_at, calendar)) in calendar.days
        ]
    else:
        expected = brute_force.intraday_bars(candles, SECONDS[base], calendar, observed)
        days = sorted((closed_at, bar) for (timeframe, closed_at), bar in expected.items() if timeframe == "1D")
        daily = [(brute_force.local_date(bar.opened_at, calendar), bar) for _, bar in days]
    there = {timeframe for (timeframe,) in warehouse.query("select timeframe from config.timeframe")}
    reference = brute_force.timeframes(shared / "reference" / "timeframes.csv")
    wanted = [timeframe for timeframe in reference if timeframe["timeframe"] in there]
    expected = {key: bar for key, bar in expected.items() if key[0] in there}
    expected |= brute_force.multi_day_bars(daily, wanted, calendar, observed)
    found = frame(
        warehouse,
        f"""
        select
            timeframe, closed_at, opened_at, open, high, low, close, volume, bar_count, missing_count, is_partial,
            tf_days_realized
        from bars.fct_bars where timeframe not in ('{base}', '1m', '3m')
        """,
    )
    keys = set(zip(found.timeframe, found.closed_at, strict=True))
    assert keys == expected.keys(), (sorted(keys - expected.keys())[:5], sorted(expected.keys() - keys)[:5])
    for row in found.itertuples():
        bar = expected[row.timeframe, row.closed_at]
        where = f"{row.timeframe} closed {row.closed_at}"
        assert (row.opened_at, row.open, row.high, row.low, row.close) == (
            bar.opened_at, bar.open, bar.high, bar.low, bar.close,
        ), where  # fmt: skip
        assert math.isclose(row.volume, bar.volume, rel_tol=1e-12), where
        assert (row.bar_count, row.missing_count, row.is_partial) == (
            bar.bar_count, bar.missing_count, bar.is_partial,
        ), where  # fmt: skip
        if bar.days is not None:
            assert row.tf_days_realized == bar.days, where
    return len(found)


@pytest.mark.parametrize(
    ("path", "is_of_few", "fewest"),
    [
        ("minute/coinbase_COMP-USD_1m_2023-12.csv.gz", False, 30_000),  # gaps, duplicates, minutes without trades
        ("intraday/binance_spot_BTCUSDT_4h.csv.gz", True, 10_000),  # outages of the exchange
        ("daily/binance_spot_BTCUSDT_1d.csv.gz", False, 50_000),
    ],
)
def test_every_bar_around_the_clock(warehouse: Warehouse, shared: Path, path: str, is_of_few: bool, fewest: int) -> None:
    keep_few_timeframes(warehouse, is_of_few)
    load(warehouse, shared / "data" / path)
    last = warehouse.value("select max(closed_at)::date from raw.ohlcv")
    calendar = brute_force.around_the_clock(last + pd.Timedelta(days=800))
    assert assert_every_bar(warehouse, shared, calendar) > fewest


@pytest.mark.parametrize(
    ("path", "is_of_few", "fewest"),
    [
        ("equity/lean_AAPL_1d_x10000.csv.gz", False, 100_000),
        ("equity/lean_SPY_1h_x10000.csv.gz", True, 25_000),
    ],
)
def test_every_bar_of_a_session(warehouse: Warehouse, shared: Path, path: str, is_of_few: bool, fewest: int) -> None:
    keep_few_timeframes(warehouse, is_of_few)
    load(warehouse, shared / "data" / path, timezone="America/New_York", session="EQUITY")
    assert assert_every_bar(warehouse, shared, brute_force.new_york()) > fewest
