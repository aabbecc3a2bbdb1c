"""What there is to be shown of runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from titan.core.database import Connection, record, records, statement
from titan.core.errors import UsageError, some


def stored_signal(connection: Connection, signal: str) -> dict[str, Any]:
    """A row of config.signal. Raises UsageError where there is none."""
    row = record(connection, "select * from config.signal where signal = %s", (signal,))
    if row is None:
        names = [str(name) for (name,) in connection.execute("select signal from config.signal order by signal")]
        raise UsageError(f"there is no signal {signal!r} in config.signal", hint=f"there are {', '.join(names) or 'none'}")
    return row


def runs(connection: Connection, limit: int = 20) -> list[dict[str, Any]]:
    """The last runs, the last first."""
    return records(connection, statement("titan.lab.sql", "runs"), {"most": limit})


def require_run(connection: Connection, run_id: int) -> dict[str, Any]:
    """A row of lab.run. Raises UsageError where there is none."""
    row = record(connection, "select * from lab.run where run_id = %s", (run_id,))
    if row is None:
        raise UsageError(f"there is no run {run_id}", hint="titan backtest show lists them")
    return row


def leaders(connection: Connection, run_id: int, top: int) -> list[dict[str, Any]]:
    """The best trials of a run by the Sharpe ratio of their portfolios, after costs. Raises UsageError."""
    require_run(connection, run_id)
    return records(connection, statement("titan.lab.sql", "leaders"), {"run_id": run_id, "most": top})


def tried(connection: Connection, run_id: int) -> dict[str, Any]:
    """How many trials a run made, what independent ones they are worth, and how many there had been. Raises UsageError."""
    require_run(connection, run_id)
    (row,) = records(connection, statement("titan.lab.sql", "tried"), {"run_id": run_id})
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


def metrics(connection: Connection, run_id: int, trial: int) -> list[dict[str, Any]]:
    """What a trial came to in each instrument, after costs. Raises UsageError."""
    rows = records(connection, statement("titan.lab.sql", "metrics"), {"run_id": run_id, "trial": trial})
    if not rows:
        raise UsageError(f"run {run_id} has no trial {trial}", hint=f"titan backtest show {run_id} lists its best ones")
    return rows
