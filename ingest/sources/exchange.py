"""Public candles of an exchange, through ccxt. No key is needed or used."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from ingest.batch import NULLABLE_COLUMNS, PRICE_COLUMNS, Batch, Candles, Market, empty_candles
from ingest.timeframes import Timeframe
from titan.errors import SourceError, UsageError

ATTEMPTS = 4
PAGE_LIMIT = 1000
TIMEOUT_MS = 10_000
_MARKET_TYPES = {"spot": "spot", "swap": "perpetual", "future": "future"}

# Positions of what ccxt's own candles leave out, in the answers of exchanges that have it.
_EXTRA_FIELDS = dict.fromkeys(("binance", "binanceus", "binanceusdm"), (7, 8))  # quote volume, number of trades


class ExchangeUnreachableError(SourceError):
    """The exchange did not answer at all, as opposed to answering no."""


class ExchangeSource:
    """One exchange, its markets known.

    `TITAN_CCXT_<EXCHANGE>` may hold ccxt's own options as JSON (a proxy, another host). Raises UsageError for an exchange
    that does not exist, ExchangeUnreachableError when there is no answer, SourceError when the answer is an error.
    """

    def __init__(self, exchange_id: str) -> None:
        self._id = exchange_id
        self._exchange = _open(exchange_id)
        self._markets: dict[str, Any] = _call(exchange_id, self._exchange.load_markets)

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
    ) -> Batch:
        """The finished candles of a symbol from `since` to now.

        Raises ExchangeUnreachableError when there is no answer, SourceError when it is an error or no candles.
        """
        return _batch(self._exchange, self._id, self._markets[symbol], timeframe, since, on_page)


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
    exchange = getattr(ccxt, exchange_id)({"enableRateLimit": True, "timeout": TIMEOUT_MS, **options})
    if not exchange.has.get("fetchOHLCV"):
        raise UsageError(f"{exchange_id} offers no candles")
    if fields := _EXTRA_FIELDS.get(exchange_id):
        parse = exchange.parse_ohlcv

        def parse_all(candle: Any, market: Any = None) -> list[Any]:
            return [*parse(candle, market), *(candle[at] for at in fields)]

        exchange.parse_ohlcv = parse_all
    return exchange


def _call(exchange_id: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call ccxt, trying again after what may pass (time-outs, 429, 5xx), at growing intervals."""
    import ccxt

    for attempt in range(1, ATTEMPTS + 1):
        try:
            return function(*arguments)
        except ccxt.NetworkError as error:
            if attempt == ATTEMPTS or _is_hopeless(error):
                raise ExchangeUnreachableError(
                    f"{exchange_id} cannot be reached: {_first_line(error)}",
                    hint="is there a way to the internet?",
                ) from error
            time.sleep(0.5 * 2**attempt)
        except ccxt.BaseError as error:
            raise SourceError(f"{exchange_id} refused: {_first_line(error)}") from error
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise SourceError(f"{exchange_id} sent an answer that cannot be read: {error}") from error
    raise AssertionError("unreachable")


def _is_hopeless(error: Exception) -> bool:
    """Whether the host's name cannot even be resolved: no use in waiting."""
    cause: BaseException | None = error
    while cause is not None:
        if any(word in str(cause) for word in ("NameResolution", "Name or service", "name resolution", "getaddrinfo")):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _batch(
    exchange: Any,
    exchange_id: str,
    market: dict[str, Any],
    timeframe: Timeframe,
    since: datetime,
    on_page: Callable[[str, datetime], None],
) -> Batch:
    symbol = str(market["symbol"])
    as_of = datetime.now(UTC)
    rows: list[list[Any]] = []
    for page in _pages(exchange, exchange_id, symbol, timeframe, since, as_of):
        rows += page
        on_page(symbol, datetime.fromtimestamp(page[-1][0] / 1000, UTC))
    try:
        candles = _candles(rows)
    except (TypeError, ValueError, IndexError, OverflowError) as error:
        raise SourceError(f"{exchange_id} {symbol}: its answer holds what is no candle: {error}") from error
    market_type = _MARKET_TYPES.get(str(market.get("type")))
    if market_type is None:
        raise SourceError(f"{exchange_id} {symbol} is of type {market.get('type')}, which has no candles here")
    return Batch(
        source="exchange",
        origin=f"{exchange_id} {symbol} {timeframe.name} since {since.date()}",
        market=Market(exchange_id, market_type, timeframe.name),
        symbols=[symbol],
        candles=candles,
        rows_read=len(rows),
        record_of=lambda number: json.dumps(rows[number - 1]),
        as_of=as_of,
        observed=(since, _last_boundary(as_of, timeframe)),
        details={"since": since.isoformat(), "until": as_of.isoformat()},
    )


def _candles(rows: list[list[Any]]) -> Candles:
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


def _pages(
    exchange: Any, exchange_id: str, symbol: str, timeframe: Timeframe, since: datetime, until: datetime
) -> Iterator[list[list[Any]]]:
    """Pages of candles, oldest first. An empty page is a quiet stretch until the present is reached."""
    step = timeframe.seconds * 1000
    cursor = int(since.timestamp() * 1000)
    end = int(until.timestamp() * 1000)
    while cursor < end:
        page = _call(exchange_id, exchange.fetch_ohlcv, symbol, timeframe.ccxt_name, cursor, PAGE_LIMIT)
        fresh = [row for row in page if row[0] >= cursor]
        if fresh:
            yield fresh
            cursor = int(fresh[-1][0]) + 1
            if fresh[-1][0] + step > end:
                return
        else:
            cursor += PAGE_LIMIT * step


def _last_boundary(instant: datetime, timeframe: Timeframe) -> datetime:
    """The end of the last period that was over at that instant."""
    midnight = instant.replace(hour=0, minute=0, second=0, microsecond=0)
    if timeframe.base_unit == "MO":
        return midnight.replace(day=1)
    if timeframe.base_unit == "W":
        return midnight - timedelta(days=midnight.weekday())
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return instant - (instant - epoch) % timedelta(seconds=timeframe.seconds)
