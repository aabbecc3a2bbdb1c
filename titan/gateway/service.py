"""What the endpoints share: who may ask what, and the answer of before while it holds."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from fastapi import Request, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from titan.core.settings import Settings
from titan.gateway.answers import Answer, Answers, Visit, encode, send
from titan.gateway.catalog import Names
from titan.gateway.database import Pool
from titan.gateway.keys import hashed
from titan.gateway.problems import ProblemError
from titan.gateway.stream import Stream


@dataclass
class Options:
    """How the gateway is run."""

    settings: Settings
    needs_key: bool = False
    hosts: list[str] = field(default_factory=lambda: ["*"])  # names that it answers to
    connections: int = 10


@dataclass
class Budget:
    """How many more requests a key may make now: it fills up again by the second."""

    left: float
    at: float


class Gateway:
    """What the endpoints share."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.pool = Pool(options.settings, options.connections)
        self.answers = Answers(self.pool)
        self.names = Names(self.answers)
        self.stream = Stream(self.pool)
        self.budgets: dict[str, Budget] = {}
        self.registry = CollectorRegistry()
        self.requests = Counter("titan_gateway_requests", "Requests answered.", ["route", "status"], registry=self.registry)
        self.seconds = Histogram(
            "titan_gateway_seconds", "Time to the first byte of an answer.", ["route"], registry=self.registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )  # fmt: skip
        Gauge("titan_gateway_stream_clients", "Clients of /v1/stream.", registry=self.registry).set_function(
            lambda: self.stream.clients
        )
        Gauge("titan_gateway_cache_hits", "Answers given again.", registry=self.registry).set_function(
            lambda: self.answers.hits
        )
        Gauge("titan_gateway_cache_misses", "Answers computed.", registry=self.registry).set_function(
            lambda: self.answers.misses
        )

    async def admit(self, request: Request, scope: str) -> Visit:
        """Whether the request may be answered: in one statement, so that a key that is revoked is so at once.

        Raises ProblemError for no key where one is needed, and one that is unknown, revoked, expired, for other things, or
        asked too often.
        """
        key = request.headers.get("x-api-key") or request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if not key and self.options.needs_key:
            raise _unauthorized("no key was sent", "send Authorization: Bearer titan_…; titan key create makes one")
        _, rows = await self.pool.rows("version", {"hash": hashed(key) if key else None})
        version, name, scopes, per_minute, is_revoked, is_expired = rows[0]
        if key:
            if name is None:
                raise _unauthorized("there is no such key", "titan key list names those that there are")
            if is_revoked or is_expired:
                raise _unauthorized(
                    f"the key {name!r} {'was revoked' if is_revoked else 'has expired'}", "titan key create makes another"
                )
            if scope not in scopes:
                raise ProblemError(
                    403, "Out of scope", f"the key {name!r} is for {', '.join(scopes)}, and this is {scope}",
                    hint=f"titan key create … --scope {scope}",
                )  # fmt: skip
            self._spend(name, per_minute)
        return Visit.of(request, version)

    def _spend(self, name: str, per_minute: int) -> None:
        now = time.monotonic()
        budget = self.budgets.setdefault(name, Budget(per_minute, now))
        budget.left = min(per_minute, budget.left + (now - budget.at) * per_minute / 60)
        budget.at = now
        if budget.left < 1:
            wait = (1 - budget.left) * 60 / per_minute
            raise ProblemError(
                429, "Too many requests", f"the key {name!r} may ask {per_minute} times a minute",
                hint="ask again later, or for more rows at once", headers={"Retry-After": str(int(wait) + 1)},
            )  # fmt: skip
        budget.left -= 1

    async def answer(
        self,
        visit: Visit,
        ask: Callable[[], Awaitable[tuple[Answer, str | None]]],
        *,
        is_single: bool = False,
        is_aging: bool = False,
    ) -> Response:
        """The answer of before while it holds, or what `ask` finds, with the cursor of the next page."""
        if not is_aging and visit.has(tag := visit.etag(visit.data_version)):
            return Response(status_code=304, headers={"ETag": tag})
        async with self.answers.alone(visit.key):
            kept = self.answers.find(visit)
            if kept is None:
                self.answers.misses += 1
                found, following = await ask()
                kept = encode(visit, found, is_single=is_single, is_aging=is_aging, next_cursor=following)
                self.answers.keep(visit.key, kept)
        return send(visit, kept)


def _unauthorized(detail: str, hint: str) -> ProblemError:
    return ProblemError(401, "No valid key", detail, hint=hint, headers={"WWW-Authenticate": "Bearer"})
