"""Splits and dividends of an instrument: kept with every version, published to the feed by raw.adjustment itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from psycopg import Rollback

from ingest.load_batch import close_batch, open_batch
from ingest.sources.adjustments import Adjustment, read_adjustments
from titan.core.database import Connection
from titan.core.errors import UsageError


@dataclass(frozen=True)
class Adjusted:
    """What a file of adjustments did."""

    batch_id: int
    origin: str
    symbols: list[str]
    read: int
    inserted: int
    revised: int


def load_adjustments(
    connection: Connection, path: Path, *, symbol: str | None, exchange: str | None, market_type: str = "spot"
) -> Adjusted:
    """Make the splits and dividends of a file current, in one transaction.

    Raises SourceError for a file that cannot be read whole and UsageError where its instrument is unknown or ambiguous: then
    nothing has changed.
    """
    found = [replace(one, symbol=_symbol(one, symbol)) for one in read_adjustments(path)]
    with connection.transaction():
        return _store(connection, str(path), found, exchange, market_type)


def note_adjustments(connection: Connection, exchange: str, found: Sequence[Adjustment]) -> Adjusted | None:
    """Make what an exchange tells of its own instruments current; None where that is known already, and leaves no trace."""
    if not found:
        return None
    with connection.transaction() as transaction:
        done = _store(connection, f"{exchange} splits and dividends", found, exchange, "spot")
        if not done.inserted + done.revised:
            raise Rollback(transaction)
        return done
    return None


def _store(
    connection: Connection, origin: str, found: Sequence[Adjustment], exchange: str | None, market_type: str
) -> Adjusted:
    batch_id = open_batch(connection, "adjustments", origin, None, datetime.now(UTC), {})
    symbols = {str(one.symbol) for one in found}
    instruments = {name: _instrument(connection, name, exchange, market_type) for name in symbols}
    inserted = revised = 0
    for one in found:
        row: Any = connection.execute(
            """
            insert into raw.adjustment as standing (
                instrument_id, ex_date, kind, ratio, amount, price_factor, known_at, batch_id
            )
            values (
                %(instrument_id)s, %(ex_date)s, %(kind)s, %(ratio)s, %(amount)s, %(price_factor)s, %(known_at)s,
                %(batch_id)s
            )
            on conflict (instrument_id, ex_date, kind) do update set
                ratio = excluded.ratio, amount = excluded.amount, price_factor = excluded.price_factor,
                known_at = excluded.known_at, batch_id = excluded.batch_id
                where (standing.ratio, standing.amount, standing.price_factor, standing.known_at)
                    is distinct from (excluded.ratio, excluded.amount, excluded.price_factor, excluded.known_at)
            returning xmax = 0
            """,
            {**vars(one), "instrument_id": instruments[str(one.symbol)], "batch_id": batch_id},
        ).fetchone()
        inserted += bool(row and row[0])
        revised += bool(row and not row[0])
    close_batch(connection, batch_id, rows_read=len(found), rows_inserted=inserted, rows_revised=revised)
    return Adjusted(batch_id, origin, sorted(instruments), len(found), inserted, revised)


def _symbol(one: Adjustment, symbol: str | None) -> str:
    if found := one.symbol or symbol:
        return found.upper()
    raise UsageError("the file does not say whose splits and dividends these are", hint="name the instrument with --symbol")


def _instrument(connection: Connection, symbol: str, exchange: str | None, market_type: str) -> int:
    rows: list[Any] = connection.execute(
        """
        select instrument_id, exchange from raw.instrument
        where symbol = %s and market_type = %s and exchange = coalesce(lower(%s), exchange) and base_timeframe is not null
        order by exchange
        """,
        (symbol, market_type, exchange),
    ).fetchall()
    if not rows:
        raise UsageError(
            f"there are no candles of {market_type} {symbol}", hint="load them first; titan status lists the series"
        )
    if len(rows) > 1:
        raise UsageError(
            f"{symbol} is traded on {', '.join(str(row[1]) for row in rows)}", hint="say which is meant with --exchange"
        )
    return int(rows[0][0])
