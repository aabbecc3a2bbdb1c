"""titan backtest: parameters tried, runs kept, verified and compared."""

from __future__ import annotations

import getpass
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from titan.cli import output
from titan.cli.options import Json, connect, instant
from titan.core.errors import UsageError

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Backtests of any parameters, and what came of them.")


Grid = Annotated[
    list[str] | None, typer.Argument(help="Parameters: fast=9, several values as fast=5,10,20 or fast=5..50:5.")
]
Signal = Annotated[str | None, typer.Option(help="Begin with this row of config.signal; parameters replace its own.")]
Type = Annotated[str | None, typer.Option("--type", help="E.g. sma_crossover, if no signal is named.")]
Timeframe = Annotated[str | None, typer.Option(help="E.g. 1h; 1D by default.")]
Direction = Annotated[str | None, typer.Option(help="long, short or both; long by default.")]
Execution = Annotated[
    list[str] | None, typer.Option(help="How it is traded, e.g. stop_loss=0.05; may be repeated (docs/backtest.md).")
]
Symbols = Annotated[str | None, typer.Option(help="One or more, separated by commas; all by default.")]
Exchange = Annotated[str | None, typer.Option(help="Only instruments of this source.")]
Market = Annotated[str | None, typer.Option(help="Only instruments of this market: spot, perpetual, future or index.")]
Since = Annotated[str | None, typer.Option(help="Only bars that open at this time, UTC, or later.")]
Until = Annotated[str | None, typer.Option(help="Only bars that close until this time, UTC.")]
Cost = Annotated[float | None, typer.Option(help="Instead of config.cost.")]


@app.command("run")
def backtest_run(
    grid: Grid = None,
    signal: Signal = None,
    signal_type: Type = None,
    timeframe: Timeframe = None,
    direction: Direction = None,
    execution: Execution = None,
    symbols: Symbols = None,
    exchange: Exchange = None,
    market: Market = None,
    since: Since = None,
    until: Until = None,
    fee_bps: Cost = None,
    slippage_bps: Cost = None,
    borrow_bps_per_day: Cost = None,
    top: Annotated[int, typer.Option(min=1, help="How many of the best trials to print.")] = 10,
    as_json: Json = False,
) -> None:
    """Try parameters, one set or a grid of them, over all instruments that can stand in one portfolio.

    The parameters need not be stored anywhere. Synthetic candles beside real ones, sessions that keep different hours and a
    symbol of several sources or markets are refused: --exchange, --market and --symbols say what is meant.


    Runs, trials, trades and metrics are kept in schema lab.

    Example: titan backtest run --type sma_crossover fast=5..50:5 slow=60..200:20 --timeframe 1D
    """
    from titan.lab import backtest, queries

    with connect() as connection, output.progress("running a backtest") as progress:
        spec = _spec(
            connection, grid, signal, signal_type, timeframe, direction, execution, symbols, exchange, market, since, until,
            (fee_bps, slippage_bps, borrow_bps_per_day),
        )  # fmt: skip
        result = backtest.run(connection, spec, progress)
        best = queries.leaders(connection, result.run_id, top)
        tried = queries.tried(connection, result.run_id)
    if as_json:
        counted = {name: tried[name] for name in ("effective_trials", "trials_in_all")}
        print(json.dumps({**vars(result), **counted, "best": best}, default=str))
        return
    output.show_backtest(result, best, queries.deflation(tried))


def _spec(
    connection: Any,
    grid: list[str] | None,
    signal: str | None,
    signal_type: str | None,
    timeframe: str | None,
    direction: str | None,
    execution: list[str] | None,
    symbols: str | None,
    exchange: str | None,
    market: str | None,
    since: str | None,
    until: str | None,
    costs: tuple[float | None, ...],
) -> Any:
    """What the options ask for, on top of a stored signal if one is named."""
    from titan.lab.queries import stored_signal
    from titan.lab.spec import COSTS, RunSpec, parse_grid

    if bool(signal) == bool(signal_type):
        raise UsageError("name either a stored --signal or a --type", hint="titan backtest run --help has an example")
    if direction not in (None, "long", "short", "both"):
        raise UsageError(f"--direction is long, short or both, not {direction!r}")
    names = [symbol.strip() for symbol in (symbols or "").split(",") if symbol.strip()]
    if symbols is not None and not names:
        raise UsageError(f"--symbols {symbols!r} names none")
    stored = stored_signal(connection, signal) if signal else {"params": {}, "execution": {}}
    given = parse_grid(grid or [])
    rules: dict[str, Any] = {}
    for text in execution or []:
        name, _, value = text.partition("=")
        if name == "execution_timeframe":
            rules[name] = value
        else:
            values = parse_grid([text])[name]
            if len(values) != 1:
                raise UsageError(f"--execution {text}: a rule has one value", hint="run it once for each")
            rules[name] = values[0]
    return RunSpec(
        type=signal_type or str(stored["type"]),
        timeframe=timeframe or str(stored.get("timeframe", "1D")),
        grid={**{name: [value] for name, value in stored["params"].items()}, **given},
        direction=direction or str(stored.get("direction", "long")),
        execution={**stored["execution"], **rules},
        costs={name: value for name, value in zip(COSTS, costs, strict=True) if value is not None},
        symbols=names,
        exchange=exchange,
        market=market,
        since=instant(since, "--since") if since else None,
        until=instant(until, "--until") if until else None,
    )


