"""What is missing of series, asked for and loaded. It goes on where it stopped: what is missing is all that it knows."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import class_row

from ingest.sources.archives import ARCHIVES, Month, months
from ingest.sources.calls import PATIENT_ATTEMPTS
from ingest.sources.exchange import Inquiry
from titan.core.database import Connection, statement
from titan.core.errors import SourceError, TitanError, UsageError
from titan.core.log import Progress, event
from titan.core.timeframes import TIMEFRAMES
from titan.core.trace import span
from titan.ops.archives import load_months
from titan.ops.circuits import open_circuits
from titan.ops.exchanges import Exchanges, Loaded, Loader
from titan.ops.loads import LoadReport
from titan.ops.subscriptions import OVERLAP

log = logging.getLogger("titan.backfill")

OUTAGE_PATIENCE = "1 day"  # after which an outage is asked about once more: what its exchange will mend is mended by then
MOST_FRUITLESS = 6  # rounds in a row in which an exchange does not answer at all, until it is given up


@dataclass(frozen=True)
class Wanted:
    """A series, and from when on it is wanted; None for as far back as config.history says."""

    exchange: str
    symbol: str
    timeframe: str
    since: datetime | None = None


@dataclass(frozen=True)
class Stretch:
    """A part of a series that is to be asked for, [since, until), and why; until now where there is no end.

    reason: new (nothing of it is here), earlier or later than what is here, not_fetched (a hole that was never asked about),
    outage (one that is asked about once more: from_at to until_at). name: what its exchange called it then.
    """

    exchange: str
    symbol: str
    timeframe: str
    since: datetime
    until: datetime | None
    reason: str
    instrument_id: int | None
    from_at: datetime
    until_at: datetime
    name: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What names its series."""
        return self.exchange, self.symbol, self.timeframe

    @property
    def inquiry(self) -> Inquiry:
        """What an exchange is asked for it."""
        until = self.until
        if until and self.name != self.symbol:  # a candle that closes later is another name's
            until = min(until, TIMEFRAMES[self.timeframe].last_close(self.until_at))
        return Inquiry(self.exchange, self.name, self.timeframe, self.since, until, is_new=self.reason == "new")

    @property
    def candles(self) -> int:
        """How many it holds at most."""
        return int((self.until_at - self.from_at) / TIMEFRAMES[self.timeframe].length)


class Pace:
    """How far a backfill is, in periods of candles of what was missing when it began, and how fast it goes."""

    def __init__(self, stretches: Sequence[Stretch]) -> None:
        self._planned = sum(stretch.candles for stretch in stretches)
        self._before = self._candles = 0
        self._begun = time.monotonic()
        self._stretches: dict[Inquiry, Stretch] = {}
        self._loaded = Loaded()

    def add(self, periods: int, candles: int) -> None:
        """What has come otherwise."""
        self._before += periods
        self._candles += candles

    def begin(self, stretches: dict[Inquiry, Stretch], loaded: Loaded) -> None:
        """One more round over what is missing still."""
        self._before, self._candles = self.done, self.candles
        self._stretches, self._loaded = stretches, loaded

    @property
    def candles(self) -> int:
        """How many have come."""
        return self._candles + self._loaded.candles

    @property
    def done(self) -> int:
        """Periods that have been answered for."""
        return self._before + sum(self._done_of(inquiry) for inquiry in self._stretches)

    def _done_of(self, inquiry: Inquiry) -> int:
        stretch, reached = self._stretches[inquiry], self._loaded.reached.get(inquiry)
        if inquiry in self._loaded.answered:
            return stretch.candles
        return (
            0 if reached is None else max(int((min(reached, stretch.until_at) - stretch.from_at) / inquiry.period.length), 0)
        )

    def __str__(self) -> str:
        seconds, done = time.monotonic() - self._begun, self.done
        share = min(done / self._planned, 1) if self._planned else 1
        told = f"{self.candles:,} candles, {share:.0%} of what was missing"
        if seconds > 1 and done:
            told += f", {done / seconds:,.0f} a second, {_span(seconds * (1 - share) / share)} left"
        return told


