"""Backtests of parameters that need not be stored: a run, its trials, and what came of them, computed in the database."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any

from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from titan import dbt
from titan.database import Connection
from titan.errors import BuildError, UsageError
from titan.loads import Progress

MOST_TRIALS = 10_000
COSTS = ("fee_bps", "slippage_bps", "borrow_bps_per_day")

Value = int | float


@dataclass(frozen=True)
class Wanted:
    """What a run is asked for. `grid` has the values of each parameter; the trials are their combinations."""

    type: str
    timeframe: str
    grid: Mapping[str, Sequence[Value]]
    direction: str = "long"
    execution: Mapping[str, Any] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)
    symbols: Sequence[str] = ()
    exchange: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class Ran:
    """What became of a run: how much it went over and which combinations made no sense."""

    run_id: int
    trials: int
    instruments: int
    bars: int
    seconds: float
    refused: dict[str, list[dict[str, Value]]]


def parse_grid(texts: Iterable[str]) -> dict[str, list[Value]]:
    """Parameters and their values: fast=5,10,20 or slow=50..200:50, both ends included. Raises UsageError."""
    grid: dict[str, list[Value]] = {}
    for text in texts:
        name, _, values = text.partition("=")
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or not values:
            raise UsageError(f"{text!r} is no parameter", hint="write it as fast=9, fast=5,10,20 or fast=5..50:5")
        if name in grid:
            raise UsageError(f"parameter {name} is given twice", hint="put its values in one list: fast=5,10,20")
        grid[name] = [value for part in values.split(",") for value in _span(part, text)]
    return grid


def _span(part: str, text: str) -> list[Value]:
    bounds, _, step = part.partition(":")
    first, dots, last = bounds.partition("..")
    low = _number(first, text)
    if not dots:
        return [low]
    high, by = _number(last, text), _number(step, text) if step else 1
    if by <= 0 or high < low:
        raise UsageError(f"{text!r} has no values: {part} goes nowhere", hint="write a span as from..to:step")
    count = int((high - low) / by + 1e-9) + 1
    if count > MOST_TRIALS:
        raise UsageError(f"{text!r} has {count:,} values; a run has {MOST_TRIALS:,} trials at most")
    return [_whole(low + by * at) for at in range(count)]


def _number(text: str, whole: str) -> Value:
    try:
        value = float(text)
    except ValueError as error:
        raise UsageError(
            f"{whole!r}: {text!r} is no number", hint="write it as fast=9, fast=5,10,20 or fast=5..50:5"
        ) from error
    if value != value or abs(value) == float("inf"):
        raise UsageError(f"{whole!r}: {text!r} is no number to compute with")
    return _whole(value)


def _whole(value: float) -> Value:
    rounded = round(value, 9)
    return int(rounded) if rounded == int(rounded) else rounded


def stored_signal(connection: Connection, signal: str) -> dict[str, Any]:
    """A row of config.signal. Raises UsageError where there is none."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute("select * from config.signal where signal = %s", (signal,)).fetchone()
    if row is None:
        names = [str(name) for (name,) in connection.execute("select signal from config.signal order by signal")]
        raise UsageError(f"there is no signal {signal!r} in config.signal", hint=f"there are {', '.join(names) or 'none'}")
    return row


def run(connection: Connection, wanted: Wanted, progress: Progress = lambda text: None, manifest: Any = None) -> Ran:
    """Try every combination on every instrument and keep what came of it in schema lab, in a transaction of its own.

    What the connection has begun before is committed.

    Raises UsageError for what cannot be run, and BuildError where the project cannot be compiled.
    """
    begun = time.monotonic()
    trials = _combinations(wanted)
    instruments = _instruments(connection, wanted)
    if connection.info.transaction_status == TransactionStatus.INTRANS:
        connection.commit()
    with connection.transaction():
        # One state of the data for all steps; a full refresh that would swap tables meanwhile waits.
        connection.execute("set transaction isolation level repeatable read")
        connection.execute("lock table bars.fct_bars, bars.gap, bars.observed, features.bars_per_year in access share mode")
        run_id = _value(connection, "select nextval('lab.run_id_seq')")
        progress("compiling")
        steps, refused = _compile(run_id, wanted, trials, instruments, manifest)
        kept = {number: params for number, params in trials.items() if str(number) not in refused}
        if not kept:
            raise UsageError(f"no combination of the grid makes sense: {next(iter(refused.values()))}")
        connection.execute("set local work_mem = '64MB'")
        connection.execute("set local parallel_leader_participation = off")
        _prepare(connection, run_id, wanted, kept)
        bars = 0
        for name, statement in steps:
            progress(name)
            connection.execute(statement.encode())
            if name == "bars":
                bars = _bars(connection, run_id, wanted)
        _record(connection, run_id, wanted, instruments, len(kept), bars, time.monotonic() - begun)
    reasons: dict[str, list[dict[str, Value]]] = {}
    for number, reason in refused.items():
        reasons.setdefault(reason, []).append(trials[int(number)])
    return Ran(run_id, len(kept), len(instruments), bars, time.monotonic() - begun, reasons)


