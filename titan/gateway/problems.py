"""What went wrong, as application/problem+json (RFC 9457): what, where, and what to do about it."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, cast

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException


class ProblemError(Exception):
    """A request that cannot be answered. `title` is of the kind, `detail` of this request, `hint` what helps."""

    def __init__(
        self, status: int, title: str, detail: str, *, hint: str = "", headers: dict[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.headers = status, headers or {}
        self.body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        if hint:
            self.body["hint"] = hint
        self.body |= more


def nearest(name: str, known: list[str]) -> list[str]:
    """The names that are most like one that is not known, at most three."""
    by_upper = {one.upper(): one for one in known}
    return [by_upper[one] for one in get_close_matches(name.upper(), list(by_upper), 3, 0.5)]


def respond(problem: ProblemError) -> Response:
    """The answer to a request that has none."""
    return Response(orjson.dumps(problem.body), problem.status, problem.headers, "application/problem+json")


async def on_problem(request: Request, error: Exception) -> Response:
    """FastAPI's handler of what we raise."""
    return respond(cast(ProblemError, error))


async def on_invalid(request: Request, error: Exception) -> Response:
    """FastAPI's handler of parameters that are none: each by its name, with what it should be."""
    invalid = cast(RequestValidationError, error)
    faults = [
        {"parameter": str(one["loc"][-1]), "detail": one["msg"], "value": str(one.get("input"))[:100]}
        for one in invalid.errors()
    ]
    told = "; ".join(f"{fault['parameter']}: {fault['detail']}, not {fault['value']!r}" for fault in faults)
    return respond(ProblemError(422, "Bad parameter", told, hint="/docs has every parameter with an example", faults=faults))


async def on_fault(request: Request, error: Exception) -> Response:
    """FastAPI's handler of what is a fault of ours: the server logs it whole, the client is told no more than its kind."""
    return respond(
        ProblemError(
            500, "A fault of the gateway", type(error).__name__, hint="its log says which; what was asked may be fine"
        )
    )


async def on_http(request: Request, error: Exception) -> Response:
    """FastAPI's handler of paths and methods that there are not."""
    refused = cast(HTTPException, error)
    hint = "/docs lists what there is" if refused.status_code == 404 else ""
    return respond(
        ProblemError(refused.status_code, str(refused.detail), f"{request.method} {request.url.path}", hint=hint,
                headers=dict(refused.headers or {}))
    )  # fmt: skip
