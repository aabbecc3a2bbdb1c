"""A circuit breaker per exchange, as a row: who finds one that does not answer tells every process to leave it alone."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg.rows import class_row

from ingest.sources.calls import ExchangeUnreachableError, RateLimitedError
from ingest.sources.limits import Backoff
from titan.core.database import Connection
from titan.core.log import event

log = logging.getLogger("titan.circuits")

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds; of who asks to be left alone it is the longest, unless it says how long


@dataclass(frozen=True)
class Circuit:
    """A row of ops.circuit_breaker."""

    exchange: str
    failures: int
    reason: str
    is_asked_for: bool
    failed_at: datetime
    retry_at: datetime

    def error(self) -> ExchangeUnreachableError:
        """Why the exchange is not asked."""
        return ExchangeUnreachableError(
            f"{self.exchange} is left alone until {self.retry_at:%H:%M:%S} UTC: {self.reason}",
            hint="titan status shows it; it is asked again by itself (titan watch, titan poll, titan backfill)",
        )


def open_circuits(connection: Connection) -> dict[str, Circuit]:
    """Every exchange that did not answer when it was asked last; those whose time has come among them."""
    with connection.transaction(), connection.cursor(row_factory=class_row(Circuit)) as cursor:
        rows = cursor.execute(
            "select exchange, failures, reason, is_asked_for, failed_at, retry_at from ops.circuit_breaker order by exchange"
        ).fetchall()
    return {row.exchange: row for row in rows}


def left_alone(
    circuits: Mapping[str, Circuit], now: datetime, *, is_insistent: bool = False
) -> dict[str, ExchangeUnreachableError]:
    """The exchanges that are not to be asked now, and why. Who insists asks those that did not answer, but not those that
    asked to be left alone.
    """
    return {
        name: one.error() for name, one in circuits.items() if one.retry_at > now and (one.is_asked_for or not is_insistent)
    }


def note(
    connection: Connection,
    now: datetime,
    unreachable: Mapping[str, ExchangeUnreachableError],
    answered: Collection[str] = (),
) -> None:
    """Open the circuits of exchanges that did not answer, each time for longer; close those of exchanges that did."""
    known = open_circuits(connection)
    with connection.transaction():
        connection.execute("delete from ops.circuit_breaker where exchange = any (%s)", (list(answered),))
        for exchange, error in unreachable.items():
            backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE, known[exchange].failures if exchange in known else 0)
            wait = backoff.next()
            is_asked_for = isinstance(error, RateLimitedError)
            if isinstance(error, RateLimitedError):
                wait = max(wait, LONGEST_PAUSE if error.seconds is None else error.seconds)
            connection.execute(
                """
                insert into ops.circuit_breaker (exchange, failures, reason, is_asked_for, failed_at, retry_at)
                values (%s, %s, %s, %s, %s, %s)
                on conflict (exchange) do update set
                    failures = excluded.failures, reason = excluded.reason, is_asked_for = excluded.is_asked_for,
                    failed_at = excluded.failed_at, retry_at = excluded.retry_at
                """,
                (exchange, backoff.failures, str(error), is_asked_for, now, now + timedelta(seconds=wait)),
            )
            event(log, "exchange left alone", logging.WARNING, exchange=exchange, seconds=round(wait, 1), error=str(error))
