"""What becomes new, pushed: one connection listens, every client hears what concerns it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql

from titan.core.log import event
from titan.gateway.database import Pool

log = logging.getLogger("titan.gateway")

WAITING = 1_000  # messages that a client may be behind before it is told that it missed some
HEARTBEAT = 15.0  # seconds of silence after which a client is told that we are there
FIRST_WAIT, LONGEST_WAIT = 0.5, 4.0  # seconds between attempts at a server that is away


@dataclass(eq=False)
class Listener:
    """A client: what it wants to hear of, and what it has not been sent yet."""

    topics: frozenset[str]
    symbols: frozenset[str]
    timeframes: frozenset[str]
    queue: asyncio.Queue[tuple[str, dict[str, Any]]] = field(default_factory=lambda: asyncio.Queue(WAITING))

    def wants(self, message: dict[str, Any]) -> bool:
        """What a message leaves out stands for all of it."""
        return (
            message["topic"] in self.topics
            and (not self.symbols or message.get("symbol") is None or message["symbol"] in self.symbols)
            and (not self.timeframes or message.get("timeframe") is None or message["timeframe"] in self.timeframes)
        )

    def put(self, kind: str, message: dict[str, Any]) -> None:
        """Send it; where too much waits already, forget all of that and say so."""
        if self.queue.full():
            while not self.queue.empty():
                self.queue.get_nowait()
            self.queue.put_nowait(("missed", {"detail": "too much became new at once: read anew"}))
        self.queue.put_nowait((kind, message))


class Stream:
    """Listens as long as the gateway runs, and again when the server has come back."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._listeners: set[Listener] = set()
        self._task: asyncio.Task[None] | None = None
        self.topics: list[str] = []
        self.away_since: datetime | None = datetime.now(UTC)

    @property
    def clients(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def start(self) -> None:
        """Begin to listen."""
        self._task = asyncio.create_task(self._run())

    def end(self) -> None:
        """Let every client go: the gateway is being stopped. May be called by a signal."""
        if self._task:
            detail = {"detail": "the gateway is being stopped"}
            self._task.get_loop().call_soon_threadsafe(self._tell_all, "end", detail)

    async def stop(self) -> None:
        """Listen no longer."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def listen(self, listener: Listener) -> AsyncIterator[bytes]:
        """What a client is sent, as server-sent events; NOTIFY keeps nothing, so it reads anew whenever it (re)connects."""
        self._listeners.add(listener)
        try:
            yield _event("hello", {"topics": sorted(listener.topics), "away_since": self._since()})
            while True:
                try:
                    kind, message = await asyncio.wait_for(listener.queue.get(), HEARTBEAT)
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                yield _event(kind, message)
                if kind == "end":
                    return
        finally:
            self._listeners.discard(listener)

    async def _run(self) -> None:
        wait = FIRST_WAIT
        while True:
            try:
                async with await self._pool.listener() as connection:
                    found = await (await connection.execute("select distinct topic from config.topic order by 1")).fetchall()
                    self.topics = [*(str(topic) for (topic,) in found), "alerts"]
                    for topic in self.topics:
                        await connection.execute(sql.SQL("listen {}").format(sql.Identifier(f"titan_{topic}")))
                    if self.away_since:
                        self.away_since = None
                        self._tell_all("back", {"detail": "the database is there: read anew"})
                    wait = FIRST_WAIT
                    async for notice in connection.notifies():
                        self._tell(json.loads(notice.payload))
            except (psycopg.OperationalError, OSError) as error:
                if not self.away_since:
                    self.away_since = datetime.now(UTC)
                    event(log, "stream waits", logging.WARNING, error=str(error).strip().splitlines()[0])
                    self._tell_all("away", {"since": self._since()})
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    def _since(self) -> str | None:
        return self.away_since.isoformat() if self.away_since else None

    def _tell(self, message: dict[str, Any]) -> None:
        for listener in self._listeners:
            if listener.wants(message):
                listener.put(message["topic"], message)

    def _tell_all(self, kind: str, message: dict[str, Any]) -> None:
        for listener in self._listeners:
            listener.put(kind, message)


def _event(kind: str, message: dict[str, Any]) -> bytes:
    number = f"id: {message['change']}\n" if "change" in message else ""
    return f"event: {kind}\n{number}data: {json.dumps(message)}\n\n".encode()
