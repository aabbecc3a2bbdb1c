"""Alpaca's API of stocks on loopback: assets, bars and corporate actions, as its documentation has them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

from ingest.sources.exchange import present
from tests.local_exchange import Fault, LocalExchange

SPANS = {"1Min": timedelta(minutes=1), "1Hour": timedelta(hours=1), "1Day": timedelta(days=1)}
MOST_BARS = 10_000


class LocalAlpaca(LocalExchange):
    """Its `bars` by (symbol, timeframe), `actions` by kind, `assets`; without keys it answers as to who has none.

    A page holds `page` bars at most, and every second one is empty if `has_empty_pages`, with a token for the next.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bars: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.actions: dict[str, list[dict[str, Any]]] = {}
        self.action_faults: list[Fault] = []
        self.assets: list[dict[str, Any]] = []
        self.page = MOST_BARS
        self.has_empty_pages = False

    def add_stock(self, symbol: str, timeframe: str, opened: list[datetime], closes: list[float], **asset: Any) -> None:
        """A listed stock with its bars."""
        if not any(one["symbol"] == symbol for one in self.assets):
            self.assets.append(
                {"class": "us_equity", "exchange": "NASDAQ", "symbol": symbol, "status": "active", "tradable": True, **asset}
            )
        self.bars[symbol, timeframe] = [
            {"t": f"{at:%Y-%m-%dT%H:%M:%SZ}", "o": close, "h": close, "l": close, "c": close, "v": 100, "n": 7, "vw": close}
            for at, close in zip(opened, closes, strict=True)
        ]

    def options(self, **options: Any) -> str:
        """What TITAN_CCXT_ALPACASTOCKS is to hold."""
        return json.dumps({"urls": {"api": {"data": self.url, "trading": self.url}}, "rateLimit": 1, "options": options})

    def answer(self, path: str, query: dict[str, list[str]]) -> Fault:
        """The answer, dated by its clock."""
        date = format_datetime((self.now or present)(), usegmt=True)
        told = self._answer(path, query)
        return told._replace(headers={"Date": date, **told.headers})

    def _answer(self, path: str, query: dict[str, list[str]]) -> Fault:
        asked = {name: values[0] for name, values in query.items()}
        if path == "/v2/assets":
            return _told(self.assets)
        self.requests += 1
        if path == "/v1/corporate-actions":
            if self.action_faults:
                return self.action_faults.pop(0)
            symbols, kinds = asked["symbols"].split(","), asked["types"].split(",")
            rows = [(kind, row) for kind in kinds for row in self.actions.get(kind, []) if row["symbol"] in symbols]
            return self._actions(rows, int(asked.get("page_token", "0")))
        if self.faults and (fault := self.faults.pop(0)):
            return fault
        return self._bars(path.split("/")[3], asked)

    def _actions(self, rows: list[tuple[str, dict[str, Any]]], at: int) -> Fault:
        """So many as a page holds, of whichever kinds."""
        told: dict[str, list[dict[str, Any]]] = {}
        stop = at + self.page
        for kind, row in rows[at:stop]:
            told.setdefault(f"{kind}s", []).append(row)
        return _told({"corporate_actions": told, "next_page_token": str(stop) if stop < len(rows) else None})

    def _bars(self, symbol: str, asked: dict[str, str]) -> Fault:
        start, end = datetime.fromisoformat(asked["start"]), datetime.fromisoformat(asked["end"])
        if asked["feed"] == "sip" and end > (self.now or present)() - timedelta(minutes=14):
            return Fault(403, b'{"message": "subscription does not permit querying recent SIP data"}')
        if asked["adjustment"] != "raw" or asked["sort"] != "asc" or not 1 <= int(asked["limit"]) <= MOST_BARS:
            return Fault(400, b'{"message": "invalid query"}')
        found = [one for one in self.bars[symbol, asked["timeframe"]] if start <= datetime.fromisoformat(one["t"]) <= end]
        at = int(asked.get("page_token", "0"))
        if self.has_empty_pages and "page_token" not in asked and found:
            return _told({"bars": None, "symbol": symbol, "next_page_token": "0"})
        stop = at + min(int(asked["limit"]), self.page)
        return _told({"bars": found[at:stop], "symbol": symbol, "next_page_token": str(stop) if stop < len(found) else None})


def _told(answer: Any) -> Fault:
    return Fault(200, json.dumps(answer).encode())
