"""The gateway: answers from memory, computed ones, fifty clients beside full refreshes, news to whoever listens."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from playwright.sync_api import sync_playwright

from ingest.sources.synthetic import synthetic_batch
from tests.clocks import this_hour
from tests.commands import TITAN
from tests.local_gateway import CHROMIUM
from tests.warehouse import Row, Warehouse, create_database, make_batch, use_database
from titan.server.migrate import migrate

DATABASE = "bench_gateway"
SYMBOLS, BARS = 20, 20_000
SECONDS = float(os.environ.get("TITAN_BENCH_SECONDS", "60"))
CLIENTS = 50


class Client:
    """One connection that is kept, asked over and over: no more than what measures it."""

    def __init__(self, address: str) -> None:
        self._host, _, port = address.removeprefix("http://").partition(":")
        self._port = int(port)

    async def connect(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)

    async def get(self, path: str) -> tuple[int, bytes, float]:
        """The status, the body, and the seconds that they took."""
        begun = time.perf_counter()
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        length = next(int(line[15:]) for line in head.lower().split("\r\n") if line.startswith("content-length:"))
        body = await self._reader.readexactly(length)
        return int(head.split()[1]), body, time.perf_counter() - begun


def spelling(name: str, number: int) -> str:
    """The same name in small and capital letters: another request, to which there is no answer yet."""
    return "".join(letter.upper() if number >> at & 1 else letter.lower() for at, letter in enumerate(name))


def told(what: str, seconds: list[float]) -> None:
    """Print percentiles, in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100)
    print(f"  {what:64} p50 {1000 * cuts[49]:6.1f} ms, p99 {1000 * cuts[98]:6.1f} ms ({len(seconds):,})", flush=True)


async def one_by_one(address: str, path: Callable[[int], str], times: int) -> list[float]:
    client = Client(address)
    await client.connect()
    taken = []
    for turn in range(times):
        status, body, seconds = await client.get(path(turn))
        assert status == 200, body
        taken.append(seconds)
    return taken


async def crowd(address: str, paths: list[str]) -> tuple[list[float], int, int]:
    """Fifty clients for a minute: what each answer took, how many were errors, how many were not what the first one was."""
    wanted: dict[str, object] = {}
    taken: list[float] = []
    errors = differ = 0
    until = time.monotonic() + SECONDS

    async def work(number: int) -> None:
        nonlocal errors, differ
        client = Client(address)
        await client.connect()
        turn = number
        while time.monotonic() < until:
            path = paths[turn % len(paths)]
            status, body, seconds = await client.get(path)
            taken.append(seconds)
            if status != 200:
                errors += 1
            elif wanted.setdefault(path, json.loads(body)["data"]) != json.loads(body)["data"]:
                differ += 1
            turn += 7
            await asyncio.sleep(0.05)

    await asyncio.gather(*(work(number) for number in range(CLIENTS)))
    return taken, errors, differ


async def news(address: str, load: Callable[[int], Awaitable[None]], times: int) -> list[float]:
    """From before a candle is landed to when its stream tells of it."""
    host, _, port = address.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /v1/stream?topic=candles&symbol=BTC/USD&timeframe=1h HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.readuntil(b"event: hello")
    taken = []
    for turn in range(times):
        begun = time.perf_counter()
        await load(turn)
        await reader.readuntil(b"event: candles")
        taken.append(time.perf_counter() - begun)
    writer.close()
    return taken


