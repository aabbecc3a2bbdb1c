"""Backtests of parameters that need not be stored: a run, its trials, and what came of them, computed in the database."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any

from psycopg import sql
from psycopg.pq import TransactionStatus

from titan.core.database import Connection, record, records
from titan.core.errors import UsageError
from titan.core.log import Progress
from titan.ops import dbt

MOST_TRIALS = 10_000
COSTS = ("fee_bps", "slippage_bps", "borrow_bps_per_day")

Value = int | float


@dataclass(frozen=True)
class RunSpec:
    """What a run is asked for. `grid` has the values of each parameter; the trials are their combinations."""

    type: str
    timeframe: str
    grid: Mapping[str, Sequence[Value]]
    direction: str = "long"
    execution: Mapping[str, Any] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)
    symbols: Sequence[str] = ()
    exchange: str | None = None
    market: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    ends: str = "open"  # what becomes of positions that are open at the end: open, closed or purged

    @property
    def timeframes(self) -> list[str]:
        """The one that signals look at and, if it is another, the one that they are traded on."""
        return list(dict.fromkeys((self.timeframe, str(self.execution.get("execution_timeframe", self.timeframe)))))


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
    row = record(connection, "select * from config.signal where signal = %s", (signal,))
    if row is None:
        names = [str(name) for (name,) in connection.execute("select signal from config.signal order by signal")]
        raise UsageError(f"there is no signal {signal!r} in config.signal", hint=f"there are {', '.join(names) or 'none'}")
    return row


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


def spec_of(run: Mapping[str, Any]) -> RunSpec:
    """What a row of lab.run or lab.walk was asked for, without costs and instruments: those are recorded as they were."""
    return RunSpec(
        type=run["type"],
        timeframe=run["timeframe"],
        grid=run["grid"],
        direction=run["direction"],
        execution=run["execution"],
        since=run["since"],
        until=run["until"],
        ends=run.get("ends", "open"),
    )


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
    charged = _prepare(connection, run_id, spec, kept, ranges, recorded)
    for name, statement in program.steps:
        progress(name)
        connection.execute(statement.replace(THE_RUN, str(run_id)).encode())
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


def combinations(spec: RunSpec) -> dict[int, dict[str, Value]]:
    count = 1
    for values in spec.grid.values():
        count *= len(values)
    if count > MOST_TRIALS:
        raise UsageError(f"the grid has {count:,} combinations; a run has {MOST_TRIALS:,} trials at most")
    if spec.since and spec.until and spec.since >= spec.until:
        raise UsageError("--since has to lie before --until")
    for name, value in spec.costs.items():
        if not 0 <= value < 10_000:
            raise UsageError(f"{name} is {value:g}; it has to be at least 0 and less than 10,000")
    grid = dict(sorted(spec.grid.items()))  # the same trials have the same numbers, however they are written
    return {at: dict(zip(grid, values, strict=True)) for at, values in enumerate(product(*grid.values()), start=1)}


def instruments_of(connection: Connection, spec: RunSpec) -> list[int]:
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
            and (%(exchange)s::text is null or instrument.exchange = lower(%(exchange)s))
            and (%(market)s::text is null or instrument.market_type = lower(%(market)s))
        order by instrument.instrument_id
        """,
        {
            "timeframe": spec.timeframe, "symbols": list(spec.symbols) or None, "exchange": spec.exchange,
            "market": spec.market,
        },
    ).fetchall()  # fmt: skip
    missing = sorted(set(spec.symbols) - {symbol for _, symbol, _, _ in rows})
    if missing or not rows:
        asked = [name for name in (spec.exchange, spec.market) if name]
        what = " ".join([*asked, ", ".join(missing)] if missing else asked) or "any instrument"
        raise UsageError(f"there are no bars of {spec.timeframe} of {what}", hint="titan status tells what there is")
    within = [
        instrument
        for instrument, _, opened_at, closed_at in rows
        if not (spec.since and closed_at <= spec.since) and not (spec.until and opened_at >= spec.until)
    ]
    if not within:
        first, last = min(row[2] for row in rows), max(row[3] for row in rows)
        raise UsageError(f"no bar lies in that range; there are bars from {first:%Y-%m-%d} to {last:%Y-%m-%d}")
    return within


