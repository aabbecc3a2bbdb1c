"""Equity and drawdown, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from titan.core.database import Connection, records, statement
from titan.core.errors import UsageError

# What is drawn above each other: columns, what they are called, and in which colour.
LINES = (
    ("realistic_hold", "buy and hold", "0.6"),
    ("clean", "without costs", "tab:blue"),
    ("realistic", "with costs", "tab:orange"),
)


def plot_run(connection: Connection, run_id: int, path: Path) -> int:
    """Draw equity and drawdown of the run's best trial, in equal parts over its instruments, and return the trial.

    Raises UsageError where the run does not exist or the file cannot be written.
    """
    rows = records(connection, statement("titan.lab.sql", "portfolio_equity"), {"run_id": run_id})
    if not rows:
        raise UsageError(f"there is no run {run_id} with an equity to draw", hint="titan backtest show lists the runs")
    trial = int(rows[0]["trial"])
    _draw(rows, f"run {run_id}, trial {trial}", path)
    return trial


def plot_walk(connection: Connection, walk_id: int, path: Path) -> None:
    """Draw equity and drawdown out of sample. Raises UsageError where nothing was walked or the file cannot be written."""
    rows = records(connection, statement("titan.lab.sql", "walk_equity"), {"walk_id": walk_id})
    if not rows:
        raise UsageError(f"walk {walk_id} has no fold to draw", hint="titan backtest walks lists what there is")
    _draw(rows, f"walk {walk_id}, out of sample", path)


def _draw(rows: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    FigureCanvasAgg(figure)
    equity, drawdown = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    times = [row["closed_at"] for row in rows]
    for account, label, colour in LINES:
        equity.plot(times, [row[f"{account}_equity"] for row in rows], label=label, color=colour, linewidth=1.2)
        drawdown.plot(times, [row[f"{account}_drawdown"] for row in rows], color=colour, linewidth=0.8)
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
