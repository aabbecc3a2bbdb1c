"""What helps against a batch that the gate stops, by the rule or the measure that it breaks most."""

from __future__ import annotations

_COLUMNS = "are the columns what they are taken for? A header names them"
_TIMES = "--timezone, --stamp and --session say how its times are to be read"
_NUMBERS = "write numbers as 1234.5"

REMEDIES: dict[str, str] = {
    "has_all_fields": "quote a value that has the delimiter in it",
    "has_a_symbol": "fill the column of symbols, or say --symbol",
    "time_is_readable": "write times as 2024-01-31 23:59, or as epochs",
    "price_is_a_number": _NUMBERS,
    "volume_is_a_number": _NUMBERS,
    "quote_volume_is_a_number": _NUMBERS,
    "trade_count_is_a_number": _NUMBERS,
    "price_is_not_negative": _COLUMNS,
    "volume_is_not_negative": _COLUMNS,
    "high_is_not_below_low": _COLUMNS,
    "open_is_within_range": _COLUMNS,
    "close_is_within_range": _COLUMNS,
    "opens_on_grid": _TIMES,
    "is_not_in_the_future": _TIMES,
    "outside_session_share": _TIMES,
}
