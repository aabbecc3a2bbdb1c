"""Instruments of a batch: created when first seen, with the timeframe and the session of their first load."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from titan.core.batch import Batch
from titan.core.clock import Clock
from titan.core.database import Connection
from titan.core.errors import UsageError


def find_or_create(
    connection: Connection, batch: Batch, clock: Clock, series: Iterable[int]
) -> tuple[dict[int, int], list[str]]:
    """The instrument of each series, and what its user should know of them.

    Raises UsageError when an instrument trades in another session than the batch.
    """
    market = batch.market
    instruments: dict[int, int] = {}
    notices: list[str] = []
    for one in series:
        symbol = batch.symbols[one]
        connection.execute(
            """
            insert into raw.instrument (exchange, market_type, symbol, base_timeframe, session_id)
            values (%(exchange)s, %(market_type)s, %(symbol)s, %(timeframe)s, %(session_id)s)
            on conflict (exchange, market_type, symbol) do update
                set base_timeframe = excluded.base_timeframe, session_id = excluded.session_id
                where instrument.base_timeframe is null
            """,
            {
                "exchange": market.exchange,
                "market_type": market.market_type,
                "symbol": symbol,
                "timeframe": market.timeframe,
                "session_id": clock.session.session_id,
            },
        )
        row: Any = connection.execute(
            """
            select instrument_id, base_timeframe, session_id from raw.instrument
            where exchange = %s and market_type = %s and symbol = %s
            """,
            (market.exchange, market.market_type, symbol),
        ).fetchone()
        instrument_id, base_timeframe, session_id = row
        if session_id != clock.session.session_id:
            raise UsageError(
                f"{market.exchange} {symbol} trades in session {session_id}, not {clock.session.session_id}",
                hint=f"load it with --session {session_id}, or delete the instrument first",
            )
        if base_timeframe != market.timeframe:
            notices.append(
                f"{symbol}: bars come from its {base_timeframe} candles; these {market.timeframe} ones are kept in raw "
                "for cross-checks only"
            )
        instruments[one] = int(instrument_id)
    return instruments, notices


def forget_base_timeframe(connection: Connection, instruments: Sequence[int]) -> int:
    """Let instruments that are left without candles forget theirs, so that the next load may choose; returns how many."""
    return connection.execute(
        """
        update raw.instrument set base_timeframe = null
        where
            instrument_id = any (%s)
            and base_timeframe is not null
            and not exists (
                select from raw.ohlcv
                where ohlcv.instrument_id = instrument.instrument_id and ohlcv.timeframe = instrument.base_timeframe
            )
        """,
        (list(instruments),),
    ).rowcount
