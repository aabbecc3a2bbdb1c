"""Bitstamp's public REST API and websockets on loopback: candles when it is asked, and trades alone on its streams."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from tests.local_exchange import Fault, LocalExchange
from tests.local_stream import LocalStream


class LocalBitstamp(LocalExchange):
    """The candles are added as Binance has them, by names such as btcusd, and told as Bitstamp tells them."""

    def answer(self, path: str, query: dict[str, list[str]]) -> Fault:
        """The answer to a question."""
        if path.endswith("/markets/"):
            return Fault(200, json.dumps([_market(name) for name in self.candles]).encode())
        if "/ohlc/" not in path:
            return Fault(404, b'{"code": "404", "reason": "no such page"}')
        self.requests += 1
        now = self.now() if self.now else datetime.now(UTC)
        since, until = int(query["start"][0]), min(int(query["end"][0]), int(now.timestamp()))
        candles = self.candles[path.rstrip("/").rpartition("/")[2]]
        rows = [_row(row) for at, row in sorted(candles.items()) if since <= at // 1000 <= until]
        return Fault(200, json.dumps({"data": {"pair": "BTC/USD", "ohlc": rows[: int(query["limit"][0])]}}).encode())

    def ccxt_options(self, stream: str = "") -> str:
        """What TITAN_CCXT_BITSTAMP is to hold."""
        return json.dumps({"urls": {"api": {"public": self.url, "private": self.url, "ws": stream}}, "rateLimit": 1})


class LocalBitstampStream(LocalStream):
    """Trades by market."""

    def trade(self, name: str, number: int, at: datetime, price: float, amount: float) -> None:
        """Tell everybody who listens of a trade."""
        micro = int(at.timestamp() * 1_000_000)
        data = {
            "id": number, "timestamp": str(micro // 1_000_000), "microtimestamp": str(micro), "amount": amount,
            "amount_str": f"{amount:.8f}", "price": price, "price_str": f"{price:.2f}", "type": number % 2,
            "buy_order_id": 2 * number, "sell_order_id": 2 * number + 1,
        }  # fmt: skip
        told = {"data": data, "event": "trade", "channel": f"live_trades_{name}"}
        self._do(self._tell(f"live_trades_{name}", json.dumps(told)))

    async def _heard(self, socket: web.WebSocketResponse, asked: dict[str, Any]) -> None:
        if asked.get("event") != "bts:subscribe":
            return
        channel = asked["data"]["channel"]
        self._sockets[socket].add(channel)
        await socket.send_str(json.dumps({"event": "bts:subscription_succeeded", "channel": channel, "data": {}}))


def _row(candle: list[Any]) -> dict[str, Any]:
    names = ("timestamp", "open", "high", "low", "close", "volume")
    return dict(zip(names, [str(candle[0] // 1000), *candle[1:6]], strict=True))


def _market(name: str) -> dict[str, Any]:
    base, quote = name[:3], name[3:]
    return {
        "name": f"{base}/{quote}".upper(), "market_symbol": name, "base_currency": base.upper(),
        "counter_currency": quote.upper(), "base_decimals": 8, "counter_decimals": 2, "minimum_order_value": "10",
        "minimum_order_amount": "0.00001", "trading": "Enabled", "market_type": "SPOT",
        "description": f"{base} / {quote}",
    }  # fmt: skip
