"""Promise 2 over generated histories: with the input cut at any instant, whatever had closed by then is what it was."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ingest.deletion import delete
from tests.properties.test_load_sequences import EXAMPLES, SERIES, apply, edits, holidays, loads
from tests.warehouse import DATABASE, Warehouse, create_database, instant, use_database
from titan.core.settings import REPOSITORY

START = instant("2024-02-20")

# The calendar is configuration, and reaches into the future.
TIMELESS = {"dim_calendar"}


def of_instants(warehouse: Warehouse) -> list[str]:
    """Every table and view of the project whose rows belong to an instant."""
    return [
        f"{schema}.{name}"
        for schema, name in warehouse.query(
            """
            select table_schema, table_name from information_schema.columns
            where table_schema in ('bars', 'features', 'signals', 'backtest', 'marts')
            and column_name = 'closed_at' and table_name <> all (%s)
            order by 1, 2
            """,
            sorted(TIMELESS),
        )
    ]


def known_by(warehouse: Warehouse, relation: str, moment: datetime) -> list[str]:
    """The rows that had closed by a moment, as text: floats with every bit that they have."""
    rows = warehouse.query(f"select contents::text from {relation} as contents where closed_at <= %s order by 1", moment)
    return [row[0] for row in rows]


def cut_off(warehouse: Warehouse, symbol: str, moment: datetime) -> None:
    """Delete the candles of a symbol that close after a moment: all from the one on that is open then."""
    timeframe, start, step, _, session = SERIES[symbol]
    opened_at = start + max((moment - start) // step, 0) * step
    if session and timeframe == "1D":  # a date of New York
        opened_at += timedelta(hours=5 if opened_at < instant("2024-03-11") else 4)
        opened_at -= step if opened_at > moment else timedelta()
    delete(warehouse.connection, exchange="test", symbol=symbol, from_at=max(opened_at, start))


def assert_no_lookahead(warehouse: Warehouse, moment: datetime) -> None:
    """Build from what had closed by a moment, and compare. In full: a leak may stand in a row that no build rewrites."""
    before = {relation: known_by(warehouse, relation, moment) for relation in of_instants(warehouse)}
    for (symbol,) in warehouse.query("select symbol from raw.instrument"):
        cut_off(warehouse, symbol, moment)
    warehouse.refresh(is_full=True)
    for relation, rows in before.items():
        after = known_by(warehouse, relation, moment)
        assert after == rows, f"{relation} at {moment}: {sorted(set(rows) ^ set(after))[:4]}"


HISTORY = [
    ("load", "HOUR/USD", 0, 60, 1, 0, False, False),
    ("load", "DAY/USD", 0, 35, 1, 0, False, False),
    ("load", "STOCK", 0, 20, 1, 0, False, False),
    ("load", "HALF", 0, 90, 2, 0, False, False),
]


@settings(
    max_examples=max(2, EXAMPLES // 5),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=not os.environ.get("TITAN_SOAK"),
)
@example(history=HISTORY, hours=24 * 18 + 15)
@given(
    history=st.lists(st.one_of(loads, loads, loads, edits, holidays), min_size=2, max_size=6), hours=st.integers(1, 24 * 30)
)
def test_nothing_that_had_closed_changes(small: str, history: list[Any], hours: int) -> None:
    create_database(DATABASE, small)
    with closing(Warehouse()) as warehouse:
        for action in history:
            apply(warehouse, action)
        warehouse.refresh()
        assert_no_lookahead(warehouse, START + timedelta(hours=hours))


LEAKS = {
    "features.bar_features": (
        "models/features/bar_features.sql",
        "        close,\n        gap_before,",
        "        lead(close) over (partition by instrument_id, timeframe order by closed_at) as close,\n        gap_before,",
    ),
    "signals.fct_signals": (
        "macros/signals/signal_events.sql",
        "lag(features.{{ name }}) over series as {{ name }}_before",
        "lead(features.{{ name }}) over series as {{ name }}_before",
    ),
    "backtest.fill": (
        "macros/backtest/fill/inputs.sql",
        "    open bars for\n    select bar.opened_at, bar.closed_at, bar.open, bar.high, bar.low, bar.close",
        "    open bars for\n    select bar.opened_at, bar.closed_at,\n"
        "      lead(bar.open, 1, bar.open) over (order by bar.closed_at) as open, bar.high, bar.low, bar.close",
    ),
}


def leaking_project(folder: Path, name: str, honest: str, leaking: str) -> Path:
    """The project with one passage of one file replaced."""
    for own in ("dbt_project.yml", "profiles.yml"):
        shutil.copy(REPOSITORY / own, folder / own)
    shutil.copytree(REPOSITORY / "dbt_project", folder / "dbt_project")
    source = folder / "dbt_project" / name
    assert honest in source.read_text("utf-8")
    source.write_text(source.read_text("utf-8").replace(honest, leaking))
    return folder


@pytest.mark.parametrize("relation", LEAKS)
def test_a_planted_leak_is_caught(manifest: Any, small: str, tmp_path: Path, relation: str) -> None:
    """The same check, on a project in which a feature, a signal or a fill looks one bar ahead."""
    project = leaking_project(tmp_path, *LEAKS[relation])
    use_database(DATABASE)
    create_database(DATABASE, small)
    with closing(Warehouse(project)) as warehouse:
        for action in HISTORY:
            apply(warehouse, action)
        warehouse.refresh()
        # A view on it may be looked at before it.
        shown = {"signals.fct_signals": r"marts\.signal_feed", "backtest.fill": r"backtest\.\w+"}.get(relation, relation)
        with pytest.raises(AssertionError, match=rf"{shown} at"):
            assert_no_lookahead(warehouse, START + timedelta(hours=24 * 18 + 15))


def test_an_order_that_fills_before_it_was_known_is_caught(manifest: Any, small: str, tmp_path: Path) -> None:
    """At the open of the bar whose close made it: cutting the input does not show it, since the bar closes as a whole."""
    project = leaking_project(
        tmp_path,
        "macros/backtest/fill/orders.sql",
        "event.known_at <= opened_at then\n      is_wanted := false;\n      while event.known_at <= opened_at loop",
        "event.known_at <= closed_at then\n      is_wanted := false;\n      while event.known_at <= closed_at loop",
    )
    use_database(DATABASE)
    create_database(DATABASE, small)
    with closing(Warehouse(project)) as warehouse:
        for action in HISTORY:
            apply(warehouse, action)
        warehouse.refresh()
        failed = warehouse.run("--select", "fill", command="test").failed
        assert [node.name for node in failed if "always" in node.name], failed