def _combinations(wanted: Wanted) -> dict[int, dict[str, Value]]:
    count = 1
    for values in wanted.grid.values():
        count *= len(values)
    if count > MOST_TRIALS:
        raise UsageError(f"the grid has {count:,} combinations; a run has {MOST_TRIALS:,} trials at most")
    if wanted.since and wanted.until and wanted.since >= wanted.until:
        raise UsageError("--since has to lie before --until")
    for name, value in wanted.costs.items():
        if not 0 <= value < 10_000:
            raise UsageError(f"{name} is {value:g}; it has to be at least 0 and less than 10,000")
    return {
        at: dict(zip(wanted.grid, values, strict=True)) for at, values in enumerate(product(*wanted.grid.values()), start=1)
    }


def _instruments(connection: Connection, wanted: Wanted) -> list[int]:
    """Those that are meant and have bars in the range."""
    rows: list[Any] = connection.execute(
        """
        select instrument.instrument_id, instrument.symbol, first_bar.opened_at, last_bar.closed_at
        from bars.dim_instrument as instrument
        cross join lateral (
            select bar.opened_at from bars.fct_bars as bar
            where bar.instrument_id = instrument.instrument_id and bar.timeframe = %(timeframe)s
            order by bar.closed_at limit 1
        ) as first_bar
        cross join lateral (
            select bar.closed_at from bars.fct_bars as bar
            where bar.instrument_id = instrument.instrument_id and bar.timeframe = %(timeframe)s
            order by bar.closed_at desc limit 1
        ) as last_bar
        where
            (%(symbols)s::text[] is null or instrument.symbol = any (%(symbols)s))
            and (%(exchange)s::text is null or instrument.exchange = %(exchange)s)
        order by instrument.instrument_id
        """,
        {"timeframe": wanted.timeframe, "symbols": list(wanted.symbols) or None, "exchange": wanted.exchange},
    ).fetchall()
    missing = sorted(set(wanted.symbols) - {symbol for _, symbol, _, _ in rows})
    if missing or not rows:
        what = ", ".join(missing) if missing else f"exchange {wanted.exchange}" if wanted.exchange else "any instrument"
        raise UsageError(f"there are no bars of {wanted.timeframe} of {what}", hint="titan status tells what there is")
    within = [
        instrument
        for instrument, _, opened_at, closed_at in rows
        if not (wanted.since and closed_at <= wanted.since) and not (wanted.until and opened_at >= wanted.until)
    ]
    if not within:
        first, last = min(row[2] for row in rows), max(row[3] for row in rows)
        raise UsageError(f"no bar lies in that range; there are bars from {first:%Y-%m-%d} to {last:%Y-%m-%d}")
    return within


