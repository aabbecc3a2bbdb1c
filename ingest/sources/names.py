"""What a file's name and a symbol's text tell: exchange, market, symbol, timeframe. No part is dropped or guessed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from titan.core.errors import SourceError, UsageError
from titan.core.timeframes import find_timeframe

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
    "um": "perpetual", "cm": "perpetual", "usdm": "perpetual", "coinm": "perpetual", "future": "future", "index": "index",
}  # fmt: skip
_MARKET_FOLDERS = ("spot", "um", "cm", "futures", "perpetual", "perp", "swap")

_FIAT = {
    "USD", "EUR", "GBP", "JPY", "CHF", "AUD", "NZD", "CAD", "SEK", "NOK", "DKK", "PLN", "HUF", "CZK", "TRY", "ZAR", "MXN",
    "SGD", "HKD", "CNH", "CNY", "INR", "BRL", "KRW", "RUB", "UAH", "ARS", "NGN", "IDR", "THB", "ILS", "XAU", "XAG",
}  # fmt: skip
_DOLLARS = {"FDUSD", "USDT", "USDC", "BUSD", "TUSD", "PYUSD", "USD"}
_QUOTES = _DOLLARS | _FIAT | {"DAI", "BTC", "XBT", "ETH", "BNB"}
# What these exchanges never quoted in: their names leave less to ask.
_NO_QUOTE = {
    "binance": {"USD", "XBT"},
    "kraken": {"BUSD", "TUSD", "FDUSD", "BNB"},
    "coinbase": {"BUSD", "TUSD", "FDUSD", "BNB"},
    "bitstamp": {"BUSD", "TUSD", "FDUSD", "BNB"},
    "bitfinex": {"BUSD", "TUSD", "FDUSD", "BNB"},
    "gemini": {"BUSD", "TUSD", "FDUSD", "BNB"},
}
# Bases that tell where a name without a separator is to be cut: BNB/USD, for there is no BN; AR/BUSD or ARB/USD is asked.
_BASES = _FIAT | set(
    """
    1INCH AAVE ACH ADA AGIX AGLD ALGO ALICE ALPHA AMP ANKR ANT APE API3 APT AR ARB ARK ASTR ATOM AUDIO AVAX AXS BADGER BAL
    BAND BAT BCH BICO BLUR BLZ BNB BNT BONK BSV BTC BTG BTT C98 CAKE CELO CELR CFX CHR CHZ CKB COMP COTI CRO CRV CTSI CVC
    CVX DAI DASH DCR DENT DGB DOGE DOT DYDX EGLD ENA ENJ ENS EOS ETC ETH ETHFI ETHW EURC FET FIL FLOKI FLOW FLR FTM FTT FXS
    GALA GAS GLM GMT GMX GNO GNT GRT HBAR HIVE HNT HOT ICP ICX ID ILV IMX INJ IOST IOTA IOTX JASMY JTO JUP KAS KAVA KDA KITE
    KNC KSM LDO LEO LINK LPT LQTY LRC LSK LTC LUNA LUNC MAGIC MANA MASK MATIC MINA MKR MLN MOVR NANO NEAR NEO NEXO NMR OCEAN
    OGN OMG ONDO ONE ONT OP ORDI OXT PAXG PENDLE PEPE PERP PHA POL POWR PYTH QNT QTUM RAY RDNT REN RENDER REP REQ RLC RNDR
    ROSE RPL RSR RUNE RVN S SAND SC SEI SHIB SKL SLP SNX SOL SPELL SSV STETH STORJ STRK STX SUI SUPER SUSHI SXP T TAO THETA
    TIA TON TRB TRUMP TRX TUSD TWT UMA UNI USDC USDT VET W WAVES WBETH WBTC WIF WLD WLUNA WOO XBT XCH XDC XDG XEC XEM XLM
    XMR XNO XRP XTZ XVG XVS YFI YGG ZEC ZEN ZIL ZK ZRO ZRX
    """.split()  # noqa: SIM905 two hundred quotation marks would say nothing
)
_WORDS = {"OHLC", "OHLCV", "CSV", "DATA", "UTC", "GMT", "EOD", "KLINE", "KLINES", "CANDLES", "PRICES", "HISTORY", "DAILY"}
_SUFFIX = re.compile(r"\.(csv|tsv|txt|json|parquet|feather|arrow|gz|zip)$", re.IGNORECASE)
_DATE = re.compile(r"(19|20)\d{2}|(19|20)\d{6}(\d{4}|\d{6})?|[A-Z]{3}(19|20)\d{2}")
_METATRADER = re.compile(r"([A-Z]{3})([A-Z]{3})(?:1|5|15|30|60|240|1440|10080|43200)")
_CHART = re.compile(r"(?P<exchange>[A-Z][A-Z0-9_]*?)_(?P<symbol>[A-Z0-9!.]+), (?P<period>\d+|\d*[DWM])\b")
LONGEST_NAME = 64


@dataclass(frozen=True)
class NameTells:
    """What a name tells; None for what it leaves open."""

    exchange: str | None = None
    market_type: str | None = None
    symbol: str | None = None
    timeframe: str | None = None


def is_name(text: str) -> bool:
    """Whether a text may name a symbol or an exchange: something to see, of one line, not longer than a name is."""
    return bool(text.strip()) and len(text) <= LONGEST_NAME and text.isprintable()


def given_name(text: str, option: str) -> str:
    """A name that somebody said, as it was said. Raises UsageError for what is none."""
    if not is_name(text):
        raise UsageError(f"{option}: {text[:LONGEST_NAME]!r} is no name", hint=f"1 to {LONGEST_NAME} visible characters")
    return text.strip()


def split_symbol(text: str, exchange: str | None = None) -> str:
    """BASE/QUOTE for the spellings in the wild (BTCUSDT, BTC-USD, btc_usdt); what is no pair of a known quote stays whole.

    Raises SourceError where a name may be cut in two ways and nothing tells which.
    """
    folded = text.strip().upper()
    if "/" in folded:
        return folded
    parts = re.split(r"[_-]", folded)
    if len(parts) == 2 and parts[0] and parts[1] in _QUOTES:
        return "/".join(parts)
    if len(parts) == 3 and parts[0] and {parts[1], parts[2]} <= _QUOTES:
        return f"{parts[0]}/{parts[1]}:{parts[2]}"
    if (
        len(parts) >= 2
        and _is_delivery(parts[-1])
        and "/" in (pair := split_symbol(folded[: -len(parts[-1]) - 1], exchange))
    ):
        return f"{pair}-{parts[-1]}"
    return folded if len(parts) > 1 else _cut(folded, exchange)


def _cut(folded: str, exchange: str | None) -> str:
    """A name without a separator, cut before its quote. Quotes end in each other's names: the base has to be known then."""
    quotes = _QUOTES - _NO_QUOTE.get(exchange or "", set())
    cuts = {folded[: -len(quote)]: quote for quote in quotes if folded.endswith(quote) and folded != quote}
    known = {base: quote for base, quote in cuts.items() if base in _BASES}
    likely = known or {base: quote for base, quote in cuts.items() if quote in _DOLLARS and len(base) >= 2}
    if folded in _BASES and not known:
        return folded
    if len(likely) > 1:
        ways = " or ".join(sorted(f"{base}/{quote}" for base, quote in likely.items()))
        raise SourceError(f"{folded} may be {ways}", hint="--symbol says which, and --exchange often tells")
    return next((f"{base}/{quote}" for base, quote in likely.items()), folded)


