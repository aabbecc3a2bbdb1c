"""Walk-forward: parameters are chosen on one part of the history and judged on the bars that follow, fold after fold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any

from psycopg import sql
from psycopg.pq import TransactionStatus

from titan.core.database import Connection, record, records, statement
from titan.core.errors import BusyError, UsageError
from titan.core.locks import locked
from titan.core.log import Progress
from titan.core.trace import span
from titan.lab.backtest import Range, compute, known_delistings, see_one_state
from titan.lab.metrics import CHOICES
from titan.lab.pool import instruments_of, pool
from titan.lab.program import Program, compile_inline, compile_program
from titan.lab.spec import COSTS, RunSpec, Value, combinations, spec_of

SCHEMES = ("anchored", "rolling")


@dataclass(frozen=True)
class WalkPlan:
    """How a history is cut. Lengths are in bars of the timeframe, counted over all instruments; None: as fits the others.

    anchored: every fold chooses by everything before its test. rolling: by the last `train` bars. The last `embargo` bars
    before a test are left out of both.
    """

    scheme: str = "anchored"
    folds: int = 8
    train: int | None = None
    test: int | None = None
    embargo: int | None = None
    metric: str = "sharpe"


@dataclass(frozen=True)
class Fold:
    """Between which moments a fold chooses, and between which its choice is judged; None: the beginning of the history."""

    fold: int
    train_from: datetime | None
    train_until: datetime
    test_from: datetime
    test_until: datetime


@dataclass(frozen=True)
class BegunWalk:
    """A walk-forward that is recorded, and what it is computed by: under 0 what chooses, under a trial what judges it."""

    walk_id: int
    programs: dict[int, Program]
    left_out: list[str] = field(default_factory=list)  # instruments without two bars


@dataclass(frozen=True)
class WalkResult:
    """A walk-forward that is over."""

    walk_id: int
    folds: int
    computed: int


def begin(connection: Connection, spec: RunSpec, plan: WalkPlan, progress: Progress = lambda text: None) -> BegunWalk:
    """Check a walk-forward and record it, to go on with. Raises UsageError for what cannot be walked."""
    if plan.scheme not in SCHEMES:
        raise UsageError(f"there is no scheme {plan.scheme!r}", hint=f"it is {' or '.join(SCHEMES)}")
    if plan.metric not in CHOICES:
        raise UsageError(f"{plan.metric!r} is nothing to choose by", hint=f"it is one of {', '.join(CHOICES)}")
    if not spec.grid:
        raise UsageError("the grid is empty: there is nothing to choose from", hint="give parameters, e.g. fast=5..50:5")
    trials = combinations(spec)
    progress("compiling")
    programs = _programs(spec, trials)
    if len(programs[0].refused) == len(trials):
        raise UsageError(f"no combination of the grid makes sense: {next(iter(programs[0].refused.values()))}")
    if connection.info.transaction_status == TransactionStatus.INTRANS:
        connection.commit()
    with connection.transaction():
        see_one_state(connection)
        instruments, left_out = pool(connection, spec)
        times = timeline(connection, spec.timeframe, instruments, spec.since, spec.until)
        plan = fitted(plan, len(times))
        row: Any = connection.execute(
            statement("titan.lab.sql", "begin_walk", known_delistings=known_delistings(replace(spec, until=times[-1]))),
            {
                "type": spec.type,
                "timeframe": spec.timeframe,
                "direction": spec.direction,
                "grid": json.dumps(spec.grid),
                "execution": json.dumps(dict(spec.execution)),
                "costs": json.dumps({name: spec.costs[name] for name in COSTS if name in spec.costs}),
                "instruments": instruments,
                "since": spec.since,
                "until": times[-1],
                "scheme": plan.scheme,
                "folds": plan.folds,
                "train": plan.train,
                "test": plan.test,
                "embargo": plan.embargo,
                "metric": plan.metric,
                "trials": len(trials) - len(programs[0].refused),
                "code_hash": _code_hash(programs),
                "data_hash": _data_hash(connection, instruments, spec.timeframes, times[-1]),
            },
        ).fetchone()
    return BegunWalk(int(row[0]), programs, left_out)


def _programs(spec: RunSpec, trials: Mapping[int, dict[str, Value]]) -> dict[int, Program]:
    """What chooses, and what judges one of the trials: what judges another differs in its parameters alone."""
    choosing = compile_program(replace(spec, ends="purged"), trials)
    one = next((number for number in trials if number not in choosing.refused), None)
    return {0: choosing} if one is None else {0: choosing, one: _judging(spec, one, trials[one])}


def _judging(spec: RunSpec, trial: int, params: dict[str, Value], *, is_checked: bool = False) -> Program:
    return compile_program(replace(spec, ends="closed"), {trial: params}, is_checked=is_checked)


def _code_hash(programs: Mapping[int, Program]) -> str:
    return hashlib.sha256(" ".join(program.code_hash for program in programs.values()).encode()).hexdigest()


def timeline(
    connection: Connection, timeframe: str, instruments: list[int], since: datetime | None, until: datetime | None
) -> list[datetime]:
    """The moments at which a bar of any of the instruments closes."""
    rows: list[Any] = connection.execute(
        statement("titan.lab.sql", "timeline"),
        {"instruments": instruments, "timeframe": timeframe, "since": since, "until": until},
    ).fetchall()
    return [row[0] for row in rows]


def fitted(plan: WalkPlan, bars: int) -> WalkPlan:
    """The plan with all its lengths. Raises UsageError where it does not fit into so many bars."""
    if plan.folds < 1:
        raise UsageError("a walk-forward has one fold at least")
    train = (
        plan.train
        if plan.train is not None
        else (bars // (plan.folds + 1) if plan.test is None else bars - plan.folds * plan.test)
    )
    test = plan.test if plan.test is not None else (bars - train) // plan.folds
    embargo = plan.embargo if plan.embargo is not None else bars // 100
    if train < 2 or test < 1 or train + plan.folds * test > bars:
        raise UsageError(
            f"{plan.folds} folds of {max(test, 1):,} bars after {max(train, 2):,} to choose by do not fit: "
            f"there are {bars:,} bars",
            hint="ask for fewer folds, or shorter ones with --train and --test",
        )
    if embargo < 0 or train - embargo < 2:
        raise UsageError(
            f"an embargo of {embargo:,} bars swallows the {train:,} bars that a fold chooses by",
            hint="make --embargo shorter or --train longer",
        )
    return replace(plan, train=train, test=test, embargo=embargo)


def folds_of(walk: Mapping[str, Any], times: list[datetime]) -> list[Fold]:
    """Where the folds of a walk begin and end. The last one takes what is left."""
    found = []
    for number in range(1, walk["folds"] + 1):
        test = walk["train_bars"] + (number - 1) * walk["test_bars"]
        end = len(times) if number == walk["folds"] else test + walk["test_bars"]
        train = 0 if walk["scheme"] == "anchored" else test - walk["train_bars"]
        found.append(
            Fold(
                number,
                times[train - 1] if train else walk["since"],
                times[test - walk["embargo_bars"] - 1],
                times[test - 1],
                times[end - 1],
            )
        )
    return found


@span("walk-forward")
def go_on(
    connection: Connection,
    walk_id: int,
    progress: Progress = lambda text: None,
    programs: Mapping[int, Program] | None = None,
) -> WalkResult:
    """Walk the folds that are left, each in a transaction of its own, and sum up. What was walked before stays.

    programs: those of a walk that has just begun, which need not be compiled again.

    Raises UsageError where there is no such walk, or its bars or the code have changed since it began.
    """
    walk = _walk(connection, walk_id)
    connection.commit()
    with locked("select from lab.walk where walk_id = %s for no key update nowait", walk_id) as is_ours:
        if not is_ours:
            raise BusyError(
                f"walk {walk_id} is being walked by another process",
                hint="wait for it: titan backtest walks shows how far it is",
            )
        return _go_on(connection, walk, dict(programs or {}), progress)


def _go_on(connection: Connection, walk: Mapping[str, Any], programs: dict[int, Program], progress: Progress) -> WalkResult:
    walk_id = walk["walk_id"]
    spec = spec_of(walk)
    trials = combinations(spec)
    done = {int(row[0]) for row in connection.execute("select fold from lab.fold where walk_id = %s", (walk_id,))}  # type: ignore[call-overload]
    connection.commit()
    computed = 0
    for number in range(1, walk["folds"] + 1):
        if number in done:
            continue
        where = f"fold {number} of {walk['folds']}"
        if not programs:
            progress(f"{where}: compiling")
            programs = _programs(spec, trials)
            if _code_hash(programs) != walk["code_hash"]:
                raise UsageError(
                    f"the SQL that computes walk {walk_id} is not what it was when it began", hint="begin a new one"
                )
        with connection.transaction():
            _walk_fold(
                connection,
                walk,
                spec,
                trials,
                number,
                programs,
                partial(_tell, progress, where),
            )
        computed += 1
    with connection.transaction():
        is_over: Any = connection.execute(
            "select exists (select from lab.walk_metric where walk_id = %s)", (walk_id,)
        ).fetchone()
        if not is_over[0]:
            progress("summing up")
            summing = compile_inline(f"walk_forward_metrics({walk_id}) if execute else lab_references()")
            connection.execute(summing.encode())
    return WalkResult(walk_id, walk["folds"], computed)


def _tell(progress: Progress, where: str, step: str) -> None:
    progress(f"{where}: {step}")


def _walk_fold(
    connection: Connection,
    walk: Mapping[str, Any],
    spec: RunSpec,
    trials: Mapping[int, dict[str, Value]],
    number: int,
    programs: dict[int, Program],
    progress: Progress,
) -> None:
    """Choose by the bars before, judge by the bars after, and record both."""
    see_one_state(connection)
    if _data_hash(connection, walk["instruments"], spec.timeframes, walk["until"]) != walk["data_hash"]:
        raise UsageError(
            f"bars of walk {walk['walk_id']} have changed since it began",
            hint="its folds would not belong together: begin a new one",
        )
    times = timeline(connection, spec.timeframe, walk["instruments"], walk["since"], walk["until"])
    fold = folds_of(walk, times)[number - 1]
    kept = {trial: params for trial, params in trials.items() if trial not in programs[0].refused}

    def computed(part_spec: RunSpec, params: Mapping[int, dict[str, Value]], program: Program, part: str) -> int:
        within = instruments_of(connection, replace(part_spec, symbols=(), exchange=None, market=None))
        ranges = [
            Range(instrument, timeframe, part_spec.since, part_spec.until)
            for instrument in within
            if instrument in walk["instruments"]
            for timeframe in part_spec.timeframes
        ]
        return compute(
            connection,
            part_spec,
            params,
            ranges,
            program,
            recorded=walk,
            progress=lambda step: progress(f"{part}, {step}"),
        ).run_id

    train = replace(spec, since=fold.train_from, until=fold.train_until, ends="purged")
    run_id = computed(train, kept, programs[0], "choosing")
    trial, in_sample = _choice(connection, run_id, walk["metric"])
    test = replace(
        spec,
        grid={name: [value] for name, value in kept[trial].items()},
        since=fold.test_from,
        until=fold.test_until,
        ends="closed",
    )
    if trial not in programs:
        programs[trial] = _judging(test, trial, kept[trial], is_checked=True)
    test_run_id = computed(test, {trial: kept[trial]}, programs[trial], "judging")
    connection.execute(
        statement("titan.lab.sql", "record_fold", metric=sql.Identifier(walk["metric"])),
        {
            "walk_id": walk["walk_id"],
            "fold": number,
            "train_from": fold.train_from,
            "train_until": fold.train_until,
            "test_from": fold.test_from,
            "test_until": fold.test_until,
            "run_id": run_id,
            "test_run_id": test_run_id,
            "in_sample": in_sample,
        },
    )


def _choice(connection: Connection, run_id: int, metric: str) -> tuple[int, float]:
    """The best trial of a run by a metric of its portfolio; the first of those that are equal. Raises UsageError."""
    row: Any = connection.execute(
        statement("titan.lab.sql", "choice", metric=sql.Identifier(metric)), {"run_id": run_id}
    ).fetchone()
    if row is None:
        raise UsageError(
            f"no trial has a {metric} to be chosen by: nothing was traded in the bars to choose by",
            hint="give the folds more bars with --train, or fewer folds",
        )
    return int(row[0]), float(row[1])


def _data_hash(connection: Connection, instruments: list[int], timeframes: list[str], until: datetime) -> str:
    row: Any = connection.execute(
        statement("titan.lab.sql", "data_hash"), {"instruments": instruments, "timeframes": timeframes, "until": until}
    ).fetchone()
    return str(row[0])


# --- show -----------------------------------------------------------------------------------------------------------------


def _walk(connection: Connection, walk_id: int) -> dict[str, Any]:
    row = record(connection, "select * from lab.walk where walk_id = %s", (walk_id,))
    if row is None:
        raise UsageError(f"there is no walk {walk_id}", hint="titan backtest walks lists them")
    return row


def walks(connection: Connection, limit: int = 20) -> list[dict[str, Any]]:
    """The last walk-forwards, the last first."""
    return records(connection, statement("titan.lab.sql", "walks"), {"most": limit})


def report(connection: Connection, walk_id: int) -> dict[str, list[dict[str, Any]]]:
    """A walk-forward: its folds, how stable its parameters are, and what it came to. Raises UsageError."""
    _walk(connection, walk_id)
    return {
        name: records(connection, statement("titan.lab.sql", name), {"walk_id": walk_id})
        for name in ("folds", "stability", "out_of_sample")
    }
