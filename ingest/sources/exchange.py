"""Public candles of an exchange, through ccxt. No key is needed or used."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from operator import itemgetter
from typing import Any

import numpy as np

from ingest.sources.calls import Caller, ExchangeUnreachableError, RateLimitedError
from ingest.sources.paging import DAY, Paging, Row, Span, is_time, moment
from titan.core.batch import (
    NULLABLE_COLUMNS,
    PRICE_COLUMNS,
    Batch,
    Candles,
    Market,
    Rejected,
    candle_of,
    empty_candles,
    plain,
)
from titan.core.errors import SourceError, UsageError
from titan.core.timeframes import TIMEFRAMES, Timeframe

__all__ = ["ExchangeSource", "ExchangeUnreachableError", "RateLimitedError"]

PAGE_LIMIT = 1000
TIMEOUT_MS = 10_000
_MARKET_TYPES = {"spot": "spot", "swap": "perpetual", "future": "future"}

# Positions of what ccxt's own candles leave out, in the answers of exchanges that have it.
_EXTRA_FIELDS = dict.fromkeys(("binance", "binanceus", "binanceusdm"), (7, 8))  # quote volume, number of trades


class ExchangeSource:
    """One exchange, its markets known.

    `TITAN_CCXT_<EXCHANGE>` may hold ccxt's own options as JSON (a proxy, another host). Raises UsageError for an exchange
    that does not exist, and what a Caller raises.
    """

    def __init__(self, exchange_id: str, sleep: Callable[[float], None] | None = None) -> None:
        self._id = exchange_id
        self._exchange = _open(exchange_id)
        self._call = Caller(self._exchange, sleep or time.sleep)
        self._markets = self._call(_read_markets, self._exchange.load_markets)

    def check(self, symbols: Sequence[str], timeframe: Timeframe) -> None:
        """Raise UsageError for a symbol or a timeframe that the exchange does not have."""
        if unknown := [symbol for symbol in symbols if symbol not in self._markets]:
            raise UsageError(
                f"{self._id} has no market {', '.join(unknown)}",
                hint="symbols are written BASE/QUOTE, perpetuals BASE/QUOTE:SETTLE",
            )
        if timeframe.ccxt_name not in (self._exchange.timeframes or {}):
            raise UsageError(
                f"{self._id} has no {timeframe.name} candles",
                hint=f"it has {', '.join(self._exchange.timeframes or {})}",
            )

    def fetch(
        self,
        symbol: str,
        timeframe: Timeframe,
        since: datetime,
        on_page: Callable[[str, datetime], None] = lambda symbol, reached: None,
        *,
        as_of: datetime | None = None,
    ) -> Batch:
        """The finished candles of a symbol from `since` to `as_of`, which is now, or to where the answers ended: `cut_short`
        says why then.

        Raises what a Caller raises when no candle has come before.
        """
        market = self._markets[symbol]
        market_type = _MARKET_TYPES.get(str(market.get("type")))
        if market_type is None:
            raise SourceError(f"{self._id} {symbol} is of type {market.get('type')}, which has no candles here")
        as_of = as_of or datetime.now(UTC)
        paging = Paging(
            partial(self._ask, symbol, timeframe),
            since=int(since.timestamp() * 1000),
            end=int(as_of.timestamp() * 1000),
            step=_shortest_period(timeframe),
            limit=self._limit(symbol),
        )
        rows: list[Row] = []
        cut_short: SourceError | None = None
        try:
            for page in paging.pages():
                rows += page
                on_page(symbol, moment(page[-1][0]))
        except SourceError as error:
            if not rows:
                raise
            cut_short = error
        batch = self._batch(Market(self._id, market_type, timeframe.name), symbol, since, as_of, rows, paging)
        if cut_short:
            batch.cut_short = SourceError(
                f"{len(rows):,} candles are loaded, up to {moment(paging.answered[-1][1]):%Y-%m-%d %H:%M}, the rest is not: "
                f"{cut_short}",
                hint=cut_short.hint,
            )
        return batch

    def _batch(
        self, market: Market, symbol: str, since: datetime, as_of: datetime, rows: list[Row], paging: Paging
    ) -> Batch:
        timeframe = TIMEFRAMES[market.timeframe]
        rows = sorted(rows, key=itemgetter(0))  # of a candle that came twice, the later answer stays the later one
        end = int(as_of.timestamp() * 1000)
        records = [*rows, *paging.strays]
        answered = _periods(paging.answered, timeframe) or [(since, max(since, timeframe.last_close(as_of)))]
        return Batch(
            source="exchange",
            origin=f"{self._id} {symbol} {timeframe.name} since {since.date()}",
            market=market,
            symbols=[symbol],
            candles=_candles(rows),
            rows_read=len(records),
            record_of=lambda number: json.dumps(records[number - 1]),
            as_of=as_of,
            rejected=[_reject(row, len(rows) + at, symbol, end) for at, row in enumerate(paging.strays, start=1)],
            observed=(answered[0][0], answered[-1][1]),
            unanswered=[(before[1], after[0]) for before, after in pairwise(answered)],
            details={"since": since.isoformat(), "until": as_of.isoformat()},
        )

    def _ask(self, symbol: str, timeframe: Timeframe, cursor: int, until: int | None) -> list[Row]:
        fetch, name, limit = self._exchange.fetch_ohlcv, timeframe.ccxt_name, self._limit(symbol)
        return self._call(_read_rows, fetch, symbol, name, cursor, limit, {} if until is None else {"until": until})

    def _limit(self, symbol: str) -> int:
        """How many candles are asked for at once: what ccxt knows of the exchange, a page at most."""
        return min(self._exchange.feature_value(symbol, "fetchOHLCV", "limit") or PAGE_LIMIT, PAGE_LIMIT)


def _open(exchange_id: str) -> Any:
    import ccxt  # a second of start-up that no other command should pay

    if exchange_id not in ccxt.exchanges:
        raise UsageError(f"unknown exchange {exchange_id!r}", hint="its name as ccxt has it, e.g. binance or coinbase")
    variable = f"TITAN_CCXT_{exchange_id.upper()}"
    try:
        options = json.loads(os.environ.get(variable, "{}"))
    except json.JSONDecodeError as error:
        raise UsageError(f"{variable} is not JSON: {error}") from error
    if not isinstance(options, dict):
        raise UsageError(f"{variable} is no JSON object", hint='for example {"proxies": {"https": "…"}}')
    settings = {"enableRateLimit": True, "enableLastJsonResponse": True, "timeout": TIMEOUT_MS}
    exchange = getattr(ccxt, exchange_id)({**settings, **options})
    if not exchange.has.get("fetchOHLCV"):
        raise UsageError(f"{exchange_id} offers no candles")
    fields = _EXTRA_FIELDS.get(exchange_id, ())

    # ccxt's own function also drops what was not asked for; but that an exchange answers something else has to be seen.
    def parse_ohlcvs(candles: Any, market: Any = None, *_: Any, **__: Any) -> list[Row]:
        return [[*exchange.parse_ohlcv(row, market), *(row[at] for at in fields)] for row in candles or ()]

    exchange.parse_ohlcvs = parse_ohlcvs
    return exchange


def _read_markets(markets: dict[str, Any]) -> dict[str, Any]:
    if not markets:
        raise ValueError("no markets")
    return markets


def _read_rows(rows: list[Row]) -> list[Row]:
    """The rows, if they are candles, and the times of some can be times. Raises ValueError or TypeError otherwise."""
    if len({len(row) for row in rows}) > 1 or any(len(row) < 6 for row in rows):
        raise ValueError("rows of other lengths than candles have")
    if rows and not any(is_time(row[0], _now()) for row in rows):
        raise ValueError(f"no candle opens at {rows[0][0]!r}")
    _candles([[0, *row[1:]] for row in rows])
    return rows


def _candles(rows: list[Row]) -> Candles:
    """ccxt's candles as an array; a value that is absent is NaN, or null where it may be."""
    candles = empty_candles(len(rows))
    candles["row_number"] = np.arange(1, len(rows) + 1)
    for at, name in enumerate(("opened_at", *PRICE_COLUMNS, "volume")):
        values = np.array([np.nan if row[at] is None else float(row[at]) for row in rows])
        candles[name] = np.round(values * 1000).astype("i8") if name == "opened_at" else values
    for at, name in enumerate(NULLABLE_COLUMNS, start=6):
        if rows and len(rows[0]) > at:
            candles[name] = [0 if row[at] is None else float(row[at]) for row in rows]
            candles[f"has_{name}"] = [row[at] is not None for row in rows]
    return candles


def _reject(row: Row, number: int, symbol: str, end: int) -> Rejected:
    """A candle without a time that may be: there is no place for it."""
    is_later = isinstance(row[0], int | float) and row[0] > end
    reason = "is_not_in_the_future" if is_later else "time_is_readable"
    (candle,) = plain(_candles([[0, *row[1:]]]))
    return Rejected(number, reason, str(row[0]), json.dumps(row), symbol, candle_of(candle, ["opened_at"]))


def _now() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


def _shortest_period(timeframe: Timeframe) -> int:
    """In milliseconds."""
    return 28 * DAY if timeframe.base_unit == "MO" else timeframe.seconds * 1000


def _periods(spans: list[Span], timeframe: Timeframe) -> list[tuple[datetime, datetime]]:
    """The time that spans in milliseconds cover up to the end of their last whole period."""
    found = [(moment(start), timeframe.last_close(moment(stop))) for start, stop in spans]
    return [(start, stop) for start, stop in found if start < stop]