def _is_delivery(text: str) -> bool:
    """Whether it is a date as futures of an exchange have it in their names: 240329."""
    if not re.fullmatch(r"\d{6}", text):
        return False
    try:
        datetime.strptime(text, "%y%m%d")  # noqa: DTZ007 a date alone
    except ValueError:
        return False
    return True


def parse_market(text: str) -> str | None:
    """The market type that a word means."""
    return _MARKETS.get(text.lower())


def stem_of(name: str) -> str:
    """A file's name without the endings that say its format; dots within it belong to it (BF.B)."""
    while (shorter := _SUFFIX.sub("", name)) != name:
        name = shorter
    return name


def read_name(
    stem: str, folders: Sequence[str] = (), given_exchange: str | None = None, *, is_symbol_said: bool = False
) -> NameTells:
    """What a file's name says, and where it is silent, what the folders it lies in say, the nearest first.

    Raises SourceError where several parts of a name could be the symbol, unless it is said elsewhere.
    """
    if chart := _CHART.match(stem):
        period = chart["period"]
        return NameTells(
            chart["exchange"].lower(),
            "perpetual" if chart["symbol"].endswith(".P") else None,
            split_symbol(chart["symbol"].removesuffix(".P"), chart["exchange"].lower()),
            _name_of_timeframe(f"{period}min" if period.isdigit() else period if period[0].isdigit() else f"1{period}"),
        )
    pieces = re.split(r"([^\w.!^=]+|_+)", stem)
    parts, separators = pieces[::2], ["", *pieces[1::2]]
    exchange = next((_EXCHANGES[part.lower()] for part in parts if part.lower() in _EXCHANGES), None)
    exchange = exchange or next((_EXCHANGES[name.lower()] for name in reversed(folders) if name.lower() in _EXCHANGES), None)
    market = next((_MARKETS[part.lower()] for part in parts if part.lower() in _MARKETS), None)
    market = market or next((_MARKETS[name.lower()] for name in reversed(folders) if name.lower() in _MARKET_FOLDERS), None)
    timeframe = next((found for part in parts if (found := _name_of_timeframe(part))), None)
    named = (given_exchange or exchange or "").lower()
    symbol = None if is_symbol_said else _symbol(_runs(parts, separators), named, stem)
    if symbol and _is_delivery(symbol[-6:]):
        market = "future"
    return NameTells(exchange, market, symbol, timeframe)


