"""Runs that somebody relies on: frozen with what they stood on, and replayed to see whether they still come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from titan.core.database import Connection, records
from titan.core.errors import BusyError, TitanError, UsageError
from titan.core.log import Progress
from titan.lab.backtest import Program, Range, compile_program, compute, require_run, see_one_state, some, spec_of
from titan.lab.metrics import METRICS, PORTFOLIO_METRICS

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
    connection.execute(
        """
        insert into lab.frozen_bar (run_id, instrument_id, timeframe, closed_at, open, high, low, close, volume)
        select
            data.run_id, bar.instrument_id, bar.timeframe, bar.closed_at, bar.open, bar.high, bar.low, bar.close, bar.volume
        from lab.data as data
        inner join bars.fct_bars as bar
            on
                data.instrument_id = bar.instrument_id
                and data.timeframe = bar.timeframe
                and bar.closed_at <= data.last_closed_at
        where data.run_id = %(run)s and not exists (select from lab.frozen_bar where run_id = %(run)s)
        """,
        {"run": run_id},
    )
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
    gone = records(
        connection,
        """
        select concat_ws(' ', data.exchange, data.market_type, data.symbol, data.timeframe) as name
        from lab.data as data
        where data.run_id = %s and not exists (
            select from bars.fct_bars as bar
            where
                bar.instrument_id = data.instrument_id
                and bar.timeframe = data.timeframe
                and bar.closed_at between data.first_closed_at and data.last_closed_at
        )
        order by 1
        """,
        (run_id,),
    )
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
    data = records(connection, DATA, numbers)
    bars = records(connection, BARS, numbers)
    if mode == "trust":
        return Verdict(run_id, mode, is_same_code, data, bars), []
    events = records(
        connection,
        sql.SQL(
            "select signal::integer as trial, instrument_id, closed_at, direction, action, fraction from {} "
            "order by 1, 2, 3, 4, 5"
        ).format(sql.Identifier("lab", f"work_{replayed.run_id}_event")),
    )
    return Verdict(
        run_id,
        mode,
        is_same_code,
        data,
        bars,
        records(connection, sql.SQL(EVENTS).format(sql.Identifier("lab", f"work_{replayed.run_id}_event")), numbers),
        records(connection, TRADES, numbers),
        _metrics(connection, numbers),
    ), events


def _metrics(connection: Connection, numbers: Mapping[str, int]) -> list[dict[str, Any]]:
    """Metrics beyond the tolerance: of each trial's portfolio, and of each instrument."""
    found = []
    for text, names in (
        (
            "select trial, null as symbol, {} from lab.portfolio_metric where run_id = {}",
            PORTFOLIO_METRICS,
        ),
        (
            """
            select metric.trial, concat_ws(' ', instrument.exchange, instrument.market_type, instrument.symbol) as symbol, {}
            from lab.metric as metric
            inner join bars.dim_instrument as instrument on metric.instrument_id = instrument.instrument_id
            where metric.run_id = {} and metric.account = 'realistic'
            """,
            METRICS,
        ),
    ):
        columns = sql.SQL(", ").join(sql.Identifier(name) for name in names)
        then, now = (
            {
                (row["trial"], row["symbol"]): row
                for row in records(connection, sql.SQL(text).format(columns, sql.Literal(numbers[side])))
            }
            for side in ("then", "now")
        )
        for key in sorted(then.keys() | now.keys(), key=str):
            for name in names:
                before, after = then.get(key, {}).get(name), now.get(key, {}).get(name)
                if not is_close(before, after):
                    found.append({"trial": key[0], "symbol": key[1], "metric": name, "was": before, "is": after})
    return found


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


DATA = """
select
    concat_ws(
        ' ', coalesce(was.exchange, is_now.exchange), coalesce(was.market_type, is_now.market_type),
        coalesce(was.symbol, is_now.symbol)
    ) as symbol,
    coalesce(was.timeframe, is_now.timeframe) as timeframe,
    case when was.data_hash is distinct from is_now.data_hash then 'bars' else 'features' end as what,
    was.bars as bars_then,
    is_now.bars as bars_now,
    was.data_hash as was,
    is_now.data_hash as is
from (select * from lab.data where run_id = %(then)s) as was
full join (select * from lab.data where run_id = %(now)s) as is_now using (instrument_id, timeframe)
where
    was.data_hash is distinct from is_now.data_hash
    or was.feature_hash is distinct from is_now.feature_hash
    or was.bars is distinct from is_now.bars
order by 1, 2
"""

# Only of instruments whose hash differs: nobody has to read all the others.
BARS = """
with changed as (
    select
        was.instrument_id, was.timeframe, was.last_closed_at,
        concat_ws(' ', was.exchange, was.market_type, was.symbol) as symbol
    from lab.data as was
    left join lab.data as is_now
        on is_now.run_id = %(now)s and was.instrument_id = is_now.instrument_id and was.timeframe = is_now.timeframe
    where was.run_id = %(then)s and was.data_hash is distinct from is_now.data_hash
),
was as (
    select frozen.* from lab.frozen_bar as frozen
    inner join changed using (instrument_id, timeframe)
    where frozen.run_id = %(then)s
),
is_now as (
    select bar.* from bars.fct_bars as bar
    inner join changed
        on
            bar.instrument_id = changed.instrument_id
            and bar.timeframe = changed.timeframe
            and bar.closed_at <= changed.last_closed_at
    where exists (select from lab.frozen_bar as frozen where frozen.run_id = %(then)s)
)
select
    changed.symbol,
    changed.timeframe,
    coalesce(was.closed_at, is_now.closed_at) as closed_at,
    of_column.name as what,
    of_column.was,
    of_column.is_now as is
from was
full join is_now using (instrument_id, timeframe, closed_at)
inner join changed using (instrument_id, timeframe)
cross join lateral (
    values
        ('open', was.open, is_now.open), ('high', was.high, is_now.high), ('low', was.low, is_now.low),
        ('close', was.close, is_now.close), ('volume', was.volume, is_now.volume)
) as of_column (name, was, is_now)
where of_column.was is distinct from of_column.is_now
order by 1, 2, 3, 4
"""

