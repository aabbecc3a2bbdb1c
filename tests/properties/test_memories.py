"""Promise 1 for the memories that no shipped model has yet, on models made for it: interval, cross_section and whole."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.properties.test_load_sequences import EXAMPLES, apply, builds, deletions, loads
from tests.warehouse import BARS_ALONE, DATABASE, TEMPLATE, Warehouse, create_database, use_database
from titan.core.settings import REPOSITORY

MODELS = {
    # A position is entered at a bar of one kind, once, and left at the next bar of another; open ones end at infinity.
    "fct_position": """
        {{ config(memory='interval', key=['instrument_id', 'timeframe', 'closed_at']) }}
        with bars as (
            select *, round(close * 10)::bigint % 5 as kind from {{ feed(ref('candle')) }}
        ),
        entered as (
            select
                entry.instrument_id,
                entry.timeframe,
                entry.closed_at as entered_at,
                coalesce(
                    (
                        select min(leaving.closed_at) from bars as leaving
                        where
                            leaving.instrument_id = entry.instrument_id
                            and leaving.timeframe = entry.timeframe
                            and leaving.closed_at > entry.closed_at
                            and leaving.kind = 3
                    ),
                    'infinity'
                ) as closed_at
            from bars as entry
            where entry.kind = 1
        )
        select instrument_id, timeframe, min(entered_at) as opened_at, closed_at, count(*) as entry_count
        from entered
        group by instrument_id, timeframe, closed_at
    """,
    # One row per instant, over all instruments.
    "fct_breadth": """
        {{ config(memory='cross_section', key=['closed_at']) }}
        select closed_at, count(*) as bar_count, sum(close order by instrument_id) as close_sum
        from {{ feed(ref('candle')) }}
        group by closed_at
    """,
    # Small and rewritten by difference; what stands on it must notice the rows that changed, and no others.
    "dim_symbol": """
        {{ config(memory='whole', key=['instrument_id']) }}
        select instrument_id, symbol, count(*) over () as symbol_count
        from {{ ref('dim_instrument') }}
    """,
    "fct_named": """
        {{ config(memory='bucket', key=['instrument_id', 'timeframe', 'closed_at']) }}
        select fed.instrument_id, fed.timeframe, fed.closed_at, fed.close, symbol.symbol, symbol.symbol_count
        from {{ feed(ref('candle')) }}
        inner join {{ ref('dim_symbol') }} as symbol on fed.instrument_id = symbol.instrument_id
    """,
}


@pytest.fixture(scope="module")
def project(server: None, manifest: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with the models above added to it."""
    root = tmp_path_factory.mktemp("project")
    for name in ("dbt_project.yml", "profiles.yml"):
        shutil.copy(REPOSITORY / name, root / name)
    shutil.copytree(REPOSITORY / "dbt_project", root / "dbt_project")
    for name, text in MODELS.items():
        (root / "dbt_project" / "models" / "bars" / f"{name}.sql").write_text(text)
    use_database(DATABASE)
    create_database(DATABASE, TEMPLATE)
    return root


steps = st.one_of(loads, loads, deletions, builds)


@settings(
    max_examples=EXAMPLES // 5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=not os.environ.get("TITAN_SOAK"),
)
@example(  # a position is open when the build ends, and the bars that come later close it
    first=[("load", "HOUR/USD", 0, 12, 1, 0, False, False)],
    rest=[("load", "HOUR/USD", 12, 6, 1, 0, False, False)],
)
@given(first=st.lists(loads, min_size=1, max_size=2), rest=st.lists(steps, min_size=1, max_size=5))
def test_incremental_equals_full_for_every_memory(project: Path, small: str, first: list[Any], rest: list[Any]) -> None:
    create_database(DATABASE, small)
    with closing(Warehouse(project)) as warehouse:
        warehouse.left_alone = BARS_ALONE
        for action in [*first, ("build", ""), *rest]:
            apply(warehouse, action)
        warehouse.refresh()
        assert warehouse.value("select count(*) from ops.dirty") == 0
        warehouse.assert_incremental_equals_full()


def test_a_whole_table_publishes_only_what_differs(project: Path) -> None:
    create_database(DATABASE, TEMPLATE)
    warehouse = Warehouse(project)
    warehouse.left_alone = BARS_ALONE
    warehouse.refresh()
    warehouse.query("insert into config.timeframe (timeframe, base_unit, quantity) values ('7m', 'MIN', 7)")
    before = dict(warehouse.query("select timeframe, xmin::text from bars.dim_timeframe"))
    warehouse.refresh_models("dim_timeframe")
    after = dict(warehouse.query("select timeframe, xmin::text from bars.dim_timeframe"))
    assert {name for name in after if before.get(name) != after[name]} == {"7m"}
    warehouse.query("update config.timeframe set quantity = quantity")
    published = warehouse.value("select max(seq) from ops.change where node = 'bars.dim_timeframe'")
    warehouse.refresh_models("dim_timeframe")
    assert warehouse.value("select max(seq) from ops.change where node = 'bars.dim_timeframe'") == published
    warehouse.close()
