"""The gateway's application: its endpoints, how what goes wrong is told, and what is counted."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from titan.gateway.problems import ProblemError, on_fault, on_http, on_invalid, on_problem
from titan.gateway.routes import pages, router
from titan.gateway.service import Gateway, Options


class Measured:
    """ASGI: counts every request under the route that it took, and how long its first byte was on its way."""

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self.app, self.gateway = app, gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = time.perf_counter()

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "none")
                self.gateway.requests.labels(route, message["status"]).inc()
                self.gateway.seconds.labels(route).observe(time.perf_counter() - begun)
            await send(message)

        await self.app(scope, receive, told)


def create_app(options: Options) -> FastAPI:
    """The application, of which `state.gateway` is what its endpoints share."""
    gateway = Gateway(options)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await gateway.pool.open()
        gateway.stream.start()
        yield
        await gateway.stream.stop()
        await gateway.pool.close()

    app = FastAPI(
        title="Titan", version="1", lifespan=lifespan, description=_DESCRIPTION,
        openapi_url="/openapi.json", docs_url=None, redoc_url=None,
    )  # fmt: skip
    app.state.gateway = gateway
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=options.hosts, www_redirect=False)
    app.add_middleware(Measured, gateway=gateway)
    app.add_exception_handler(ProblemError, on_problem)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_fault)
    app.include_router(router)
    app.include_router(pages)
    return app


_DESCRIPTION = """Marts of Titan over HTTP: bars, features, signals, what strategies would have earned, and how far the data
can be relied on.

Every answer says `as_of`, the instant that it is of, and `data_version`, which stands for everything that it was made of:
while that is the same, so is the answer. It is in the `ETag`, so `If-None-Match` costs next to nothing. Answers come as
`application/json`, `text/csv` and `application/vnd.apache.arrow.stream`, by `Accept`. Numbers have every digit that the
database has. Long answers come in pages: `next` (JSON) or the header `Link` leads to the following one. What cannot be
answered is `application/problem+json`, with what to do in `hint`."""
