"""What is expected of a batch as a whole: measures of each series, taken in SQL, judged by Great Expectations.

Their thresholds and severities are rows of config.expectation.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One measure of a batch. A series whose measure is null is not judged."""

    name: str
    meaning: str
    is_minimum: bool = False  # the threshold is the least that is accepted, rather than the most


MEASURES: tuple[Measure, ...] = (
    Measure(
        "bad_row_share",
        "Share of the batch's rows that cannot be read or fail a predicate, of at least 20 rows; 1 if no row is good.",
    ),
    Measure(
        "completeness",
        "Candles found, as a share of the periods asked for since the first one known. Judged where the source prints a "
        "candle for every period, and for days or longer.",
        is_minimum=True,
    ),
    Measure(
        "periods_behind",
        "Periods between the last candle and the end of what was asked for. A quiet market may stay behind for as long as "
        "config.exchange.outage_after.",
    ),
    Measure(
        "largest_log_return",
        "Largest |ln(close / close before)| of candles that follow each other, the standing one before the batch included.",
    ),
    Measure("zero_price_count", "Candles with a price of zero; they are kept, and end the accounts that hold only that."),
    Measure("zero_volume_share", "Share of candles in which nothing was traded."),
    Measure(
        "outside_session_share",
        "Share of candles in which the session of the batch is closed, of at least 20; around the clock there are none.",
    ),
    Measure("closed_date_count", "Candles of weekends and holidays of the session; they are kept, and part of no bar."),
)

# Below this, one bad row would be a large share.
FEWEST_ROWS = 20
