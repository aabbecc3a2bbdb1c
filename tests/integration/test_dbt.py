"""dbt, called many times in one process."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from dbt.adapters.base.impl import DEFAULT_BASE_BEHAVIOR_FLAGS

from ingest.sources.synthetic import synthetic_batch
from tests.warehouse import Warehouse


def test_an_invocation_leaves_the_next_one_no_more_to_do(warehouse: Warehouse) -> None:
    """A poll or a flow builds again and again in one process: what dbt keeps for itself must not grow."""
    known = len(DEFAULT_BASE_BEHAVIOR_FLAGS)
    for _ in range(2):
        warehouse.build("--select", "dim_timeframe")
    assert len(DEFAULT_BASE_BEHAVIOR_FLAGS) == known


def test_no_number_depends_on_the_time_zone_of_the_session(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server's default, or PGOPTIONS, may be a zone with summer time; dbt's connections have it."""
    until = datetime(2024, 4, 1, tzinfo=UTC)
    warehouse.load(synthetic_batch(symbol_count=2, bar_count=4000, timeframe="1h", until=until))
    warehouse.build()
    assert warehouse.value("select count(*) from signals.fct_signals") > 0
    monkeypatch.setenv("PGOPTIONS", "-c timezone=America/New_York")
    warehouse.assert_incremental_equals_full()