def pool(connection: Connection, spec: RunSpec) -> tuple[list[int], list[str]]:
    """The instruments that are meant and may stand in one portfolio, and the names of those with fewer than two bars.

    Raises UsageError where they may not: synthetic ones beside real ones, sessions whose bars do not close together, one
    symbol of several sources or markets, or one that was named and has no two bars.
    """
    rows: list[Any] = connection.execute(
        """
        select
            instrument.instrument_id, concat_ws(' ', exchange, market_type, symbol), exchange, symbol, session_id,
            (
                select count(*) from (
                    select from bars.fct_bars as bar
                    where
                        bar.instrument_id = instrument.instrument_id
                        and bar.timeframe = %(timeframe)s
                        and bar.closed_at > coalesce(%(since)s, '-infinity'::timestamptz)
                        and bar.opened_at >= coalesce(%(since)s, '-infinity'::timestamptz)
                        and bar.closed_at <= coalesce(%(until)s, 'infinity'::timestamptz)
                    limit 2
                ) as first_bars
            )
        from bars.dim_instrument as instrument
        where instrument_id = any (%(instruments)s)
        order by exchange, market_type, symbol
        """,
        {
            "instruments": instruments_of(connection, spec), "timeframe": spec.timeframe, "since": spec.since,
            "until": spec.until,
        },
    ).fetchall()  # fmt: skip
    few = [row for row in rows if row[5] < 2]
    if few and (spec.symbols or len(few) == len(rows)):
        bars = "one bar" if any(row[5] for row in few) else "no bar"
        raise UsageError(
            f"{bars} of {spec.timeframe} lies in that range of {some([row[1] for row in few])}: there is nothing to trade",
            hint="titan status tells what there is",
        )
    kept = [row for row in rows if row[5] == 2]
    _refuse_mixture(kept)
    return sorted(row[0] for row in kept), [row[1] for row in few]


def _refuse_mixture(rows: Sequence[Any]) -> None:
    """Refuse what no one would put into one portfolio. Rows: id, name, exchange, symbol, session."""
    from ingest.sources.synthetic import EXCHANGE as SYNTHETIC

    real = [row[1] for row in rows if row[2] != SYNTHETIC]
    if 0 < len(real) < len(rows):
        invented = some([row[1] for row in rows if row[2] == SYNTHETIC])
        raise UsageError(
            f"{invented} is not real, {some(real)} is: what came of both would be neither",
            hint=f"--exchange {SYNTHETIC} takes the one kind, --exchange or --symbols the other",
        )
    sessions = sorted({row[4] for row in rows})
    if len(sessions) > 1:
        raise UsageError(
            f"the instruments keep different hours ({', '.join(sessions)}): their bars do not close together",
            hint="take each kind by itself, with --exchange, --market or --symbols",
        )
    of_symbol: dict[str, list[str]] = {}
    for row in rows:
        of_symbol.setdefault(row[3], []).append(row[1])
    for symbol, names in of_symbol.items():
        if len(names) > 1:
            raise UsageError(
                f"{symbol} is {len(names)} instruments: {some(names)}", hint="--exchange and --market say which is meant"
            )


def some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4:,} more" if len(names) > 4 else "")


THE_RUN = "~run~"


@dataclass(frozen=True)
class Program:
    """The SQL of a run, step by step, with THE_RUN in the place of its number, and why some trials make no sense."""

    steps: list[tuple[str, str]]
    refused: dict[int, str]

    @property
    def code_hash(self) -> str:
        """SHA-256 of the SQL without comments and blanks: what is tried and how it is computed."""
        text = re.sub(r"--[^\n]*", "", "\n".join(statement for _, statement in self.steps))
        text = re.sub(r'"[^"]+"\.("[^"]+"\.)', r"\1", text)  # the name of the database
        return hashlib.sha256(re.sub(r"\s+", " ", text).encode()).hexdigest()


