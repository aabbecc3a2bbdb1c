"""What people query reads what its answer needs, however long the history is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from tests.warehouse import Row, Warehouse, instant, make_batch

UNTIL = instant("2024-06-01")

NARROW = {
    "market_summary": "select * from marts.market_summary",
    "ohlcv": "select * from marts.ohlcv where symbol = 'BTC/USDT' and timeframe = '1h' and closed_at > '2024-05-31'",
    "deep_dive": "select symbol, last_price, rsi_14 from marts.deep_dive where timeframe = '1h'",
    "features": "select * from marts.features where symbol = 'BTC/USDT' and timeframe = '1h' and closed_at > '2024-05-31'",
}
ONE_SERIES = "select * from marts.ohlcv where symbol = 'BTC/USDT' and timeframe = '4h'"


def blocks(warehouse: Warehouse, query: str) -> int:
    """The blocks that a query touches, as the server counts them."""
    plan: Any = warehouse.value(f"explain (analyze, buffers, format json) {query}")
    node = (plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"]
    return int(node["Shared Hit Blocks"] + node["Shared Read Blocks"])


def chunks(warehouse: Warehouse) -> int:
    """Pieces of the hypertable of bars as they are stored; none on a plain server."""
    if warehouse.value("select to_regclass('timescaledb_information.chunks') is null"):
        return 0
    return int(warehouse.value("select count(*) from timescaledb_information.chunks where hypertable_name = 'candle'"))


def test_narrow_queries_touch_no_more_blocks_over_a_longer_history(warehouse: Warehouse) -> None:
    def hours(first: int, last: int, symbols: Sequence[str] = ("BTC/USDT", "ETH/USDT")) -> list[Row]:
        return [
            Row(UNTIL - timedelta(hours=at), 100 + at % 7, symbol) for symbol in symbols for at in range(last, first, -1)
        ]

    touched = []
    for batch in (hours(0, 900), hours(900, 9_000)):
        warehouse.load(make_batch(batch))
        warehouse.refresh()
        warehouse.query("analyze")
        touched.append({mart: blocks(warehouse, query) for mart, query in NARROW.items()} | {"chunks": chunks(warehouse)})
    short, long = touched
    # What is newest before a moment may lie in any chunk: the indexes of each are descended, none is read.
    descents = 30 * (long["chunks"] - short["chunks"])
    assert all(long[mart] < 1.5 * short[mart] + 40 + descents for mart in NARROW), touched

    # Nor does a series cost more beside many others.
    beside_one = blocks(warehouse, ONE_SERIES)
    warehouse.load(make_batch(hours(0, 2_000, [f"COIN{at}/USDT" for at in range(20)])))
    warehouse.refresh()
    warehouse.query("analyze")
    assert blocks(warehouse, ONE_SERIES) < 1.5 * beside_one + 40
