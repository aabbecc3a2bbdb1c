"""Paging against exchanges that are functions: what each answers, what has to come of it, and what may be claimed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.sources.paging import LEAST_REACH, Paging, RefusedError, Row, Span
from titan.core.batch import without
from titan.core.errors import SourceError

STEP = 3_600_000
START = 500_000 * STEP


def hours(*numbers: int) -> list[int]:
    return [START + number * STEP for number in numbers]


@dataclass
class Exchange:
    """Candles by their openings. `answer` is what kind of exchange it is: the openings it gives to a question."""

    opened: list[int]
    answer: Callable[[Exchange, int, int | None], list[int]]
    asked: list[int] = field(default_factory=list)
    empty_answers: set[int] = field(default_factory=set)  # which questions, by number, are answered by nothing

    def ask(self, cursor: int, until: int | None) -> list[Row]:
        self.asked.append(cursor)
        if len(self.asked) in self.empty_answers:
            return []
        return [[at, 1, 1, 1, 1, 1] for at in self.answer(self, cursor, until)]


def first_ones(most: int) -> Callable[[Exchange, int, int | None], list[int]]:
    """The first candles from the cursor on, wherever they are."""
    return lambda exchange, cursor, until: [at for at in exchange.opened if cursor <= at <= (until or at)][:most]


def window(periods: int) -> Callable[[Exchange, int, int | None], list[int]]:
    """What lies within so many periods of the cursor."""

    def answer(exchange: Exchange, cursor: int, until: int | None) -> list[int]:
        return [at for at in exchange.opened if cursor <= at < cursor + periods * STEP and at <= (until or at)]

    return answer


def newest(most: int, *, heeds_until: bool) -> Callable[[Exchange, int, int | None], list[int]]:
    """The newest candles, whatever since says."""
    return lambda exchange, cursor, until: [at for at in exchange.opened if not (heeds_until and until and at > until)][
        -most:
    ]


def walk(exchange: Exchange, end: int, limit: int = 1000) -> tuple[list[int], list[Span]]:
    """The openings that came, in order, and what was answered, in hours from START; until it was no answer any more."""
    now = max(START + end * STEP, *exchange.opened)
    paging = Paging(exchange.ask, since=START, end=START + end * STEP, step=STEP, limit=limit, now=now)
    came: list[int] = []
    with suppress(SourceError):
        for page in paging.pages():
            came += [row[0] for row in page]
    return sorted(came), [((start - START) // STEP, (stop - START) // STEP) for start, stop in paging.answered]


def test_a_stretch_without_candles_is_passed_by_what_an_answer_covers() -> None:
    """2,420 hours, the first 320 quiet, of an exchange that answers for 300: 680 candles were passed over."""
    opened = hours(*range(320, 2420))
    assert walk(Exchange(opened, window(300)), 2420) == (opened, [(0, 2420)])


@pytest.mark.parametrize("periods", [7, 90, 300, 1000, 5000])
@pytest.mark.parametrize("first", [0, 1, 99, 120, 999])
def test_windows_of_any_length_lose_nothing(periods: int, first: int) -> None:
    opened = hours(*range(first, first + 50), *range(first + 400, first + 1200), *range(first + 2300, first + 2310))
    assert walk(Exchange(opened, window(periods)), first + 2320) == (opened, [(0, first + 2320)])


def test_an_empty_answer_is_asked_for_again() -> None:
    opened = hours(*range(2000))
    exchange = Exchange(opened, first_ones(500), empty_answers={2, 5})
    assert walk(exchange, 2000) == (opened, [(0, 2000)])
    assert len(exchange.asked) == 6


def test_a_long_silence_is_measured_where_there_are_candles() -> None:
    """Before a market began, an answer that says nothing covers what answers of today do."""
    opened = hours(*range(20_000, 21_000))
    exchange = Exchange(opened, window(1000))
    assert walk(exchange, 21_000) == (opened, [(0, 21_000)])
    assert len(exchange.asked) < 60


@pytest.mark.parametrize("heeds_until", [False, True])
def test_an_exchange_that_gives_its_newest_candles_is_seen_through(heeds_until: bool) -> None:
    opened = hours(*range(2000))
    came, answered = walk(Exchange(opened, newest(720, heeds_until=heeds_until)), 2000)
    if heeds_until:  # then it gives the older ones when it is asked for them
        assert (came, answered) == (opened, [(0, 2000)])
    else:
        assert (came, answered) == (opened[-720:], [(1280, 2000)])
        # The question about the time before is asked twice as well, if need be.
        exchange = Exchange(opened, newest(720, heeds_until=False), empty_answers={2})
        assert walk(exchange, 2000) == (opened[-720:], [(1280, 2000)])


def test_a_young_market_is_one_that_had_nothing_before() -> None:
    opened = hours(*range(900, 1000))
    assert walk(Exchange(opened, first_ones(1000)), 1000) == (opened, [(0, 1000)])


def test_an_exchange_that_cannot_be_told_where_to_end_did_not_answer_for_before() -> None:
    opened = hours(*range(900, 1000))

    def answer(exchange: Exchange, cursor: int, until: int | None) -> list[int]:
        if until is not None:
            raise RefusedError("unknown parameter")
        return first_ones(1000)(exchange, cursor, until)

    paging = Paging(Exchange(opened, answer).ask, since=START, end=START + 1000 * STEP, step=STEP, limit=1000)
    assert [row[0] for page in paging.pages() for row in page] == opened  # and that no is no failure
    assert paging.answered == [(opened[0], opened[-1] + STEP)]


def test_older_candles_than_asked_for_are_no_answer() -> None:
    """An exchange that always answers its first 500: the loop went on to the end, and claimed all of it."""
    opened = hours(*range(2000))
    exchange = Exchange(opened, lambda exchange, cursor, until: exchange.opened[:500])
    paging = Paging(exchange.ask, since=START, end=START + 2000 * STEP, step=STEP, limit=1000)
    pages = paging.pages()
    assert [row[0] for row in next(pages)] == opened[:500]
    with pytest.raises(SourceError, match="since 2027-02-05 03:00, it answers older ones, up to 2027-02-05 03:00"):
        next(pages)
    assert paging.answered == [(START, opened[500])]


def test_a_page_may_begin_with_the_candle_before() -> None:
    opened = hours(*range(10))

    def answer(exchange: Exchange, cursor: int, until: int | None) -> list[int]:
        return [at for at in exchange.opened if at + STEP >= cursor]

    assert walk(Exchange(opened, answer), 30) == (opened, [(0, 30)])


def test_answers_need_no_order() -> None:
    opened = hours(*range(2500))

    def answer(exchange: Exchange, cursor: int, until: int | None) -> list[int]:
        return first_ones(1000)(exchange, cursor, until)[::-1]

    assert walk(Exchange(opened, answer), 2500) == (opened, [(0, 2500)])


@pytest.mark.parametrize("time", [None, "soon", float("nan"), 10**18, -5, 0, 4_102_444_800_000, True])
def test_a_time_that_cannot_be_moves_nothing_on(time: object) -> None:
    """A candle of the year 2100 ended the loop, and the rest counted as asked."""
    opened = hours(*range(2500))

    def ask(cursor: int, until: int | None) -> list[Row]:
        page: list[Row] = [[at, 1, 1, 1, 1, 1] for at in opened if at >= cursor][:1000]
        return [*page[:500], [time, 1, 1, 1, 1, 1], *page[500:]]

    paging = Paging(ask, since=START, end=START + 2500 * STEP, step=STEP, limit=1000)
    assert [row[0] for page in paging.pages() for row in page] == opened
    assert repr(paging.strays[0][0]) == repr(time)


def test_what_opens_after_the_end_is_left_for_the_next_time() -> None:
    """Candles that begin while a long history is being asked for were quarantined as being of the future."""
    opened = hours(*range(110))
    assert walk(Exchange(opened, first_ones(1000)), 100) == (opened[:100], [(0, 100)])


def test_a_failure_leaves_what_had_been_answered() -> None:
    opened = hours(*range(2500))

    def answer(exchange: Exchange, cursor: int, until: int | None) -> list[int]:
        if len(exchange.asked) == 3:
            raise SourceError("away")
        return first_ones(1000)(exchange, cursor, until)

    paging = Paging(Exchange(opened, answer).ask, since=START, end=START + 2500 * STEP, step=STEP, limit=1000)
    with pytest.raises(SourceError, match="away"):
        list(paging.pages())
    assert paging.answered == [(START, opened[2000])]


HONEST = st.one_of(st.integers(LEAST_REACH, 400).map(window), st.integers(2, 400).map(first_ones))
SHORT = st.integers(5, LEAST_REACH - 1).map(window)  # less than any that ccxt documents
NEWEST = st.builds(newest, st.integers(2, 400), heeds_until=st.booleans())
# Periods from one candle to the next; numbers of questions that are answered by nothing, no two in a row.
GAPS = st.lists(st.integers(1, 60) | st.just(500), min_size=1, max_size=60)
PART = st.just(1.0) | st.floats(0, 1)  # how far of the candles is asked for
EMPTY = st.sets(st.integers(1, 30), max_size=8).map(lambda found: {number for number in found if number - 1 not in found})


@settings(deadline=None, max_examples=100)
@given(gaps=GAPS, answer=HONEST, empty_answers=EMPTY)
def test_nothing_is_lost(
    gaps: list[int], answer: Callable[[Exchange, int, int | None], list[int]], empty_answers: set[int]
) -> None:
    opened = hours(*accumulate(gaps))
    end = sum(gaps) + 2
    assert walk(Exchange(opened, answer, empty_answers=empty_answers), end) == (opened, [(0, end)])


@settings(deadline=None, max_examples=100)
@given(gaps=GAPS, part=PART, answer=NEWEST, empty_answers=EMPTY)
def test_what_counts_as_answered_has_come(
    gaps: list[int], part: float, answer: Callable[[Exchange, int, int | None], list[int]], empty_answers: set[int]
) -> None:
    """Of a hole between candles, too: an exchange that gives its newest ones has said nothing of it."""
    opened = hours(*accumulate(gaps))
    came, answered = walk(Exchange(opened, answer, empty_answers=empty_answers), int(part * sum(gaps)) + 2)
    missing = [(at - START) // STEP for at in opened if at not in came]
    assert not [number for number in missing if any(start <= number < stop for start, stop in answered)]


@settings(deadline=None, max_examples=200)
@given(gaps=GAPS, part=PART, answer=HONEST | NEWEST | SHORT, empty_answers=EMPTY)
def test_what_is_claimed_while_pages_come_has_come(
    gaps: list[int], part: float, answer: Callable[[Exchange, int, int | None], list[int]], empty_answers: set[int]
) -> None:
    """It is committed with them: if nobody asked again, nothing might be missing."""
    opened = hours(*accumulate(gaps))
    exchange = Exchange(opened, answer, empty_answers=empty_answers)
    end, now = (START + (hour + 2) * STEP for hour in (int(part * sum(gaps)), sum(gaps)))
    paging = Paging(exchange.ask, since=START, end=end, step=STEP, limit=1000, now=now)
    came: set[int] = set()
    claimed: list[Span] = []
    with suppress(SourceError):
        for page in paging.pages():
            came |= {row[0] for row in page}
            certain = paging.certain
            assert not without(claimed, certain)  # nothing is taken back
            claimed = certain
            assert all(at in came for at in opened if any(start <= at < stop for start, stop in claimed))
