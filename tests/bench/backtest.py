"""A sweep of moving-average crossovers over daily bars, beside vectorbt, both from the database and back into it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from statistics import median
from time import perf_counter

from tests.bench.history import History
from tests.bench.memory import peak_memory
from titan.core.database import connect
from titan.lab import backtest, evidence
from titan.lab import walk_forward as walk
from titan.lab.spec import RunSpec

ROUNDS = 3
FAST, SLOW = list(range(5, 55, 5)), list(range(60, 260, 20))
END = datetime(2026, 1, 1, tzinfo=UTC)
ONE_CORE = "-c max_parallel_workers_per_gather=0"


def main() -> None:
    """Print the figures one after the other."""
    for bars in (4_000, 40_000):
        # Hours for the longer one: so many days there have not been.
        history = History(
            bars, END, timeframe="1D" if bars == 4_000 else "1h", prepare="update config.signal set is_enabled = false"
        )
        rounds = ROUNDS if bars == 4_000 else 1
        _beside_vectorbt(history, rounds)
        if bars == 4_000:
            _one_core(history)
            _evidence(history)


def _ours(history: History) -> tuple[float, dict[str, float]]:
    """Seconds of a run, and of each of its steps."""
    moments: list[tuple[str, float]] = []
    begun = perf_counter()
    with connect() as connection:
        backtest.run(
            connection,
            RunSpec("sma_crossover", history.timeframe, {"fast": FAST, "slow": SLOW}),
            lambda name: moments.append((name, perf_counter())),
        )
    ended = perf_counter()
    following = [moment for _, moment in moments[1:]] + [ended]
    return ended - begun, {name: after - at for (name, at), after in zip(moments, following, strict=True)}


def _theirs(history: History) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.vectorbt_rival", history.timeframe, json.dumps([FAST, SLOW])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _beside_vectorbt(history: History, rounds: int) -> None:
    ours: list[float] = []
    theirs: list[float] = []
    memory: list[int] = []
    for _ in range(rounds):
        with peak_memory() as peak:
            seconds, steps = _ours(history)
        ours.append(seconds)
        memory.append(peak[0])
        found = _theirs(history)
        theirs.append(found["seconds"])
    trials = len(FAST) * len(SLOW)
    print(
        f"{trials} pairs of means over {history.symbols} instruments of {history.bars:,} bars, trades and metrics stored; "
        f"medians of {rounds}"
    )
    print(
        f"  Titan     {median(ours):6.1f} s, of them {steps['compiling']:.1f} compiling; "
        f"peak memory of the server {max(memory) / 1e6:,.0f} MB"
    )
    print("            " + ", ".join(f"{name} {taken:.1f}" for name, taken in steps.items()))
    print(f"  vectorbt  {median(theirs):6.1f} s once compiled; peak memory of the process {found['memory'] / 1e6:,.0f} MB")
    with connect() as connection:
        counted = connection.execute(
            "select count(*) from lab.trade where run_id = (select max(run_id) from lab.run)"
        ).fetchone()
    print(f"  trades: {counted[0] if counted else 0:,} and {found['trades']:,.0f}")


def _evidence(history: History) -> None:
    """A run of ten years replayed, and a walk-forward."""
    since = END - timedelta(days=3650)
    seconds = []
    with connect() as connection:
        asked = RunSpec("sma_crossover", history.timeframe, {"fast": [20], "slow": [100]}, since=since)
        run_id = backtest.run(connection, asked).run_id
        for _ in range(ROUNDS):
            begun = perf_counter()
            verdict = evidence.verify(connection, run_id)
            seconds.append(perf_counter() - begun)
        print(
            f"  verify of a run over {history.symbols} instruments of ten years of days: {median(seconds):.1f} s "
            f"({evidence.summary(verdict)})"
        )
        asked = RunSpec("sma_crossover", history.timeframe, {"fast": FAST[:5], "slow": SLOW})
        with peak_memory() as peak:
            begun = perf_counter()
            walked = walk.begin(connection, asked, walk.WalkPlan(folds=8))
            walk.go_on(connection, walked.walk_id, programs=walked.programs)
            taken = perf_counter() - begun
    print(
        f"  walk-forward: 8 folds of {len(FAST[:5]) * len(SLOW)} sets over {history.symbols} instruments of "
        f"{history.bars:,} bars: {taken:.1f} s; peak memory of the server {peak[0] / 1e6:,.0f} MB"
    )


def _one_core(history: History) -> None:
    """What a bar costs where nothing runs beside: means, signals, trades, equity and drawdown of two accounts, metrics."""
    before = os.environ.get("PGOPTIONS")
    os.environ["PGOPTIONS"] = ONE_CORE
    rates = []
    for _ in range(ROUNDS):
        seconds, steps = _ours(history)
        rates.append(len(FAST) * len(SLOW) * history.candles / (seconds - steps["compiling"]))
    if before is None:
        del os.environ["PGOPTIONS"]
    else:
        os.environ["PGOPTIONS"] = before
    print(f"  on one core, beyond compiling: {median(rates) / 1e6:.2f} M bars/s")
