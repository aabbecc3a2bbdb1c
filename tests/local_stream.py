"""Websockets on loopback that speak Binance's kline streams, with faults on demand. ccxt itself is never mocked."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import WSMsgType, web

from tests.local_exchange import STEPS


class LocalStream:
    """What is subscribed to gets what is pushed. It may drop its connections, and refuse new ones."""

    def __init__(self) -> None:
        self.url = ""
        self.is_refusing = False
        self.subscribed: set[str] = set()
        self._sockets: dict[web.WebSocketResponse, set[str]] = {}
        self._loop = asyncio.new_event_loop()

    def push(self, symbol: str, interval: str, candle: list[Any], *, is_closed: bool) -> None:
        """A candle as Binance's REST API has it, to everybody who listens to its series."""
        opened, opening, high, low, close, volume, _, quote, count, *_ = candle
        told = {
            "t": opened, "T": opened + STEPS[interval] - 1, "s": symbol, "i": interval, "o": opening, "c": close,
            "h": high, "l": low, "v": volume, "n": count, "x": is_closed, "q": quote, "V": "1", "Q": "1", "B": "0",
        }  # fmt: skip
        message = json.dumps({"e": "kline", "E": opened + 1, "s": symbol, "k": told})
        self._do(self._tell(f"{symbol.lower()}@kline_{interval}", message))

    def drop(self) -> None:
        """Every connection is lost."""
        self._do(self._drop())

    def wait_for(self, *streams: str) -> None:
        """Wait until these are subscribed to."""
        deadline = time.monotonic() + 20
        while not set(streams) <= {name for names in self._sockets.values() for name in names}:
            assert time.monotonic() < deadline, f"nobody listens to {streams}: {self._sockets}"
            time.sleep(0.02)

    def _do(self, what: Any) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(timeout=10)

    async def _tell(self, stream: str, message: str) -> None:
        for socket, streams in list(self._sockets.items()):
            if stream in streams and not socket.closed:
                await socket.send_str(message)

    async def _drop(self) -> None:
        for socket in list(self._sockets):
            await socket.close()

    async def answer(self, request: web.Request) -> web.WebSocketResponse:
        """One connection, until it ends."""
        if self.is_refusing:
            raise web.HTTPServiceUnavailable
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets[socket] = set()
        try:
            async for message in socket:
                if message.type == WSMsgType.TEXT:
                    await self._heard(socket, json.loads(message.data))
        finally:
            del self._sockets[socket]
        return socket

    async def _heard(self, socket: web.WebSocketResponse, asked: dict[str, Any]) -> None:
        self._sockets[socket] |= set(asked.get("params", ()))
        await socket.send_str(json.dumps({"result": None, "id": asked.get("id")}))

    async def serve(self) -> web.AppRunner:
        """Listen on a free port."""
        application = web.Application()
        application.router.add_get("/{path:.*}", self.answer)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"ws://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    @contextmanager
    def running(self) -> Iterator[LocalStream]:
        """Serve in a thread of its own until the block ends."""
        thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        thread.start()
        runner = asyncio.run_coroutine_threadsafe(self.serve(), self._loop).result(timeout=10)
        try:
            yield self
        finally:
            self.drop()
            asyncio.run_coroutine_threadsafe(runner.cleanup(), self._loop).result(timeout=10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()
