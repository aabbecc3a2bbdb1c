"""Public candles of an exchange, through ccxt. No key is needed or used."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np

from ingest.sources.adjustments import Adjustment
from ingest.sources.calls import ATTEMPTS, Caller, ExchangeUnreachableError, RateLimitedError
from ingest.sources.limits import RateLimit, turns_of
from ingest.sources.paging import DAY, Paging, Row, Span, is_time, moment
from ingest.sources.trades import NewestTrades, Trade, candles_of, in_order
from titan.core.batch import (
    EPOCH,
    NULLABLE_COLUMNS,
    PRICE_COLUMNS,
    Batch,
    Candles,
    Market,
    Rejected,
    Stretches,
    candle_of,
    empty_candles,
    merged,
    plain,
    without,
)
from titan.core.errors import SourceError, UsageError
from titan.core.settings import home
from titan.core.timeframes import TIMEFRAMES, Timeframe

__all__ = ["ExchangeSource", "ExchangeUnreachableError", "Inquiry", "RateLimitedError", "present"]

PAGE_LIMIT = 1000
TIMEOUT_MS = 10_000
wait = time.sleep  # between attempts
ANSWER_TIME = 0.75  # seconds that an answer may take for an exchange to be asked as often as it allows
LARGEST_CREW = 16
_MARKET_TYPES = {"spot": "spot", "swap": "perpetual", "future": "future"}

# Positions of what ccxt's own candles leave out, in the answers of exchanges that have it.
EXTRA_FIELDS = dict.fromkeys(("binance", "binanceus", "binanceusdm"), (7, 8))  # quote volume, number of trades

# How many trades exchanges without candles give at once, and the parameter that asks for those before one of them.
TRADES: dict[str, tuple[int, str]] = {"bitflyer": (500, "before")}


@dataclass(frozen=True)
class Inquiry:
    """A stretch of a series, [since, until), that an exchange is asked about; until now, if no end is given.

    is_new: whether nothing of the series is here, so that it should be said where its history begins.
    """

    exchange: str
    symbol: str
    timeframe: str
    since: datetime
    until: datetime | None = None
    is_new: bool = False

    @property
    def period(self) -> Timeframe:
        """The timeframe."""
        return TIMEFRAMES[self.timeframe]

    @property
    def origin(self) -> str:
        """What load batches of it are called."""
        return f"{self} since {self.since.date()}"

    def __str__(self) -> str:
        return f"{self.exchange} {self.symbol} {self.timeframe}"


@dataclass(frozen=True)
class Listing:
    """A market as its exchange lists it; None for what it does not tell. Steps are in base and quote currency."""

    market_type: str
    symbol: str
    own_name: str
    is_trading: bool
    lot_size: float | None
    tick_size: float | None
    least_notional: float | None


class ExchangeSource:
    """One exchange, its markets known. Any thread may ask it, and all together no more often than it allows.

    `TITAN_CCXT_<EXCHANGE>` may hold ccxt's own options as JSON (a proxy, another host). `sleep` waits between attempts, of
    which there are `attempts`; `now` is the present by the clock of who asks. Raises UsageError for an exchange that does
    not exist, and what a Caller raises.

    delay: how long after its close a candle is there at all, where that is known to be long. lag: how much later than here
    it is at the exchange, and no later, less that delay: candles are finished by that clock. crew: how many requests have to
    be under way for it to be asked as often as it allows.
    has_adjustments: whether it tells splits and dividends, too.
    """

    def __init__(
        self,
        exchange_id: str,
        sleep: Callable[[float], None] | None = None,
        now: Callable[[], datetime] | None = None,
        attempts: int = ATTEMPTS,
    ) -> None:
        self._id, self._now = exchange_id, now or present
        self._exchange = _open(exchange_id)
        interval = self._exchange.rateLimit / 1000
        self.crew = min(max(math.ceil(ANSWER_TIME / max(interval, 0.001)), 1), LARGEST_CREW)
        address = json.dumps(self._exchange.urls.get("api"), sort_keys=True, default=str)
        self._limit_of_requests = RateLimit(interval, turns_of(home() / "turns", exchange_id, address))
        self._exchange.throttle = self._limit_of_requests.wait
        self._call = Caller(self._exchange, sleep or wait, attempts)
        self._markets = self._call(_read_markets, self._exchange.load_markets)
        self._has_extended_hours = getattr(self._exchange, "has_extended_hours", False)
        self.has_adjustments = hasattr(self._exchange, "adjustments")
        self._has_trades_alone = not self._exchange.has.get("fetchOHLCV")
        self.delay: timedelta = getattr(self._exchange, "delay", timedelta(0))
        self.lag = self._lag() - self.delay

    def close(self) -> None:
        """Let go of its connections."""
        self._exchange.session.close()
        self._limit_of_requests.close()

    def check(self, symbols: Sequence[str], timeframe: Timeframe) -> None:
        """Raise UsageError for a symbol or a timeframe that the exchange does not have."""
        if unknown := [symbol for symbol in symbols if symbol not in self._markets]:
            raise UsageError(
                f"{self._id} has no market {', '.join(unknown)}",
                hint=self._spelling,
            )
        if timeframe.ccxt_name not in (offered := self._timeframes()):
            raise UsageError(f"{self._id} has no {timeframe.name} candles", hint=f"it has {', '.join(offered)}")

    def _timeframes(self) -> list[str]:
        """Of an exchange without candles those that trades are put together to: around the clock, the days of UTC."""
        if self._has_trades_alone:
            return [timeframe.ccxt_name for timeframe in TIMEFRAMES.values() if timeframe.seconds <= DAY // 1000]
        return list(self._exchange.timeframes or {})

    @property
    def _spelling(self) -> str:
        if self.has_adjustments:
            return "stocks are written as they are listed, e.g. AAPL or BRK.B"
        return "spot is written BASE/QUOTE, perpetuals BASE/QUOTE:SETTLE"

    def find(self, names: Sequence[str]) -> list[str]:
        """The symbols that names mean: patterns with * and ? every market with candles that they fit, others themselves.

        Raises UsageError for a pattern that fits none.
        """
        found: dict[str, None] = {}
        for name in (name.strip() for name in names if name.strip()):
            if not set("*?") & set(name):
                found[name] = None
                continue
            fitting = [symbol for symbol in self._markets if fnmatchcase(symbol, name) and self._has_candles(symbol)]
            if not fitting:
                raise UsageError(
                    f"{self._id} has no market like {name!r}",
                    hint=self._spelling,
                )
            found |= dict.fromkeys(sorted(fitting))
        return list(found)

    def listings(self) -> list[Listing]:
        """Every market with candles, as the exchange lists it."""
        return [self._listing(symbol) for symbol in self._markets if self._has_candles(symbol)]

    def adjustments(self, symbols: Sequence[str]) -> list[Adjustment]:
        """Its splits and dividends of these symbols, if it tells any. Raises what a Caller raises."""
        return self._call(list, self._exchange.adjustments, symbols) if self.has_adjustments and symbols else []

    def _listing(self, symbol: str) -> Listing:
        market = self._markets[symbol]
        precision, limits = market.get("precision") or {}, market.get("limits") or {}
        return Listing(
            self._market_type(symbol),
            symbol,
            str(market["id"]),
            market.get("active") is not False,
            self._step(precision.get("amount")),
            self._step(precision.get("price")),
            (limits.get("cost") or {}).get("min"),
        )

    def _step(self, precision: float | None) -> float | None:
        """The step that ccxt's precision means: itself, or so many digits after the point."""
        import ccxt

        if precision is None or self._exchange.precisionMode == ccxt.SIGNIFICANT_DIGITS:
            return None
        step = 10.0**-precision if self._exchange.precisionMode == ccxt.DECIMAL_PLACES else float(precision)
        return step if step > 0 else None

    def own_name(self, symbol: str) -> str:
        """What the exchange itself calls a market, e.g. BTCUSDT. Raises UsageError for one that it does not have."""
        if symbol not in self._markets:
            raise UsageError(f"{self._id} has no market {symbol}")
        return str(self._markets[symbol]["id"])

    def _has_candles(self, symbol: str) -> bool:
        return str(self._markets[symbol].get("type")) in _MARKET_TYPES

    def ask(self, inquiry: Inquiry, as_of: datetime) -> Iterator[Batch]:
        """The candles of an inquiry that were finished `as_of` this clock, as they come: a batch a page.

        A batch claims what is sure by then to have been answered, and nothing twice; the last one may hold no candles and
        have no more than that to say. Raises what a Caller raises.
        """
        symbol, timeframe = inquiry.symbol, inquiry.period
        market = Market(self._id, self._market_type(symbol), timeframe.name)
        as_of += self.lag
        if self._has_trades_alone:
            yield from self._of_trades(market, inquiry, as_of)
            return
        paging = Paging(
            partial(self._ask, symbol, timeframe),
            since=_milliseconds(inquiry.since),
            end=_milliseconds(min(inquiry.until or as_of, as_of)),
            step=_shortest_period(timeframe),
            limit=self._limit(symbol),
            now=_milliseconds(as_of),
        )
        claimed: list[tuple[datetime, datetime]] = []
        strays = 0
        for page in chain(paging.pages(), [[]]):
            spans = _periods(paging.certain if page else paging.answered, timeframe)
            claims = without(spans, claimed)
            if not page and not claims and claimed and len(paging.strays) == strays:
                continue
            yield self._batch(market, inquiry, as_of, page, paging.strays[strays:], claims)
            claimed, strays = merged([*claimed, *claims]), len(paging.strays)

    def _of_trades(self, market: Market, inquiry: Inquiry, as_of: datetime) -> Iterator[Batch]:
        """Candles of the periods that lie wholly within the newest trades. Nothing is said of the time before those."""
        limit, back = TRADES.get(self._id, (None, None))

        def ask(before: Trade | None) -> list[Trade]:
            more = {back: before["id"]} if before else {}
            return self._call(_read_trades, self._exchange.fetch_trades, inquiry.symbol, None, limit, more)

        trades = NewestTrades(ask, goes_back=back is not None).since(_milliseconds(inquiry.since))
        until = min(inquiry.until or as_of, as_of)
        rows, span = candles_of(trades, inquiry.period.seconds * 1000, _milliseconds(until))
        if span and (start := max(moment(span[0]), inquiry.since)) < (stop := moment(span[1])):
            rows = [row for row in rows if start <= moment(row[0])]
            yield self._batch(market, inquiry, as_of, rows, [], [(start, stop)])

    def heard(self, inquiry: Inquiry, row: Row, as_of: datetime) -> Batch:
        """A candle that was not asked for: its stream told it. `inquiry` is of its period."""
        market = Market(self._id, self._market_type(inquiry.symbol), inquiry.timeframe)
        until = inquiry.until or inquiry.period.close_of(inquiry.since)
        return replace(
            self._batch(market, inquiry, as_of, [row], [], [(inquiry.since, until)]),
            source="stream",
            origin=f"{inquiry} stream",
        )

    def _market_type(self, symbol: str) -> str:
        kind = str(self._markets[symbol].get("type"))
        if kind not in _MARKET_TYPES:
            raise SourceError(f"{self._id} {symbol} is of type {kind}, which has no candles here")
        return _MARKET_TYPES[kind]

    def _batch(
        self, market: Market, inquiry: Inquiry, as_of: datetime, rows: list[Row], strays: list[Row], claims: Stretches
    ) -> Batch:
        rows = sorted(rows, key=itemgetter(0))  # of a candle that came twice, the later answer stays the later one
        records = [*rows, *strays]
        return Batch(
            source="exchange",
            origin=inquiry.origin,
            market=market,
            symbols=[inquiry.symbol],
            candles=_candles(rows),
            rows_read=len(records),
            record_of=lambda number: json.dumps(records[number - 1]),
            as_of=as_of,
            rejected=[
                _reject(row, len(rows) + at, inquiry.symbol, _milliseconds(as_of)) for at, row in enumerate(strays, start=1)
            ],
            answered=[claims],
            details={"since": inquiry.since.isoformat(), "until": as_of.isoformat()},
            has_extended_hours=self._has_extended_hours,
        )

    def _ask(self, symbol: str, timeframe: Timeframe, cursor: int, until: int | None) -> list[Row]:
        fetch, name, limit = self._exchange.fetch_ohlcv, timeframe.ccxt_name, self._limit(symbol)
        return self._call(_read_rows, fetch, symbol, name, cursor, limit, {} if until is None else {"until": until})

    def _limit(self, symbol: str) -> int:
        """How many candles are asked for at once: what the exchange says itself, or ccxt of it, and then a page at most."""
        if own := getattr(self._exchange, "page_limit", None):
            return int(own)
        return min(self._exchange.feature_value(symbol, "fetchOHLCV", "limit") or PAGE_LIMIT, PAGE_LIMIT)

    def _lag(self) -> timedelta:
        """How much later it is there, at least: what it answers was true before the answer was here."""
        told = None
        if self._exchange.has.get("fetchTime"):
            with suppress(SourceError):  # the other answer tells it, too
                told = moment(self._call(_read_time, self._exchange.fetch_time))
        told = told or self._call.told_time
        return told - self._now() if told else timedelta(0)


