"""Taking candles out again. Their last version stays in raw.ohlcv_revision."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ingest.instruments import forget_base_timeframe
from ingest.load_batch import WRITER_LOCK, close_batch, open_batch
from titan.core.database import Connection, statement
from titan.core.errors import UsageError


@dataclass(frozen=True)
class Deleted:
    """What a deletion did."""

    batch_id: int
    instrument_id: int
    timeframes: tuple[str, ...]
    deleted: int
    is_empty: bool


def delete(
    connection: Connection,
    *,
    exchange: str,
    symbol: str,
    market_type: str = "spot",
    timeframe: str | None = None,
    from_at: datetime | None = None,
    until_at: datetime | None = None,
) -> Deleted:
    """Delete the candles that open in [from_at, until_at), of one timeframe or of all.

    What is deleted counts as never asked for. An instrument that is left without candles forgets its base timeframe, so the
    next load may choose another. Raises UsageError when there is no such instrument.
    """
    with connection.transaction():
        connection.execute(WRITER_LOCK)
        found: Any = connection.execute(
            "select instrument_id from raw.instrument where exchange = %s and market_type = %s and symbol = %s",
            (exchange.lower(), market_type, symbol.upper()),
        ).fetchone()
        if found is None:
            raise UsageError(f"there is no {market_type} {symbol} of {exchange}", hint="titan status lists the instruments")
        instrument_id = int(found[0])
        rows: list[Any] = connection.execute(
            """
            select distinct timeframe from raw.observed
            where instrument_id = %s and timeframe = coalesce(%s, timeframe)
            """,
            (instrument_id, timeframe),
        ).fetchall()
        timeframes = tuple(sorted(row[0] for row in rows))
        span = {
            "exchange": exchange,
            "symbol": symbol,
            "from": str(from_at or ""),
            "until": str(until_at or ""),
        }
        batch_id = open_batch(connection, "delete", f"{exchange} {symbol}", timeframe, datetime.now(UTC), span)
        deleted = 0
        for name in timeframes:
            counted: Any = connection.execute(
                statement("ingest.sql", "delete"),
                {
                    "instrument_id": instrument_id,
                    "timeframe": name,
                    "from_at": from_at or "-infinity",
                    "until_at": until_at or "infinity",
                    "batch_id": batch_id,
                },
            ).fetchone()
            deleted += int(counted[0])
        close_batch(connection, batch_id, rows_deleted=deleted)
        is_empty = forget_base_timeframe(connection, [instrument_id]) > 0
        return Deleted(batch_id, instrument_id, timeframes, deleted, is_empty)


def delete_exchange(connection: Connection, exchange: str) -> list[Deleted]:
    """Delete every candle of an exchange, an instrument after the other, all in one transaction."""
    with connection.transaction():
        connection.execute(WRITER_LOCK)
        found: list[Any] = connection.execute(
            """
            select symbol, market_type from raw.instrument
            where
                exchange = %s
                and exists (select from raw.ohlcv where ohlcv.instrument_id = instrument.instrument_id)
            order by instrument_id
            """,
            (exchange,),
        ).fetchall()
        return [delete(connection, exchange=exchange, symbol=symbol, market_type=market) for symbol, market in found]