@dataclass
class Backfilled:
    """What a backfill did: the stretches that it found missing, the report, and those that are missing still, and why."""

    stretches: list[Stretch]
    report: LoadReport = field(default_factory=LoadReport)
    failed: dict[Inquiry, TitanError] = field(default_factory=dict)


def wanted_of_universe(connection: Connection, universe: str, timeframe: str, since: datetime | None) -> list[Wanted]:
    """Every symbol that ever belonged to a universe. Raises UsageError where there is none of that name."""
    with connection.transaction():
        rows = connection.execute(
            "select distinct exchange, symbol from config.universe where universe = %s order by 1, 2", (universe,)
        ).fetchall()
    if not rows:
        raise UsageError(f"there is no universe {universe!r}", hint="titan universe list names those that there are")
    return [Wanted(str(exchange), str(symbol), timeframe, since) for exchange, symbol in rows]


def wanted_by_subscription(connection: Connection, since: datetime | None) -> list[Wanted]:
    """Every active series of config.subscription. Raises UsageError where there is none."""
    with connection.transaction():
        rows: list[Any] = connection.execute(
            """
            select exchange, symbol, timeframe, coalesce(%s, since::timestamp at time zone 'UTC')
            from config.subscription where is_active order by 1, 2, 3
            """,
            (since,),
        ).fetchall()
    if not rows:
        raise UsageError(
            "nothing is subscribed to", hint="insert series into config.subscription, or name an --exchange and --symbols"
        )
    return [Wanted(*row) for row in rows]


def plan(connection: Connection, wanted: Sequence[Wanted], as_of: datetime) -> list[Stretch]:
    """What is missing of series, newest parts first within an exchange; nothing is asked."""
    with connection.transaction(), connection.cursor(row_factory=class_row(Stretch)) as cursor:
        has_gaps = connection.execute("select to_regclass('bars.gap') is not null").fetchone() == (True,)
        outages: sql.Composable = sql.SQL(
            "select *, null::timestamptz as from_at, null::timestamptz as until_at, '' as reason from known where false"
        )
        if has_gaps:
            outages = statement("titan.ops.sql", "backfill_outages", patience=sql.Literal(OUTAGE_PATIENCE))
        return cursor.execute(
            statement("titan.ops.sql", "backfill", outages=outages, overlap=sql.Literal(OVERLAP)),
            {
                "exchanges": [one.exchange for one in wanted],
                "symbols": [one.symbol for one in wanted],
                "timeframes": [one.timeframe for one in wanted],
                "since": [one.since for one in wanted],
                "periods": [TIMEFRAMES[one.timeframe].length for one in wanted],
                "as_of": as_of,
            },
        ).fetchall()


@span("backfill")
def backfill(
    connection: Connection,
    wanted: Sequence[Wanted],
    progress: Progress = lambda text: None,
    sleep: Callable[[float], None] = time.sleep,
    *,
    exchanges: Exchanges | None = None,
    has_archives: bool = True,
) -> Backfilled:
    """Load what is missing of series. Every second what has come is committed; run again, it goes on where it stopped.

    Whole months of short candles come from archives, where the exchange publishes such. An exchange that does not answer is
    waited for, some times. Raises psycopg.Error when the server fails.
    """
    exchanges = exchanges or patient_exchanges(sleep)
    stretches = plan(connection, wanted, exchanges.now())
    done, pace, fruitless = Backfilled(stretches), Pace(stretches), 0
    series: dict[Inquiry, tuple[str, str, str]] = {}
    if has_archives and (months := _months(connection, exchanges, stretches)):
        load_months(
            connection, months, done.report,
            lambda month, candles: pace.add(month.candles, candles),
            lambda text: progress(f"{pace}; {text}"),
        )  # fmt: skip
        stretches = plan(connection, wanted, exchanges.now())
    while stretches:
        by_inquiry = {stretch.inquiry: stretch for stretch in stretches}
        series |= {inquiry: stretch.key for inquiry, stretch in by_inquiry.items()}
        loader = Loader(connection, exchanges, lambda text: progress(f"{pace}; {text}"), is_insistent=True)
        pace.begin(by_inquiry, loader.loaded)
        loaded = loader.load(list(by_inquiry), exchanges.now())
        _note_asked_again(connection, [by_inquiry[inquiry] for inquiry in loaded.answered])
        for promoted in loaded.report.promoted:
            done.report.add(promoted, goes_on=True)
        done.report.remarks += loaded.report.remarks
        done.report.failed += loaded.unadjusted
        waiting = {one: error for one, error in loaded.failed.items() if one.exchange in loaded.unreachable}
        done.failed |= {one: error for one, error in loaded.failed.items() if one not in waiting}
        fruitless = 0 if loaded.candles else fruitless + 1
        if not waiting or fruitless == MOST_FRUITLESS:
            done.failed |= waiting
            break
        _wait(connection, exchanges, loaded, progress, sleep)
        again = {series[one] for one in waiting}
        rest = [one for one in wanted if (one.exchange, one.symbol, one.timeframe) in again]
        stretches = plan(connection, rest, exchanges.now())
    if done.stretches:
        known = {stretch.key for stretch in done.stretches} - {series[one] for one in done.failed}
        done.failed |= _unanswered(plan(connection, wanted, exchanges.now()), known)
    done.report.failed += [(str(one), error) for one, error in done.failed.items()]
    return done


