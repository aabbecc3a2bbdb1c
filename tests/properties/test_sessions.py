"""Promise 1 over foreign histories: half hours of New York as vendors sell them, with those before and after the session.

Files come and are revised, the calendar is edited around dates that have candles, shares are split and pay dividends, old
candles are dropped. A seed is a history; what fails prints it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ingest.adjustments import load_adjustments
from ingest.deletion import delete
from ingest.sources.files import FileOptions
from tests.warehouse import DATABASE, Warehouse, create_database
from titan.ops import storage
from titan.ops.loads import load_files

SEEDS = range(int(os.environ.get("TITAN_SOAK", 2)))
NEW_YORK = ZoneInfo("America/New_York")
MONDAY = date(2024, 2, 26)  # two weeks before the clocks change; Good Friday is 2024-03-29
DAYS = 56  # by then a series has checkpoints, and candles can go
HALF_HOUR = timedelta(minutes=30)
SPY = FileOptions(
    exchange="vendor", symbol="SPY", timeframe="30m", session="EQUITY", timezone="America/New_York", may_revise=True
)

# First and last half hour of a date: what is in the file of a vendor.
HOURS = {
    "regular": (time(9, 30), time(15, 30)),
    "extended": (time(4), time(19, 30)),
    "before the open": (time(4), time(9)),
    "after the close": (time(16), time(23, 30)),
}
CALENDAR = {"closed": (None, None), "closes at 13:00": (None, time(13)), "opens at 11:00": (time(11), None)}


@dataclass(frozen=True)
class Step:
    """One thing that happens to a warehouse, and how it is told."""

    told: str
    happen: Callable[[Warehouse, Path], Any]

    def __repr__(self) -> str:
        return self.told


def candles(first: int, days: int, hours: str, price: float, holes: int = 0) -> Step:
    """A file of the half hours of some dates, weekends among them; every so many are missing."""

    def load(warehouse: Warehouse, folder: Path) -> None:
        lines: list[str] = []
        for day in (MONDAY + timedelta(days=first + at) for at in range(days)):
            moment, last = (datetime.combine(day, at) for at in HOURS[hours])
            while moment <= last:
                close, volume = price + len(lines) * 7 % 13 / 8, len(lines) % 11 * 100
                lines.append(f"{moment},{close},{close + 1},{close - 1},{close},{volume}\n")
                moment += HALF_HOUR
        del lines[:: holes or len(lines)]
        path = folder / "SPY.csv"
        path.write_text("date,open,high,low,close,volume\n" + "".join(lines))
        report = load_files(warehouse.connection, [path], SPY)
        assert not report.failed, report.failed

    return Step(f"{hours} from day {first}, {days} days at {price}" + f", every {holes}th missing" * bool(holes), load)


def special_day(day: int, how: str) -> Step:
    """A date gets a row of config.holiday, another one, or none."""

    def edit(warehouse: Warehouse, _: Path) -> None:
        at = MONDAY + timedelta(days=day)
        warehouse.query("delete from config.holiday where session_id = 'EQUITY' and date = %s", at)
        if how in CALENDAR:
            warehouse.query("insert into config.holiday values ('EQUITY', %s, 'test', %s, %s)", at, *CALENDAR[how])

    return Step(f"day {day} {how}", edit)


def hours_of_session(opens: str, closes: str) -> Step:
    return Step(
        f"session {opens} to {closes}",
        lambda warehouse, _: warehouse.query(
            "update config.session set open_local = %s, close_local = %s where session_id = 'EQUITY'", opens, closes
        ),
    )


def action(day: int, kind: str, value: float) -> Step:
    """A split or a dividend goes ex; of an instrument that has candles."""

    def load(warehouse: Warehouse, folder: Path) -> None:
        path = folder / "actions.csv"
        path.write_text(f"ex_date,kind,value\n{MONDAY + timedelta(days=day)},{kind},{value}\n")
        load_adjustments(warehouse.connection, path, symbol="SPY", exchange="vendor")

    return Step(f"day {day} {kind} {value}", load)


def removal(day: int, days: int) -> Step:
    start = datetime.combine(MONDAY + timedelta(days=day), time(8), NEW_YORK)
    return Step(
        f"{days} days deleted from day {day}",
        lambda warehouse, _: delete(
            warehouse.connection, exchange="vendor", symbol="SPY", from_at=start, until_at=start + timedelta(days=days)
        ),
    )


def build(selection: str = "") -> Step:
    return Step(
        f"build {selection}", lambda warehouse, _: warehouse.refresh_models(selection) if selection else warehouse.refresh()
    )


def retention(until: int) -> Step:
    """Everything is built, then the candles from before a day go; a second one moves the horizon on."""

    def drop(warehouse: Warehouse, _: Path) -> None:
        warehouse.refresh()
        warehouse.query("insert into config.retention (candles_for) values ('7 days') on conflict do nothing")
        storage.apply(warehouse.connection, datetime.combine(MONDAY + timedelta(days=until + 7), time(12), UTC))

    return Step(f"candles before day {until} dropped", drop)


def history(seed: int) -> list[Step]:
    """Some weeks of candles, then a dozen of the things that happen to them."""
    chance = Random(seed)
    horizon = 0

    def day() -> int:
        return chance.randrange(DAYS)

    def load() -> Step:
        hours, price, holes = chance.choice(list(HOURS)), chance.choice([50, 100]), chance.choice([0, 5])
        return candles(day(), chance.randint(1, 9), hours, price, holes)

    def edit() -> Step:
        return special_day(day(), chance.choice([*CALENDAR, "as ever"]))

    def act() -> Step:
        return action(chance.randrange(horizon, DAYS), *chance.choice([("split", 2), ("split", 0.5), ("dividend", 1.5)]))

    def build_some() -> Step:
        return build(chance.choice(["", "", "dim_calendar", "candle", "rollup_stored", "daily+", "gap", "dim_session+"]))

    def session() -> Step:
        return hours_of_session(chance.choice(["09:30", "08:00"]), chance.choice(["16:00", "17:30"]))

    def remove() -> Step:
        return removal(day(), chance.randint(1, 5))

    steps = [candles(0, DAYS, chance.choice(["regular", "extended"]), 100), build()]
    kinds = [load, load, edit, edit, edit, act, build_some, build_some, session, remove]
    steps += [chance.choice(kinds)() for _ in range(chance.randint(3, 8))]
    if chance.random() < 0.6:
        horizon = chance.randint(34, 50)
        steps.append(retention(horizon))
        horizon += 1  # what goes ex by then is refused
        steps += [chance.choice(kinds)() for _ in range(chance.randint(2, 6))]
    return steps


def assert_incremental_equals_full(manifest: Any, small: str, folder: Path, steps: list[Step]) -> None:
    create_database(DATABASE, small)
    with closing(Warehouse()) as warehouse:
        for step in steps:
            step.happen(warehouse, folder)
        warehouse.refresh()
        warehouse.assert_incremental_equals_full()


NAMED = {
    "a date with candles before its open is closed, and opened again": [
        candles(0, 12, "extended", 100), special_day(8, "closed"), build(),
        special_day(2, "closed"), special_day(8, "as ever"),
    ],
    "the same once candles are dropped, on both sides of the horizon and at it": [
        candles(0, DAYS, "extended", 100), action(3, "dividend", 1.5), special_day(40, "closed"), retention(42),
        special_day(38, "closed"), special_day(40, "as ever"), build("candle"), special_day(42, "closed"),
        special_day(44, "closed"), build(), special_day(42, "as ever"), special_day(38, "opens at 11:00"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_named_histories(manifest: Any, small: str, tmp_path: Path, name: str) -> None:
    assert_incremental_equals_full(manifest, small, tmp_path, NAMED[name])


@pytest.mark.parametrize("seed", SEEDS)
def test_foreign_histories(manifest: Any, small: str, tmp_path: Path, seed: int) -> None:
    steps = history(seed)
    print(steps)
    assert_incremental_equals_full(manifest, small, tmp_path, steps)