def compile_program(spec: RunSpec, trials: Mapping[int, dict[str, Value]], *, is_checked: bool = False) -> Program:
    """What computes these trials. Raises UsageError for parameters that make no sense whatever the others are.

    dbt asks the database about timeframes, on a connection of its own, unless they are checked already: within a transaction
    it may come to wait for a rebuild that waits for the transaction.
    """
    asked = {
        "run": THE_RUN,
        "ends": spec.ends,
        "signals": [
            {
                "signal": str(number),
                "type": spec.type,
                "timeframe": spec.timeframe,
                "params": params,
                "direction": spec.direction,
                "execution": dict(spec.execution),
            }
            for number, params in trials.items()
        ],
    }
    found = json.loads(
        compile_inline(f"lab_statements({jinja(asked)}) if execute else lab_references()", is_checked=is_checked)
    )
    refuse(found["error"])
    return Program(
        [(name, statement) for name, statement in found["steps"]],
        {int(number): reason for number, reason in found["refused"].items()},
    )


def jinja(value: Any) -> str:
    """An expression of dbt's Jinja that gives a value of JSON's types."""
    text = json.dumps(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"fromjson('{text}')"


def compile_inline(expression: str, *, is_checked: bool = False) -> str:
    """What an expression of the project's macros renders to. Raises BuildError where it cannot be rendered."""
    flags = ["--no-introspect"] if is_checked else []
    return dbt.invoke("compile", [*flags, "--inline", f"{{{{ {expression} }}}}"]).nodes[0].sql


def refuse(refusal: Mapping[str, Any] | None) -> None:
    """Raise UsageError for what the macro first_refusal found, if it found something."""
    if refusal:
        raise UsageError(f"{refusal['type']} {json.dumps(refusal['params'])}: {refusal['what']}")


def _prepare(
    connection: Connection,
    run_id: int,
    spec: RunSpec,
    trials: Mapping[int, dict[str, Value]],
    ranges: Sequence[Range],
    recorded: Mapping[str, Any] | None,
) -> dict[str, str]:
    """Write what the steps read: trials (also as rows of lab.trial), ranges, and costs and delistings, returned as JSON."""
    signal, cost, ranged, delisting = (
        sql.Identifier("lab", f"work_{run_id}_{name}") for name in ("signal", "cost", "range", "delisting")
    )
    connection.execute(
        sql.SQL(
            "create unlogged table {} (signal text primary key, timeframe text, direction text, execution jsonb)"
        ).format(signal)
    )
    connection.execute(
        sql.SQL(
            "create unlogged table {} (instrument_id integer, timeframe text, since timestamptz, until timestamptz)"
        ).format(ranged)
    )
    connection.execute(
        sql.SQL("create unlogged table {} as {}").format(
            delisting,
            sql.SQL("select * from jsonb_populate_recordset(null::config.delisting, {})").format(
                sql.Literal(json.dumps(recorded["delistings"]))
            )
            if recorded
            else known_delistings(spec),
        )
    )
    execution = json.dumps(dict(spec.execution))
    with connection.cursor() as cursor:
        cursor.executemany(
            sql.SQL("insert into {} values (%s, %s, %s, %s)").format(signal),
            [(str(number), spec.timeframe, spec.direction, execution) for number in trials],
        )
        cursor.executemany(
            sql.SQL(
                "insert into {} values "
                "(%s, %s, coalesce(%s, '-infinity'::timestamptz), coalesce(%s, 'infinity'::timestamptz))"
            ).format(ranged),
            [(one.instrument_id, one.timeframe, one.since, one.until) for one in ranges],
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
                    "type": spec.type,
                    "timeframe": spec.timeframe,
                    "direction": spec.direction,
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
            from {}
            """
        ).format(
            cost,
            *(sql.Literal(spec.costs.get(name)) for name in COSTS),
            sql.SQL("jsonb_populate_recordset(null::config.cost, {})").format(sql.Literal(json.dumps(recorded["costs"])))
            if recorded
            else sql.Identifier("config", "cost"),
        )
    )
    found: Any = connection.execute(
        sql.SQL(
            """
            select
                (
                    select coalesce(jsonb_agg(to_jsonb(cost) order by exchange, market_type), '[]')::text
                    from {} as cost
                ),
                (
                    select coalesce(jsonb_agg(to_jsonb(gone) order by exchange, market_type, symbol), '[]')::text
                    from {} as gone
                ),
                (
                    select string_agg(
                        distinct concat_ws(' ', instrument.exchange, instrument.market_type, instrument.symbol), ', '
                    )
                    from {} as ranged
                    inner join bars.dim_instrument as instrument on ranged.instrument_id = instrument.instrument_id
                    where not exists (
                        select from {} as cost
                        where
                            cost.exchange in (instrument.exchange, '*') and cost.market_type in (instrument.market_type, '*')
                    )
                )
            """
        ).format(cost, delisting, ranged, cost)
    ).fetchone()
    if found[2]:
        raise UsageError(
            f"config.cost has no row that {found[2]} could be charged by", hint="a row of * and * stands for all others"
        )
    return {"costs": found[0], "delistings": found[1]}


def known_delistings(spec: RunSpec) -> sql.Composed:
    """Those that were known by the end: a source that was asked past a delisting knows that it was one."""
    return sql.SQL(
        """
        select delisting.*
        from config.delisting as delisting
        inner join bars.dim_instrument as instrument
            on
                delisting.exchange = instrument.exchange
                and delisting.market_type = instrument.market_type
                and delisting.symbol = instrument.symbol
        inner join bars.observed as observed
            on
                instrument.instrument_id = observed.instrument_id
                and instrument.base_timeframe = observed.timeframe
                and observed.observed_until >= delisting.delisted_at
        where delisting.delisted_at <= coalesce({}::timestamptz, 'infinity')
        """
    ).format(sql.Literal(spec.until))


def _refuse_nothing(connection: Connection, run_id: int, spec: RunSpec) -> None:
    """A range may lie between bars, and a timeframe have none."""
    found = {
        str(row[0])
        for row in connection.execute(
            sql.SQL("select distinct timeframe from {}").format(sql.Identifier("lab", f"work_{run_id}_series"))
        )
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
        sql.SQL(
            """
            insert into lab.run (
                run_id, seconds, type, timeframe, direction, grid, execution, costs, since, until, instruments, trials,
                bars, change_seq, ends, code_hash, delistings, effective_trials, mean_correlation, sharpe_deviation,
                expected_maximum_sharpe
            )
            select
                %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,
                (select sum(data.bars) from lab.data as data where data.run_id = %s and data.timeframe = %s),
                (select coalesce(max(seq), 0) from ops.change), %s, %s, %s, effective_trials, mean_correlation,
                sharpe_deviation, expected_maximum_sharpe
            from {}
            """
        ).format(sql.Identifier("lab", f"work_{run_id}_deflation")),
        (
            run_id,
            seconds,
            spec.type,
            spec.timeframe,
            spec.direction,
            json.dumps(spec.grid),
            json.dumps(dict(spec.execution)),
            charged["costs"],
            spec.since,
            spec.until,
            list(dict.fromkeys(one.instrument_id for one in ranges)),
            trials,
            run_id,
            spec.timeframe,
            spec.ends,
            code_hash,
            charged["delistings"],
        ),
    )


def _value(connection: Connection, statement: str, *parameters: Any) -> Any:
    row: Any = connection.execute(statement.encode(), parameters or None).fetchone()
    return row[0]


# --- show -----------------------------------------------------------------------------------------------------------------


def runs(connection: Connection, limit: int = 20) -> list[dict[str, Any]]:
    """The last runs, the last first."""
    return records(
        connection,
        """
        select
            run_id, started_at, type, timeframe, direction, trials, cardinality(instruments) as instruments, bars,
            seconds
        from lab.run order by run_id desc limit %s
        """,
        (limit,),
    )


def leaders(connection: Connection, run_id: int, top: int) -> list[dict[str, Any]]:
    """The best trials of a run by the Sharpe ratio of their portfolios, after costs. Raises UsageError."""
    require_run(connection, run_id)
    return records(
        connection,
        """
        select
            trial.trial, trial.params::text as params, portfolio.sharpe, portfolio.probabilistic_sharpe,
            portfolio.deflated_sharpe, portfolio.total_return, portfolio.maximum_drawdown, portfolio.is_ruined,
            portfolio.trades, portfolio.win_rate, portfolio.profit_factor, metric.clean_sharpe as mean_clean_sharpe,
            metric.sharpe as mean_sharpe
        from lab.trial as trial
        cross join lateral (
            select
                avg(metric.sharpe) filter (where account = 'realistic') as sharpe,
                avg(metric.sharpe) filter (where account = 'clean') as clean_sharpe
            from lab.metric as metric where trial.run_id = metric.run_id and trial.trial = metric.trial
        ) as metric
        left join lab.portfolio_metric as portfolio on trial.run_id = portfolio.run_id and trial.trial = portfolio.trial
        where trial.run_id = %s
        order by portfolio.sharpe desc nulls last, metric.sharpe desc nulls last, trial.trial
        limit %s
        """,
        (run_id, top),
    )


def tried(connection: Connection, run_id: int) -> dict[str, Any]:
    """How many trials a run made, what independent ones they are worth, and how many there had been. Raises UsageError."""
    require_run(connection, run_id)
    (row,) = records(
        connection,
        """
        select
            run.run_id, run.type, run.timeframe, run.trials, run.effective_trials, run.mean_correlation,
            tried.trials_in_all,
            (
                select array_agg(distinct concat_ws(' ', data.exchange, data.market_type, data.symbol))
                from lab.data as data where data.run_id = run.run_id
            ) as instruments
        from lab.run as run
        inner join lab.tried as tried on run.run_id = tried.run_id
        where run.run_id = %s
        """,
        (run_id,),
    )
    return row


def deflation(row: Mapping[str, Any]) -> str:
    """What `tried` has of a run, in a line."""
    line = f"run {row['run_id']}: {row['trials']:,} trials over {some(row['instruments'])}"
    if row["effective_trials"] is None:
        return f"{line}, of before their portfolios were kept"
    line += f", worth {row['effective_trials']:.1f} independent ones"
    if row["mean_correlation"] is not None:
        line += f" (their returns correlate by {row['mean_correlation']:.2f})"
    if row["trials_in_all"] > row["trials"]:
        line += f"; {row['trials_in_all']:,} of {row['type']} on {row['timeframe']} were tried so far"
    return line


def require_run(connection: Connection, run_id: int) -> dict[str, Any]:
    """A row of lab.run. Raises UsageError where there is none."""
    row = record(connection, "select * from lab.run where run_id = %s", (run_id,))
    if row is None:
        raise UsageError(f"there is no run {run_id}", hint="titan backtest show lists them")
    return row


def metrics(connection: Connection, run_id: int, trial: int) -> list[dict[str, Any]]:
    """What a trial came to in each instrument, after costs. Raises UsageError."""
    rows = records(
        connection,
        """
        select data.exchange, data.market_type, data.symbol, metric.*
        from lab.metric as metric
        inner join (
            select distinct run_id, instrument_id, exchange, market_type, symbol from lab.data
        ) as data on metric.run_id = data.run_id and metric.instrument_id = data.instrument_id
        where metric.run_id = %s and metric.trial = %s and metric.account = 'realistic'
        order by metric.sharpe desc nulls last, 1, 2, 3
        """,
        (run_id, trial),
    )
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
            closed_at, realistic_hold_equity, realistic_hold_drawdown, clean_equity, clean_drawdown, realistic_equity,
            realistic_drawdown, trial
        from lab.portfolio_equity where run_id = %s order by closed_at
        """,
        (run_id,),
    ).fetchall()
    if not rows:
        raise UsageError(f"there is no run {run_id} with an equity to draw", hint="titan backtest show lists the runs")
    trial = int(rows[0][-1])
    draw(rows, f"run {run_id}, trial {trial}", path)
    return trial


def draw(rows: Sequence[Any], title: str, path: Path) -> None:
    """Draw rows of a moment and, of buying and holding, of trading without and with costs, equity and drawdown."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    FigureCanvasAgg(figure)
    equity, drawdown = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    times = [row[0] for row in rows]
    for column, label, colour in (
        (1, "buy and hold", "0.6"),
        (3, "without costs", "tab:blue"),
        (5, "with costs", "tab:orange"),
    ):
        equity.plot(times, [row[column] for row in rows], label=label, color=colour, linewidth=1.2)
        drawdown.plot(times, [row[column + 1] for row in rows], color=colour, linewidth=0.8)
    equity.set_yscale("log")
    equity.set_ylabel("equity")
    equity.set_title(title)
    equity.legend()
    equity.grid(alpha=0.3)
    drawdown.set_ylabel("drawdown")
    drawdown.grid(alpha=0.3)
    try:
        figure.savefig(path, format="png", dpi=120)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
