"""The gate judges all bounds by one expectation: it finds what the suites of the pages find, expectation by expectation."""

from __future__ import annotations

import random
import warnings
from typing import Any

import pytest

from expectations.measures import MEASURES
from expectations.predicates import PREDICATES
from expectations.settings import READABLE, Setting
from expectations.verdict import Profile

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Great Expectations warns of its own dependencies while it is imported
    from expectations import suites

SETTINGS = [
    Setting(READABLE, "warning", 0.0),
    *(Setting(predicate.name, "critical", 0.0) for predicate in PREDICATES),
    *(Setting(measure.name, "info", 0.5) for measure in MEASURES),
]
Found = dict[str, tuple[bool, list[tuple[str, float]]]]


def by_suite(profile: Profile) -> Found:
    """What a suite with an expectation for each setting finds."""
    frame = suites.as_frame(profile, SETTINGS)
    definition = suites.batch_definition(suites.new_context(), "suite")
    batch = definition.get_batch(batch_parameters={"dataframe": frame})
    outcome = batch.validate(suites.make_suite("suite", SETTINGS), result_format=suites.RESULT_FORMAT)
    found: Found = {}
    for result in outcome.results:
        name = result.expectation_config.kwargs["column"]
        failing: list[Any] = (result.result.get("unexpected_index_list") or [])[: suites.SHOWN_SERIES]
        found[name] = (bool(result.success), [(one["symbol"], one[name]) for one in failing])
    return found


@pytest.mark.parametrize("count", [0, 1, 2, 40])
@pytest.mark.parametrize("values", [[None, 0.0, 0.4999, 0.5, 0.5001, 7], [None], [0.5], [float("inf"), -0.0, 1e-300, 1e300]])
def test_every_bound_at_once_is_judged_as_each_by_itself(count: int, values: list[float | None]) -> None:
    choice = random.Random(count)
    profile = [
        {"symbol": f"S{number}", **{setting.expectation: choice.choice(values) for setting in SETTINGS}}
        for number in range(count)
    ]
    verdict = suites.judge("suite", SETTINGS, profile)
    at_once = {
        finding.expectation: (finding.is_met, [(one["symbol"], one["value"]) for one in finding.series])
        for finding in verdict.findings
    }
    assert at_once == by_suite(profile)