def _open(exchange_id: str) -> Any:
    import ccxt  # a second of start-up that no other command should pay
    from requests.adapters import HTTPAdapter

    make: Any
    if exchange_id == "alpacastocks":
        from ingest.sources.alpaca import AlpacaStocks

        make = AlpacaStocks
    elif exchange_id in ccxt.exchanges:
        make = getattr(ccxt, exchange_id)
    else:
        raise UsageError(f"unknown exchange {exchange_id!r}", hint="its name as ccxt has it, e.g. binance; or alpacastocks")
    exchange = make({"enableRateLimit": True, "timeout": TIMEOUT_MS, **options_of(exchange_id)})
    if not exchange.has.get("fetchOHLCV") and not exchange.has.get("fetchTrades"):
        raise UsageError(f"{exchange_id} offers neither candles nor trades")
    for scheme in ("http://", "https://"):
        exchange.session.mount(scheme, HTTPAdapter(pool_maxsize=LARGEST_CREW))
    fields = EXTRA_FIELDS.get(exchange_id, ())

    # ccxt's own function also drops what was not asked for; but that an exchange answers something else has to be seen.
    def parse_ohlcvs(candles: Any, market: Any = None, *_: Any, **__: Any) -> list[Row]:
        return [[*exchange.parse_ohlcv(row, market), *(row[at] for at in fields)] for row in candles or ()]

    exchange.parse_ohlcvs = parse_ohlcvs
    return exchange


