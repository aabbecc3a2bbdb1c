"""What people see: progress on stderr while it lasts, results on stdout, tables only where somebody reads them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.text import Text

from titan.core.errors import some
from titan.core.log import Progress, is_json, log

if TYPE_CHECKING:  # the annotations alone need them, and importing dbt takes a second
    from ingest.promotion import Promoted
    from titan.ops.dbt import Invocation
    from titan.ops.loads import LoadReport
    from titan.ops.refresh import Refreshed
    from titan.ops.watch import Cycle

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 10_000)
err = Console(stderr=True, highlight=False, soft_wrap=True)

# Columns that are parts of a whole, or of what there was before: per cent for people, as they are for programs.
FRACTIONS = {
    "cagr", "change_1d", "change_7d", "change_30d", "completeness", "exposure", "hold_return", "maximum_drawdown",
    "total_return", "volatility", "win_rate",
}  # fmt: skip


@contextmanager
def progress(text: str, *, is_logged: bool = True) -> Iterator[Progress]:
    """A line that says what is going on: live on a terminal, logged once elsewhere."""
    if err.is_terminal:
        with err.status(Text(text)) as status:
            yield lambda step: status.update(Text(step))
    else:
        if is_logged:
            log.info(text)
        yield lambda step: None


def table(
    rows: list[dict[str, Any]], *, title: str | None = None, is_report: bool = False, spare: Sequence[str] = ()
) -> None:
    """Rows as a table; as tab-separated text where a program reads, unless they are part of a report for people.

    spare: the columns that a terminal too narrow for all of them does without, the first of them first.
    """
    if not rows:
        return
    if not out.is_terminal and not is_report:
        print("\t".join(rows[0]))
        for row in rows:
            print("\t".join(_field(value) for value in row.values()))
        return
    columns = {name: [_text(row[name], row.get("what", name)) for row in rows] for name in rows[0]}
    widths = {name: max(map(cell_len, (name, *texts))) for name, texts in columns.items()}
    for name in spare:
        if sum(widths.values()) + 2 * (len(widths) - 1) > out.width:
            widths.pop(name, None)
    from rich.table import Table

    grid = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in widths:
        justify: JustifyMethod = "right" if isinstance(rows[0][name], int | float) else "left"
        grid.add_column(name, justify=justify, overflow="fold")
    for texts in zip(*(columns[name] for name in widths), strict=True):
        grid.add_row(*map(Text, texts))
    out.print(grid)


def tables(found: Mapping[str, list[dict[str, Any]]], *, spare: Sequence[str] = ()) -> None:
    """Tables under their titles, those that are empty left out; where a program reads, with an empty line between them."""
    told = [(title, rows) for title, rows in found.items() if rows]
    for at, (title, rows) in enumerate(told):
        if at and not out.is_terminal:
            print()
        table(rows, title=title, spare=spare)


def listing(found: list[dict[str, Any]], as_json: bool, nothing: str = "") -> None:
    """Rows as JSON or as a table; where there are none, what to say on stderr, for a person or as a line of the log."""
    if as_json:
        print(json.dumps(found, default=str))
    elif found:
        table(found)
    elif nothing and is_json():
        log.info(nothing)
    elif nothing:
        err.print(nothing, markup=False)


def _field(value: Any) -> str:
    """A value for a program: exact, empty for null, with the escapes of PostgreSQL's COPY."""
    text = "" if value is None else value.isoformat() if hasattr(value, "isoformat") else str(value)
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


def _text(value: Any, name: str) -> str:
    """A value for a person."""
    if value is None:
        return ""
    if isinstance(value, int | float) and name in FRACTIONS:
        return f"{100 * value:,.2f} %"
    if isinstance(value, float):
        return f"{value:,.6g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if hasattr(value, "strftime"):
        return str(value.strftime("%Y-%m-%d %H:%M"))
    return str(value)


def batch_data(batch: Promoted) -> dict[str, Any]:
    """What became of a batch, for a program."""
    told = {name: value for name, value in vars(batch).items() if name != "earlier_batch_ids"}
    return {**told, "batch_ids": batch.batch_ids, "examples": [vars(row) for row in batch.examples]}


def show_load(report: LoadReport) -> None:
    """What a load did, a line or two for each batch."""
    for batch in report.promoted:
        _show_batch(batch)
    for origin, error in report.failed:
        message = str(error)
        out.print(message if message.startswith(origin) else f"{origin}: {message}", style="red", markup=False)
        if error.hint:
            out.print(f"  {error.hint}", markup=False)
    for remark in report.remarks:
        out.print(remark, markup=False)


def _show_batch(batch: Promoted) -> None:
    symbols = ", ".join(batch.symbols[:3]) + (f" and {len(batch.symbols) - 3:,} more" if len(batch.symbols) > 3 else "")
    span = f" {batch.first_at:%Y-%m-%d %H:%M} … {batch.last_at:%Y-%m-%d %H:%M}" if batch.first_at else ""
    counts = [
        f"{count:,} {name}"
        for name, count in (
            ("new", batch.inserted),
            ("revised", batch.revised),
            ("known already", batch.unchanged),
            ("duplicate", batch.duplicate),
            ("not finished yet", batch.unfinished),
            ("quarantined", sum(batch.quarantined.values())),
            ("bad but settled before", batch.settled),
        )
        if count
    ]
    out.print(f"{batch.origin}", style="bold", markup=False)
    out.print(
        f"  {batch.exchange} {symbols} {batch.timeframe}{span}: {batch.read:,} rows read, "
        f"{', '.join(counts) or 'nothing in them'}" + ("; nothing changed" if batch.has_changed_nothing else ""),
        markup=False,
    )
    if batch.details:
        told = ", ".join(f"{name} {value}" for name, value in batch.details.items())
        out.print(f"  inferred: {told}", style="dim", markup=False)
    for notice in batch.notices:
        out.print(f"  {notice}", markup=False)
    for finding in batch.warnings:
        out.print(f"  the gate warns of {finding}", style="yellow", markup=False)
    for example in batch.examples:
        count = batch.quarantined[example.reason]
        value = f", value {example.value!r}" if example.value is not None else ""
        out.print(
            f"  {count:,} in raw.quarantine for {example.reason}, e.g. row {example.row_number}{value}: "
            f"{example.record[:120]}",
            style="yellow",
            markup=False,
        )


