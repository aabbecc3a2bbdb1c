"""Walk-forward: parameters are chosen on one part of the history and judged on the bars that follow, fold after fold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from psycopg import sql
from psycopg.pq import TransactionStatus

from titan.core.database import Connection, record, records
from titan.core.errors import BusyError, UsageError
from titan.core.locks import locked
from titan.core.log import Progress
from titan.lab.backtest import (
    COSTS,
    Program,
    Range,
    RunSpec,
    Value,
    combinations,
    compile_inline,
    compile_program,
    compute,
    draw,
    instruments_of,
    known_delistings,
    pool,
    see_one_state,
    spec_of,
)
from titan.lab.metrics import CHOICES

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
            sql.SQL(
                """
                insert into lab.walk (
                    type, timeframe, direction, grid, execution, costs, delistings, instruments, since, until, scheme, folds,
                    train_bars, test_bars, embargo_bars, metric, trials, code_hash, data_hash
                )
                select
                    %s, %s, %s, %s, %s,
                    (
                        select jsonb_agg(to_jsonb(cost) || {} order by exchange, market_type)
                        from config.cost as cost
                    ),
                    (
                        select coalesce(jsonb_agg(to_jsonb(gone) order by exchange, market_type, symbol), '[]')
                        from ({}) as gone
                    ),
                    %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s
                returning walk_id
                """
            ).format(
                sql.Literal(json.dumps({name: spec.costs[name] for name in COSTS if name in spec.costs})),
                known_delistings(replace(spec, until=times[-1])),
            ),
            (
                spec.type,
                spec.timeframe,
                spec.direction,
                json.dumps(spec.grid),
                json.dumps(dict(spec.execution)),
                instruments,
                spec.since,
                times[-1],
                plan.scheme,
                plan.folds,
                plan.train,
                plan.test,
                plan.embargo,
                plan.metric,
                len(trials) - len(programs[0].refused),
                _code_hash(programs),
                _data_hash(connection, instruments, spec.timeframes, times[-1]),
            ),
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
        """
        select distinct bar.closed_at
        from bars.fct_bars as bar
        where
            bar.instrument_id = any (%s)
            and bar.timeframe = %s
            and bar.closed_at > coalesce(%s, '-infinity'::timestamptz)
            and bar.opened_at >= coalesce(%s, '-infinity'::timestamptz)
            and bar.closed_at <= coalesce(%s, 'infinity'::timestamptz)
        order by 1
        """,
        (instruments, timeframe, since, since, until),
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
            statement = compile_inline(f"walk_forward_metrics({walk_id}) if execute else lab_references()")
            connection.execute(statement.encode())
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
        sql.SQL(
            """
            insert into lab.fold (
                walk_id, fold, train_from, train_until, test_from, test_until, run_id, test_run_id, trial, params,
                params_hash, in_sample, out_of_sample
            )
            select %s, %s, %s, %s, %s, %s, %s, %s, trial.trial, trial.params, trial.params_hash, %s, portfolio.{}
            from lab.trial as trial
            inner join lab.portfolio_metric as portfolio on trial.run_id = portfolio.run_id and trial.trial = portfolio.trial
            where trial.run_id = %s
            """
        ).format(sql.Identifier(walk["metric"])),
        (
            walk["walk_id"],
            number,
            fold.train_from,
            fold.train_until,
            fold.test_from,
            fold.test_until,
            run_id,
            test_run_id,
            in_sample,
            test_run_id,
        ),
    )


def _choice(connection: Connection, run_id: int, metric: str) -> tuple[int, float]:
    """The best trial of a run by a metric of its portfolio; the first of those that are equal. Raises UsageError."""
    row: Any = connection.execute(
        sql.SQL(
            "select trial, {0} from lab.portfolio_metric where run_id = %s and {0} is not null and trades > 0 "
            "order by {0} desc, trial limit 1"
        ).format(sql.Identifier(metric)),
        (run_id,),
    ).fetchone()
    if row is None:
        raise UsageError(
            f"no trial has a {metric} to be chosen by: nothing was traded in the bars to choose by",
            hint="give the folds more bars with --train, or fewer folds",
        )
    return int(row[0]), float(row[1])


def _data_hash(connection: Connection, instruments: list[int], timeframes: list[str], until: datetime) -> str:
    row: Any = connection.execute(
        """
        select encode(sha256(convert_to(string_agg(
            coalesce(lab.hash_of_bars(instrument, timeframe, %s), 'none'), ' ' order by instrument, timeframe
        ), 'UTF8')), 'hex')
        from unnest(%s::integer[]) as instrument
        cross join unnest(%s::text[]) as timeframe
        """,
        (until, instruments, timeframes),
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
    return records(
        connection,
        """
        select
            walk.walk_id, walk.begun_at, walk.type, walk.timeframe, walk.scheme, walk.trials, walk.folds,
            (select count(*) from lab.fold as fold where fold.walk_id = walk.walk_id) as folds_done, metric.sharpe,
            metric.total_return, metric.maximum_drawdown, metric.win_rate, metric.profit_factor, metric.trades
        from lab.walk as walk
        left join lab.walk_metric as metric on walk.walk_id = metric.walk_id
        order by walk.walk_id desc
        limit %s
        """,
        (limit,),
    )


def report(connection: Connection, walk_id: int) -> dict[str, list[dict[str, Any]]]:
    """A walk-forward: its folds, how stable its parameters are, and what it came to. Raises UsageError."""
    _walk(connection, walk_id)
    return {
        name: records(connection, statement, (walk_id,))
        for name, statement in (
            (
                "folds",
                """
                select
                    fold.fold, fold.test_from, fold.test_until,
                    (
                        select string_agg(param.name || '=' || param.value, ' ' order by param.name)
                        from jsonb_each_text(fold.params) as param (name, value)
                    ) as params,
                    fold.in_sample, best.deflated_sharpe as deflated, fold.out_of_sample, test.total_return,
                    test.maximum_drawdown, test.trades, fold.run_id, fold.test_run_id
                from lab.fold as fold
                inner join lab.portfolio_metric as best on fold.run_id = best.run_id and fold.trial = best.trial
                inner join lab.portfolio_metric as test on fold.test_run_id = test.run_id
                where fold.walk_id = %s
                order by fold.fold
                """,
            ),
            (
                "stability",
                "select param, folds, different_values, changes, least, median, most from lab.walk_stability "
                "where walk_id = %s order by param",
            ),
            (
                "out_of_sample",
                """
                select
                    metric.bars, metric.sharpe, metric.probabilistic_sharpe, metric.total_return,
                    metric.maximum_drawdown, metric.is_ruined, metric.trades, metric.win_rate, metric.profit_factor,
                    metric.exposure,
                    hold.realistic_hold_equity - 1 as hold_return, metric.result_hash
                from lab.walk_metric as metric
                cross join lateral (
                    select equity.realistic_hold_equity
                    from lab.walk_equity as equity
                    where equity.walk_id = metric.walk_id
                    order by equity.closed_at desc
                    limit 1
                ) as hold
                where metric.walk_id = %s
                """,
            ),
        )
    }


def plot(connection: Connection, walk_id: int, path: Path) -> None:
    """Draw equity and drawdown out of sample. Raises UsageError where nothing was walked or the file cannot be written."""
    rows: list[Any] = connection.execute(
        """
        select
            closed_at, realistic_hold_equity, realistic_hold_drawdown, clean_equity, clean_drawdown, realistic_equity,
            realistic_drawdown
        from lab.walk_equity where walk_id = %s order by closed_at
        """,
        (walk_id,),
    ).fetchall()
    if not rows:
        raise UsageError(f"walk {walk_id} has no fold to draw", hint="titan backtest walks lists what there is")
    draw(rows, f"walk {walk_id}, out of sample", path)