def options_of(exchange_id: str) -> dict[str, Any]:
    """What the environment says of an exchange to ccxt. Raises UsageError for what is no JSON object."""
    variable = f"TITAN_CCXT_{exchange_id.upper()}"
    try:
        options = json.loads(os.environ.get(variable, "{}"))
    except json.JSONDecodeError as error:
        raise UsageError(f"{variable} is not JSON: {error}") from error
    if not isinstance(options, dict):
        raise UsageError(f"{variable} is no JSON object", hint='for example {"proxies": {"https": "…"}}')
    return options


def _read_markets(markets: dict[str, Any]) -> dict[str, Any]:
    if not markets:
        raise ValueError("no markets")
    return markets


def _read_time(told: Any) -> int:
    if not is_time(told, _now()):
        raise ValueError(f"{told!r} is no time")
    return int(told)


def _read_rows(rows: list[Row]) -> list[Row]:
    """The rows, if they are candles, and the times of some can be times. Raises ValueError or TypeError otherwise."""
    if len({len(row) for row in rows}) > 1 or any(len(row) < 6 for row in rows):
        raise ValueError("rows of other lengths than candles have")
    if rows and not any(is_time(row[0], _now()) for row in rows):
        raise ValueError(f"no candle opens at {rows[0][0]!r}")
    for row in rows:
        for value in row[1:]:
            if value is not None:
                float(value)
    return rows


def _read_trades(trades: list[Trade]) -> list[Trade]:
    """The trades, each once, in order. Raises ValueError or TypeError for one without a time, a price or an amount."""
    for trade in trades:
        if not is_time(trade["timestamp"], _now()):
            raise ValueError(f"no trade is made at {trade['timestamp']!r}")
        float(trade["price"]), float(trade["amount"])
    return in_order(trades)


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


def present() -> datetime:
    """The present instant, by the clock of this machine."""
    return datetime.now(UTC)


def _milliseconds(instant: datetime) -> int:
    return (instant - EPOCH) // timedelta(milliseconds=1)


def _now() -> int:
    return _milliseconds(present())


def _shortest_period(timeframe: Timeframe) -> int:
    """In milliseconds."""
    return 28 * DAY if timeframe.base_unit == "MO" else timeframe.seconds * 1000


def _periods(spans: list[Span], timeframe: Timeframe) -> list[tuple[datetime, datetime]]:
    """The time that spans in milliseconds cover up to the end of their last whole period."""
    found = [(moment(start), timeframe.last_close(moment(stop))) for start, stop in spans]
    return [(start, stop) for start, stop in found if start < stop]