def _unanswered(left: Sequence[Stretch], asked: Set[tuple[str, str, str]]) -> dict[Inquiry, TitanError]:
    """What was asked about, and was not answered: an exchange may give its newest candles, whatever it is asked."""
    return {
        one.inquiry: SourceError(
            f"{one.exchange} does not answer for {one.name} "
            f"from {one.from_at:%Y-%m-%d %H:%M} to {one.until_at:%Y-%m-%d %H:%M}",
            hint="it may give its newest candles alone: titan load file takes older ones from files, and a later --since, "
            "or a row of config.history, asks for no more than it has",
        )
        for one in left
        if one.reason in ("earlier", "not_fetched") and one.key in asked
    }


def patient_exchanges(sleep: Callable[[float], None] = time.sleep) -> Exchanges:
    """Exchanges that are asked oftener before a page counts as failed: one bad minute should not end a long way."""
    return Exchanges(sleep, attempts=PATIENT_ATTEMPTS)


def _months(connection: Connection, exchanges: Exchanges, stretches: Sequence[Stretch]) -> list[Month]:
    """The months that may lie in archives, of the stretches that nobody was asked about."""
    found: list[Month] = []
    for stretch in stretches:
        if stretch.exchange not in ARCHIVES or stretch.reason == "outage":
            continue
        with suppress(TitanError):  # it will be said of the inquiry
            name = exchanges.source_for(connection, stretch.exchange).own_name(stretch.name)
            found += months(stretch.inquiry, name, stretch.from_at, stretch.until_at)
    return found


def _note_asked_again(connection: Connection, answered: Sequence[Stretch]) -> None:
    with connection.transaction():
        for stretch in answered:
            if stretch.reason == "outage":
                connection.execute(
                    """
                    insert into ops.asked_again (instrument_id, timeframe, gap_opened_at, gap_closed_at)
                    values (%s, %s, %s, %s) on conflict do nothing
                    """,
                    (stretch.instrument_id, stretch.timeframe, stretch.from_at, stretch.until_at),
                )


def _wait(
    connection: Connection, exchanges: Exchanges, loaded: Loaded, progress: Progress, sleep: Callable[[float], None]
) -> None:
    """Leave exchanges that did not answer alone for as long as they want to be, or have to be."""
    circuits = open_circuits(connection)
    until = [circuits[name].retry_at for name in loaded.unreachable if name in circuits]
    seconds = max(((at - exchanges.now()).total_seconds() for at in until), default=0)
    event(log, "waiting for exchanges", logging.WARNING, exchanges=sorted(loaded.unreachable), seconds=round(seconds, 1))
    while seconds > 0:
        progress(f"{', '.join(sorted(loaded.unreachable))} did not answer: again in {seconds:.0f} s")
        sleep(min(seconds, 1))
        seconds -= 1


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
