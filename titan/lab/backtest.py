"""Backtests of parameters that need not be stored: a run, its trials, and what came of them, computed in the database."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.pq import TransactionStatus

from titan.core.database import Connection, Query, record, statement
from titan.core.errors import UsageError
from titan.core.log import Progress
from titan.core.trace import span
from titan.lab.pool import pool
from titan.lab.program import THE_RUN, Program, compile_program
from titan.lab.spec import COSTS, RunSpec, Value, combinations


@dataclass(frozen=True)
class Range:
    """The bars of an instrument and timeframe that a run goes over: opened from `since` on, closed by `until`."""

    instrument_id: int
    timeframe: str
    since: datetime | None
    until: datetime | None


@dataclass(frozen=True)
class RunResult:
    """What became of a run: how much it went over and which combinations made no sense."""

    run_id: int
    trials: int
    instruments: int
    bars: int
    seconds: float
    refused: dict[str, list[dict[str, Value]]]
    code_hash: str
    left_out: list[str] = field(default_factory=list)  # instruments without two bars in the range


@span("backtest")
def run(connection: Connection, spec: RunSpec, progress: Progress = lambda text: None) -> RunResult:
    """Try every combination on every instrument and keep what came of it in schema lab, in a transaction of its own.

    What the connection has begun before is committed.

    Raises UsageError for what cannot be run, and BuildError where the project cannot be compiled.
    """
    trials = combinations(spec)
    instruments, left_out = pool(connection, spec)
    if connection.info.transaction_status == TransactionStatus.INTRANS:
        connection.commit()
    progress("compiling")
    program = compile_program(spec, trials)
    with connection.transaction():
        see_one_state(connection)
        ranges = [
            Range(instrument, timeframe, spec.since, spec.until)
            for instrument in instruments
            for timeframe in spec.timeframes
        ]
        result = compute(connection, spec, trials, ranges, program, progress=progress)
    return replace(result, left_out=left_out)


def see_one_state(connection: Connection) -> None:
    """Begin a transaction that sees one state of the data in all its steps; a full refresh that would swap tables waits."""
    connection.execute("set transaction isolation level repeatable read")
    connection.execute("lock table bars.fct_bars, bars.gap, bars.observed, features.bars_per_year in access share mode")


def compute(
    connection: Connection,
    spec: RunSpec,
    trials: Mapping[int, dict[str, Value]],
    ranges: Sequence[Range],
    program: Program,
    *,
    recorded: Mapping[str, Any] | None = None,
    until: str = "clearing up",
    progress: Progress = lambda text: None,
) -> RunResult:
    """Try combinations over ranges, in the transaction that has begun, and keep what came of it in schema lab.

    recorded: costs and delistings as in a row of lab.run, instead of what they are now. until: the last step; without
    the last of all what they work in, lab.work_<run>_…, is left. Raises as run does.
    """
    begun = time.monotonic()
    run_id = _value(connection, "select nextval('lab.run_id_seq')")
    kept = {number: params for number, params in trials.items() if number not in program.refused}
    if not kept:
        raise UsageError(f"no combination of the grid makes sense: {next(iter(program.refused.values()))}")
    connection.execute("set local work_mem = '64MB'")
    connection.execute("set local parallel_leader_participation = off")
    connection.execute("set local check_function_bodies = off")  # the first call checks them, a moment later
    charged = _prepare(connection, run_id, spec, kept, ranges, recorded)
    for name, step in program.steps:
        progress(name)
        connection.execute(step.replace(THE_RUN, str(run_id)).encode())
        if name == "portfolios":
            _record(connection, run_id, spec, charged, ranges, len(kept), program.code_hash, time.monotonic() - begun)
        if name == "bars":
            _refuse_nothing(connection, run_id, spec)
        if name == until:
            break
    bars = _value(connection, "select sum(bars) from lab.data where run_id = %s and timeframe = %s", run_id, spec.timeframe)
    reasons: dict[str, list[dict[str, Value]]] = {}
    for number, reason in program.refused.items():
        reasons.setdefault(reason, []).append(trials[number])
    instruments = len({one.instrument_id for one in ranges})
    return RunResult(run_id, len(kept), instruments, int(bars), time.monotonic() - begun, reasons, program.code_hash)


def work_table(run_id: int, name: str) -> sql.Identifier:
    """A table that the steps of a run work in, and the last step drops."""
    return sql.Identifier("lab", f"work_{run_id}_{name}")


def _prepare(
    connection: Connection,
    run_id: int,
    spec: RunSpec,
    trials: Mapping[int, dict[str, Value]],
    ranges: Sequence[Range],
    recorded: Mapping[str, Any] | None,
) -> dict[str, str]:
    """Write what the steps read: trials (also as rows of lab.trial), ranges, and costs and delistings, returned as JSON."""
    work = {f"work_{name}": work_table(run_id, name) for name in ("signal", "cost", "range", "delisting")}
    cost: sql.Composable = sql.Identifier("config", "cost")
    delistings: sql.Composable = known_delistings(spec)
    if recorded:
        cost = sql.SQL("jsonb_populate_recordset(null::config.cost, {})").format(sql.Literal(json.dumps(recorded["costs"])))
        delistings = sql.SQL("select * from jsonb_populate_recordset(null::config.delisting, {})").format(
            sql.Literal(json.dumps(recorded["delistings"]))
        )
    for text in (
        "create unlogged table {work_signal} (signal text primary key, timeframe text, direction text, execution jsonb)",
        "create unlogged table {work_range} (instrument_id integer, timeframe text, since timestamptz, until timestamptz)",
        "create unlogged table {work_delisting} as {delistings}",
    ):
        connection.execute(sql.SQL(text).format(**work, delistings=delistings))
    execution = json.dumps(dict(spec.execution))
    with connection.cursor() as cursor:
        cursor.executemany(
            sql.SQL("insert into {work_signal} values (%s, %s, %s, %s)").format(**work),
            [(str(number), spec.timeframe, spec.direction, execution) for number in trials],
        )
        cursor.executemany(
            sql.SQL(
                "insert into {work_range} values "
                "(%s, %s, coalesce(%s, '-infinity'::timestamptz), coalesce(%s, 'infinity'::timestamptz))"
            ).format(**work),
            [(one.instrument_id, one.timeframe, one.since, one.until) for one in ranges],
        )
        cursor.executemany(
            statement("titan.lab.sql", "add_trial"),
            [
                {
                    "run_id": run_id,
                    "trial": number,
                    "params": json.dumps(params),
                    "execution": execution,
                    "type": spec.type,
                    "timeframe": spec.timeframe,
                    "direction": spec.direction,
                }
                for number, params in trials.items()
            ],
        )
    asked = {name: sql.Literal(spec.costs.get(name)) for name in COSTS}
    connection.execute(statement("titan.lab.sql", "charge", work_cost=work["work_cost"], cost=cost, **asked))
    parts = {name: work[name] for name in ("work_cost", "work_delisting", "work_range")}
    found: Any = record(connection, statement("titan.lab.sql", "charged", **parts))
    if found["uncharged"]:
        raise UsageError(
            f"config.cost has no row that {found['uncharged']} could be charged by",
            hint="a row of * and * stands for all others",
        )
    return {"costs": found["costs"], "delistings": found["delistings"]}


def known_delistings(spec: RunSpec) -> Query:
    """Those that were known by the end: a source that was asked past a delisting knows that it was one."""
    return statement("titan.lab.sql", "known_delistings", until=sql.Literal(spec.until))


def _refuse_nothing(connection: Connection, run_id: int, spec: RunSpec) -> None:
    """A range may lie between bars, and a timeframe have none."""
    found = {
        str(row[0])
        for row in connection.execute(sql.SQL("select distinct timeframe from {}").format(work_table(run_id, "series")))
    }
    for timeframe in spec.timeframes:
        if timeframe not in found:
            raise UsageError(f"no bar of {timeframe} lies in that range", hint="titan status tells what there is")


def _record(
    connection: Connection,
    run_id: int,
    spec: RunSpec,
    charged: Mapping[str, str],
    ranges: Sequence[Range],
    trials: int,
    code_hash: str,
    seconds: float,
) -> None:
    connection.execute(
        statement("titan.lab.sql", "record_run", work_deflation=work_table(run_id, "deflation")),
        {
            "run_id": run_id,
            "seconds": seconds,
            "type": spec.type,
            "timeframe": spec.timeframe,
            "direction": spec.direction,
            "grid": json.dumps(spec.grid),
            "execution": json.dumps(dict(spec.execution)),
            "since": spec.since,
            "until": spec.until,
            "instruments": list(dict.fromkeys(one.instrument_id for one in ranges)),
            "trials": trials,
            "ends": spec.ends,
            "code_hash": code_hash,
            **charged,
        },
    )


def _value(connection: Connection, text: str, *parameters: Any) -> Any:
    row: Any = connection.execute(text.encode(), parameters or None).fetchone()
    return row[0]
