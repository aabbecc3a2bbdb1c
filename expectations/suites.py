"""Great Expectations: the suites, made from the lists of predicates and measures, and the judgement of a profile.

What is judged is the profile of a batch, one row per series: how many rows fail each predicate, and the measures. So the
cost is that of the series, not of the candles, and every failing row is counted (Great Expectations itself returns only
some of the rows that fail). Importing this module takes seconds; expectations.gate.preload does it aside.

An expectation costs Great Expectations some 25 ms, however little it looks at. A load of one candle would wait half a second
for the two dozen of a suite; so `judge` asks for one, over a row per series and expectation. The suites themselves are for
the pages (data_docs), which name each; that both judge alike is tested.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import cache
from typing import Any

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

import great_expectations as gx
import pandas as pd
from great_expectations.core.batch_definition import BatchDefinition
from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.expectations.core.expect_column_pair_values_a_to_be_greater_than_b import (
    ExpectColumnPairValuesAToBeGreaterThanB,
)
from great_expectations.expectations.core.expect_column_values_to_be_between import ExpectColumnValuesToBeBetween
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.metadata_types import FailureSeverity

from expectations.measures import MEASURES
from expectations.predicates import PREDICATES
from expectations.settings import READABLE, Setting
from expectations.verdict import Finding, Profile, Verdict

# Each context would tell of its temporary directory: this module of theirs sets a level of its own.
logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)

RESULT_FORMAT = {
    "result_format": "COMPLETE",
    "unexpected_index_column_names": ["symbol"],
    "return_unexpected_index_query": False,
}
SHOWN_SERIES = 20

_MINIMA = {measure.name for measure in MEASURES if measure.is_minimum}
_MEANINGS = {
    READABLE: "Rows that cannot be read.",
    **{predicate.name: f"Rows of which {predicate.meaning}." for predicate in PREDICATES},
    **{measure.name: measure.meaning for measure in MEASURES},
}


def new_context() -> EphemeralDataContext:
    """A context in memory, silent: no progress bars, no telemetry."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


def batch_definition(context: EphemeralDataContext, name: str) -> BatchDefinition[Any]:
    """Where a profile is handed over as a data frame."""
    source = context.data_sources.add_pandas(name)
    return source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)


@cache
def _standing_batch_definition() -> BatchDefinition[Any]:
    return batch_definition(new_context(), "batch")


def make_suite(name: str, settings: Sequence[Setting]) -> gx.ExpectationSuite:
    """The suite of a kind of candles, `intraday` or `daily`, under the given settings."""
    return gx.ExpectationSuite(name=name, expectations=[_expectation(setting) for setting in settings])


def _expectation(setting: Setting) -> Expectation:
    is_minimum = setting.expectation in _MINIMA
    return ExpectColumnValuesToBeBetween(
        column=setting.expectation,
        description=f"At {'least' if is_minimum else 'most'} {setting.threshold:g} ({setting.severity}). "
        f"{_MEANINGS[setting.expectation]}",
        severity=FailureSeverity(setting.severity),
        min_value=setting.threshold if is_minimum else None,
        max_value=None if is_minimum else setting.threshold,
    )


def as_frame(profile: Profile, settings: Sequence[Setting]) -> pd.DataFrame:
    """What is judged of the profile, as Great Expectations takes it: the symbol, and doubles."""
    names = [setting.expectation for setting in settings]
    return pd.DataFrame(profile, columns=["symbol", *names]).astype(dict.fromkeys(names, "float64"))


def judge(suite: str, settings: Sequence[Setting], profile: Profile) -> Verdict:
    """Let Great Expectations judge a profile: every measured value against its threshold."""
    frame = as_frame(profile, settings)
    batch = _standing_batch_definition().get_batch(batch_parameters={"dataframe": _bounds(frame, settings)})
    result: Any = batch.validate(_WITHIN_BOUNDS, result_format={**RESULT_FORMAT, "unexpected_index_column_names": _NAMES})
    if result.exception_info.get("raised_exception"):
        raise RuntimeError(f"{suite}: {result.exception_info['exception_message']}")
    failing: dict[str, list[str]] = {}
    for one in result.result.get("unexpected_index_list") or []:
        failing.setdefault(one["expectation"], []).append(one["symbol"])
    return Verdict(suite, [_finding(setting, failing.get(setting.expectation, []), frame) for setting in settings], profile)


_NAMES = ["symbol", "expectation"]
_WITHIN_BOUNDS = ExpectColumnPairValuesAToBeGreaterThanB(
    column_A="upper", column_B="lower", or_equal=True, ignore_row_if="either_value_is_missing"
)


def _bounds(frame: pd.DataFrame, settings: Sequence[Setting]) -> pd.DataFrame:
    """A row per series and expectation. The threshold is the upper bound of the value, or of a minimum the lower one."""
    rows = frame.melt("symbol", var_name="expectation", value_name="value")
    thresholds = rows["expectation"].map({setting.expectation: setting.threshold for setting in settings}).astype("float64")
    is_minimum = rows["expectation"].isin(_MINIMA)
    rows["lower"] = rows["value"].mask(is_minimum, thresholds)
    rows["upper"] = thresholds.mask(is_minimum, rows["value"])
    return rows


def _finding(setting: Setting, failing: Sequence[str], frame: pd.DataFrame) -> Finding:
    column = frame[setting.expectation]
    worst = column.min() if setting.expectation in _MINIMA else column.max()
    values = dict(zip(frame["symbol"], column, strict=True))
    return Finding(
        setting.expectation,
        setting.severity,
        setting.threshold,
        not failing,
        None if pd.isna(worst) else float(worst),
        [{"symbol": symbol, "value": float(values[symbol])} for symbol in failing[:SHOWN_SERIES]],
    )
