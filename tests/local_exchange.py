"""An exchange on loopback that speaks Binance's public REST API, with faults on demand. ccxt itself is never mocked."""

from __future__ import annotations

import hashlib
import io
import json
import random
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlparse

SINCE = datetime(2024, 1, 1, tzinfo=UTC)
STEPS = {"1m": 60_000, "3m": 180_000, "1h": 3_600_000, "1d": 86_400_000}


class Fault(NamedTuple):
    """An answer that is none. A truncated one ends in the middle of its body; the status 0 is a line that goes dead."""

    status: int
    body: bytes
    headers: dict[str, str] = {}  # noqa: RUF012 (a default of a tuple's, which nobody writes)
    is_truncated: bool = False


class LocalExchange:
    """Its candles by (symbol, opening in ms); `faults` are answered first, one a request for candles, in their order.

    `markets` has what is told of a market otherwise than of others, or of one without candles. `faults_of` are those of a
    symbol, `market_faults` those of the request for its markets; None is an answer as usual.

    With a clock, `now`, it has a candle from its close on, or so much later (`lateness`). `skew` is how far that clock is
    ahead of the one that it tells.

    Below /archive it has the files of `archived` months, with their checksums; those of `spoilt` ones are others'.

    What `trouble` makes of an answer for candles is answered in its place: see `random_trouble`.

    It takes `answer_time` seconds to answer, and counts its answers and how many requests were under way at once.

    It may answer for no more than `window` milliseconds from where it is asked, or its `newest` ones whatever it is asked.
    """

    refusals: Sequence[Fault] = (Fault(429, b'{"code": -1003, "msg": "Too many requests"}', {"Retry-After": "1"}),)

    def __init__(self) -> None:
        self.candles: dict[str, dict[int, list[Any]]] = {}
        self.faults: list[Fault | None] = []
        self.faults_of: dict[str, list[Fault | None]] = {}
        self.markets: dict[str, dict[str, Any]] = {}
        self.market_faults: list[Fault | None] = []
        self.window: int | None = None
        self.newest: int | None = None
        self.now: Callable[[], datetime] | None = None
        self.lateness = timedelta(0)
        self.skew = timedelta(0)
        self.archived: set[str] = set()
        self.spoilt: set[str] = set()
        self.trouble: Callable[[Fault], Fault] | None = None
        self.answer_time = 0.0
        self.requests = 0
        self.answers = 0
        self.asked: list[tuple[str, int]] = []
        self.most_at_once = 0
        self._at_once = 0
        self.url = ""

    def add(self, symbol: str, opened_at: datetime, interval: str, closes: list[float]) -> None:
        """Candles from an instant on, one for each close."""
        start = int(opened_at.timestamp() * 1000)
        for at, close in enumerate(closes):
            opened = start + at * STEPS[interval]
            price = f"{close:.8f}"
            self.candles.setdefault(symbol, {})[opened] = [
                opened, price, price, price, price, "2.5", opened + STEPS[interval] - 1, f"{2.5 * close:.8f}", 7,
                "1", price, "0",
            ]  # fmt: skip

    @contextmanager
    def request(self) -> Iterator[None]:
        """A request that is being answered."""
        self.answers += 1
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        time.sleep(self.answer_time)
        try:
            yield
        finally:
            self._at_once -= 1

    def rows_of(self, answer: Fault) -> list[Any]:
        """The candles of an answer."""
        rows: list[Any] = json.loads(answer.body)
        return rows

    def page_of(self, answer: Fault, rows: list[Any]) -> Fault:
        """The same answer with other candles."""
        return Fault(200, json.dumps(rows).encode())

    def answer(self, path: str, query: dict[str, list[str]]) -> Fault:
        if path.endswith("/time"):
            told = self.now() if self.now else datetime.now(UTC)
            return Fault(200, json.dumps({"serverTime": int((told + self.skew).timestamp() * 1000)}).encode())
        if path.endswith("/exchangeInfo"):
            if self.market_faults and (fault := self.market_faults.pop(0)):
                return fault
            names = dict.fromkeys([*self.candles, *self.markets])
            markets = [{**_market(name), **self.markets.get(name, {})} for name in names]
            return Fault(200, json.dumps({"timezone": "UTC", "symbols": markets}).encode())
        if path.endswith("/klines"):
            self.requests += 1
            self.asked.append((query["symbol"][0], int(query.get("startTime", ["0"])[0])))
            for faults in (self.faults, self.faults_of.get(query["symbol"][0])):
                if faults and (fault := faults.pop(0)):
                    return fault
            since, limit = int(query.get("startTime", ["0"])[0]), int(query.get("limit", ["500"])[0])
            until = int(query.get("endTime", [2**62])[0])
            until = min(until, since + self.window - 1) if self.window else until
            if self.now:
                newest = int((self.now() - self.lateness).timestamp() * 1000) - STEPS[query["interval"][0]]
                until = min(until, newest)
            candles = self.candles[query["symbol"][0]]
            rows = [candles[opened] for opened in sorted(at for at in candles if since <= at <= until)[:limit]]
            if self.newest:
                rows = [row for _, row in sorted(candles.items())][-self.newest :]
            answer = Fault(200, json.dumps(rows).encode())
            return self.trouble(answer) if self.trouble else answer
        if "/archive/" in path:
            return self._archive(path.rpartition("/")[2])
        return Fault(404, b'{"code": -1, "msg": "no such page"}')

    def _archive(self, name: str) -> Fault:
        """The candles of a month, packed as Binance packs them; of 2025 and later their times are in microseconds."""
        name, is_checksum = name.removesuffix(".CHECKSUM"), name.endswith(".CHECKSUM")
        if name not in self.archived:
            return Fault(404, b"NoSuchKey")
        symbol, _, year, month = name.removesuffix(".zip").split("-")
        unit = 1000 if int(year) >= 2025 else 1
        rows = [
            [row[0] * unit, *row[1:6], row[6] * unit + unit - 1, *row[7:]]
            for at, row in sorted(self.candles[symbol].items())
            if f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m}" == f"{year}-{month}"
        ]
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
            member = zipfile.ZipInfo(name.replace(".zip", ".csv"))
            file.writestr(member, "\n".join(",".join(map(str, row)) for row in rows))
        data = packed.getvalue()
        told = hashlib.sha256(b"other" if name in self.spoilt else data).hexdigest()
        return Fault(
            200, f"{told}  {name}\n".encode() if is_checksum else data, {"Content-Type": "application/octet-stream"}
        )

    def ccxt_options(self) -> str:
        """What makes ccxt's binance talk to this one."""
        return json.dumps(
            {
                "urls": {"api": {"public": f"{self.url}/api/v3", "private": f"{self.url}/api/v3"}},
                "options": {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False},
                "rateLimit": 1,
                "timeout": 2000,
            }
        )


