"""The limit of an exchange, whichever thread asks."""

from __future__ import annotations

import multiprocessing
import struct
import time
from pathlib import Path
from threading import Thread

from ingest.sources.limits import RateLimit, turns_of


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


def test_processes_that_ask_one_exchange_take_turns(tmp_path: Path) -> None:
    """A watch beside a backfill asked twice as often as is allowed; another address has turns of its own."""
    path = turns_of(tmp_path / "turns", "binance", "https://one")
    assert turns_of(tmp_path / "turns", "binance", "https://another") != path
    begun = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        parts = pool.starmap(_turns, [(path, 40)] * 3)
    turns = sorted(turn for part in parts for turn in part)
    assert len(turns) == 120
    assert all(turn - turns[0] >= 0.01 * at - 0.02 for at, turn in enumerate(turns))
    assert turns[-1] - begun < 20
    assert path.stat().st_mode & 0o777 == 0o600


def _turns(path: Path, count: int) -> list[float]:
    limit, turns = RateLimit(0.01, path), []
    for _ in range(count):
        limit.wait()
        turns.append(time.monotonic())
    limit.close()
    return turns


def test_what_was_noted_before_the_machine_began_anew_holds_nobody_up(tmp_path: Path) -> None:
    """Nor does a file that is none, and where there can be none a process takes turns with itself."""
    path = tmp_path / "turns"
    for noted in (struct.pack("d", time.monotonic() + 1e6), struct.pack("d", float("nan")), b"turn"):
        path.write_bytes(noted)
        limit, begun = RateLimit(0.02, path), time.monotonic()
        limit.wait()
        assert time.monotonic() - begun < 1
        limit.wait()
        limit.close()
        assert time.monotonic() - begun >= 0.02
    limit, begun = RateLimit(0.02, tmp_path / "turns" / "none"), time.monotonic()
    limit.wait()
    limit.wait()
    assert time.monotonic() - begun >= 0.02


def test_a_limit_that_nobody_has_any_more_leaves_no_open_file(tmp_path: Path) -> None:
    """A watch opens its exchanges anew every six hours."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        RateLimit(0.001, tmp_path / "turns").wait()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1