def page(address: str, warehouse: Warehouse, first: datetime) -> None:
    """How long the page takes to be seen, and from before a candle is landed to when it shows it; how large it is."""
    if CHROMIUM is None:
        print("  no Chromium here: the page was not measured")
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        paints, charts = [], []
        for _ in range(20):
            context = browser.new_context()  # with nothing kept
            tab = context.new_page()
            begun = time.perf_counter()
            tab.goto(f"{address}/?symbol=BTC/USD&timeframe=1h")
            tab.locator("#price-chart[aria-label^=Candles]").wait_for()
            charts.append(time.perf_counter() - begun)
            paints.append(tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime") / 1000)
            context.close()
        told("the page: first paint", paints)
        told("the page: candles of real data drawn", charts)
        tab = browser.new_page()
        tab.goto(f"{address}/?symbol=BTC/USD&timeframe=1h")
        tab.locator("#health table").wait_for()
        size = tab.evaluate(
            "performance.getEntriesByType('resource').filter(one => one.name.includes('/page/'))"
            ".reduce((sum, one) => sum + one.encodedBodySize, 0)"
        )
        taken = []
        for turn in range(30):
            begun = time.perf_counter()
            price = 5_000_000 + turn
            warehouse.load(make_batch([Row(first + timedelta(hours=turn), price, "BTC/USD")], exchange="synthetic"))
            warehouse.refresh()
            tab.locator(f"#price-chart[aria-label$='{price:,}']").wait_for()
            taken.append(time.perf_counter() - begun)
        told("a candle landed, refreshed, and drawn by the page", taken)
        print(f"    its scripts and styles have {size / 1000:.0f} kB, compressed")
        browser.close()


def main() -> None:
    """Print the table."""
    create_database(DATABASE)
    use_database(DATABASE)
    migrate()
    warehouse = Warehouse()
    until = this_hour() - timedelta(days=3)  # what is loaded later has to be over
    warehouse.load(synthetic_batch(symbol_count=SYMBOLS, bar_count=BARS, timeframe="1h", until=until))
    warehouse.refresh()
    warehouse.query("vacuum analyze")
    process = subprocess.Popen([TITAN, "serve", "--port", "0"], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    address = process.stdout.readline().strip()
    symbols = [symbol for (symbol,) in warehouse.query("select symbol from bars.dim_instrument order by 1")]

    def spelt(turn: int) -> str:
        return spelling(symbols[turn % SYMBOLS], turn // SYMBOLS)

    print(f"{SYMBOLS} symbols, {SYMBOLS * BARS:,} candles of an hour; one client after the other:")
    same = "/v1/deep-dive/BTC/USD"
    told("a deep dive, from memory", asyncio.run(one_by_one(address, lambda turn: same, 2000)))
    for timeframe in ("1D", "1h"):
        fresh = asyncio.run(
            one_by_one(
                address,
                lambda turn, timeframe=timeframe: f"/v1/deep-dive/{spelt(turn)}?timeframe={timeframe}",  # type: ignore[misc]
                200,
            )
        )
        told(f"a deep dive by {timeframe}, computed", fresh)
    told(
        "a thousand bars, computed",
        asyncio.run(one_by_one(address, lambda turn: f"/v1/ohlcv?symbol={spelt(turn)}&timeframe=1h", 200)),
    )
    told(
        "a heat map of 20 by days, computed",
        asyncio.run(one_by_one(address, lambda turn: f"/v1/reports/correlation?exchange={spelling('synthetic', turn)}", 50)),
    )

    paths = [f"/v1/summary/{symbol}" for symbol in symbols] + [f"/v1/deep-dive/{symbol}" for symbol in symbols]
    paths += [f"/v1/ohlcv?symbol={symbol}&timeframe=1D&limit=200" for symbol in symbols] + ["/v1/leaderboard?limit=50"]
    ended = threading.Event()
    refreshes = []

    def build() -> None:
        builder = Warehouse()
        while not ended.is_set():
            begun = time.perf_counter()
            builder.refresh(is_full=True)
            refreshes.append(time.perf_counter() - begun)
        builder.close()

    thread = threading.Thread(target=build)
    thread.start()
    taken, errors, differ = asyncio.run(crowd(address, paths))
    ended.set()
    thread.join()
    told(f"{CLIENTS} clients for {SECONDS:.0f} s beside {len(refreshes)} full refreshes", taken)
    print(f"    {errors} errors, {differ} answers that were not whole")

    async def load(turn: int) -> None:
        def land() -> None:
            at = until + timedelta(hours=turn)
            warehouse.load(make_batch([Row(at, 50, "BTC/USD")], exchange="synthetic", timeframe="1h"))
            warehouse.refresh()

        await asyncio.get_running_loop().run_in_executor(None, land)

    told("a candle landed, refreshed, and told to a listener", asyncio.run(news(address, load, 30)))
    page(address, warehouse, until + timedelta(hours=30))  # after those
    process.send_signal(signal.SIGTERM)
    process.wait(20)
    warehouse.close()
    assert not errors
    assert not differ
