"""Text and numbers to instants: epochs of any unit, ISO and the local notations, opens and closes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd

from titan.core.errors import SourceError
from titan.core.timeframes import Timeframe, timeframe_of_seconds

Microseconds = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

MISSING = np.iinfo(np.int64).min
_DAY = 86_400_000_000
_OFFSET = r"(?:Z|UTC|:\d{2}(?:\.\d+)?[+-]\d{2}:?\d{2})$"


@dataclass(frozen=True)
class Times:
    """Instants as read, in microseconds since 1970; MISSING where the text is no time.

    `is_local`: they carry no offset, so they still have to be placed in a timezone. `is_dates`: they are dates only.
    """

    values: Microseconds
    is_local: bool
    is_dates: bool
    notes: tuple[str, ...] = ()


def read_times(texts: pd.Series[str], where: str) -> Times:
    """Read a column of text; raises SourceError when day and month cannot be told apart."""
    stripped = texts.str.strip()
    sample = stripped[stripped != ""]
    if sample.empty:
        return Times(np.full(len(texts), MISSING), is_local=False, is_dates=False)
    if _some(sample).str.contains(_HALF_DAY, regex=True).mean() >= 0.5:
        stripped = _on_24_hours(stripped)
        sample = stripped[stripped != ""]
    sample = _some(sample)
    if sample.str.fullmatch(r"\d{8}").mean() >= 0.5:
        return _local(stripped, "%Y%m%d")
    if (digits := sample.str.fullmatch(_COMPACT)).mean() >= 0.95:
        return _local(
            stripped.str.replace(r"[ T]", "", regex=True), f"%Y%m%d%H%M{'%S' * bool(_has_seconds(sample[digits]))}"
        )
    if sample.str.fullmatch(r"[+-]?\d+(?:\.\d*)?(?:[eE]\+?\d+)?").mean() >= 0.5:
        return Times(_epochs(stripped), is_local=False, is_dates=False)
    if sample.str.match(r"\d{8} \d{1,2}:\d{2}").mean() >= 0.5:
        return _local(stripped, "%Y%m%d %H:%M:%S" if sample.str.count(":").max() > 1 else "%Y%m%d %H:%M")
    if sample.str.match(r"\d{1,2}[/.]\d{1,2}[/.]\d{2,4}").mean() >= 0.5:
        return _slashed(stripped, where)
    if sample.str.contains(_MONTH, regex=True).mean() >= 0.5:
        return _local(_of_named_months(stripped), "ISO8601")
    if sample.str.contains(_OFFSET, regex=True).mean() >= 0.5:
        cleaned = stripped.str.replace(r"\s*UTC$", "Z", regex=True)
        return Times(_parsed(cleaned, "ISO8601", utc=True), is_local=False, is_dates=False)
    return _local(_padded(stripped), "ISO8601")


def _some(texts: pd.Series[str]) -> pd.Series[str]:
    """Two thousand of them, evenly spread: enough to tell how they are written."""
    return texts.iloc[:: max(1, len(texts) // 2000)]


_HALF_DAY = r"[0-9][ -]?[AaPp]\.?[Mm]\.?$"
_COMPACT = r"(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[ T]?(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d)?"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = rf"(?i)\b(?:{'|'.join(_MONTHS)})[a-z]*\b"


def _has_seconds(texts: pd.Series[str]) -> bool:
    return bool(texts.str.replace(r"\D", "", regex=True).str.len().max() == 14)


def _on_24_hours(texts: pd.Series[str]) -> pd.Series[str]:
    """`11:30 PM` and `11-PM` as 23:30 and 23:00. What says no half of the day is not to be read: it may be either."""
    fields = texts.str.extract(r"^(.*?)[ T]*\b(\d{1,2})(?::(\d{2}))?(?::(\d{2}))?[ -]?([AaPp])\.?[Mm]\.?$")
    hour = pd.to_numeric(fields[1], errors="coerce")
    is_hour = hour.between(1, 12)
    hour = hour.where(is_hour, 0).astype("int64") % 12 + 12 * fields[4].str.lower().eq("p").astype("int64")
    clock = hour.astype("str").str.zfill(2) + ":" + fields[2].fillna("00") + ":" + fields[3].fillna("00")
    return (fields[0].fillna("") + " " + clock).str.strip().where(is_hour, "")


def _of_named_months(texts: pd.Series[str]) -> pd.Series[str]:
    """`Jan 01, 2024` and `1-Jan-24 9:30` as ISO has them."""
    month = rf"(?P<{{}}>{'|'.join(_MONTHS)})[a-z]*\.?"
    first = rf"{month.format('m1')}\s+(?P<d1>\d{{1,2}})(?:st|nd|rd|th)?,?\s+(?P<y1>\d{{4}})"
    second = rf"(?P<d2>\d{{1,2}})(?:st|nd|rd|th)?[\s-]{month.format('m2')},?[\s-](?P<y2>\d{{4}}|\d{{2}})"
    fields = texts.str.lower().str.extract(rf"^(?:[a-z]{{3,9}},?\s+)?(?:{first}|{second})(?:[\s,t]+(?P<clock>.*))?$")
    either = [fields[f"{name}1"].fillna(fields[f"{name}2"]) for name in "ymd"]
    number = either[1].map({name: f"{at:02}" for at, name in enumerate(_MONTHS, 1)})
    iso = _four_digits(either[0]) + "-" + number + "-" + either[2].str.zfill(2) + " " + fields["clock"].fillna("")
    return _padded(iso.str.strip().fillna(""))


def _four_digits(years: pd.Series[str]) -> pd.Series[str]:
    """Two digits are of the years 1970 to 2069."""
    of_last_century = years.str.replace(r"^([7-9]\d)$", r"19\1", regex=True)
    return of_last_century.str.replace(r"^(\d{2})$", r"20\1", regex=True)


def _padded(texts: pd.Series[str]) -> pd.Series[str]:
    """Dates of dots, slashes or single digits, and hours of one digit, as ISO has them."""
    if texts.str.match(r"\d{4}-\d{2}-\d{2}(?:$|[ T]\d{2}:)").all():
        return texts
    dated = texts.str.replace(r"^(\d{4})[-./](\d{1,2})[-./](\d{1,2})(?!\d)", r"\1-0\2-0\3", regex=True)
    dated = dated.str.replace(r"^(\d{4})-0?(\d{2})-0?(\d{2})(?!\d)", r"\1-\2-\3", regex=True)
    return dated.str.replace(r"^(\S+)[ T]+(\d):", r"\1 0\2:", regex=True)


def _local(texts: pd.Series[str], layout: str, notes: tuple[str, ...] = ()) -> Times:
    values = _parsed(texts, layout)
    known = values[values != MISSING]
    return Times(values, is_local=True, is_dates=bool(len(known)) and bool(np.all(known % _DAY == 0)), notes=notes)


def _parsed(texts: pd.Series[str], layout: str, *, utc: bool = False) -> Microseconds:
    # Of a column that has offsets, a time without one is not to be read, and the other way round: its instant is a guess.
    has_offset = texts.str.contains(_OFFSET, regex=True)
    parsed = pd.to_datetime(texts.where(has_offset == utc, ""), format=layout, errors="coerce", utc=utc)
    if utc:
        parsed = parsed.dt.tz_localize(None)
    values = parsed.to_numpy().astype("datetime64[us]").astype("int64")
    return np.where(parsed.isna(), MISSING, values)


def _epochs(texts: pd.Series[str]) -> Microseconds:
    """Seconds, milliseconds, microseconds or nanoseconds: the one unit under which the column steps like candles, within the
    years that markets have had. Where there is none an exchange may have changed it midway: then by the size of each.

    What lies outside those years is MISSING.
    """
    numbers = pd.to_numeric(texts, errors="coerce")
    whole = numbers.fillna(0).to_numpy()
    known = (~numbers.isna()).to_numpy() & np.isfinite(whole)
    sizes = np.abs(whole)
    by_size = _scaled(whole, np.select([sizes < 1e11, sizes < 1e14, sizes < 1e17], _UNITS[:3], _UNITS[3]))
    readings = [_scaled(whole, np.full(len(whole), scale)) for scale in _UNITS]
    shares = [_share_in_range(values[known], _FIRST_YEAR) for values in readings]
    stepping = [values for values, share in zip(readings, shares, strict=True) if share >= 0.5 and _has_steps(values[known])]
    if _share_in_range(by_size[known], _FIRST_EXCHANGE) == 1:  # one unit or several, all of the present
        return np.where(known, by_size, MISSING)
    best = stepping[0] if stepping else readings[int(np.argmax(shares))]
    if not stepping and _share_in_range(by_size[known], _FIRST_EXCHANGE) >= max(shares):
        best = np.where(_is_in_range(by_size, _FIRST_EXCHANGE), by_size, MISSING)
    return np.where(known & _is_in_range(best, _FIRST_YEAR), best, MISSING)


# Microseconds in a unit of each kind, and the years that a time of a market may lie in.
_UNITS = (1e6, 1e3, 1.0, 1e-3)
_FIRST_YEAR, _FIRST_EXCHANGE, _LAST_YEAR = 1800, 1990, 2200


def _scaled(whole: npt.NDArray[Any], scale: npt.NDArray[np.float64]) -> Microseconds:
    if whole.dtype.kind == "i":
        factor = np.maximum(scale, 1).astype("int64")
        room = np.iinfo(np.int64).max // factor
        values: Microseconds = np.where(scale >= 1, np.clip(whole, -room, room) * factor, whole // 1000)
        return values
    rounded: Microseconds = np.round(np.clip(np.nan_to_num(whole) * scale, -9e18, 9e18)).astype("int64")
    return rounded


def _is_in_range(values: Microseconds, first_year: int) -> Flags:
    first, last = (np.datetime64(f"{year}-01-01", "us").astype("int64") for year in (first_year, _LAST_YEAR))
    return np.asarray((values >= first) & (values < last), dtype=bool)


def _share_in_range(values: Microseconds, first_year: int) -> float:
    return float(np.mean(_is_in_range(values, first_year))) if len(values) else 0.0


def _has_steps(values: Microseconds) -> bool:
    return infer_timeframe(values, np.zeros(len(values), dtype="i2")) is not None


def _slashed(texts: pd.Series[str], where: str) -> Times:
    """Day/month/year or month/day/year: the reading under which more rows are dates, then the one that spans less time."""
    fields = texts.str.extract(r"^(\d{1,2})[/.](\d{1,2})[/.](\d{2,4})(.*)$")
    clock = fields[3].str.strip()
    readings: dict[str, Microseconds] = {}
    for name, (day, month) in {"day first": (0, 1), "month first": (1, 0)}.items():
        iso = _four_digits(fields[2]) + "-" + fields[month].str.zfill(2) + "-" + fields[day].str.zfill(2)
        hour = clock.str.replace(r"^(\d):", r"0\1:", regex=True)
        readings[name] = _parsed((iso + " " + hour).str.strip(), "ISO8601")
    counts = {name: int(np.sum(values != MISSING)) for name, values in readings.items()}
    best = [name for name, count in counts.items() if count == max(counts.values())]
    if len(best) > 1 and texts.str.match(r"\d+\.\d+\.").mean() >= 0.5:
        best = best[:1]  # where dates have dots, the day comes first
    if len(best) > 1:
        spans = {name: int(np.abs(np.diff(readings[name][readings[name] != MISSING])).sum()) for name in best}
        best = [name for name, span in spans.items() if span == min(spans.values())]
    if len(best) > 1:
        raise SourceError(
            f"{where}: dates like {texts.iloc[0]!r} read equally well day first and month first",
            hint="write them as YYYY-MM-DD",
        )
    values = readings[best[0]]
    known = values[values != MISSING]
    is_dates = bool(np.all(known % _DAY == 0))
    return Times(values, is_local=True, is_dates=is_dates, notes=(f"dates are {best[0]}",))


def _steps(values: Microseconds, series: npt.NDArray[np.int16]) -> Microseconds:
    """From each time of a series to the next one."""
    known = values != MISSING
    order = np.lexsort((values[known], series[known]))
    times, owner = values[known][order], series[known][order]
    steps: Microseconds = np.diff(times)[np.diff(owner) == 0]
    return steps[steps > 0]


def has_step(values: Microseconds, series: npt.NDArray[np.int16], timeframe: Timeframe) -> bool:
    """Whether one in twenty steps at least is of that timeframe."""
    steps = _steps(values, series)
    return not len(steps) or bool(np.mean(steps == timeframe.seconds * 1_000_000) >= 0.05)


def infer_timeframe(values: Microseconds, series: npt.NDArray[np.int16]) -> Timeframe | None:
    """The timeframe of the commonest step between consecutive times of one series; None if there is none."""
    steps = _steps(values, series)
    if not len(steps):
        return None
    lengths, counts = np.unique(steps, return_counts=True)
    return timeframe_of_seconds(float(lengths[np.argmax(counts)]) / 1e6)


def looks_like_closes(values: Microseconds) -> bool:
    """Whether nine in ten times end in :59:59, :59:59.999 or 23:59: the last moment of a bar, not its first."""
    known = values[values != MISSING]
    if not len(known):
        return False
    seconds = known // 1_000_000
    ends = (seconds % 60 == 59) | ((seconds // 60) % 1440 == 1439)
    return bool(np.mean(ends) >= 0.9)


def opens_of_closes(values: Microseconds, timeframe: Timeframe) -> Microseconds:
    """The opening of the period that a closing stamp ends; a stamp that ends none stays, and fails the grid later.

    A closing stamp is the exclusive end or the last moment before it: a minute at most, a sixtieth of a short period.
    """
    before = values - 1
    if timeframe.base_unit == "MO":
        months = before.astype("datetime64[us]").astype("datetime64[M]")
        opens = months.astype("datetime64[us]").astype("int64")
        ends = (months + 1).astype("datetime64[us]").astype("int64")
    else:
        step = timeframe.seconds * 1_000_000
        origin = 4 * _DAY if timeframe.base_unit == "W" else 0  # 1970-01-05 was a Monday
        opens = (before - origin) // step * step + origin
        ends = opens + step
    tolerance = min(60, timeframe.seconds // 60) * 1_000_000
    return np.where((values != MISSING) & (ends - values <= tolerance), opens, values)


def to_utc(values: Microseconds, timezone: str) -> Microseconds:
    """Local times to instants; those that a clock change makes ambiguous or skips become MISSING."""
    if timezone == "UTC":
        return values
    known = values != MISSING
    stamps = pd.DatetimeIndex(values[known].astype("datetime64[us]"))
    placed = stamps.tz_localize(ZoneInfo(timezone), ambiguous="NaT", nonexistent="NaT").tz_convert("UTC").tz_localize(None)
    instants = np.full(len(values), MISSING)
    instants[known] = np.where(placed.isna(), MISSING, placed.to_numpy().astype("datetime64[us]").astype("int64"))
    return instants


def to_local(values: Microseconds, timezone: str) -> Microseconds:
    """Instants to the local times of a zone."""
    known = values != MISSING
    stamps = pd.DatetimeIndex(values[known].astype("datetime64[us]")).tz_localize("UTC")
    local = np.full(len(values), MISSING)
    local[known] = (
        stamps.tz_convert(ZoneInfo(timezone)).tz_localize(None).to_numpy().astype("datetime64[us]").astype("int64")
    )
    return local


def is_known_timezone(name: str) -> bool:
    """Whether the IANA database has the timezone."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return bool(re.match(r"[A-Za-z]", name))
