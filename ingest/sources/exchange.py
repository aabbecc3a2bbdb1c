"""Public candles of an exchange, through ccxt. No key is needed or used."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from operator import itemgetter
from typing import Any

import numpy as np

from ingest.batch import NULLABLE_COLUMNS, PRICE_COLUMNS, Batch, Candles, Market, Rejected, empty_candles
from ingest.sources.paging import DAY, Paging, RefusedError, Row, Span, moment
from ingest.timeframes import TIMEFRAMES, Timeframe
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
        market = self._markets[symbol]
        market_type = _MARKET_TYPES.get(str(market.get("type")))
        if market_type is None:
            raise SourceError(f"{self._id} {symbol} is of type {market.get('type')}, which has no candles here")
        as_of = datetime.now(UTC)
        paging = Paging(
            partial(self._ask, symbol, timeframe),
            since=int(since.timestamp() * 1000),
            end=int(as_of.timestamp() * 1000),
            step=_shortest_period(timeframe),
            limit=self._limit(symbol),
        )
        rows: list[Row] = []
        for page in paging.pages():
            rows += page
            on_page(symbol, moment(page[-1][0]))
        return self._batch(Market(self._id, market_type, timeframe.name), symbol, since, as_of, rows, paging)

    def _batch(
        self, market: Market, symbol: str, since: datetime, as_of: datetime, rows: list[Row], paging: Paging
    ) -> Batch:
        timeframe = TIMEFRAMES[market.timeframe]
        rows = sorted(rows, key=itemgetter(0))  # of a candle that came twice, the later answer stays the later one
        try:
            candles = _candles(rows)
        except (TypeError, ValueError, IndexError, OverflowError) as error:
            raise SourceError(f"{self._id} {symbol}: its answer holds what is no candle: {error}") from error
        end = int(as_of.timestamp() * 1000)
        records = [*rows, *paging.strays]
        answered = _periods(paging.answered, timeframe) or [(since, max(since, _last_boundary(as_of, timeframe)))]
        return Batch(
            source="exchange",
            origin=f"{self._id} {symbol} {timeframe.name} since {since.date()}",
            market=market,
            symbols=[symbol],
            candles=candles,
            rows_read=len(records),
            record_of=lambda number: json.dumps(records[number - 1]),
            as_of=as_of,
            rejected=[_reject(row, len(rows) + at, symbol, end) for at, row in enumerate(paging.strays, start=1)],
            observed=(answered[0][0], answered[-1][1]),
            unanswered=[(before[1], after[0]) for before, after in pairwise(answered)],
            details={"since": since.isoformat(), "until": as_of.isoformat()},
        )

    def _ask(self, symbol: str, timeframe: Timeframe, cursor: int, until: int | None) -> list[Row]:
        end = {} if until is None else {"until": until}
        rows: list[Row] = _call(
            self._id, self._exchange.fetch_ohlcv, symbol, timeframe.ccxt_name, cursor, self._limit(symbol), end
        )
        return rows

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
    exchange = getattr(ccxt, exchange_id)({"enableRateLimit": True, "timeout": TIMEOUT_MS, **options})
    if not exchange.has.get("fetchOHLCV"):
        raise UsageError(f"{exchange_id} offers no candles")
    fields = _EXTRA_FIELDS.get(exchange_id, ())

    # ccxt's own function also drops what was not asked for; but that an exchange answers something else has to be seen.
    def parse_ohlcvs(candles: Any, market: Any = None, *_: Any, **__: Any) -> list[Row]:
        return [[*exchange.parse_ohlcv(row, market), *(row[at] for at in fields)] for row in candles or ()]

    exchange.parse_ohlcvs = parse_ohlcvs
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
            raise RefusedError(f"{exchange_id} refused: {_first_line(error)}") from error
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
    opened_at = row[0]
    is_later = isinstance(opened_at, int | float) and opened_at > end
    reason = "is_not_in_the_future" if is_later else "time_is_readable"
    candle = {"opened_at": None, **dict(zip((*PRICE_COLUMNS, "volume"), row[1:6], strict=True))}
    return Rejected(number, reason, str(opened_at), json.dumps(row), symbol, candle)


def _shortest_period(timeframe: Timeframe) -> int:
    """In milliseconds."""
    return 28 * DAY if timeframe.base_unit == "MO" else timeframe.seconds * 1000


def _periods(spans: list[Span], timeframe: Timeframe) -> list[tuple[datetime, datetime]]:
    """The time that spans in milliseconds cover up to the end of their last whole period."""
    found = [(moment(start), _last_boundary(moment(stop), timeframe)) for start, stop in spans]
    return [(start, stop) for start, stop in found if start < stop]


def _last_boundary(instant: datetime, timeframe: Timeframe) -> datetime:
    """The end of the last period that was over at that instant."""
    midnight = instant.replace(hour=0, minute=0, second=0, microsecond=0)
    if timeframe.base_unit == "MO":
        return midnight.replace(day=1)
    if timeframe.base_unit == "W":
        return midnight - timedelta(days=midnight.weekday())
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return instant - (instant - epoch) % timedelta(seconds=timeframe.seconds)
