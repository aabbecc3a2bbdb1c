"""From a walk-forward to what is live: strategies are proposed, approved by what they did out of sample, and archived."""

from __future__ import annotations

import json
import re
from typing import Any

from titan.core.database import Connection, record, records, statement
from titan.core.errors import TitanError, UsageError
from titan.lab.program import compile_inline, jinja, refuse

NEXT = {"draft": ("approved", "archived"), "approved": ("active", "archived"), "active": ("archived",)}


class NotApprovedError(TitanError):
    """A strategy is below the thresholds."""


def propose(connection: Connection, walk_id: int, strategy: str, *, by: str, reason: str) -> None:
    """Make a draft of the choice of a walk-forward's last fold. Raises UsageError where that cannot be."""
    with connection.transaction():
        _lock(connection)
        found = record(connection, statement("titan.lab.sql", "last_choice"), {"walk_id": walk_id})
        if found is None:
            raise UsageError(f"there is no walk {walk_id}", hint="titan backtest walks lists them")
        if found["walk_id"] is None:
            raise UsageError(
                f"walk {walk_id} is not over: nothing is known of it out of sample",
                hint=f"titan backtest walk --resume {walk_id} goes on with it",
            )
        if record(connection, "select from lab.strategy where strategy = %s", (strategy,)) is not None:
            raise UsageError(f"there is a strategy {strategy} already", hint="choose another name")
        if not re.fullmatch(r"[a-z][a-z0-9_]*", strategy):
            raise UsageError(f"{strategy!r} is no name for a strategy", hint="write it in small letters, digits and _")
        connection.execute(statement("titan.lab.sql", "propose"), {"strategy": strategy, "walk_id": walk_id})
        _record(connection, strategy, None, "draft", by, reason)


def approve(connection: Connection, strategy: str, *, by: str, reason: str) -> None:
    """Approve a draft by its results out of sample. Raises UsageError, or NotApprovedError below a threshold."""
    with connection.transaction():
        _lock(connection)
        status = _status(connection, strategy, "approved")
        below = [row for row in evidence(connection, strategy) if not row["is_reached"]]
        if below:
            missed = "; ".join(
                f"{row['metric']} is {'not known' if row['value'] is None else format(row['value'], '.4g')}, "
                f"below {row['least']:g}"
                for row in below
            )
            raise NotApprovedError(
                f"{strategy} is not approved: {missed}",
                hint="these are its results out of sample; config.approval_threshold has what is asked for",
            )
        _record(connection, strategy, status, "approved", by, reason)


def activate(connection: Connection, strategy: str, *, by: str, reason: str) -> bool:
    """Make an approved strategy live; returns whether its signal was not in config.signal and had to be added.

    Raises UsageError where it is not approved, a signal of that name is another one, or it reads what is not stored.
    """
    _refuse_unreadable(connection, strategy)
    with connection.transaction():
        _lock(connection)
        status = _status(connection, strategy, "active")
        row = record(connection, statement("titan.lab.sql", "signal_of_strategy"), {"strategy": strategy})
        is_signal = row is not None and bool(row["is_signal"])
        if is_signal and row is not None and not row["is_same"]:
            raise UsageError(
                f"config.signal has a row {strategy} with other parameters", hint="rename or delete it; nothing was changed"
            )
        connection.execute(statement("titan.lab.sql", "activate"), {"strategy": strategy})
        _record(connection, strategy, status, "active", by, reason)
        return not is_signal


def _refuse_unreadable(connection: Connection, strategy: str) -> None:
    """A signal that names a missing indicator would stop the build of all signals."""
    _status(connection, strategy, "active")
    row = record(connection, "select * from lab.strategy where strategy = %s", (strategy,))
    connection.commit()
    if row is not None:
        columns = ("type", "timeframe", "direction", "params", "execution")
        signal = jinja({"signal": strategy, **{name: row[name] for name in columns}})
        program = f"signal_program([{signal}], readable_features(enabled_features()), goes_on=true)"
        refuse(json.loads(compile_inline(f"tojson(first_refusal({program})) if execute else enabled_features()")))


def archive(connection: Connection, strategy: str, *, by: str, reason: str) -> None:
    """Take a strategy out of use, whatever it is now; its signal stays, and is live no longer. Raises UsageError."""
    with connection.transaction():
        _lock(connection)
        _record(connection, strategy, _status(connection, strategy, "archived"), "archived", by, reason)


def strategies(connection: Connection) -> list[dict[str, Any]]:
    """Every strategy and what it is now."""
    return records(connection, statement("titan.lab.sql", "strategies"))


def history(connection: Connection, strategy: str) -> list[dict[str, Any]]:
    """Every decision about a strategy. Raises UsageError where there is none."""
    rows = records(connection, statement("titan.lab.sql", "decisions"), {"strategy": strategy})
    if not rows:
        raise UsageError(f"there is no strategy {strategy}", hint="titan strategy list has them")
    return rows


def evidence(connection: Connection, strategy: str) -> list[dict[str, Any]]:
    """The thresholds, and what the strategy came to out of sample. Raises UsageError for a threshold of no metric."""
    rows = records(connection, statement("titan.lab.sql", "thresholds"), {"strategy": strategy})
    unknown = [row["metric"] for row in rows if not row["is_metric"]]
    if unknown:
        raise UsageError(
            f"config.approval_threshold asks for {', '.join(unknown)}, which is no metric of lab.walk_metric",
            hint="correct or delete the row",
        )
    return rows


def _lock(connection: Connection) -> None:
    connection.execute("lock table lab.approval in share row exclusive mode")


def _status(connection: Connection, strategy: str, target: str) -> str:
    """What the strategy is, if that may become what is target."""
    row = record(
        connection, "select status, decided_at, decided_by from lab.strategy_status where strategy = %s", (strategy,)
    )
    if row is None:
        raise UsageError(f"there is no strategy {strategy}", hint="titan strategy propose makes one of a walk-forward")
    status = str(row["status"])
    if target not in NEXT.get(status, ()):
        raise UsageError(
            f"{strategy} is {status} since {row['decided_at']:%Y-%m-%d %H:%M}, by {row['decided_by']}: "
            f"it cannot become {target}",
            hint=f"from there it can become {' or '.join(NEXT[status])}"
            if status in NEXT
            else "propose it under another name",
        )
    return status


def _record(connection: Connection, strategy: str, before: str | None, after: str, by: str, reason: str) -> None:
    if not reason.strip():
        raise UsageError("a decision needs a reason", hint="--reason says why")
    proof = [{name: row[name] for name in ("metric", "least", "value")} for row in evidence(connection, strategy)]
    connection.execute(
        statement("titan.lab.sql", "decide"),
        {
            "strategy": strategy,
            "before": before,
            "after": after,
            "by": by,
            "reason": reason,
            "evidence": json.dumps(proof),
        },
    )
