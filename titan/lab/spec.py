"""What a run is asked for: parameters of a signal, how they are traded, and over what."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import product
from typing import Any

from titan.core.errors import UsageError

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


def combinations(spec: RunSpec) -> dict[int, dict[str, Value]]:
    """The trials of a grid by their numbers. Raises UsageError for too many, or a range or costs that make no sense."""
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