def show_build(invocation: Invocation, seconds: float) -> None:
    """How a build went: a line for all models and one for every failure."""
    models = invocation.of_kind("model")
    tests = invocation.of_kind("test", "unit_test")
    if models:
        done = sum(node.status == "success" for node in models)
        out.print(f"{done} of {len(models)} models built in {seconds:.1f} s")
    if tests:
        passed = sum(node.status == "pass" for node in tests)
        out.print(f"{passed} of {len(tests)} tests passed in {seconds:.1f} s")
    for node in invocation.failed:
        out.print(f"  {node.kind} {node.name}: {node.status}: {node.reason}", style="red", markup=False)


def show_refresh(refreshed: Refreshed) -> None:
    """What a refresh did: a line for all models, one for each that dbt declared and why, one for every failure."""
    for node, reason in refreshed.owed.items():
        out.print(f"dbt declared {node}: {reason}", markup=False)
    out.print(f"{refreshed.told()} in {refreshed.seconds:.1f} s", markup=False)
    for step in refreshed.steps:
        for view in step.left_behind:
            told = f"  {view} still shows the previous table of {step.node}: it cannot read the new one, or is not ours"
            out.print(told, style="yellow", markup=False)
    for step in refreshed.failed:
        out.print(f"  {step.node}: {step.reason}", style="red", markup=False)


def show_cycle(cycle: Cycle) -> None:
    """What a round of a watch did, in one line."""
    told = [f"{cycle.heard} series heard" if cycle.heard else "", f"{cycle.asked} series asked" if cycle.asked else ""]
    told.append(f"{cycle.inserted:,} candles new" if cycle.asked or cycle.heard else "")
    told += [
        f"{count:,} {name}" for count, name in ((cycle.revised, "revised"), (cycle.quarantined, "quarantined")) if count
    ]
    told.append(cycle.refreshed.told() if cycle.has_refreshed and cycle.refreshed else "")
    told.append(", ".join(f"{timeframe} to {at:%H:%M:%S}" for timeframe, at in cycle.fresh.items()))
    told.append(cycle.remark or "")
    failed = [f"{what}: {' '.join(str(error).split())}" for what, error in cycle.failed.items()]
    told.append("; ".join(failed[:1]) + (f"; {len(failed) - 1} more failed" if len(failed) > 1 else ""))
    text = ", ".join(part for part in told if part)
    seconds = cycle.load_seconds + cycle.refresh_seconds
    out.print(f"{cycle.at:%H:%M:%S} {text} ({seconds:.1f} s)", style="yellow" if failed else None, markup=False)


def tell_cycle(cycle: Cycle) -> None:
    """What a round of a watch did, as a line of JSON."""
    refreshed = cycle.refreshed
    told = {
        **{
            name: getattr(cycle, name)
            for name in ("number", "at", "asked", "heard", "inserted", "revised", "quarantined", "fresh")
        },
        "refreshed": [step.node for step in refreshed.steps if step.action != "failed"] if refreshed else [],
        "declared": refreshed.owed if refreshed else {},
        "failed": {what: str(error) for what, error in cycle.failed.items()},
        "load_seconds": round(cycle.load_seconds, 3),
        "refresh_seconds": round(cycle.refresh_seconds, 3),
        "next_at": cycle.next_at,
        **({"remark": cycle.remark} if cycle.remark else {}),
    }
    print(json.dumps(told, default=_plain), flush=True)


def _plain(value: Any) -> str:
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)


def show_backtest(result: Any, best: list[dict[str, Any]], worth: str) -> None:
    """What a run went over, the combinations that made no sense, and its best trials."""
    err.print(
        f"run {result.run_id}: {result.trials:,} trials over {result.bars:,} bars of {result.instruments:,} instruments "
        f"in {result.seconds:.1f} s",
        markup=False,
    )
    err.print(worth, markup=False)
    show_left_out(result.left_out)
    for reason, params in result.refused.items():
        err.print(f"  {len(params):,} left out, e.g. {params[0]}: {reason}", style="yellow", markup=False)
    table(
        best,
        title=f"best of run {result.run_id} by the Sharpe ratio after costs; titan backtest show {result.run_id} has more",
    )


def show_left_out(names: list[str]) -> None:
    """Which instruments a run or a walk leaves out."""
    if names:
        err.print(f"  left out, with fewer than two bars: {some(names)}", style="yellow", markup=False)


def show_verdict(verdict: Any, summary: str, most: int) -> None:
    """What a replay found: one line, and the differences of each kind."""
    out.print(f"run {verdict.run_id}, {verdict.mode}: {summary}", style="green" if verdict.is_same else "red", markup=False)
    if not verdict.is_same_code:
        out.print("  the SQL that computes it is not what it was", style="yellow", markup=False)
    for title in ("data", "bars", "events", "trades", "metrics"):
        rows = getattr(verdict, title)
        if rows:
            more = f"; the first {most} of {len(rows):,}" if len(rows) > most else ""
            table(rows[:most], title=f"{title} that differ{more}", is_report=True)
