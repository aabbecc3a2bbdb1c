"""What a file covers: the time for which its source was asked, beyond its first and its last candle."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from ingest.sources.times import Microseconds
from titan.core.batch import instant
from titan.core.errors import UsageError
from titan.core.timeframes import Timeframe

Span = tuple[datetime, datetime]

_PERIOD = r"(?P<year>(?:19|20)\d{2})(?:-?(?P<month>0[1-9]|1[0-2])(?:-?(?P<day>0[1-9]|[12]\d|3[01]))?)?"
# A hole at the edge of a period is as ordinary as the holes within, but not if it is a good part of it.
_MOST_AT_THE_EDGE = 0.05


def said(text: str, timezone: str) -> Span:
    """The time that `--covers` says: a year, a month or a day, or two of these with `..` between them, both included.

    Raises UsageError for anything else.
    """
    first, _, last = text.partition("..")
    spans = [_span(part.strip(), timezone) for part in (first, last or first)]
    if spans[0] is None or spans[1] is None or spans[0][0] >= spans[1][1]:
        raise UsageError(f"--covers {text!r} is no time", hint="2015, 2015-03, 2015-03-01, or two of them: 2015-03..2016")
    return spans[0][0], spans[1][1]


def implied(stem: str, opened_at: Microseconds, timeframe: Timeframe, timezone: str) -> Span | None:
    """The year, month or day at the end of a file's name, where its candles fill it: they lie within, and at its edges
    nothing is missing that is longer than the longest hole inside.
    """
    found = re.search(rf"(?:^|[^0-9A-Za-z]){_PERIOD}$", stem)
    span = _span(found[0].strip("-_ ."), timezone) if found else None
    if span is None or len(opened_at) < 2:
        return None
    known = np.sort(opened_at)
    length = timedelta(seconds=timeframe.seconds)
    first, last = instant(known[0]), instant(known[-1]) + length
    longest = timedelta(microseconds=int(np.diff(known).max())) - length
    edge = max(first - span[0], span[1] - last)
    is_within = span[0] <= first and last <= span[1]
    return span if is_within and edge <= min(longest, _MOST_AT_THE_EDGE * (span[1] - span[0])) else None


def _span(text: str, timezone: str) -> Span | None:
    """[from, until) of a year, a month or a day of a timezone."""
    found = re.fullmatch(_PERIOD, text)
    if not found:
        return None
    year, month, day = int(found["year"]), int(found["month"] or 0), int(found["day"] or 0)
    zone = ZoneInfo(timezone)
    try:
        start = datetime(year, month or 1, day or 1, tzinfo=zone)
    except ValueError:
        return None
    if day:
        end = (start.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=zone)
    elif month:
        end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=zone)
    else:
        end = datetime(year + 1, 1, 1, tzinfo=zone)
    return start.astimezone(UTC), end.astimezone(UTC)