@app.command("show")
def backtest_show(
    run_id: Annotated[int | None, typer.Argument(help="Which run; the last ones are listed without.")] = None,
    trial: Annotated[int | None, typer.Option(help="This trial, in each instrument.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many of the best trials to print.")] = 10,
    plot: Annotated[Path | None, typer.Option(help="Draw equity and drawdown of the best trial into this PNG file.")] = None,
    as_json: Json = False,
) -> None:
    """Show runs, the best trials of one, or one trial; draw its equity and drawdown.

    Example: titan backtest show 3 --top 5 --plot run3.png
    """
    from titan.lab import queries
    from titan.lab.plot import plot_run

    if run_id is None and (trial is not None or plot is not None):
        raise UsageError("--trial and --plot need a run", hint="titan backtest show lists the runs")
    with connect() as connection:
        if run_id is None:
            rows = queries.runs(connection)
        elif trial is not None:
            rows = queries.metrics(connection, run_id, trial)
        else:
            rows = queries.leaders(connection, run_id, top)
            output.err.print(queries.deflation(queries.tried(connection, run_id)), markup=False)
        drawn = plot_run(connection, run_id, plot) if plot and run_id is not None else None
    output.listing(rows, as_json, "no run yet; titan backtest run --help has an example")
    if drawn is not None:
        output.err.print(f"trial {drawn} drawn into {plot}", markup=False)


# --- evidence -------------------------------------------------------------------------------------------------------------

By = Annotated[str | None, typer.Option(help="Who says so; the user of this machine by default.")]


def who(by: str | None) -> str:
    """Whom a record names."""
    try:
        return by or getpass.getuser()
    except (KeyError, OSError) as error:
        raise UsageError("nobody knows who you are here", hint="--by says it") from error


@app.command("freeze")
def backtest_freeze(
    run_id: Annotated[int, typer.Argument(help="Which run.")],
    trial: Annotated[int | None, typer.Option(help="Which trial; the best by default.")] = None,
    note: Annotated[str, typer.Option(help="What it is kept for.")] = "",
    by: By = None,
    as_json: Json = False,
) -> None:
    """Keep what a trial stood on, its bars and events, so that every later difference can be named.

    The run is replayed first: what cannot be repeated is not frozen.

    Example: titan backtest freeze 3 --trial 17 --note "the one in the paper"
    """
    from titan.lab import evidence

    with connect() as connection, output.progress("replaying the run") as progress:
        frozen = evidence.freeze(connection, run_id, trial, by=who(by), note=note, progress=progress)
    if as_json:
        print(json.dumps({"run_id": run_id, "trial": frozen}))
        return
    output.out.print(f"trial {frozen} of run {run_id} is frozen; titan backtest verify {run_id} replays it", markup=False)


@app.command("verify")
def backtest_verify(
    run_id: Annotated[int, typer.Argument(help="Which run.")],
    mode: Annotated[
        str,
        typer.Option(
            help="strict: any difference is a failure. warn: the same, and only said. trust: hashes alone, results are not "
            "computed again."
        ),
    ] = "strict",
    top: Annotated[int, typer.Option(min=1, help="How many differences of each kind to print.")] = 20,
    as_json: Json = False,
) -> None:
    """Replay a run over exactly what it went over, and compare everything at 1e-10; nothing of the replay is kept.

    The exit code is 1 if something differs, unless the mode is warn. Of frozen trials the bars and events are named.

    Example: titan backtest verify 3 --mode warn
    """
    from titan.lab import evidence

    with connect() as connection, output.progress("replaying the run") as progress:
        verdict = evidence.verify(connection, run_id, mode, progress)
    if as_json:
        print(json.dumps({**asdict(verdict), "is_same": verdict.is_same}, default=str))
    else:
        output.show_verdict(verdict, evidence.summary(verdict), top)
    if not verdict.is_same and mode != "warn":
        raise typer.Exit(1)


@app.command("compare")
def backtest_compare(
    first: Annotated[str, typer.Argument(help="A run, or a trial of it as RUN:TRIAL; its best trial by default.")],
    second: Annotated[str, typer.Argument(help="The other one.")],
    as_json: Json = False,
) -> None:
    """Put two trials beside each other: what was asked for, what they stood on, and what they came to.

    Example: titan backtest compare 3:17 4
    """
    from titan.lab import evidence

    with connect() as connection:
        rows = evidence.compare(connection, _trial(first), _trial(second))
    output.listing(rows, as_json)


def _trial(text: str) -> tuple[int, int | None]:
    run_id, colon, trial = text.partition(":")
    if not run_id.isdigit() or (colon and not trial.isdigit()):
        raise UsageError(f"{text!r} is no run", hint="write it as 3, or as 3:17 for its trial 17")
    return int(run_id), int(trial) if colon else None


