"""Kraken's public REST API on loopback: other names, other times, other refusals, and its newest 720 candles alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from tests.local_exchange import Fault, LocalExchange

MOST_CANDLES = 720
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
