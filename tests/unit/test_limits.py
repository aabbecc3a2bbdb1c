"""The limit of an exchange, whichever thread asks."""

from __future__ import annotations

import time
from threading import Thread

from ingest.sources.limits import RateLimit


def test_turns_of_many_threads_are_as_far_apart_as_an_exchange_allows() -> None:
    limit, turns = RateLimit(0.01), []

    def ask() -> None:
        for _ in range(5):
            limit.wait(2)
            turns.append(time.monotonic())

    threads = [Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A thread may wake late, and the next one in time: over all turns the pace is kept.
    assert all(turn - turns[0] >= 0.02 * at - 0.01 for at, turn in enumerate(turns))
    assert len(turns) == 40


def test_a_dear_request_makes_the_next_one_wait_for_longer() -> None:
    limit, turns = RateLimit(0.02), []
    for cost in (1, 4, None, 0):
        limit.wait(cost)
        turns.append(time.monotonic())
    assert all(turn - turns[0] >= least for turn, least in zip(turns[1:], (0.02, 0.1, 0.12), strict=True))
