"""config.expectation, read for one batch: how severe each expectation is, and its threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from psycopg.rows import class_row

from expectations.measures import MEASURES
from expectations.predicates import PREDICATES
from titan.core.database import Connection
from titan.core.errors import UsageError

Severity = Literal["critical", "warning", "info"]

_PREDICATE_NAMES = {predicate.name for predicate in PREDICATES}
_MEASURE_NAMES = {measure.name for measure in MEASURES}

# Owned by the loader (a row that cannot be typed), counted and shown by the gate like the predicates.
READABLE = "is_readable"


@dataclass(frozen=True)
class Setting:
    """What is expected, how severe a failure is, and the threshold of a measure (for predicates no row may fail: 0)."""

    expectation: str
    severity: Severity
    threshold: float


@dataclass(frozen=True)
class _Row:
    expectation: str
    exchange: str
    suite: str
    severity: Severity
    threshold: float | None


def read_settings(connection: Connection, exchange: str, suite: str) -> tuple[Setting, ...]:
    """The settings that hold for a source and a suite, in the order of the lists; a measure without a row is not judged.

    Raises UsageError for a row that names what does not exist or cannot be meant.
    """
    with connection.cursor(row_factory=class_row(_Row)) as cursor:
        rows = cursor.execute(
            """
            select expectation, exchange, suite, severity, threshold from config.expectation
            order by exchange <> '*' desc, suite <> '*' desc, expectation
            """
        ).fetchall()
    for row in rows:
        _check(row)
    chosen: dict[str, _Row] = {}
    for row in rows:
        if row.exchange in (exchange, "*") and row.suite in (suite, "*"):
            chosen.setdefault(row.expectation, row)
    names = (READABLE, *(predicate.name for predicate in PREDICATES))
    predicates = [Setting(name, chosen[name].severity if name in chosen else "warning", 0.0) for name in names]
    measures = [
        Setting(measure.name, chosen[measure.name].severity, _threshold(chosen[measure.name]))
        for measure in MEASURES
        if measure.name in chosen
    ]
    return (*predicates, *measures)


def _check(row: _Row) -> None:
    where = f"config.expectation, row ({row.expectation}, {row.exchange}, {row.suite})"
    known = [READABLE, *(predicate.name for predicate in PREDICATES), *(measure.name for measure in MEASURES)]
    if row.expectation not in known:
        raise UsageError(f"{where}: there is no such predicate or measure", hint=f"there are {', '.join(known)}")
    if row.expectation in _MEASURE_NAMES:
        if row.threshold is None:
            raise UsageError(f"{where}: a measure needs a threshold", hint="update the row, or delete it not to be judged")
    elif row.severity == "info":
        raise UsageError(
            f"{where}: a row that fails a predicate is never let in, so its severity cannot be info",
            hint="warning puts such rows into quarantine, critical stops the batch",
        )
    elif row.threshold is not None:
        raise UsageError(f"{where}: a predicate holds or does not; its threshold has to be null")


def _threshold(row: _Row) -> float:
    value: Any = row.threshold
    return float(value)
