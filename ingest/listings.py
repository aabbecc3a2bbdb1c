"""What an exchange lists, compared with what it listed when somebody looked last."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ingest.sources.exchange import Listing
from titan.core.database import Connection, records, statement
from titan.core.log import event

log = logging.getLogger("titan.listings")

# A list that lacks more markets than this of those that were there is taken for a part of one.
MOST_GONE = 0.1
FEW = 5  # markets that may go at once, however few there are


def note_listings(connection: Connection, exchange: str, listings: Sequence[Listing], now: datetime) -> list[dict[str, Any]]:
    """Record in raw.listing what changed of an exchange's markets; returns it: market_type, symbol, change, is_ours.

    The first list of an exchange is news to nobody. A change of a market that the warehouse has candles of is an alert.
    """
    listed = {(one.market_type, one.symbol): one for one in listings}
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtext('titan'), hashtext('listings'))")
        rows: list[Any] = connection.execute(
            "select market_type, symbol from raw.listing where exchange = %s and to_at is null", (exchange,)
        ).fetchall()
        gone = [symbol for market_type, symbol in rows if (market_type, symbol) not in listed]
        is_whole = len(gone) <= max(MOST_GONE * len(rows), FEW)
        if not is_whole:
            event(log, "list of markets is short", logging.WARNING, exchange=exchange, missing=len(gone), known=len(rows))
        changed = records(
            connection,
            statement("ingest.sql", "note_listings"),
            {
                "exchange": exchange,
                "market_types": [one.market_type for one in listed.values()],
                "symbols": [one.symbol for one in listed.values()],
                "own_names": [one.own_name for one in listed.values()],
                "are_trading": [one.is_trading for one in listed.values()],
                "lot_sizes": [one.lot_size for one in listed.values()],
                "tick_sizes": [one.tick_size for one in listed.values()],
                "least_notionals": [one.least_notional for one in listed.values()],
                "is_whole": is_whole,
                "now": now,
            },
        )
        if not rows:
            return []
        for row in changed:
            if row["is_ours"]:
                connection.execute(
                    "insert into ops.alert (kind, subject, message) values ('market', %s, %s)",
                    (f"{exchange} {row['symbol']}", row["change"]),
                )
    return changed
