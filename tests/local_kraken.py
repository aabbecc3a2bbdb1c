"""Kraken's public REST API and websockets on loopback: other names, times, refusals, and its newest 720 candles alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from ingest.sources.paging import moment
from tests.local_exchange import Fault, LocalExchange
from tests.local_stream import LocalStream

MOST_CANDLES = 720
MINUTES = {"1m": 1, "1h": 60, "1d": 1440}
LIMITED = Fault(200, b'{"error": ["EAPI:Rate limit exceeded"]}')
BUSY = Fault(200, b'{"error": ["EService:Unavailable"]}')


class LocalKraken(LocalExchange):
    """The candles are added as Binance has them, by names such as XBTUSDT, and told as Kraken tells them."""

    refusals = (LIMITED, BUSY)

    def ccxt_options(self) -> str:
        """What TITAN_CCXT_KRAKEN is to hold."""
        return json.dumps({"urls": {"api": {"public": self.url, "private": self.url}}, "rateLimit": 1})

    def rows_of(self, answer: Fault) -> list[Any]:
        """The candles of an answer."""
        told: dict[str, Any] = json.loads(answer.body)["result"]
        return next(rows for name, rows in told.items() if name != "last")

    def page_of(self, answer: Fault, rows: list[Any]) -> Fault:
        """The same answer with other candles."""
        told = json.loads(answer.body)
        name = next(name for name in told["result"] if name != "last")
        told["result"][name] = rows
        return Fault(200, json.dumps(told).encode())

    def answer(self, path: str, query: dict[str, list[str]]) -> Fault:
        """The answer to a question."""
        now = self.now() if self.now else datetime.now(UTC)
        if path.endswith("/Time"):
            return _told({"unixtime": int((now + self.skew).timestamp())})
        if path.endswith("/AssetPairs"):
            return _told({name: _market(name) for name in [*self.candles, *self.markets]})
        if path.endswith("/Assets"):
            return _told({name: {"altname": name, "decimals": 8, "status": "enabled"} for name in ("XBT", "ETH", "USDT")})
        if not path.endswith("/OHLC"):
            return Fault(200, json.dumps({"error": [f"EGeneral:Unknown method {path}"]}).encode())
        self.requests += 1
        name, since = query["pair"][0], int(query.get("since", ["0"])[0])
        self.asked.append((name, since * 1000))
        for faults in (self.faults, self.faults_of.get(name)):
            if faults and (fault := faults.pop(0)):
                return fault
        begun = {at: row for at, row in self.candles[name].items() if at <= now.timestamp() * 1000}
        newest = [_row(begun[at]) for at in sorted(begun)[-MOST_CANDLES:]]
        rows = [row for row in newest if row[0] > since]
        answer = _told({name: rows, "last": newest[-1][0] if newest else 0})
        return self.trouble(answer) if self.trouble else answer


def _told(result: Any) -> Fault:
    return Fault(200, json.dumps({"error": [], "result": result}).encode())


def _row(candle: list[Any]) -> list[Any]:
    opened, opening, high, low, close, volume, _, _, count, *_ = candle
    return [opened // 1000, opening, high, low, close, close, volume, count]


def _market(name: str) -> dict[str, Any]:
    base, quote = name[:-4], name[-4:]
    return {
        "altname": name, "wsname": f"{base}/{quote}", "base": base, "quote": quote, "pair_decimals": 1, "lot_decimals": 8,
        "cost_decimals": 5, "ordermin": "0.0001", "costmin": "0.5", "tick_size": "0.1", "status": "online",
        "fees": [[0, 0.4]], "fees_maker": [[0, 0.25]], "leverage_buy": [], "leverage_sell": [],
    }  # fmt: skip


class LocalKrakenStream(LocalStream):
    """Kraken's websockets, version 2: candles by symbol and interval in minutes, never said to be closed."""

    def push(self, symbol: str, interval: str, candle: list[Any], *, is_closed: bool = False) -> None:
        """A candle as Binance's REST API has it, to everybody who listens to its series; `symbol` as in BTC/USDT."""
        opened, opening, high, low, close, volume, *_ = candle
        begin = f"{moment(opened):%Y-%m-%dT%H:%M:%S.000000000Z}"
        told = {
            "symbol": symbol, "interval": MINUTES[interval], "interval_begin": begin,
            "open": float(opening), "high": float(high), "low": float(low), "close": float(close), "volume": float(volume),
            "trades": 7, "vwap": float(close),
        }  # fmt: skip
        self._do(
            self._tell(f"{symbol} {MINUTES[interval]}", json.dumps({"channel": "ohlc", "type": "update", "data": [told]}))
        )

    async def _heard(self, socket: web.WebSocketResponse, asked: dict[str, Any]) -> None:
        if asked.get("method") != "subscribe":
            return
        wanted = asked["params"]
        for symbol in wanted["symbol"]:
            self._sockets[socket].add(f"{symbol} {wanted['interval']}")
            result = {"channel": wanted["channel"], "symbol": symbol, "interval": wanted["interval"]}
            told = {"method": "subscribe", "success": True, "req_id": asked["req_id"], "result": result}
            await socket.send_str(json.dumps(told))
