"""What a file's name and a symbol's text tell: exchange, market, symbol, timeframe."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from ingest.timeframes import Timeframe, find_timeframe

_EXCHANGES = {
    **{
        name: name
        for name in (
            "binance", "binanceus", "bitfinex", "bitget", "bitmex", "bitstamp", "bittrex", "bybit", "coinbase", "coingecko",
            "coinmarketcap", "cryptocompare", "deribit", "gateio", "gemini", "htx", "huobi", "kraken", "kucoin", "mexc",
            "okx", "poloniex", "stooq", "synthetic", "tradingview", "yahoo",
        )
    },
    "cmc": "coinmarketcap", "yahoofinance": "yahoo", "yf": "yahoo",
}  # fmt: skip
_MARKETS = {
    "spot": "spot", "perpetual": "perpetual", "perp": "perpetual", "swap": "perpetual", "futures": "perpetual",
    "um": "perpetual", "usdm": "perpetual", "future": "future", "index": "index",
}  # fmt: skip
_QUOTES = (
    "FDUSD", "USDT", "USDC", "BUSD", "TUSD", "USD", "EUR", "GBP", "JPY", "TRY", "BRL", "AUD", "CHF", "CAD", "KRW", "DAI",
    "BTC", "ETH", "BNB",
)  # fmt: skip


@dataclass(frozen=True)
class NameTells:
    """What a name tells; None for what it leaves open."""

    exchange: str | None = None
    market_type: str | None = None
    symbol: str | None = None
    timeframe: str | None = None


def split_symbol(text: str) -> str:
    """BASE/QUOTE for the spellings in the wild (BTCUSDT, BTC-USD, btc_usdt); a ticker without a known quote stays whole."""
    folded = text.strip().upper()
    parts = re.split(r"[/_-]", folded)
    if len(parts) >= 2 and all(parts[:2]):
        return f"{parts[0]}/{parts[1]}"
    for quote in _QUOTES:
        if folded.endswith(quote) and len(folded) - len(quote) >= 2:
            return f"{folded[: -len(quote)]}/{quote}"
    return folded


def parse_market(text: str) -> str | None:
    """The market type that a word means."""
    return _MARKETS.get(text.lower())


def read_name(stem: str) -> NameTells:
    """What the parts of a file's name say, each taken once, left to right."""
    parts = [part for part in re.split(r"[^A-Za-z0-9]+", stem) if part]
    exchange = next((_EXCHANGES[part.lower()] for part in parts if part.lower() in _EXCHANGES), None)
    market = next((_MARKETS[part.lower()] for part in parts if part.lower() in _MARKETS), None)
    timeframe = next((found.name for part in parts if (found := _timeframe(part))), None)
    left = [
        part for part in parts if part.lower() not in _EXCHANGES and part.lower() not in _MARKETS and not _timeframe(part)
    ]
    return NameTells(exchange, market, _symbol(left), timeframe)


def _timeframe(part: str) -> Timeframe | None:
    found = find_timeframe(part)
    return found if found and any(character.isdigit() for character in part) else None


def _symbol(parts: list[str]) -> str | None:
    tickers = [part for part in parts if re.fullmatch(r"[A-Z0-9]*[A-Z][A-Z0-9]*", part)]
    for base, quote in pairwise(parts):
        if base in tickers and quote in _QUOTES:
            return f"{base}/{quote}"
    for ticker in tickers:
        if "/" in split_symbol(ticker):
            return split_symbol(ticker)
    return tickers[0] if tickers else None