EVENTS = """
with is_now as (
    select
        event.signal::integer as trial, event.instrument_id, event.closed_at, event.direction, event.action, event.fraction
    from {} as event
    inner join lab.frozen as frozen on frozen.run_id = %(then)s and event.signal::integer = frozen.trial
),
was as (
    select trial, instrument_id, closed_at, direction, action, fraction from lab.frozen_event where run_id = %(then)s
)
select
    trial,
    concat_ws(' ', instrument.exchange, instrument.market_type, instrument.symbol) as symbol,
    closed_at,
    direction,
    action,
    case when was.is_there is null then null else coalesce(was.fraction::text, 'whole') end as was,
    case when is_now.is_there is null then null else coalesce(is_now.fraction::text, 'whole') end as is
from (select was.*, true as is_there from was) as was
full join (select is_now.*, true as is_there from is_now) as is_now
    using (trial, instrument_id, closed_at, direction, action)
inner join bars.dim_instrument as instrument using (instrument_id)
where
    was.is_there is null or is_now.is_there is null
    or abs(was.fraction - is_now.fraction) > 1e-10 or (was.fraction is null) <> (is_now.fraction is null)
order by 1, 2, 3, 4, 5
"""

TRADES = """
with was as (
    select trade.*, to_jsonb(trade) - array['run_id', 'trade_number'] as data from lab.trade as trade where run_id = %(then)s
),
is_now as (
    select trade.*, to_jsonb(trade) - array['run_id', 'trade_number'] as data from lab.trade as trade where run_id = %(now)s
)
select
    trial,
    concat_ws(' ', instrument.exchange, instrument.market_type, instrument.symbol) as symbol,
    direction,
    entry_at,
    case
        when was.data is null then 'only now'
        when is_now.data is null then 'only then'
        else 'changed'
    end as what,
    was.exit_at as exit_then,
    is_now.exit_at as exit_now,
    was.realistic_return as was,
    is_now.realistic_return as is
from was
full join is_now using (trial, instrument_id, direction, entry_at)
inner join bars.dim_instrument as instrument using (instrument_id)
where
    was.data is null
    or is_now.data is null
    or was.exit_at is distinct from is_now.exit_at
    or was.exit_reason is distinct from is_now.exit_reason
    or was.is_open <> is_now.is_open
    or exists (
        select from (
            values
                (was.entry_price, is_now.entry_price), (was.exit_price, is_now.exit_price),
                (was.clean_return, is_now.clean_return), (was.realistic_return, is_now.realistic_return),
                (was.clean_profit, is_now.clean_profit), (was.realistic_profit, is_now.realistic_profit)
        ) as pair (before, after)
        where abs(pair.before - pair.after) > 1e-10 * greatest(1, abs(pair.before), abs(pair.after))
    )
order by 1, 2, 4, 3
"""


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
    rows = records(
        connection,
        """
        select
            run.type, run.timeframe, run.direction, trial.params::text as params, trial.execution::text as execution,
            run.costs::text as costs, portfolio.first_closed_at, portfolio.last_closed_at,
            cardinality(run.instruments) as instruments, run.trials, run.effective_trials, run.code_hash, trial.params_hash,
            data.data_hash, data.feature_hash, portfolio.*
        from lab.run as run
        inner join lab.trial as trial on run.run_id = trial.run_id
        inner join lab.portfolio_metric as portfolio on trial.run_id = portfolio.run_id and trial.trial = portfolio.trial
        cross join lateral (
            select
                encode(sha256(convert_to(
                    string_agg(one.data_hash, ' ' order by one.instrument_id, one.timeframe), 'UTF8'
                )), 'hex') as data_hash,
                encode(sha256(convert_to(
                    string_agg(one.feature_hash, ' ' order by one.instrument_id, one.timeframe), 'UTF8'
                )), 'hex') as feature_hash
            from lab.data as one where one.run_id = run.run_id
        ) as data
        where run.run_id = %s and trial.trial = %s
        """,
        (run["run_id"], trial),
    )
    if not rows:
        raise UsageError(
            f"run {run_id} has no trial {trial} with a portfolio", hint=f"titan backtest show {run_id} lists its best ones"
        )
    return rows[0]


def leaderboard(connection: Connection, top: int, with_all: bool = False) -> list[dict[str, Any]]:
    """Frozen trials, or the best of every run, by their deflated Sharpe ratio."""
    return records(
        connection,
        """
        select * from lab.leaderboard where is_frozen or (%s and is_best_of_run)
        order by deflated_sharpe desc nulls last, sharpe desc nulls last, run_id, trial limit %s
        """,
        (with_all, top),
    )
