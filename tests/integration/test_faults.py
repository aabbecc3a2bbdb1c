"""A market in which everything goes wrong at once: each fault comes out where it belongs, and a clean load mends it."""

from __future__ import annotations

from typing import Any

import pytest

from ingest.promotion import promote
from ingest.sources.faults import FAULTS
from ingest.sources.synthetic import synthetic_batch
from tests.warehouse import Warehouse

MARKET: dict[str, Any] = {"symbol_count": 3, "bar_count": 400, "timeframe": "1h"}
RATES = {fault.name: 1.0 if fault.is_of_symbols else 0.02 for fault in FAULTS.values()}


def candles(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    return warehouse.query(
        """
        select symbol, extract(epoch from opened_at)::bigint * 1000000, open, high, low, close, volume, trade_count
        from marts.ohlcv where timeframe = '1h' order by symbol, opened_at
        """
    )


def test_every_fault_comes_out_where_it_belongs_and_a_clean_load_mends_it(warehouse: Warehouse) -> None:
    batch = synthetic_batch(**MARKET, faults=RATES)
    planted = batch.details["faults"]
    assert all(planted.values())
    done = promote(warehouse.connection, batch)
    assert done.unfinished == planted["unfinished"]
    # A duplicate that was skewed is no duplicate of the candle that it was: the two counts are of what the feed delivers.
    assert done.quarantined.keys() == {"is_superseded_in_batch", "opens_on_grid"}
    assert done.quarantined["is_superseded_in_batch"] <= planted["revision"]
    assert (
        planted["skew"] <= done.quarantined["opens_on_grid"] <= planted["skew"] + planted["duplicate"] + planted["revision"]
    )
    assert any("largest_log_return" in str(warning) for warning in done.warnings)
    warehouse.refresh()
    gone = warehouse.value("select sum(missing_count) from bars.gap where timeframe = '1h'")
    assert planted["gap"] + planted["halt"] <= gone <= planted["gap"] + planted["halt"] + planted["skew"]
    assert warehouse.value("select count(*) from marts.ohlcv where timeframe = '1h' and volume = 0") > 0
    warehouse.assert_incremental_equals_full()

    clean = synthetic_batch(**MARKET)
    promote(warehouse.connection, clean)
    warehouse.refresh()
    columns = ["opened_at", "open", "high", "low", "close", "volume", "trade_count"]
    wanted = [(clean.symbols[row["series"]], *(row[column].item() for column in columns)) for row in clean.candles]
    assert candles(warehouse) == sorted(wanted)
    assert warehouse.value("select count(*) from bars.gap") == 0
    warehouse.assert_incremental_equals_full()


@pytest.mark.parametrize("seed", [1, 2])
def test_what_each_fault_alone_does_to_incremental_builds(warehouse: Warehouse, seed: int) -> None:
    market = {**MARKET, "seed": seed, "bar_count": 120}
    for name, rate in RATES.items():
        promote(warehouse.connection, synthetic_batch(**market, faults={name: rate}))
        warehouse.refresh()
    warehouse.assert_incremental_equals_full()
