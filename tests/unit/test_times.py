"""Times as they occur in files: units, notations, opens and closes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ingest.sources.times import (
    MISSING,
    infer_timeframe,
    looks_like_closes,
    opens_of_closes,
    read_times,
    to_utc,
)
from tests.warehouse import instant, microseconds
from titan.core.errors import SourceError
from titan.core.timeframes import TIMEFRAMES


def read(*texts: str) -> list[int]:
    return read_times(pd.Series(texts, dtype="str"), "file").values.tolist()


AT = microseconds(instant("2024-03-10T12:34:00"))


@pytest.mark.parametrize(
    "text",
    [
        "1710074040",
        "1710074040000",
        "1710074040000000",
        "1710074040000000000",
        "1710074040.0",
        "2024-03-10T12:34:00Z",
        "2024-03-10 12:34:00 UTC",
        "2024-03-10T12:34:00.000Z",
        "2024-03-10 13:34:00+01:00",
        "2024-03-10 12:34:00",
        "2024-03-10 12:34",
        "2024/03/10 12:34",
        "20240310 12:34",
    ],
)
def test_one_instant_in_many_notations(text: str) -> None:
    assert read(text) == [AT]


def test_an_exchange_that_changed_its_unit_midway_is_read_row_by_row() -> None:
    assert read("1710074040000", "1710074040000000") == [AT, AT]


@pytest.mark.parametrize("unit", [1, 1_000, 1_000_000, 1_000_000_000])
def test_one_column_has_one_unit_in_any_year(unit: int) -> None:
    days = [-2921 + at for at in range(6_000)]  # from 1962: milliseconds of 1970 have the size of seconds, and of nothing
    assert read(*(str(day * 86_400 * unit) for day in days)) == [day * 86_400_000_000 for day in days]


def test_what_lies_in_no_year_of_a_market_is_missing_and_the_others_keep_their_unit() -> None:
    days = [-252_374_400_000 + 86_400_000 * at for at in range(50)]
    found = read(*map(str, [*days, 10**18]))
    assert found == [*(day * 1000 for day in days), MISSING]


def test_offsets_are_told_from_local_times() -> None:
    assert not read_times(pd.Series(["2024-03-10T12:34:00Z"], dtype="str"), "f").is_local
    assert read_times(pd.Series(["2024-03-10T12:34:00"], dtype="str"), "f").is_local
    assert read_times(pd.Series(["2024-03-10"], dtype="str"), "f").is_dates


@pytest.mark.parametrize(
    ("texts", "expected", "note"),
    [
        (["08/08/15 23:59", "29/08/15 23:59"], "2015-08-08T23:59", "day first"),
        (["10/5/2020 23:59", "10/26/2020 23:59"], "2020-10-05T23:59", "month first"),
        (["11/5/2019 9:30", "11/6/2019 9:30", "11/7/2019 9:30"], "2019-11-05T09:30", "month first"),
    ],
)
def test_slashed_dates_are_read_the_way_that_fits_the_whole_file(texts: list[str], expected: str, note: str) -> None:
    times = read_times(pd.Series(texts, dtype="str"), "file")
    assert times.values[0] == microseconds(instant(expected))
    assert note in times.notes[0]


def test_a_slashed_date_that_fits_both_ways_is_refused() -> None:
    with pytest.raises(SourceError, match="equally well day first and month first"):
        read("05/05/2020")


def test_unreadable_times_are_missing_and_the_others_stay() -> None:
    assert read("1710074040", "soon", "") == [AT, MISSING, MISSING]
    assert read("2024-03-10 12:34:00", "2024-13-40 00:00:00") == [AT, MISSING]


def test_local_times_are_placed_and_the_impossible_ones_are_missing() -> None:
    winter, skipped, doubled = (
        microseconds(instant(text)) for text in ("2024-01-05T09:30", "2024-03-10T02:30", "2024-11-03T01:30")
    )
    placed = to_utc(np.array([winter, skipped, doubled, MISSING]), "America/New_York")
    assert placed.tolist() == [microseconds(instant("2024-01-05T14:30")), MISSING, MISSING, MISSING]


@pytest.mark.parametrize(
    ("close", "timeframe", "opens"),
    [
        ("2024-01-02T00:00:00", "1D", "2024-01-01T00:00"),
        ("2024-01-01T23:59:59", "1D", "2024-01-01T00:00"),
        ("2024-01-01T23:59:00", "1D", "2024-01-01T00:00"),
        ("2024-01-01T10:59:59.999", "1h", "2024-01-01T10:00"),
        ("2024-01-01T11:00:00", "1h", "2024-01-01T10:00"),
        ("2024-01-01T10:00:59.999", "1m", "2024-01-01T10:00"),
        ("2024-01-08T00:00:00", "1W_ISO", "2024-01-01T00:00"),
        ("2024-02-29T23:59:59", "1MO", "2024-02-01T00:00"),
        ("2024-01-01T10:30:00", "1h", "2024-01-01T10:30"),  # closes nothing: left for the grid to refuse
    ],
)
def test_a_close_becomes_the_open_of_its_period(close: str, timeframe: str, opens: str) -> None:
    found = opens_of_closes(np.array([microseconds(instant(close))]), TIMEFRAMES[timeframe])
    assert found[0] == microseconds(instant(opens))


def test_closes_are_recognised_by_their_last_moment() -> None:
    day = 86_400_000_000
    assert looks_like_closes(np.arange(10) * day - 1)
    assert looks_like_closes(np.arange(10) * day - 60_000_000)
    assert not looks_like_closes(np.arange(10) * day)


def test_the_timeframe_is_the_commonest_step_of_any_series() -> None:
    minute = 60_000_000
    values = np.array([0, minute, 2 * minute, 10 * minute, 0, 5 * minute, MISSING])
    series = np.array([0, 0, 0, 0, 1, 1, 1], dtype="i2")
    found = infer_timeframe(values, series)
    assert found is not None
    assert found.name == "1m"
    assert infer_timeframe(values[:1], series[:1]) is None