def _compile(
    run_id: int, wanted: Wanted, trials: Mapping[int, dict[str, Value]], instruments: Sequence[int], manifest: Any
) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """The statements to run and, by trial, why a combination makes no sense."""
    spec = {
        "run": run_id,
        "instruments": list(instruments),
        "since": wanted.since.isoformat() if wanted.since else None,
        "until": wanted.until.isoformat() if wanted.until else None,
        "signals": [
            {
                "signal": str(number),
                "type": wanted.type,
                "timeframe": wanted.timeframe,
                "params": params,
                "direction": wanted.direction,
                "execution": dict(wanted.execution),
            }
            for number, params in trials.items()
        ],
    }
    text = json.dumps(spec).replace("\\", "\\\\").replace("'", "\\'")
    inline = f"{{{{ lab_statements(fromjson('{text}')) if execute else lab_references() }}}}"
    try:
        compiled = dbt.invoke("compile", ["--inline", inline], manifest=manifest)
    except BuildError as error:
        named = re.search(r"config\.signal, row '[^']*' \((.*?)\): (.*?)\. Correct the row", str(error), re.DOTALL)
        if named:
            raise UsageError(f"{named[1]}: {named[2]}") from error
        raise
    finally:
        if manifest is not None:  # dbt leaves it there when it fails, and then stumbles over the next
            manifest.nodes.pop("sql_operation.titan.inline_query", None)
    found = json.loads(compiled.nodes[0].sql)
    return [(name, statement) for name, statement in found["steps"]], found["refused"]


def _prepare(connection: Connection, run_id: int, wanted: Wanted, trials: Mapping[int, dict[str, Value]]) -> None:
    """The trials, as signals and as rows of lab.trial, and what they are charged."""
    signal, cost = (sql.Identifier("lab", f"work_{run_id}_{name}") for name in ("signal", "cost"))
    connection.execute(
        sql.SQL(
            "create unlogged table {} (signal text primary key, timeframe text, direction text, execution jsonb)"
        ).format(signal)
    )
    execution = json.dumps(dict(wanted.execution))
    with connection.cursor() as cursor:
        cursor.executemany(
            sql.SQL("insert into {} values (%s, %s, %s, %s)").format(signal),
            [(str(number), wanted.timeframe, wanted.direction, execution) for number in trials],
        )
        cursor.executemany(
            """
            insert into lab.trial (run_id, trial, params, execution, params_hash)
            select
                %(run)s, %(trial)s, %(params)s, %(execution)s,
                encode(sha256(convert_to(concat_ws(
                    '|', %(type)s::text, %(timeframe)s::text, %(direction)s::text, %(params)s::jsonb::text,
                    %(execution)s::jsonb::text
                ), 'UTF8')), 'hex')
            """,
            [
                {
                    "run": run_id,
                    "trial": number,
                    "params": json.dumps(params),
                    "execution": execution,
                    "type": wanted.type,
                    "timeframe": wanted.timeframe,
                    "direction": wanted.direction,
                }
                for number, params in trials.items()
            ],
        )
    connection.execute(
        sql.SQL(
            """
            create unlogged table {} as
            select
                exchange, market_type, coalesce({}::float8, fee_bps) as fee_bps,
                coalesce({}::float8, slippage_bps) as slippage_bps,
                coalesce({}::float8, borrow_bps_per_day) as borrow_bps_per_day
            from config.cost
            """
        ).format(cost, *(sql.Literal(wanted.costs.get(name)) for name in COSTS))
    )


def _bars(connection: Connection, run_id: int, wanted: Wanted) -> int:
    bars = sql.Identifier("lab", f"work_{run_id}_bar")
    counted: Any = connection.execute(
        sql.SQL("select count(*) from {} where timeframe = %s").format(bars), (wanted.timeframe,)
    ).fetchone()
    return int(counted[0])


def _record(
    connection: Connection, run_id: int, wanted: Wanted, instruments: Sequence[int], trials: int, bars: int, seconds: float
) -> None:
    connection.execute(
        """
        insert into lab.run (
            run_id, seconds, type, timeframe, direction, grid, execution, costs, since, until, instruments, trials, bars,
            change_seq
        )
        values (
            %s, %s, %s, %s, %s, %s, %s,
            coalesce(%s, (select jsonb_agg(to_jsonb(cost) order by exchange, market_type) from config.cost as cost)),
            %s, %s, %s, %s, %s, (select coalesce(max(seq), 0) from ops.change)
        )
        """,
        (
            run_id,
            seconds,
            wanted.type,
            wanted.timeframe,
            wanted.direction,
            json.dumps(wanted.grid),
            json.dumps(dict(wanted.execution)),
            json.dumps(dict(wanted.costs)) if len(wanted.costs) == len(COSTS) else None,
            wanted.since,
            wanted.until,
            list(instruments),
            trials,
            bars,
        ),
    )


