"""bitFlyer's public REST API on loopback: trades alone, its newest ones or those before one of them, and no candles."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from ingest.sources.paging import moment
from tests.local_exchange import Fault, LocalExchange

MOST_TRADES = 500


class LocalBitflyer(LocalExchange):
    """The trades of each market by their numbers, as (time in ms, price, amount)."""

    def __init__(self) -> None:
        super().__init__()
        self.trades: dict[str, dict[int, tuple[int, float, float]]] = {}
        self.keeps: int | None = None  # trades that it still has, if not all

    def ccxt_options(self) -> str:
        """What TITAN_CCXT_BITFLYER is to hold."""
        return json.dumps({"urls": {"api": {"rest": self.url}}, "rateLimit": 1})

    def trade(self, name: str, at: datetime, price: float, amount: float) -> None:
        """One more trade."""
        made = self.trades.setdefault(name, {})
        made[len(made) + 1] = (int(at.timestamp() * 1000), price, amount)

    def rows_of(self, answer: Fault) -> list[Any]:
        """The trades of an answer."""
        rows: list[Any] = json.loads(answer.body)
        return rows

    def answer(self, path: str, query: dict[str, list[str]]) -> Fault:
        """The answer to a question."""
        if path.endswith("/getmarkets"):
            markets = [{"product_code": name, "market_type": "Spot"} for name in self.trades]
            return Fault(200, json.dumps(markets).encode())
        if "/getmarkets" in path:
            return Fault(200, b"[]")
        if not path.endswith("/getexecutions"):
            return Fault(404, b'{"status": -1, "error_message": "no such page"}')
        self.requests += 1
        if self.faults and (fault := self.faults.pop(0)):
            return fault
        made = self.trades[query["product_code"][0]]
        now = self.now().timestamp() * 1000 if self.now else None
        numbers = sorted(number for number, (at, _, _) in made.items() if now is None or at <= now)
        numbers = numbers[-self.keeps :] if self.keeps else numbers
        before = int(query.get("before", [2**62])[0])
        count = min(int(query.get("count", ["100"])[0]), MOST_TRADES)
        told = [number for number in numbers if number < before][-count:]
        answer = Fault(200, json.dumps([_row(number, *made[number]) for number in reversed(told)]).encode())
        return self.trouble(answer) if self.trouble else answer


def _row(number: int, at: int, price: float, amount: float) -> dict[str, Any]:
    return {
        "id": number, "side": "BUY" if number % 2 else "SELL", "price": price, "size": amount,
        "exec_date": f"{moment(at):%Y-%m-%dT%H:%M:%S}.{at % 1000:03}",
        "buy_child_order_acceptance_id": f"JRF{number}", "sell_child_order_acceptance_id": f"JRF{number}",
    }  # fmt: skip
