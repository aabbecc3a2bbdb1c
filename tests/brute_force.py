"""Every bar of every timeframe, the slow way: in plain Python, from base candles, sharing no code with the models."""

from __future__ import annotations

import csv
import math
import warnings
from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

INTRADAY = {"5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "2h": 7200, "4h": 14400, "6h": 21600, "8h": 28800, "12h": 43200}


@dataclass(frozen=True)
class Calendar:
    """The days of a session in order, each with its open and close in UTC."""

    timezone: str
    days: dict[date, tuple[pd.Timestamp, pd.Timestamp]]


# Hours that nobody planned, which exchange_calendars leaves out: fires, snow, silences, and the halts of 1997 and 2005.
UNPLANNED = {
    "1990-12-27": ("11:00", None), "1991-01-17": ("09:31", None), "1991-02-25": ("09:31", None),
    "1994-02-11": (None, "14:30"), "1995-12-18": ("10:30", None), "1996-01-08": ("11:00", "14:00"),
    "1997-10-27": (None, "15:30"), "2001-09-17": ("09:33", None), "2001-10-08": ("09:31", None),
    "2002-09-11": ("12:00", None), "2003-03-20": ("09:32", None), "2004-06-07": ("09:32", None),
    "2005-06-01": (None, "15:56"), "2006-12-27": ("09:32", None),
}  # fmt: skip


def around_the_clock(last: date) -> Calendar:
    """Every UTC day from 1970 on."""
    days = pd.date_range("1970-01-01", last, freq="D", tz="UTC")
    return Calendar("UTC", {day.date(): (day, day + pd.Timedelta(days=1)) for day in days})


def new_york() -> Calendar:
    """The sessions of the New York Stock Exchange, by exchange_calendars."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it uses what pandas deprecates
        import exchange_calendars

        schedule = exchange_calendars.get_calendar("XNYS", start="1970-01-01", end="2030-12-31").schedule
    # It has the hours of before 1985, too; Titan has one open and one close, and no candle of that time is looked at here.
    days = {day.date(): (row.open, row.close) for day, row in schedule.iterrows()}
    for text, hours in UNPLANNED.items():
        standing = days[date.fromisoformat(text)]
        days[date.fromisoformat(text)] = tuple(  # type: ignore[assignment]
            pd.Timestamp(f"{text} {local}", tz="America/New_York").tz_convert("UTC") if local else planned
            for local, planned in zip(hours, standing, strict=True)
        )
    return Calendar("America/New_York", days)


def timeframes(reference: Path) -> list[dict[str, Any]]:
    """The rows of the reference table of timeframes."""
    with reference.open() as file:
        return [row for row in csv.DictReader(file) if row["timeframe"] != "1D"]


@dataclass
class Bar:
    """One bar; `volume` is summed without rounding until the end."""

    opened_at: pd.Timestamp
    open: float
    high: float
    low: float
    close: float
    volume: float
    bar_count: int
    missing_count: int
    is_partial: bool
    days: int | None = None


def _summed(rows: list[Any]) -> tuple[float, float, float, float, float, int]:
    return (
        rows[0].open,
        max(row.high for row in rows),
        min(row.low for row in rows),
        rows[-1].close,
        math.fsum(row.volume for row in rows),
        len(rows),
    )


def intraday_bars(
    candles: pd.DataFrame, seconds: int, calendar: Calendar, observed: tuple[pd.Timestamp, pd.Timestamp]
) -> dict[tuple[str, pd.Timestamp], Bar]:
    """Bars of every coarser intraday timeframe and of the day, of candles that are `seconds` long."""
    bars: dict[tuple[str, pd.Timestamp], Bar] = {}
    zone = ZoneInfo(calendar.timezone)
    is_around_the_clock = calendar.timezone == "UTC"
    placed: list[tuple[Any, int, tuple[int, int]]] = []  # candles, when they open, and from when to when their day goes
    for row in candles.itertuples():
        opened = _seconds(row.opened_at)
        if is_around_the_clock:
            placed.append((row, opened, (0, 0)))
            continue
        day = calendar.days.get(row.opened_at.astimezone(zone).date())
        if day is not None and opened < _seconds(day[1]) and opened + seconds > _seconds(day[0]):
            placed.append((row, opened, (_seconds(day[0]), _seconds(day[1]))))
    for timeframe, length in {**INTRADAY, "1D": 86_400}.items():
        if length <= seconds or length % seconds:
            continue
        groups: dict[tuple[int, int], list[Any]] = defaultdict(list)
        for row, opened, (start, end) in placed:
            if is_around_the_clock:
                first = opened // length * length
                groups[first, first + length].append(row)
            elif timeframe == "1D":
                groups[start, end].append(row)
            elif (opened - start) % seconds == 0:
                first = start + (opened - start) // length * length
                groups[first, min(first + length, end)].append(row)
        for (first, last), rows in groups.items():
            if last <= _seconds(observed[1]) and first >= _seconds(observed[0]):
                expected = math.ceil((last - first) / seconds)
                bars[timeframe, _instant(last)] = Bar(_instant(first), *_summed(rows), max(expected - len(rows), 0), False)
    return bars


def _seconds(moment: pd.Timestamp) -> int:
    return moment.value // 10**9


def _instant(seconds: int) -> pd.Timestamp:
    return pd.Timestamp(seconds, unit="s", tz="UTC")


def _period(row: dict[str, Any], day: date, number: int) -> int:
    quantity = int(row["quantity"])
    match row["base_unit"]:
        case "D":
            return number // quantity
        case "CD":
            return (day - date(1970, 1, 1)).days // quantity
        case "W":
            return (day - (date(1970, 1, 4) if row["calendar_scheme"] == "US" else date(1970, 1, 5))).days // 7 // quantity
        case "MO":
            return (12 * (day.year - 1970) + day.month - 1) // quantity
        case _:
            return (day.year - 1970) // quantity


def multi_day_bars(
    daily: list[tuple[date, Any]],
    definitions: list[dict[str, Any]],
    calendar: Calendar,
    observed: tuple[pd.Timestamp, pd.Timestamp],
) -> dict[tuple[str, pd.Timestamp], Bar]:
    """Bars of every timeframe longer than a day, of the daily bars of one instrument."""
    days = list(calendar.days)
    number_of = {day: number for number, day in enumerate(days)}
    all_days = [
        day for day in days if day >= daily[0][0] - timedelta(days=800) and day <= daily[-1][0] + timedelta(days=800)
    ]
    bars: dict[tuple[str, pd.Timestamp], Bar] = {}
    for row in definitions:
        members: dict[int, list[date]] = defaultdict(list)
        for day in all_days:
            members[_period(row, day, number_of[day])].append(day)
        groups: dict[int, list[tuple[date, Any]]] = defaultdict(list)
        for day, bar in daily:
            groups[_period(row, day, number_of[day])].append((day, bar))
        to_date = row["is_anchored"] == "true"
        for number, included in groups.items():
            period = members[number]
            start, end = calendar.days[period[0]][0], calendar.days[period[-1]][1]
            is_partial_start = start < observed[0]
            if to_date:
                place = {day: at for at, day in enumerate(period, start=1)}
                volumes: list[float] = []
                high, low = -math.inf, math.inf
                for day, bar in included:
                    volumes.append(bar.volume)
                    high, low = max(high, bar.high), min(low, bar.low)
                    closed_at = calendar.days[day][1]
                    bars[row["timeframe"], closed_at] = Bar(
                        start, included[0][1].open, high, low, bar.close, math.fsum(volumes), len(volumes),
                        place[day] - len(volumes), is_partial_start or closed_at < end,
                        (day - _first_date(row, number)).days + 1,
                    )  # fmt: skip
            elif end <= observed[1] and not is_partial_start:
                length = (
                    int(row["quantity"])
                    if row["base_unit"] == "D"
                    else (_first_date(row, number + 1) - _first_date(row, number)).days
                )
                bars[row["timeframe"], end] = Bar(
                    start, *_summed([bar for _, bar in included]), len(period) - len(included), False, length
                )
    return bars


def _first_date(row: dict[str, Any], number: int) -> date:
    first = number * int(row["quantity"])
    match row["base_unit"]:
        case "CD":
            return date(1970, 1, 1) + timedelta(days=first)
        case "W":
            return (date(1970, 1, 4) if row["calendar_scheme"] == "US" else date(1970, 1, 5)) + timedelta(weeks=first)
        case "MO":
            return date(1970 + first // 12, first % 12 + 1, 1)
        case _:
            return date(1970 + first, 1, 1)


def local_date(moment: datetime, calendar: Calendar) -> date:
    """The date of an instant where the session is."""
    return moment.astimezone(ZoneInfo(calendar.timezone)).date()
