"""Stretches of time, beside sets of the instants that they hold."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from titan.core.batch import merged, without

STRETCHES = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 8)).map(lambda span: (span[0], span[0] + span[1])))


def instants(stretches: list[tuple[int, int]]) -> set[int]:
    return {at for start, stop in stretches for at in range(start, stop)}


@given(STRETCHES)
def test_merged_stretches_hold_the_same_time_in_order_and_do_not_touch(stretches: list[tuple[int, int]]) -> None:
    found = merged(stretches)
    assert instants(found) == instants(stretches)
    assert all(before[1] < after[0] for before, after in pairwise(found))


@given(STRETCHES, STRETCHES)
def test_what_is_left_is_what_was_not_taken(stretches: list[tuple[int, int]], taken: list[tuple[int, int]]) -> None:
    found = without(stretches, taken)
    assert instants(found) == instants(stretches) - instants(taken)
    assert all(start < stop for start, stop in found)