def _market(name: str) -> dict[str, Any]:
    base, quote = name[:-4], name[-4:]
    return {
        "symbol": name, "status": "TRADING", "baseAsset": base, "quoteAsset": quote, "baseAssetPrecision": 8,
        "quotePrecision": 8, "quoteAssetPrecision": 8, "isSpotTradingAllowed": True, "isMarginTradingAllowed": False,
        "permissions": ["SPOT"], "permissionSets": [["SPOT"]], "orderTypes": ["LIMIT"], "filters": [],
    }  # fmt: skip


def random_trouble(seed: int, rate: float, exchange: LocalExchange | None = None) -> Callable[[Fault], Fault]:
    """Answers as exchanges give them on a bad day, so often: refusals to serve, no answer, parts of one, one twice, pages of
    something that stands between.
    """
    chance, turn, dialect = random.Random(seed), threading.Lock(), exchange or LocalExchange()

    def trouble(answer: Fault) -> Fault:
        with turn:
            if chance.random() >= rate:
                return answer
            rows = dialect.rows_of(answer)
            return chance.choice(
                [
                    *dialect.refusals,
                    Fault(503, b"busy"),
                    Fault(502, b"<html>Bad gateway</html>", {"Content-Type": "text/html"}),
                    Fault(200, b"<html>Just a moment...</html>", {"Content-Type": "text/html"}),
                    Fault(0, b""),
                    Fault(200, answer.body[: len(answer.body) // 2], is_truncated=True),
                    Fault(200, answer.body[: len(answer.body) // 2]),
                    dialect.page_of(answer, [*rows, *rows]),
                    dialect.page_of(answer, rows[: len(rows) // 2]),
                    dialect.page_of(answer, []),
                    Fault(200, b"null"),
                ]
            )

    return trouble


@contextmanager
def local_exchange(served: LocalExchange | None = None) -> Iterator[LocalExchange]:
    """Serve the exchange, or a new one, on a free port of loopback until the block ends."""
    exchange = served or LocalExchange()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlparse(self.path)
            with exchange.request():
                answer = exchange.answer(parts.path, parse_qs(parts.query))
            if not answer.status:
                return
            self.send_response_only(answer.status)  # without the time of day, which may be among the headers
            for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body) * (2 if answer.is_truncated else 1)))
            with suppress(ConnectionError):  # who asked was killed
                self.end_headers()
                self.wfile.write(answer.body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    exchange.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield exchange
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
