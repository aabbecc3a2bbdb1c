"""Reconciliation names every bar that is not what the raw candles make of it; status says how far each series has come."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.commands import titan
from tests.warehouse import DATABASE, TEMPLATE, Row, Warehouse, create_database, instant, make_batch
from titan.ops import status
from titan.ops.reconcile import Reconciled, reconcile
from titan.ops.refresh import needs_refresh
from titan.server.migrate import migrate

NEW_YORK = ZoneInfo("America/New_York")
HOUR = timedelta(hours=1)


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)


WRONG, MISSING, SURPLUS = local("2024-01-03T10:30"), local("2024-01-04T16:00"), local("2024-01-06T16:00")
WEEK = local("2024-01-05T16:00")


def half_hours() -> list[Row]:
    """Two weeks of New York, thirteen candles a day."""
    days = [date(2024, 1, 2) + timedelta(days=at) for at in range(11)]
    return [
        Row(local(f"{day}T09:30") + timedelta(minutes=30 * at), 400 + day.day + at % 5, "SPY")
        for day in days
        if day.weekday() < 5
        for at in range(13)
    ]


@dataclass
class Found:
    """What reconciliation finds after a build, and after four bars were falsified behind the models' back."""

    clean: Reconciled
    planted: Reconciled
    told: subprocess.CompletedProcess[str]
    told_of_a_range: subprocess.CompletedProcess[str]
    told_of_nothing: subprocess.CompletedProcess[str]
    health: list[tuple[object, ...]]


@pytest.fixture(scope="module")
def found(manifest: Any) -> Iterator[Found]:
    """One warehouse for all: reconciliation changes nothing."""
    create_database(DATABASE, TEMPLATE)
    warehouse = Warehouse()
    warehouse.load(make_batch(half_hours(), timeframe="30m", session="EQUITY"))
    warehouse.refresh()
    clean = reconcile(warehouse.connection)
    for statement in (
        f"update bars.rollup_stored set high = high + 1 where timeframe = '1h' and closed_at = '{WRONG}'",
        f"delete from bars.daily where closed_at = '{MISSING}'",
        f"""
        insert into bars.daily
        select (jsonb_populate_record(daily, jsonb_build_object('closed_at', '{SURPLUS}'))).*
        from bars.daily where closed_at = '{WEEK}'
        """,
        f"update bars.multi_day set missing_count = 3 where timeframe = '1W_ISO' and closed_at = '{WEEK}'",
    ):
        assert warehouse.connection.execute(statement.encode()).rowcount == 1
    yield Found(
        clean,
        reconcile(warehouse.connection),
        titan("reconcile", "--symbol", "spy"),
        titan("reconcile", "--since", "2024-01-08", "--until", "2024-01-12T22:00", "--json"),
        titan("reconcile", "--symbol", "NOPE"),
        warehouse.query("select status, reconciled_count, differing_count, reconciled_at > now() from marts.data_health"),
    )
    warehouse.close()


def test_nothing_differs_after_a_build(found: Found) -> None:
    assert found.clean.differing == []
    assert found.clean.compared > 200


def test_every_planted_bar_is_named_and_no_other(found: Found) -> None:
    assert [(bar["fault"], bar["timeframe"], bar["closed_at"], bar["relation"]) for bar in found.planted.differing] == [
        ("wrong", "1h", WRONG, "bars.rollup"),
        ("missing", "1D", MISSING, "bars.daily"),
        ("wrong", "1W_ISO", WEEK, "bars.multi_day"),
        ("surplus", "1D", SURPLUS, "bars.daily"),
    ]


def test_the_health_of_the_series_tells_what_was_found_of_all_of_it(found: Found) -> None:
    """A range of it has been compared since, and nothing found there."""
    assert found.health == [("differs", found.planted.compared, 4, False)]


def test_a_wrong_bar_is_shown_by_what_differs_of_it(found: Found) -> None:
    hour, week = found.planted.differing[0], found.planted.differing[2]
    assert (hour["stored"]["high"] - hour["recomputed"]["high"], [*hour["stored"]]) == (1, ["high"])
    assert (week["stored"], week["recomputed"]) == ({"missing_count": 3}, {"missing_count": 0})


def test_the_command_line_ends_with_one_and_a_line_a_bar(found: Found) -> None:
    assert found.told.returncode == 1, found.told.stderr
    *lines, last = found.told.stdout.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["wrong", "test SPY 1h closed 2024-01-03 15:30"],
        ["missing", "test SPY 1D closed 2024-01-04 21:00"],
        ["wrong", "test SPY 1W_ISO closed 2024-01-05 21:00"],
        ["surplus", "test SPY 1D closed 2024-01-06 21:00"],
    ]
    assert last == f"{found.planted.compared:,} bars computed again, 4 differ"


def test_a_range_is_reconciled_alone_and_told_as_json(found: Found) -> None:
    assert found.told_of_a_range.returncode == 0, found.told_of_a_range.stderr
    told = json.loads(found.told_of_a_range.stdout)
    assert told["differing"] == []
    assert 0 < told["compared"] < found.planted.compared


def test_an_unknown_symbol_is_a_mistake_of_usage(found: Found) -> None:
    assert found.told_of_nothing.returncode == 2
    assert "there are no candles of that instrument" in found.told_of_nothing.stderr


# --- status ---------------------------------------------------------------------------------------------------------------


START = instant("2024-01-01")


def load_with_a_hole(warehouse: Warehouse) -> None:
    """Hours 0 to 9 without 4 and 5, of a source that was asked until hour 12."""
    rows = [Row(START + at * HOUR, 100 + at) for at in range(10) if at not in (4, 5)]
    warehouse.load(make_batch(rows, exchange="binance", observed=(START, START + 12 * HOUR)))


def test_status_says_what_the_bars_have_of_each_series(warehouse: Warehouse) -> None:
    load_with_a_hole(warehouse)
    warehouse.load(make_batch([Row(START, 100)], timeframe="1D", exchange="binance"))
    warehouse.refresh()
    day, hour = status.series(warehouse.connection)
    assert (hour["first_at"], hour["last_at"], hour["observed_until"]) == (START, START + 10 * HOUR, START + 12 * HOUR)
    assert (hour["gaps"], hour["missing"], hour["completeness"]) == (1, 2, 0.8)
    assert hour["refreshed_at"] is not None
    assert (day["timeframe"], day["is_base"], day["completeness"]) == ("1D", False, None)


@pytest.mark.parametrize("is_migrated_only", [True, False])
def test_status_before_the_first_build_knows_what_was_loaded(warehouse: Warehouse, is_migrated_only: bool) -> None:
    if is_migrated_only:
        create_database(DATABASE)
        migrate()
        warehouse.close()
    load_with_a_hole(warehouse)
    (series,) = status.series(warehouse.connection)
    assert (series["first_at"], series["last_at"], series["observed_until"]) == (
        START, START + 10 * HOUR, START + 12 * HOUR,
    )  # fmt: skip
    assert [series[name] for name in ("gaps", "missing", "completeness", "refreshed_at")] == [None] * 4
    assert needs_refresh(warehouse.connection)
