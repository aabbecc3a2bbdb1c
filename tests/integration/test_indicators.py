"""Every indicator against numbers made by others, from the first bar that has it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingest.batch import Batch, Market, empty_candles
from ingest.timeframes import TIMEFRAMES
from tests.warehouse import Warehouse, microseconds

START = datetime(2000, 1, 1, tzinfo=UTC)
PRICES = ("open", "high", "low", "close", "volume")

# The columns of ../shared/oracles/live_talib that have another name here.
LIVE = {
    "stochastic_k_14_3": "stoch_fastk_14",
    "stochastic_d_14_3": "stoch_fastd_14_3",
    "bollinger_upper_20_2": "bb_up_20_2",
    "bollinger_middle_20_2": "bb_mid_20_2",
    "bollinger_lower_20_2": "bb_lo_20_2",
    "bollinger_deviation_20_2": "stddev_pop_20",
    "donchian_upper_20": "donchian_up_incl_20",
    "donchian_lower_20": "donchian_lo_incl_20",
    "macd_signal_12_26_9": "macds_12_26_9",
    "macd_histogram_12_26_9": "macdh_12_26_9",
    "macd_signal_8_17_9": "macds_8_17_9",
    "macd_histogram_8_17_9": "macdh_8_17_9",
}


def daily(symbol: str, prices: Iterable[Sequence[float]]) -> Batch:
    """One candle a day from START on, of (open, high, low, close, volume)."""
    rows = list(prices)
    candles = empty_candles(len(rows))
    for at, row in enumerate(rows):
        opened_at = microseconds(START + timedelta(days=at))
        candles[at] = (at + 1, 0, opened_at, *(float(value) for value in row), 0, False, 0, False)
    return Batch(
        source="test",
        origin="test",
        market=Market("test", "spot", TIMEFRAMES["1D"].name, None),
        symbols=[symbol],
        candles=candles,
        rows_read=len(rows),
        record_of=lambda number: repr(rows[number - 1]),
        as_of=datetime.now(UTC),
        observed=None,
    )


def features(warehouse: Warehouse, symbol: str) -> list[dict[str, Any]]:
    """The daily rows of a symbol, in order."""
    cursor = warehouse.connection.execute(
        """
        select features.* from features.fct_features as features inner join bars.dim_instrument using (instrument_id)
        where symbol = %s and timeframe = '1D' order by closed_at
        """,
        (symbol,),
    )
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def differences(column: str, found: Iterable[float | None], expected: Iterable[float | None], closes: Iterable[float]) -> str:
    """What is wrong with a column, or nothing: 1e-9 relative, with a floor of 1e-12 of the price, and equal nulls."""
    for at, (value, wanted, close) in enumerate(zip(found, expected, closes, strict=True)):
        if (value is None) != (wanted is None):
            return f"{column}, bar {at}: {value}, not {wanted}"
        if value is not None and wanted is not None:
            allowed = max(1e-9 * abs(wanted), 1e-12 * abs(close))
            if not abs(value - wanted) <= allowed:
                return f"{column}, bar {at}: {value}, not {wanted}, {abs(value - wanted):.1e} apart"
    return ""


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def number(text: str | None) -> float | None:
    return None if text in ("", "NA", None) else float(text)


@pytest.mark.parametrize("name", ["ref252", "default502", "binance_spot_BTCUSDT_1d"])
def test_talib(warehouse: Warehouse, shared: Path, name: str) -> None:
    """TA-Lib's own numbers, in every column that it has: 27 of them, every bar."""
    rows = read(shared / "oracles" / "live_talib" / f"{name}.csv")
    warehouse.load(daily("X/USD", ([float(row[price]) for price in PRICES] for row in rows)))
    warehouse.build()
    found = features(warehouse, "X/USD")
    assert len(found) == len(rows)
    compared = [column for column in found[0] if LIVE.get(column, column) in rows[0] and column not in ("close",)]
    assert len(compared) >= 27
    wrong = [
        differences(
            column,
            (row[column] for row in found),
            (number(row[LIVE.get(column, column)]) for row in rows),
            (row["close"] for row in found),
        )
        for column in compared
    ]
    assert not [text for text in wrong if text]
