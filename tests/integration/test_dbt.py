"""dbt, called many times in one process."""

from __future__ import annotations

from dbt.adapters.base.impl import DEFAULT_BASE_BEHAVIOR_FLAGS

from tests.warehouse import Warehouse


def test_an_invocation_leaves_the_next_one_no_more_to_do(warehouse: Warehouse) -> None:
    """A poll or a flow builds again and again in one process: what dbt keeps for itself must not grow."""
    known = len(DEFAULT_BASE_BEHAVIOR_FLAGS)
    for _ in range(2):
        warehouse.build("--select", "dim_timeframe")
    assert len(DEFAULT_BASE_BEHAVIOR_FLAGS) == known
