"""Runs that somebody relies on: frozen with what they stood on, and replayed to see whether they still come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from titan.core.database import Connection, records, statement
from titan.core.errors import BusyError, TitanError, UsageError, some
from titan.core.log import Progress
from titan.lab.backtest import Range, compute, see_one_state, work_table
from titan.lab.metrics import METRICS, PORTFOLIO_METRICS
from titan.lab.program import Program, compile_program
from titan.lab.queries import require_run
from titan.lab.spec import spec_of

TOLERANCE = 1e-10
MODES = ("strict", "warn", "trust")


class DifferenceError(TitanError):
    """A replay does not give what the run gave."""


@dataclass(frozen=True)
class Verdict:
    """What a replay found. Each difference is a row that says where it is, and what it was then and is now.

    data: instruments whose bars or features have another hash. bars and events: of frozen trials alone, since only theirs
    are kept. trades and metrics: beyond a relative 1e-10.
    """

    run_id: int
    mode: str
    is_same_code: bool
    data: list[dict[str, Any]]
    bars: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    trades: list[dict[str, Any]] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_same(self) -> bool:
        """Whether the run comes out as it did, from what it stood on."""
        return self.is_same_code and not (self.data or self.bars or self.events or self.trades or self.metrics)


def verify(connection: Connection, run_id: int, mode: str = "strict", progress: Progress = lambda text: None) -> Verdict:
    """Replay a run over exactly what it went over, and compare; nothing of the replay stays.

    mode: strict and warn compare hashes and results, trust the hashes alone, without computing the results again. Raises
    UsageError for a run that cannot be replayed; differences are in the verdict.
    """
    if mode not in MODES:
        raise UsageError(f"there is no mode {mode!r}", hint=f"it is {', '.join(MODES)}")
    run = _replayable(connection, run_id)
    program = _compiled(connection, run, progress)
    with connection.transaction(force_rollback=True):
        see_one_state(connection)
        return _replay(connection, run, program, mode, progress)[0]


def freeze(
    connection: Connection,
    run_id: int,
    trial: int | None,
    *,
    by: str,
    note: str,
    progress: Progress = lambda text: None,
) -> int:
    """Keep the bars and events of a trial (the best, if none is named) and return its number.

    Raises UsageError where there is none or it is frozen already, and DifferenceError where a replay gives something else:
    what it stood on is gone then.
    """
    run = _replayable(connection, run_id)
    trial = trial if trial is not None else _best(connection, run_id)
    frozen = records(connection, "select * from lab.frozen where run_id = %s and trial = %s", (run_id, trial))
    if frozen:
        raise UsageError(f"trial {trial} of run {run_id} was frozen by {frozen[0]['frozen_by']} at {frozen[0]['frozen_at']}")
    if not records(connection, "select from lab.trial where run_id = %s and trial = %s", (run_id, trial)):
        raise UsageError(f"run {run_id} has no trial {trial}", hint=f"titan backtest show {run_id} lists its best ones")
    program = _compiled(connection, run, progress)
    try:
        with connection.transaction():
            see_one_state(connection)
            with connection.transaction(force_rollback=True):
                verdict, events = _replay(connection, run, program, "strict", progress)
            if not verdict.is_same:
                raise DifferenceError(
                    f"run {run_id} does not come out as it did: {summary(verdict)}",
                    hint=f"titan backtest verify {run_id} has the differences; run it again and freeze that",
                )
            progress("keeping what it stood on")
            _keep(connection, run_id, trial, by, note, [event for event in events if event["trial"] == trial])
    except (psycopg.errors.UniqueViolation, psycopg.errors.SerializationFailure) as error:
        raise BusyError(f"run {run_id} is being frozen by another process", hint="try again when it is done") from error
    return trial


def _keep(connection: Connection, run_id: int, trial: int, by: str, note: str, events: Sequence[Mapping[str, Any]]) -> None:
    connection.execute(
        "insert into lab.frozen (run_id, trial, frozen_by, note) values (%s, %s, %s, %s)", (run_id, trial, by, note)
    )
    connection.execute(statement("titan.lab.sql", "keep_bars"), {"run_id": run_id})
    columns = ("instrument_id", "closed_at", "direction", "action", "fraction")
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            insert into lab.frozen_event (run_id, trial, instrument_id, closed_at, direction, action, fraction)
            values (%s, %s, %s, %s, %s, %s, %s)
            """,
            [(run_id, trial, *(event[name] for name in columns)) for event in events],
        )


def _replayable(connection: Connection, run_id: int) -> dict[str, Any]:
    run = require_run(connection, run_id)
    if run["code_hash"] is None:
        raise UsageError(f"run {run_id} is of before runs said what they stood on", hint="run it again, and freeze that")
    gone = records(connection, statement("titan.lab.sql", "gone"), {"run_id": run_id})
    if gone:
        names = some([row["name"] for row in gone])
        raise UsageError(
            f"run {run_id} went over bars of {names}, and there are none any more",
            hint="load them again and build; what the run came to is still shown by titan backtest show",
        )
    return run


def _compiled(connection: Connection, run: Mapping[str, Any], progress: Progress) -> Program:
    """What computes the run today. Outside of transactions: what is begun is committed."""
    trials = _trials(connection, run["run_id"])
    if connection.info.transaction_status == TransactionStatus.INTRANS:
        connection.commit()
    progress("compiling")
    return compile_program(spec_of(run), trials)


def _trials(connection: Connection, run_id: int) -> dict[int, Any]:
    rows = records(connection, "select trial, params from lab.trial where run_id = %s order by trial", (run_id,))
    return {int(row["trial"]): row["params"] for row in rows}


