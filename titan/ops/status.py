"""What is in the warehouse, series by series."""

from __future__ import annotations

from typing import Any

from titan.core.database import Connection, Query, records, statement

FIRST_QUERY = (
    "select symbol, timeframe, opened_at, close, volume from marts.ohlcv where timeframe = '1D' "
    "order by closed_at desc, symbol limit 5"
)


_BARS = """
select
    completeness.instrument_id,
    completeness.timeframe,
    (
        select count(*) from bars.gap
        where
            gap.instrument_id = completeness.instrument_id
            and gap.timeframe = completeness.timeframe
            and gap.gap_kind <> 'outside_session'
    ) as gaps,
    completeness.no_trade_count + completeness.outage_count + completeness.not_fetched_count as missing,
    completeness.completeness,
    (select max(read_at) from ops.progress where consumer = 'bars.candle') as refreshed_at
from bars.completeness
"""

# What readers would see late.
_BEHIND = """
select node as model, ranges as unread_changes, since, owed_build, failures, message, retry_at
from ops.pending order by depth, node
"""


def series(connection: Connection) -> list[dict[str, Any]]:
    """One row per series: its span, how far its source was observed, and what its bars have of it.

    gaps, missing and completeness are those of the base candles; refreshed_at is when the bars last took in something new.
    They are null for what is kept for cross-checks only, and before the first build.
    """
    rows = _rows(connection, statement("titan.ops.sql", "series"))
    built: Any = connection.execute("select to_regclass('bars.completeness') is not null").fetchone()
    found = {(row["instrument_id"], row["timeframe"]): row for row in _rows(connection, _BARS)} if built[0] else {}
    for row in rows:
        bars = found.get((row.pop("instrument_id"), row["timeframe"]), {})
        for name in ("gaps", "missing", "completeness", "refreshed_at"):
            row[name] = bars.get(name)
    return rows


def behind(connection: Connection) -> list[dict[str, Any]]:
    """One row per model that is behind its parents, failed, or is to be declared by dbt: `titan refresh` sees to them."""
    return _rows(connection, _BEHIND)


def left_alone(connection: Connection) -> list[dict[str, Any]]:
    """One row per exchange that did not answer when it was asked last, and when it is asked again."""
    return _rows(
        connection, "select exchange, failures, retry_at, failed_at, reason from ops.circuit_breaker order by exchange"
    )


def left_behind(connection: Connection) -> list[dict[str, Any]]:
    """One row per table or view of a model that the project no longer has, and that is still there."""
    return _rows(
        connection,
        """
        select relation as left_behind, since from ops.left_behind
        where to_regclass(format('%I.%I', split_part(relation, '.', 1), split_part(relation, '.', 2))) is not null
        order by relation
        """,
    )


def listings(connection: Connection, exchange: str | None, symbol: str | None) -> list[dict[str, Any]]:
    """One row per market and stretch of time in which its exchange listed it so; of those with candles here by default."""
    found = records(connection, statement("titan.ops.sql", "listings"), {"exchange": exchange, "symbol": symbol})
    connection.commit()
    return found


def summary(connection: Connection) -> list[dict[str, Any]]:
    """The mart that a newcomer queries first."""
    return _rows(
        connection,
        """
        select symbol, exchange, base_timeframe, last_price, change_1d, change_7d, change_30d, last_closed_at, gap_count
        from marts.market_summary order by exchange, symbol limit 12
        """,
    )


def first_query(connection: Connection) -> list[dict[str, Any]]:
    """What FIRST_QUERY answers."""
    return _rows(connection, FIRST_QUERY)


def exchanges(connection: Connection) -> set[str]:
    """The exchanges that the database has candles of."""
    rows = connection.execute("select distinct exchange from raw.instrument where base_timeframe is not null").fetchall()
    connection.commit()
    return {str(row[0]) for row in rows}


def _rows(connection: Connection, query: str | Query) -> list[dict[str, Any]]:
    rows = records(connection, query)
    connection.commit()
    return rows
