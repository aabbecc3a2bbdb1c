"""US stocks of Alpaca, as an exchange of ccxt's kind: whatever asks ccxt's exchanges asks it in the same way.

Source: Alpaca's Market Data API v2 (docs.alpaca.markets). ccxt's own `alpaca` is its crypto market.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any
from urllib.parse import quote, urlencode

import ccxt

from ingest.sources.adjustments import Adjustment, added_up
from ingest.sources.paging import Row, moment
from titan.core.errors import UsageError

NAME = "alpacastocks"
MOST_SYMBOLS = 100  # of one question about corporate actions
FIRST_ACTION = date(1970, 1, 1)
ANNOUNCED = timedelta(days=365)  # how far ahead corporate actions may be known
SIP_DELAY = timedelta(minutes=15)  # of all exchanges' trades, to who does not pay for them

_TIMEFRAMES = {"1m": "1Min", "5m": "5Min", "15m": "15Min", "30m": "30Min", "1h": "1Hour", "1d": "1Day"}
_KINDS = ("forward_split", "reverse_split", "stock_dividend", "cash_dividend")
_REFUSALS = {
    400: ccxt.BadRequest,
    401: ccxt.AuthenticationError,
    403: ccxt.PermissionDenied,
    404: ccxt.BadRequest,
    422: ccxt.BadRequest,
}


class AlpacaStocks(ccxt.Exchange):  # type: ignore[misc]
    """Candles as they were traded, without adjustment; splits and dividends beside them.

    Keys come from APCA_API_KEY_ID and APCA_API_SECRET_KEY. Options, in TITAN_CCXT_ALPACASTOCKS: `feed` (`sip`, or `iex` for
    the trades of one exchange alone) and `delay`, minutes after which candles are there (15 for sip, 0 for others).

    Raises UsageError without keys.
    """

    has_extended_hours = True
    page_limit = 10_000

    def describe(self) -> Any:
        """What ccxt knows of an exchange."""
        return self.deep_extend(
            super().describe(),
            {
                "id": NAME,
                "name": "Alpaca, US stocks",
                "rateLimit": 300,  # 200 requests a minute
                "has": {"fetchOHLCV": True, "fetchTime": False},
                "timeframes": _TIMEFRAMES,
                "urls": {"api": {"data": "https://data.alpaca.markets", "trading": "https://api.alpaca.markets"}},
                "options": {"feed": "sip", "delay": None},
                "apiKey": os.environ.get("APCA_API_KEY_ID", ""),
                "secret": os.environ.get("APCA_API_SECRET_KEY", ""),
            },
        )

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        if not (self.apiKey and self.secret):
            raise UsageError(
                f"{NAME} answers no one without keys", hint="set APCA_API_KEY_ID and APCA_API_SECRET_KEY in the environment"
            )
        told = self.options["delay"]
        if told is not None and not (isinstance(told, int | float) and told >= 0):
            raise UsageError(f"TITAN_CCXT_{NAME.upper()}: a delay of {told!r} is no number of minutes")
        if self.apiKey.startswith("PK") and "urls" not in config:  # keys of a paper account
            self.urls["api"]["trading"] = "https://paper-api.alpaca.markets"

    @property
    def delay(self) -> timedelta:
        """How long after its end a candle is there."""
        told = self.options["delay"]
        if told is None:
            return SIP_DELAY if self.options["feed"] == "sip" else timedelta(0)
        return timedelta(minutes=told)

    def load_markets(self, reload: bool = False, params: Any = None) -> dict[str, Any]:
        """Every stock, those no longer listed among them; a symbol that two had is the listed one's."""
        assets = self._get("trading", "v2/assets", {"asset_class": "us_equity"})
        listed = sorted(assets, key=lambda asset: asset["status"] == "active")
        self.markets = {
            asset["symbol"]: {
                "id": asset["symbol"],
                "symbol": asset["symbol"],
                "type": "spot",
                "active": asset["status"] == "active" and bool(asset["tradable"]),
            }
            for asset in listed
            if asset["exchange"] != "OTC"  # of which neither feed has candles
        }
        return self.markets

    def fetch_ohlcv(
        self, symbol: str, timeframe: str = "1d", since: int | None = None, limit: int | None = None, params: Any = None
    ) -> list[Row]:
        """Candles from `since` to `until` of params, in ms: as ccxt has them, no quote volume, and the number of trades."""
        end = moment(self.milliseconds()) - self.delay
        if until := (params or {}).get("until"):
            end = min(end, moment(until))
        query = {
            "timeframe": self.timeframes[timeframe],
            "start": moment(since or 0).isoformat(),
            "end": end.isoformat(),
            "limit": limit or self.page_limit,
            "adjustment": "raw",
            "feed": self.options["feed"],
            "sort": "asc",
        }
        if moment(since or 0) > end:
            return []
        while True:
            told = self._get("data", f"v2/stocks/{quote(symbol, safe='')}/bars", query)
            bars, token = told["bars"] or [], told["next_page_token"]
            if bars or not token:
                return [[self.parse8601(bar["t"]), *(bar[name] for name in "ohlcv"), None, bar.get("n")] for bar in bars]
            query["page_token"] = token

    def adjustments(self, symbols: Sequence[str]) -> list[Adjustment]:
        """All splits and dividends of stocks, those that are announced among them."""
        found: list[Adjustment] = []
        for at in range(0, len(symbols), MOST_SYMBOLS):
            query = {
                "symbols": ",".join(symbols[at : at + MOST_SYMBOLS]),
                "types": ",".join(_KINDS),
                "start": FIRST_ACTION.isoformat(),
                "end": (moment(self.milliseconds()) + ANNOUNCED).date().isoformat(),
                "limit": 1000,
            }
            while True:
                told = self._get("data", "v1/corporate-actions", query)
                for kind in _KINDS:
                    found += [_adjustment(kind, action) for action in told["corporate_actions"].get(f"{kind}s", ())]
                if not told["next_page_token"]:
                    break
                query["page_token"] = told["next_page_token"]
        return added_up(found)

    def _get(self, host: str, path: str, query: dict[str, Any]) -> Any:
        return self.fetch2(path, host, "GET", query)

    def sign(
        self, path: str, api: Any = "data", method: str = "GET", params: Any = None, headers: Any = None, body: Any = None
    ) -> dict[str, Any]:
        """A request, as ccxt sends it."""
        keys = {"APCA-API-KEY-ID": self.apiKey, "APCA-API-SECRET-KEY": self.secret}
        url = f"{self.urls['api'][api]}/{path}?{urlencode(params or {})}"
        return {"url": url, "method": method, "body": body, "headers": keys}

    def handle_errors(
        self, code: int, reason: str, url: str, method: str, headers: Any, body: str, response: Any, *_: Any
    ) -> None:
        """Raises what ccxt raises for an answer that says no; faults of the server are ccxt's to tell."""
        if error := _REFUSALS.get(code):
            told = response.get("message") if isinstance(response, dict) else None
            raise error(f"{code} {reason} {told or body[:100]}")


def _adjustment(kind: str, action: dict[str, Any]) -> Adjustment:
    """Raises LookupError, TypeError or ValueError for what is no action of that kind."""
    ex_date, symbol = date.fromisoformat(action["ex_date"]), str(action["symbol"])
    if kind == "cash_dividend":
        return Adjustment(ex_date, "dividend", amount=_positive(action["rate"]), symbol=symbol)
    if kind == "stock_dividend":
        return Adjustment(ex_date, "split", ratio=1 + _positive(action["rate"]), symbol=symbol)
    return Adjustment(ex_date, "split", ratio=_positive(action["new_rate"]) / _positive(action["old_rate"]), symbol=symbol)


def _positive(value: Any) -> float:
    number = float(value)
    if not 0 < number < float("inf"):
        raise ValueError(f"{value!r} is not above 0")
    return number
