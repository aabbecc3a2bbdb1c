"""One new daily bar for 20 symbols, loaded and built, over a hundred thousand and over a million bars of history."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.bench.history import History, Rounds, print_ratio

ROUNDS = 25
END = datetime(2026, 1, 1, tzinfo=UTC)


def main() -> None:
    """Print medians of the rounds; the two histories take turns, so noise falls on both."""
    histories = [(History(5_000, END), Rounds()), (History(50_000, END), Rounds())]
    for _ in range(ROUNDS):
        for history, rounds in histories:
            history.append(rounds)
    print(
        f"one new daily bar for 20 symbols, loaded and built, beyond a build with nothing to do; medians of {ROUNDS} rounds"
    )
    for history, rounds in histories:
        print(f"  {history.candles:>9,} bars of history  {rounds}")
    print_ratio(*(rounds for _, rounds in histories))
