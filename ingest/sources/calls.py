"""Calling an exchange through ccxt: what may pass is tried again, no sooner than it asks for; what will not is one line."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from ingest.sources.limits import Backoff
from ingest.sources.paging import RefusedError
from titan.core.errors import SourceError

ATTEMPTS = 4  # of who is waited for
PATIENT_ATTEMPTS = 8  # of a long way that one bad answer should not end
FIRST_WAIT, LONGEST_BACKOFF = 1.0, 60.0  # seconds between attempts, which grow from the one to the other
LONGEST_WAIT = 120  # seconds; an exchange that wants to be left alone for longer is left alone

# What Python raises when an answer is not what ccxt, or whoever reads it, takes it for.
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)

Answer = TypeVar("Answer")


class ExchangeUnreachableError(SourceError):
    """The exchange did not answer, as opposed to answering no."""


class RateLimitedError(ExchangeUnreachableError):
    """The exchange asks to be left alone, for `seconds` if it says how long. To ask again at once makes it worse."""

    def __init__(self, message: str, *, hint: str, seconds: float | None) -> None:
        super().__init__(message, hint=hint)
        self.seconds = seconds


@dataclass(frozen=True)
class _Fault:
    """What came instead of an answer, and how long to wait until the next attempt; None if there is no use in one."""

    error: SourceError
    wait: float | None = None


class _Heard(threading.local):
    """The last answer of an exchange to this thread: its status, its text, the JSON of it, and its headers."""

    status: int = 0
    text: str | None = None
    json: Any = None
    headers: Mapping[str, str] | None = None


class Caller:
    """Calls of one exchange, from any thread. `sleep` waits so many seconds, `attempts` says how often a call is made.

    Once the exchange asks to be left alone, it is not called again.
    """

    def __init__(self, exchange: Any, sleep: Callable[[float], None], attempts: int = ATTEMPTS) -> None:
        self._exchange, self._sleep, self._attempts = exchange, sleep, attempts
        self._rate_limited: SourceError | None = None
        self._heard = _Heard()
        self._listen()

    def _listen(self) -> None:
        """Keep each answer for the thread that asked: ccxt keeps one alone, whoever asked last."""
        exchange, heard = self._exchange, self._heard
        on_rest_response, parse_json = exchange.on_rest_response, exchange.parse_json

        def note_answer(code: Any, reason: Any, url: Any, method: Any, headers: Any, body: Any, *rest: Any) -> Any:
            heard.status, heard.text, heard.headers = int(code), body, headers
            return on_rest_response(code, reason, url, method, headers, body, *rest)

        def note_json(text: Any) -> Any:
            heard.json = parse_json(text)
            return heard.json

        exchange.on_rest_response, exchange.parse_json = note_answer, note_json

    @property
    def told_time(self) -> datetime | None:
        """The instant at which the exchange says that it gave its last answer, in whole seconds; None if it does not say."""
        return _date((self._heard.headers or {}).get("Date", ""))

    def __call__(self, read: Callable[[Any], Answer], function: Callable[..., Any], *arguments: Any) -> Answer:
        """What `read` makes of the answer to ccxt's function; it raises ValueError for what is none.

        Raises RefusedError when the exchange answers no, RateLimitedError when it asks to wait for long or again and again,
        ExchangeUnreachableError when there is no answer, and SourceError when there is none that can be read.
        """
        import ccxt

        if self._rate_limited:
            raise self._rate_limited
        backoff = Backoff(FIRST_WAIT, LONGEST_BACKOFF)
        for attempt in range(1, self._attempts + 1):
            self._heard.status, self._heard.text, self._heard.json, self._heard.headers = 0, None, None, None
            try:
                answer = function(*arguments)
                if self._is_no_json():  # ccxt may have made an answer without candles of it
                    raise ValueError
                return read(answer)
            except (ccxt.BaseError, *UNREADABLE) as error:
                fault = self._fault(error, backoff.next())
                if fault.wait is None or attempt == self._attempts:
                    self._rate_limited = fault.error if isinstance(fault.error, RateLimitedError) else None
                    raise fault.error from error
                self._sleep(fault.wait)
        raise AssertionError("unreachable")

    def _is_no_json(self) -> bool:
        return self._heard.text is not None and self._heard.json is None

    def _fault(self, error: Exception, wait: float) -> _Fault:
        import ccxt

        name = self._exchange.id
        # Some exchanges say it in words that ccxt takes for a refusal.
        if isinstance(error, ccxt.DDoSProtection | ccxt.RateLimitExceeded) or self._heard.status in (418, 429):
            return self._rate_limit(error, 10 * wait)
        if isinstance(error, (ccxt.BadResponse, *UNREADABLE)):
            start = " ".join((self._heard.text or "")[:200].split())[:80]
            why = "it is no JSON" if self._is_no_json() else _first_line(error)
            return _Fault(
                SourceError(
                    f"{name} sent an answer that cannot be read, {start!r}: {why}",
                    hint="a page of maintenance, or of something that stands between? try again later",
                ),
                wait,
            )
        if isinstance(error, ccxt.NetworkError) or self._heard.status >= 500:
            has_answered = self._heard.headers is not None
            hint = (
                "it answers with a fault of its own; try again later" if has_answered else "is there a way to the internet?"
            )
            unreachable = ExchangeUnreachableError(f"{name} cannot be reached: {_first_line(error)}", hint=hint)
            wait = max(wait, self._asked_wait() or 0)
            return _Fault(unreachable, None if _is_hopeless(error) or wait > LONGEST_WAIT else wait)
        return _Fault(RefusedError(f"{name} refused: {_first_line(error)}"))

    def _rate_limit(self, error: Exception, wait: float) -> _Fault:
        asked = self._asked_wait()
        told = "" if asked is None else f", and asks to wait for {math.ceil(asked):,} s"
        wait = wait if asked is None else max(asked, 1)
        return _Fault(
            RateLimitedError(
                f"{self._exchange.id} is rate limited{told}: {_first_line(error)}",
                hint="whatever else asks it from here counts, too; load again later, or fewer series at once",
                seconds=asked,
            ),
            wait if wait <= LONGEST_WAIT else None,
        )

    def _asked_wait(self) -> float | None:
        """Seconds that the exchange asks to wait by Retry-After: a number, or a date, by its own clock where it tells it."""
        headers = self._heard.headers or {}
        text = str(headers.get("Retry-After", "")).strip()
        if text.isdecimal() and len(text) < 10:
            return float(text)
        until = _date(text)
        if until is None:
            return None
        return max((until - (_date(headers.get("Date", "")) or datetime.now(UTC))).total_seconds(), 0)


def _date(text: str) -> datetime | None:
    """An HTTP date; None for what is none."""
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _is_hopeless(error: Exception) -> bool:
    """Whether the host's name cannot even be resolved: no use in waiting."""
    cause: BaseException | None = error
    while cause is not None:
        if any(word in str(cause) for word in ("NameResolution", "Name or service", "name resolution", "getaddrinfo")):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
