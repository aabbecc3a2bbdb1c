"""A market that does not exist: deterministic, seedable, named `synthetic` so that nobody takes it for a real one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import numpy as np

from ingest.sources.faults import plant
from titan.core.batch import Batch, Market, empty_candles, plain
from titan.core.timeframes import parse_timeframe

EXCHANGE = "synthetic"
NAMES = ("BTC", "ETH", "SOL", "XRP", "ADA", "DOGE", "LINK", "DOT", "AVAX", "LTC")


def symbols(count: int) -> list[str]:
    """The first `count` symbols: familiar names, then numbered ones."""
    return [f"{NAMES[i]}/USD" if i < len(NAMES) else f"SYN{i:03d}/USD" for i in range(count)]


def synthetic_batch(
    *,
    seed: int = 7,
    symbol_count: int = 10,
    bar_count: int = 2_000,
    timeframe: str = "1D",
    until: datetime | None = None,
    faults: Mapping[str, float] | None = None,
) -> Batch:
    """Candles of a geometric random walk with clustered volatility, `bar_count` for each symbol, ending at `until`.

    The same arguments give the same candles. A candle belongs to its place in time, counted back from `until`; without it
    the market ends at the start of 2026. `faults` are planted by their rates (faults.py), and counted in the details; with
    an unfinished candle the market is asked at its end, not now.
    """
    period = parse_timeframe(timeframe)
    end = until or datetime(2026, 1, 1, tzinfo=UTC)
    candles = empty_candles(symbol_count * bar_count)
    opened_at = _openings(end, period.seconds, bar_count)
    for series in range(symbol_count):
        rows = candles[series * bar_count : (series + 1) * bar_count]
        random = np.random.default_rng([seed, series])
        volatility = 0.5 * np.sqrt(period.seconds / 31_557_600)
        shocks = random.standard_normal(bar_count)
        calm = np.exp(0.5 * np.sin(np.arange(bar_count) / 40 + series))
        close = 100 * (series + 1) * np.exp(np.cumsum(volatility * calm * shocks - (volatility * calm) ** 2 / 2))
        open_ = np.concatenate([[close[0]], close[:-1]])
        reach = volatility * calm * np.abs(random.standard_normal((2, bar_count)))
        rows["series"] = series
        rows["opened_at"] = opened_at
        rows["open"], rows["close"] = open_, close
        rows["high"] = np.maximum(open_, close) * (1 + reach[0])
        rows["low"] = np.minimum(open_, close) / (1 + reach[1])
        rows["volume"] = np.round(np.exp(random.standard_normal(bar_count)) * 1_000, 3)
        rows["quote_volume"] = rows["volume"] * (open_ + close) / 2
        rows["trade_count"] = (rows["volume"] * 3).astype("i8")
    candles["has_quote_volume"] = True
    candles["has_trade_count"] = True
    now = datetime.now(UTC)
    candles, planted = plant(candles, faults or {}, seed)
    candles["row_number"] = np.arange(1, len(candles) + 1)
    names = symbols(symbol_count)

    def record_of(row_number: int) -> str:
        (row,) = plain(candles[row_number - 1 : row_number])
        return json.dumps(row)

    return Batch(
        source="synthetic",
        origin=f"synthetic market, seed {seed}",
        market=Market(EXCHANGE, "spot", period.name),
        symbols=names,
        candles=candles,
        rows_read=len(candles),
        record_of=record_of,
        as_of=min(end, now) if planted.get("unfinished") else now,
        details={
            "seed": seed,
            "symbols": symbol_count,
            "bars": bar_count,
            "until": end.isoformat(),
            **({"faults": planted} if planted else {}),
        },
    )


def _openings(end: datetime, seconds: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    step = timedelta(seconds=seconds) // timedelta(microseconds=1)
    last = (end - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) // step * step
    return last - step * np.arange(count, 0, -1, dtype="i8")