@app.command("leaderboard")
def backtest_leaderboard(
    top: Annotated[int, typer.Option(min=1, help="How many to print.")] = 20,
    with_all: Annotated[bool, typer.Option("--all", help="The best trial of every run, not only frozen ones.")] = False,
    as_json: Json = False,
) -> None:
    """List frozen trials by how sure one can be of them: the deflated Sharpe ratio, then the Sharpe ratio.

    Example: titan backtest leaderboard --all --top 10
    """
    from titan.lab import evidence

    with connect() as connection:
        rows = evidence.leaderboard(connection, top, with_all)
    output.listing(rows, as_json, "nothing is frozen yet; titan backtest freeze --help has an example")


# --- walk-forward ---------------------------------------------------------------------------------------------------------


@app.command("walk")
def backtest_walk(
    grid: Grid = None,
    signal: Signal = None,
    signal_type: Type = None,
    timeframe: Timeframe = None,
    direction: Direction = None,
    execution: Execution = None,
    symbols: Symbols = None,
    exchange: Exchange = None,
    market: Market = None,
    since: Since = None,
    until: Until = None,
    fee_bps: Cost = None,
    slippage_bps: Cost = None,
    borrow_bps_per_day: Cost = None,
    scheme: Annotated[
        str, typer.Option(help="anchored: choose by all that came before. rolling: by the last --train bars.")
    ] = "anchored",
    folds: Annotated[int, typer.Option(min=1, help="How often to choose and judge.")] = 8,
    train: Annotated[int | None, typer.Option(min=1, help="Bars to choose by; as fits the others by default.")] = None,
    test: Annotated[
        int | None, typer.Option(min=1, help="Bars to judge by; what is left in equal parts by default.")
    ] = None,
    embargo: Annotated[
        int | None, typer.Option(min=0, help="Bars before a test that nothing is chosen by; a hundredth of all by default.")
    ] = None,
    metric: Annotated[
        str, typer.Option(help="What is chosen by: sharpe, sortino, calmar, total_return, profit_factor, …")
    ] = "sharpe",
    resume: Annotated[int | None, typer.Option(help="Go on with this walk, which was interrupted.")] = None,
    as_json: Json = False,
) -> None:
    """Choose parameters on one part of the history and judge them on the bars that follow, fold after fold.

    Positions that are open at the end of what is chosen by count for nothing; those at the end of a test are sold. Each fold
    is kept as it is done: after a kill, --resume goes on.

    Example: titan backtest walk --type sma_crossover fast=5..50:5 slow=60..200:20 --folds 8
    """
    from titan.lab import walk_forward as walk

    costs = (fee_bps, slippage_bps, borrow_bps_per_day)
    asked = (grid, signal, signal_type, timeframe, direction, execution, symbols, exchange, market, since, until, *costs)
    with connect() as connection, output.progress("walking forward") as progress:
        if resume is None:
            spec = _spec(
                connection,
                grid,
                signal,
                signal_type,
                timeframe,
                direction,
                execution,
                symbols,
                exchange,
                market,
                since,
                until,
                costs,
            )
            plan = walk.WalkPlan(scheme, folds, train, test, embargo, metric)
            begun = walk.begin(connection, spec, plan, progress)
            output.err.print(
                f"walk {begun.walk_id}; if it is interrupted: titan backtest walk --resume {begun.walk_id}", markup=False
            )
            output.show_left_out(begun.left_out)
        elif any(given for given in asked) or walk.WalkPlan(scheme, folds, train, test, embargo, metric) != walk.WalkPlan():
            raise UsageError("--resume takes no other options: the walk has its own")
        else:
            begun = walk.BegunWalk(resume, {})
        walk.go_on(connection, begun.walk_id, progress, programs=begun.programs)
        report = walk.report(connection, begun.walk_id)
    _show_walk(begun.walk_id, report, as_json)


@app.command("walks")
def backtest_walks(
    walk_id: Annotated[int | None, typer.Argument(help="Which walk; the last ones are listed without.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw equity and drawdown out of sample into this PNG file.")] = None,
    as_json: Json = False,
) -> None:
    """Show walk-forwards, or one: its folds, how much its parameters move, and what it came to out of sample.

    Example: titan backtest walks 2 --plot walk2.png
    """
    from titan.lab import walk_forward as walk
    from titan.lab.plot import plot_walk

    if walk_id is None and plot is not None:
        raise UsageError("--plot needs a walk", hint="titan backtest walks lists them")
    with connect() as connection:
        if walk_id is None:
            rows = walk.walks(connection)
            output.listing(rows, as_json, "no walk yet; titan backtest walk --help has an example")
            return
        report = walk.report(connection, walk_id)
        if plot:
            plot_walk(connection, walk_id, plot)
    _show_walk(walk_id, report, as_json)
    if plot:
        output.err.print(f"walk {walk_id} drawn into {plot}", markup=False)


def _show_walk(walk_id: int, report: dict[str, list[dict[str, Any]]], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"walk_id": walk_id, **report}, default=str))
    else:
        titled = {f"walk {walk_id}: {name.replace('_', ' ')}": rows for name, rows in report.items()}
        output.tables(titled, spare=("result_hash", "test_run_id", "run_id", "deflated"))
