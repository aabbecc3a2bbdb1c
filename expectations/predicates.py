"""The one list of row-level value rules, each a named SQL predicate over a landed candle.

From it come the statement that marks the failing rows (gate.py) and the expectations that say so (suites.py).

A row that satisfies all of them is promoted; any other one goes to raw.quarantine under the name of the first predicate
that does not hold, so the list runs from what makes a row unreadable to what makes it merely wrong. A predicate that
yields NULL does not hold.

Besides the columns of `landing`, two values of the batch may be used: `as_of`, the instant of the load, and `is_on_grid`,
whether opened_at begins a period of the batch's timeframe.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Predicate:
    """One rule: its name, the SQL that must be true, and what a reader of the quarantine is told."""

    name: str
    sql: str
    meaning: str


def _finite(*columns: str) -> str:
    return " and ".join(f"{column} > '-infinity' and {column} < 'infinity'" for column in columns)


PREDICATES: tuple[Predicate, ...] = (
    Predicate("price_is_finite", _finite("open", "high", "low", "close"), "a price is NaN or infinite"),
    Predicate("volume_is_finite", _finite("volume"), "the volume is NaN or infinite"),
    Predicate(
        "quote_volume_is_finite",
        f"quote_volume is null or ({_finite('quote_volume')})",
        "the quote volume is NaN or infinite",
    ),
    Predicate("price_is_not_negative", "least(open, high, low, close) >= 0", "a price is negative"),
    Predicate("volume_is_not_negative", "volume >= 0", "the volume is negative"),
    Predicate(
        "quote_volume_is_not_negative",
        "quote_volume is null or quote_volume >= 0",
        "the quote volume is negative",
    ),
    Predicate(
        "trade_count_is_not_negative",
        "trade_count is null or trade_count >= 0",
        "the trade count is negative",
    ),
    Predicate("high_is_not_below_low", "high >= low", "the high is below the low"),
    Predicate("open_is_within_range", "open between low and high", "the open lies outside [low, high]"),
    Predicate("close_is_within_range", "close between low and high", "the close lies outside [low, high]"),
    Predicate("opens_on_grid", "is_on_grid", "the time does not begin a period of the timeframe"),
    Predicate("is_not_in_the_future", "opened_at <= as_of", "the candle opens after the moment of loading"),
)