def _name_of_timeframe(part: str) -> str | None:
    found = find_timeframe(part)
    return found.name if found and any(character.isdigit() for character in part) else None


def _runs(parts: Sequence[str], separators: Sequence[str]) -> list[str]:
    """The parts that may be a symbol, those that a dash or an underscore joins taken together."""
    runs: list[list[str]] = []
    is_joined = False
    for part, separator in zip(parts, separators, strict=True):
        joins = is_joined and separator in ("-", "_")
        if found := _METATRADER.fullmatch(part):
            part = part[:6] if {found[1], found[2]} <= _FIAT else part
        if _is_ticker(part) or (joins and re.fullmatch(r"\d{6}", part)):
            runs = [*runs[:-1], [*runs[-1], separator, part]] if joins else [*runs, [part]]
            is_joined = True
        else:
            is_joined = False
    return ["".join(run) for run in runs]


def _is_ticker(part: str) -> bool:
    is_word = part.lower() in _EXCHANGES or part.lower() in _MARKETS or part in _WORDS
    return (
        part == part.upper()
        and any(character.isalpha() for character in part)
        and not (is_word or _name_of_timeframe(part) or _DATE.fullmatch(part))
        and not re.fullmatch(r"(M|H|D|W|MN)\d+", part)  # MetaTrader's timeframes
    )


def _symbol(runs: Sequence[str], exchange: str, stem: str) -> str | None:
    symbols = list(dict.fromkeys(split_symbol(run, exchange) for run in runs))
    pairs = [symbol for symbol in symbols if "/" in symbol]
    if len(symbols) > 1 and len(pairs) != 1:
        raise SourceError(f"{stem}: is the symbol {' or '.join(pairs or symbols)}?", hint="--symbol says it")
    return next(iter(pairs or symbols), None)
