"""Timeframes: the shipped ones equal the reference, and a name inserted is all that another one takes."""

from __future__ import annotations

import csv
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pytest

from tests import brute_force
from tests.warehouse import BARS_ALONE, Row, Warehouse, instant, make_batch

LEFT_ALONE = BARS_ALONE

INSERTED = {
    "45m": ("45 minutes", "MIN", 45, None, None, None, "intraday", "none", False, False, False, False, True, 45),
    "64D": ("64 trading days", "D", 64, 64, 64, 64, "trading", "none", False, False, False, False, False, 1064),
    "35W_US": ("35 weeks, Sunday start", "W", 35, 245, 245, 245, "calendar", "US", False, False, False, False, False, 3350),
    "3Y": ("3 years", "Y", 3, 1096, 1095, 1096, "calendar", "none", False, False, False, False, False, 5003),
    # From January, May or September on: the longest is May to December.
    "8MO_TD": ("8 months to date", "MO", 8, 244, 1, 245, "calendar", "none", True, True, True, False, False, 7008),
}
DAYS = ["64D", "3Y", "8MO_TD"]
INTRADAY_START, DAILY_START = instant("2024-01-01"), instant("2020-12-31")


# --- definitions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("relation", ["config.timeframe", "bars.dim_timeframe"])
def test_every_column_equals_the_reference(untouched: Warehouse, shared: Path, relation: str) -> None:
    with (shared / "reference" / "timeframes.csv").open() as file:
        reference = list(csv.DictReader(file))
    columns = ", ".join(f"{name}::text" for name in reference[0])
    found = untouched.query(f"select {columns} from {relation} where not is_intraday")
    assert len(found) == 199
    assert sorted(found) == sorted(tuple(row.values()) for row in reference)


def insert(warehouse: Warehouse, *names: str) -> None:
    for name in names:
        warehouse.query("insert into config.timeframe (timeframe) values (%s)", name)


@pytest.mark.parametrize("name", INSERTED)
def test_the_name_alone_fills_every_column(untouched: Warehouse, name: str) -> None:
    with untouched.connection.transaction(force_rollback=True):
        insert(untouched, name)
        assert untouched.query(
            """
            select
                label, base_unit, quantity, tf_days, tf_days_min, tf_days_max, alignment, calendar_scheme, is_anchored,
                allow_partial_start, allow_partial_end, is_canonical, compute_features, sort_order
            from config.timeframe where timeframe = %s
            """,
            name,
        ) == [INSERTED[name]]


@pytest.mark.parametrize(
    ("columns", "values", "said", "hint"),
    [
        ("timeframe", "('0D')", "'0D' is not the name of a timeframe", "a quantity from 1 on"),
        ("timeframe", "('7X')", "'7X' is not the name of a timeframe", "and a unit: m, h, D"),
        ("timeframe", "('7D_TD')", "'7D_TD' is not the name of a timeframe", "weeks, months and years with _TD"),
        ("timeframe", "(null)", "NULL is not the name of a timeframe", "A name is"),
        ("timeframe", "('1w_iso')", "1w_iso differs from 1W_ISO by case only", "Use the one that is there"),
        ("timeframe", "('1M')", "1M differs from 1m by case only", "A month is 1MO"),
        ("timeframe", "('24h')", "24h is not shorter than a day", "1D, 2D, 7CD"),
        ("timeframe", "('1440m')", "1440m is not shorter than a day", "1D, 2D, 7CD"),
        ("timeframe, quantity", "('64D', 0)", "64D contradicts its name: quantity is 64, not 0", "Leave those columns out"),
        ("timeframe, base_unit", "('64D', 'Q')", "base_unit is D, not Q", "the name that it describes"),
        (
            "timeframe, tf_days_min, tf_days_max",
            "('64D', 9, 5)",
            "tf_days_min 9 above tf_days_max 5",
            "follow from the name",
        ),
        ("timeframe, calendar_scheme", "('5W_ISO', 'US')", "calendar_scheme is ISO, not US", "Leave those columns out"),
    ],
)
def test_a_bad_row_is_refused_with_its_reason(untouched: Warehouse, columns: str, values: str, said: str, hint: str) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match=r"^config\.timeframe: ") as caught:
        untouched.query(f"insert into config.timeframe ({columns}) values {values}")
    assert said in str(caught.value.diag.message_primary)
    assert hint in str(caught.value.diag.message_hint)


def test_renaming_a_row_is_refused_like_inserting_one(untouched: Warehouse) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="contradicts its name: base_unit is H, not MIN"):
        untouched.query("update config.timeframe set timeframe = '7h' where timeframe = '5m'")


