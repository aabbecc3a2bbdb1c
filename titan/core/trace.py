"""Spans: what was done and how long it took, under one id from a flow to the refresh of a model.

Ids are those of the W3C's trace context. A trace has the run's id, unless TRACEPARENT brings another one from outside. Spans
that have ended wait in this process until titan.ops.traces writes them to ops.trace.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from titan.core.correlation import run_id

VARIABLE = "TRACEPARENT"
MOST_WAITING = 10_000  # spans, of a process whose server is away: the oldest ones are lost


@dataclass
class Span:
    """Something that is done: seconds are those of the machine, details become JSON."""

    name: str
    subject: str | None
    trace_id: UUID
    parent_id: str | None
    details: dict[str, Any]
    span_id: str = field(default_factory=lambda: secrets.token_hex(8))
    run_id: UUID = field(default_factory=run_id)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    seconds: float = 0
    is_failed: bool = False
    message: str | None = None
    is_kept: bool = True
    _begun: float = field(default_factory=time.perf_counter)

    def add(self, **details: Any) -> None:
        """More details."""
        self.details.update(details)

    def fail(self, message: str) -> None:
        """It has failed, for that reason."""
        self.is_failed, self.message = True, message

    def end(self) -> None:
        """It is over now."""
        self.seconds = time.perf_counter() - self._begun


_current: ContextVar[Span | None] = ContextVar("span", default=None)
_ended: deque[Span] = deque(maxlen=MOST_WAITING)


@contextmanager
def span(name: str, subject: str | None = None, *, is_root: bool = False, **details: Any) -> Iterator[Span]:
    """Something that is done in the block, as a part of what is done around it; an error that leaves the block fails it.

    is_root begins a trace of its own. One whose is_kept is taken away leaves nothing behind, nor do its parts.
    """
    parent = _current.get()
    outer_trace, outer_span = _from_outside()
    if is_root:
        one = Span(name, subject, uuid4(), None, details)
    elif parent is None:
        one = Span(name, subject, outer_trace or run_id(), outer_span, details)
    else:
        one = Span(name, subject, parent.trace_id, parent.span_id, details)
    token = _current.set(one)
    try:
        yield one
    except BaseException as error:
        one.fail((str(error).strip().splitlines() or [type(error).__name__])[0])
        raise
    finally:
        _current.reset(token)
        one.end()
        if one.is_kept:
            _ended.append(one)
        else:
            _forget_parts_of(one)


def _forget_parts_of(whole: Span) -> None:
    """Parts have ended before the whole, so the newest first."""
    gone, kept = {whole.span_id}, []
    for one in reversed(_ended):
        if one.parent_id in gone:
            gone.add(one.span_id)
        else:
            kept.append(one)
    if len(gone) > 1:
        _ended.clear()
        _ended.extend(reversed(kept))


def take() -> list[Span]:
    """The spans that have ended and were not taken yet, in the order in which they did."""
    taken = []
    while _ended:
        taken.append(_ended.popleft())
    return taken


def put_back(spans: list[Span]) -> None:
    """Let spans that could not be written wait on; the oldest are lost where there are too many."""
    room = MOST_WAITING - len(_ended)
    _ended.extendleft(reversed(spans[-room:] if room > 0 else []))


def waiting() -> int:
    """How many spans wait to be written."""
    return len(_ended)


def traceparent() -> str:
    """What others need to know of it to go on in it, as the W3C writes it; nothing outside of any span."""
    one = _current.get()
    return f"00-{one.trace_id.hex}-{one.span_id}-01" if one else ""


def _from_outside() -> tuple[UUID | None, str | None]:
    """The trace and span of who called this process. What is no traceparent is passed over, as the W3C asks."""
    found = re.fullmatch(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}.*", os.environ.get(VARIABLE, ""))
    if found is None or set(found[1]) == {"0"} or set(found[2]) == {"0"}:
        return None, None
    return UUID(found[1]), found[2]