def _replay(
    connection: Connection, run: Mapping[str, Any], program: Program, mode: str, progress: Progress
) -> tuple[Verdict, list[dict[str, Any]]]:
    """Compute the run again in the transaction that has begun, and compare. Also the events of its frozen or best trials."""
    run_id = run["run_id"]
    ranges = [
        Range(row["instrument_id"], row["timeframe"], run["since"], row["last_closed_at"])
        for row in records(
            connection, "select * from lab.data where run_id = %s order by instrument_id, timeframe", (run_id,)
        )
    ]
    replayed = compute(
        connection,
        spec_of(run),
        _trials(connection, run_id),
        ranges,
        program,
        recorded=run,
        until="features" if mode == "trust" else "equity of the best",
        progress=progress,
    )
    progress("comparing")
    numbers = {"then": run_id, "now": replayed.run_id}
    is_same_code = replayed.code_hash == run["code_hash"]
    data = records(connection, statement("titan.lab.sql", "changed_data"), numbers)
    bars = records(connection, statement("titan.lab.sql", "changed_bars"), numbers)
    if mode == "trust":
        return Verdict(run_id, mode, is_same_code, data, bars), []
    event = work_table(replayed.run_id, "event")
    events = records(
        connection,
        sql.SQL(
            "select signal::integer as trial, instrument_id, closed_at, direction, action, fraction from {} "
            "order by 1, 2, 3, 4, 5"
        ).format(event),
    )
    return Verdict(
        run_id,
        mode,
        is_same_code,
        data,
        bars,
        records(connection, statement("titan.lab.sql", "changed_events", work_event=event), numbers),
        records(connection, statement("titan.lab.sql", "changed_trades"), numbers),
        _metrics(connection, numbers),
    ), events


def _metrics(connection: Connection, numbers: Mapping[str, int]) -> list[dict[str, Any]]:
    """Metrics beyond the tolerance: of each trial's portfolio, and of each instrument."""
    found = []
    of_portfolios = sql.SQL("select trial, null as symbol, {metrics} from lab.portfolio_metric where run_id = %(run_id)s")
    for query, names in (
        (of_portfolios.format(metrics=_columns(PORTFOLIO_METRICS)), PORTFOLIO_METRICS),
        (statement("titan.lab.sql", "metrics_of_instruments", metrics=_columns(METRICS)), METRICS),
    ):
        then, now = (
            {(row["trial"], row["symbol"]): row for row in records(connection, query, {"run_id": numbers[side]})}
            for side in ("then", "now")
        )
        for key in sorted(then.keys() | now.keys(), key=str):
            for name in names:
                before, after = then.get(key, {}).get(name), now.get(key, {}).get(name)
                if not is_close(before, after):
                    found.append({"trial": key[0], "symbol": key[1], "metric": name, "was": before, "is": after})
    return found


def _columns(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(name) for name in names)


def is_close(before: float | None, after: float | None) -> bool:
    """Equal within a relative 1e-10, and within 1e-10 around zero."""
    if before is None or after is None:
        return before is after
    return abs(before - after) <= TOLERANCE * max(1, abs(before), abs(after))


def _best(connection: Connection, run_id: int) -> int:
    rows = records(
        connection,
        "select trial from lab.portfolio_metric where run_id = %s order by sharpe desc nulls last, trial limit 1",
        (run_id,),
    )
    if not rows:
        raise UsageError(f"run {run_id} is of before portfolios were kept", hint="name a trial, or run it again")
    return int(rows[0]["trial"])


def summary(verdict: Verdict) -> str:
    """How many differences of which kind, in one line."""
    kinds: Sequence[tuple[str, int]] = (
        ("the code is another", int(not verdict.is_same_code)),
        ("series with other hashes", len(verdict.data)),
        ("values of bars", len(verdict.bars)),
        ("events", len(verdict.events)),
        ("trades", len(verdict.trades)),
        ("metrics", len(verdict.metrics)),
    )
    found = [name if name.startswith("the") else f"{count:,} {name}" for name, count in kinds if count]
    return ", ".join(found) or "the same"


# --- compare, leaderboard -------------------------------------------------------------------------------------------------


def compare(connection: Connection, first: tuple[int, int | None], second: tuple[int, int | None]) -> list[dict[str, Any]]:
    """Two trials beside each other: what was asked for, what they stood on, what they came to. Raises UsageError."""
    sides = [_side(connection, run_id, trial) for run_id, trial in (first, second)]
    return [
        {"what": name, "first": sides[0][name], "second": sides[1][name], "same": _same(sides[0][name], sides[1][name])}
        for name in sides[0]
    ]


def _same(first: Any, second: Any) -> str:
    both = isinstance(first, float) and isinstance(second, float)
    return "yes" if (is_close(first, second) if both else first == second) else "no"


def _side(connection: Connection, run_id: int, trial: int | None) -> dict[str, Any]:
    run = require_run(connection, run_id)
    trial = trial if trial is not None else _best(connection, run_id)
    rows = records(connection, statement("titan.lab.sql", "side"), {"run_id": run["run_id"], "trial": trial})
    if not rows:
        raise UsageError(
            f"run {run_id} has no trial {trial} with a portfolio", hint=f"titan backtest show {run_id} lists its best ones"
        )
    return rows[0]


def leaderboard(connection: Connection, top: int, with_all: bool = False) -> list[dict[str, Any]]:
    """Frozen trials, or the best of every run, by their deflated Sharpe ratio."""
    return records(connection, statement("titan.lab.sql", "leaderboard"), {"with_all": with_all, "most": top})