# --- bars -----------------------------------------------------------------------------------------------------------------


def loaded(warehouse: Warehouse) -> None:
    """Three days and a half hour of BTC by the quarter of an hour, and three years of ETH by the day."""
    quarters = [Row(INTRADAY_START + timedelta(minutes=15 * at), 100 + at % 7) for at in range(3 * 96 + 2)]
    days = [Row(DAILY_START + timedelta(days=at), 1000 + at * 37 % 101, "ETH/USDT") for at in range(1096)]
    warehouse.load(make_batch(quarters, timeframe="15m"))
    warehouse.load(make_batch(days, timeframe="1D"))
    warehouse.refresh()


def written(warehouse: Warehouse) -> set[tuple[Any, ...]]:
    """Every stored bar with the transaction that wrote it."""
    tables = ("candle", "rollup_stored", "daily", "multi_day")
    return set(
        warehouse.query(
            " union all ".join(
                f"select instrument_id, timeframe, closed_at, xmin::text from bars.{table}" for table in tables
            )
        )
    )


def bars(warehouse: Warehouse, timeframe: str, columns: str) -> list[tuple[Any, ...]]:
    return warehouse.query(
        f"""
        select {columns} from bars.fct_bars inner join bars.dim_instrument using (instrument_id)
        where timeframe = %s order by symbol, closed_at
        """,
        timeframe,
    )


def test_inserted_timeframes_have_their_bars_after_the_next_build(warehouse: Warehouse, shared: Path) -> None:
    loaded(warehouse)
    before = written(warehouse)
    insert(warehouse, "45m", *DAYS)
    warehouse.refresh()
    after = written(warehouse)
    assert before <= after
    assert {row[1] for row in after - before} == {"45m", *DAYS}

    quarters = [100 + at % 7 for at in range(3 * 96)]  # what comes after has not been observed to its end: no bar
    assert bars(warehouse, "45m", "symbol, opened_at, close, volume, bar_count") == [
        ("BTC/USDT", INTRADAY_START + timedelta(minutes=45 * at), quarters[3 * at + 2], 3, 3) for at in range(96)
    ]
    for timeframe, expected in by_brute_force(warehouse).items():
        found = bars(warehouse, timeframe, "symbol, closed_at, opened_at, open, high, low, close, bar_count, is_partial")
        assert found == expected, timeframe
        assert found, timeframe
    warehouse.assert_incremental_equals_full()


def by_brute_force(warehouse: Warehouse) -> dict[str, list[tuple[Any, ...]]]:
    """The bars of DAYS, from the stored days of both instruments."""
    calendar = brute_force.around_the_clock(instant("2026-12-31").date())
    definitions = [
        {
            "timeframe": name, "base_unit": INSERTED[name][1], "quantity": INSERTED[name][2], "calendar_scheme": "none",
            "is_anchored": str(INSERTED[name][8]).lower(),
        }
        for name in DAYS
    ]  # fmt: skip
    found: dict[str, list[tuple[Any, ...]]] = {name: [] for name in DAYS}
    for symbol, first_at, last_at in (
        ("BTC/USDT", INTRADAY_START, INTRADAY_START + timedelta(days=3, minutes=30)),
        ("ETH/USDT", DAILY_START, DAILY_START + timedelta(days=1096)),
    ):
        cursor = warehouse.connection.execute(
            """
            select daily.* from bars.daily inner join bars.dim_instrument using (instrument_id)
            where symbol = %s order by closed_at
            """,
            (symbol,),
        )
        assert cursor.description
        frame = pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description])
        rows: Any = frame.itertuples()
        daily = [(brute_force.local_date(row.opened_at, calendar), row) for row in rows]
        observed = (pd.Timestamp(first_at), pd.Timestamp(last_at))
        for (name, closed_at), bar in sorted(brute_force.multi_day_bars(daily, definitions, calendar, observed).items()):
            found[name].append(
                (symbol, closed_at, bar.opened_at, bar.open, bar.high, bar.low, bar.close, bar.bar_count, bar.is_partial)
            )
    return found


def test_a_deleted_timeframe_loses_its_bars_and_no_other_does(warehouse: Warehouse) -> None:
    insert(warehouse, "45m", *DAYS)
    loaded(warehouse)
    before = written(warehouse)
    warehouse.query("delete from config.timeframe where timeframe in ('45m', '3Y')")
    warehouse.refresh()
    assert written(warehouse) == {row for row in before if row[1] not in ("45m", "3Y")}
    warehouse.assert_incremental_equals_full()