def _value(connection: Connection, statement: str, *parameters: Any) -> Any:
    row: Any = connection.execute(statement.encode(), parameters or None).fetchone()
    return row[0]


# --- show -----------------------------------------------------------------------------------------------------------------


def runs(connection: Connection, limit: int = 20) -> list[dict[str, Any]]:
    """The last runs, the last first."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """
            select
                run_id, started_at, type, timeframe, direction, trials, cardinality(instruments) as instruments, bars,
                seconds
            from lab.run order by run_id desc limit %s
            """,
            (limit,),
        ).fetchall()


def leaders(connection: Connection, run_id: int, top: int) -> list[dict[str, Any]]:
    """The best trials of a run by the mean of their realistic Sharpe ratios over its instruments. Raises UsageError."""
    if _value(connection, "select count(*) from lab.run where run_id = %s", run_id) == 0:
        raise UsageError(f"there is no run {run_id}", hint="titan backtest show lists them")
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """
            select
                trial.trial, trial.params::text as params,
                avg(metric.sharpe) filter (where account = 'realistic') as sharpe,
                avg(metric.sharpe) filter (where account = 'clean') as clean_sharpe,
                avg(metric.total_return) filter (where account = 'realistic') as total_return,
                min(metric.maximum_drawdown) filter (where account = 'realistic') as worst_drawdown,
                (sum(metric.trades) filter (where account = 'realistic'))::bigint as trades,
                sum(metric.trades * metric.win_rate) filter (where account = 'realistic')
                / nullif(sum(metric.trades) filter (where account = 'realistic'), 0) as win_rate
            from lab.trial as trial
            inner join lab.metric as metric on trial.run_id = metric.run_id and trial.trial = metric.trial
            where trial.run_id = %s
            group by trial.trial, trial.params
            order by sharpe desc nulls last, trial.trial
            limit %s
            """,
            (run_id, top),
        ).fetchall()


def metrics(connection: Connection, run_id: int, trial: int) -> list[dict[str, Any]]:
    """What a trial came to in each instrument, after costs. Raises UsageError."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            """
            select instrument.symbol, metric.*
            from lab.metric as metric
            inner join bars.dim_instrument as instrument on metric.instrument_id = instrument.instrument_id
            where metric.run_id = %s and metric.trial = %s and metric.account = 'realistic'
            order by metric.sharpe desc nulls last, instrument.symbol
            """,
            (run_id, trial),
        ).fetchall()
    if not rows:
        raise UsageError(f"run {run_id} has no trial {trial}", hint=f"titan backtest show {run_id} lists its best ones")
    return rows


def plot(connection: Connection, run_id: int, path: Path) -> int:
    """Draw equity and drawdown of the run's best trial, in equal parts over its instruments, and return the trial.

    Raises UsageError where the run does not exist or the file cannot be written.
    """
    rows: list[Any] = connection.execute(
        """
        select
            trial, closed_at, realistic_hold_equity, realistic_hold_drawdown, clean_equity, clean_drawdown, realistic_equity,
            realistic_drawdown
        from lab.portfolio_equity where run_id = %s order by closed_at
        """,
        (run_id,),
    ).fetchall()
    if not rows:
        raise UsageError(f"there is no run {run_id} with an equity to draw", hint="titan backtest show lists the runs")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    FigureCanvasAgg(figure)
    equity, drawdown = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    times = [row[1] for row in rows]
    for column, label, colour in (
        (2, "buy and hold", "0.6"),
        (4, "without costs", "tab:blue"),
        (6, "with costs", "tab:orange"),
    ):
        equity.plot(times, [row[column] for row in rows], label=label, color=colour, linewidth=1.2)
        drawdown.plot(times, [row[column + 1] for row in rows], color=colour, linewidth=0.8)
    equity.set_yscale("log")
    equity.set_ylabel("equity")
    equity.set_title(f"run {run_id}, trial {rows[0][0]}")
    equity.legend()
    equity.grid(alpha=0.3)
    drawdown.set_ylabel("drawdown")
    drawdown.grid(alpha=0.3)
    try:
        figure.savefig(path, format="png", dpi=120)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    return int(rows[0][0])
