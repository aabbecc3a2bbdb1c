"""Candles as exchanges push them, through ccxt's websockets: here as soon as they close, and confirmed by asking later."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ingest.sources.calls import UNREADABLE
from ingest.sources.exchange import EXTRA_FIELDS, options_of
from ingest.sources.limits import Backoff
from ingest.sources.paging import Row
from ingest.sources.trades import CandleMaker, Trade, in_order
from titan.core.log import event
from titan.core.timeframes import TIMEFRAMES

log = logging.getLogger("titan.streams")

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds, until a stream that was lost is asked for again
SILENCE = 60.0  # seconds without a word, beyond a period, after which a stream counts as lost
KEPT = 4  # candles of a series

Key = tuple[str, str, str]  # exchange, symbol, timeframe


@dataclass
class _Heard:
    """What a series' stream has told: candles by their openings in ms, which of them are said to be closed, and when."""

    candles: dict[int, Row] = field(default_factory=dict)
    closed: set[int] = field(default_factory=set)
    spoke_at: float | None = None
    maker: CandleMaker | None = None


class Streams:
    """The streams of series, all in one thread; what is lost is asked for again by itself, and meanwhile tells nothing."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._heard: dict[Key, _Heard] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._exchanges: dict[tuple[str, str], asyncio.Task[Any]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="streams", daemon=True)
        self._thread.start()

    def follow(self, keys: set[Key]) -> None:
        """Listen to these series and to no other. Returns at once."""
        if keys == self._heard.keys():
            return
        with self._lock:
            self._heard = {key: self._heard.get(key) or _Heard() for key in sorted(keys)}
        self._loop.call_soon_threadsafe(self._reconcile, set(keys))

    def is_live(self, key: Key) -> bool:
        """Whether a series' stream has spoken lately, so that it can be expected to tell of the next close."""
        heard = self._heard.get(key)
        if heard is None or heard.spoke_at is None:
            return False
        return self._monotonic() - heard.spoke_at < TIMEFRAMES[key[2]].seconds + SILENCE

    def closed(self, key: Key, opened_at: int) -> Row | None:
        """The candle that opened then, in ms, once it is closed: the stream says so, or has gone on to a later one."""
        heard = self._heard.get(key)
        if heard is None:
            return None
        with self._lock:
            row = heard.candles.get(opened_at)
            is_over = opened_at in heard.closed or any(later > opened_at for later in heard.candles)
            return row if row is not None and is_over else None

    def close(self) -> None:
        """Hang up."""
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result(timeout=5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        if not self._thread.is_alive():
            self._loop.close()

    # --- in the thread ----------------------------------------------------------------------------------------------------

    def _reconcile(self, keys: set[Key]) -> None:
        for key in [key for key in self._tasks if key not in keys or self._tasks[key].done()]:
            self._tasks.pop(key).cancel()
        for key in keys - self._tasks.keys():
            self._tasks[key] = self._loop.create_task(self._listen(key))

    async def _hang_up(self) -> None:
        self._reconcile(set())
        for opening in self._exchanges.values():
            if not opening.done():
                opening.cancel()
            elif not opening.cancelled() and opening.exception() is None and (exchange := opening.result()):
                await exchange.close()
        await asyncio.sleep(0)

    async def _listen(self, key: Key) -> None:
        """Note what a series' stream tells, for as long as it is followed."""
        import ccxt

        exchange_id, symbol, timeframe = key
        backoff = Backoff(FIRST_WAIT, LONGEST_WAIT)
        while True:
            try:
                exchange = await self._opened(exchange_id, timeframe)
                if exchange is None:
                    return
                if exchange.has.get("watchOHLCV"):
                    rows = await exchange.watch_ohlcv(symbol, TIMEFRAMES[timeframe].ccxt_name)
                    self._note(key, rows, exchange.told)
                elif exchange.has.get("watchTrades") and TIMEFRAMES[timeframe].is_intraday:
                    trades = await exchange.watch_trades(symbol)
                    self._note_trades(key, trades, has_all_fields=not exchange.has.get("fetchOHLCV"))
                else:
                    return
                backoff.reset()
            except (ccxt.BaseError, *UNREADABLE) as error:
                wait = backoff.next()
                self._forget(key)
                if backoff.failures == 1:
                    told = (str(error).splitlines() or [type(error).__name__])[0][:200]
                    event(log, "stream lost", logging.WARNING, series=" ".join(key), error=told, wait=round(wait, 1))
                await asyncio.sleep(wait)

    async def _opened(self, exchange_id: str, timeframe: str) -> Any:
        """The exchange with its markets, opened once for all its series of a timeframe; None if ccxt has no streams of it.

        ccxt's streams of some exchanges (kraken is one) tell a symbol's candles of every timeframe to whoever waits for any.
        """
        key = (exchange_id, timeframe)
        opening = self._exchanges.get(key)
        if opening is None or (opening.done() and opening.exception() is not None):
            opening = self._exchanges[key] = self._loop.create_task(_open(exchange_id))
        return await asyncio.shield(opening)

    def _note(
        self, key: Key, rows: list[Row], told: Mapping[tuple[str, str, int], _Told], *, are_closed: bool = False
    ) -> None:
        heard = self._heard.get(key)
        if heard is None:
            return
        with self._lock:
            for row in rows:
                opened_at = int(row[0])
                more = told.get((key[1], TIMEFRAMES[key[2]].ccxt_name, opened_at))
                heard.candles[opened_at] = [*row, *more.extra] if more else list(row)
                if are_closed or (more and more.is_closed):
                    heard.closed.add(opened_at)
            for old in sorted(heard.candles)[:-KEPT]:
                del heard.candles[old]
                heard.closed.discard(old)
            heard.spoke_at = self._monotonic()

    def _note_trades(self, key: Key, trades: list[Trade], *, has_all_fields: bool) -> None:
        """The candles that trades end. Asking confirms them, and has quote volumes only if it makes them of trades, too."""
        heard = self._heard.get(key)
        if heard is None:
            return
        if heard.maker is None:
            heard.maker = CandleMaker(TIMEFRAMES[key[2]].seconds * 1000)
        rows = [row if has_all_fields else row[:6] for row in heard.maker.add(in_order(trades))]
        certain_from = heard.maker.certain_from
        self._note(key, [row for row in rows if certain_from is not None and certain_from <= row[0]], {}, are_closed=True)

    def _forget(self, key: Key) -> None:
        """What was told last before a stream was lost may not have been the last word."""
        with self._lock:
            if heard := self._heard.get(key):
                heard.candles = {at: row for at, row in heard.candles.items() if at in heard.closed}
                heard.spoke_at = heard.maker = None


@dataclass(frozen=True)
class _Told:
    """What ccxt leaves out of a candle's message: the fields beyond a candle's own, and whether it is closed."""

    extra: tuple[Any, ...]
    is_closed: bool


async def _open(exchange_id: str) -> Any:
    import ccxt.pro

    if exchange_id not in ccxt.pro.exchanges:
        return None
    exchange = getattr(ccxt.pro, exchange_id)({"enableRateLimit": True, **options_of(exchange_id)})
    exchange.told = {}
    if exchange_id in EXTRA_FIELDS:
        exchange.handle_ohlcv = _listening(exchange)
    try:
        await exchange.load_markets()
    except BaseException:
        await exchange.close()
        raise
    return exchange


def _listening(exchange: Any) -> Callable[[Any, dict[str, Any]], None]:
    """Binance's handler of a candle's message, which keeps of it what ccxt leaves out."""
    handle = exchange.handle_ohlcv

    def heard(client: Any, message: dict[str, Any]) -> None:
        candle = message.get("k") or {}
        kind = "spot" if exchange.is_spot_url(client) else "contract"
        symbol = exchange.safe_symbol(candle.get("s"), None, None, kind)
        told = _Told((candle.get("q"), candle.get("n")), bool(candle.get("x")))
        exchange.told[symbol, exchange.find_timeframe(candle.get("i")), candle.get("t")] = told
        while len(exchange.told) > 10_000:
            del exchange.told[next(iter(exchange.told))]
        handle(client, message)

    return heard
