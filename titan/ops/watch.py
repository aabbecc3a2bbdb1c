"""Follow the series of config.subscription: ask each when its next candle is due, load it, refresh, say what is fresh.

One process does it for a warehouse. It outlives a lost server and a lost exchange, and ends when it is told to.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Protocol

import psycopg

from ingest.sources.exchange import Inquiry
from ingest.sources.limits import Backoff
from ingest.sources.streams import Streams
from titan.core.batch import EPOCH, Batch, join
from titan.core.database import Connection, connect
from titan.core.errors import BuildError, DatabaseUnavailableError, TitanError, UsageError
from titan.core.log import event
from titan.core.trace import Span, span
from titan.ops import traces
from titan.ops.alerts import judge
from titan.ops.circuits import Circuit, left_alone, open_circuits
from titan.ops.exchanges import Exchanges, Loaded, Loader
from titan.ops.loads import LoadReport, promote_into
from titan.ops.project import project_files
from titan.ops.refresh import Build, Refreshed, build_by_dbt, refresh
from titan.ops.run_lock import RunLock
from titan.ops.subscriptions import NOTHING, Series, inquiries, subscribed

log = logging.getLogger("titan.watch")

TICK = 10  # seconds after which it looks again for what others loaded or configured
FIRST_DELAY = 2.0  # seconds after a close at which an exchange is asked whose usual delay nobody knows
SHORTEST_DELAY, LONGEST_DELAY = 0.25, 30.0
LONGEST_PAUSE = 60.0  # seconds, of an exchange or a server that does not answer
FIRST_REFUSED, LONGEST_REFUSED = 30.0, 3600.0  # seconds, of a series that an exchange refuses, and of what dbt cannot build
JUDGED_EVERY = 60  # seconds between judgements of what somebody should look at

# Seconds from a close until a stream is looked at for its candle, until it is asked for instead, and until it is asked
# whether it was right.
STREAM_DELAY, STREAM_PATIENCE, CONFIRMED_AFTER = 0.2, 2.0, 3.0


class Stopped(Exception):  # noqa: N818 (no error: somebody wants it to end)
    """The process is to end."""


class Clock(Protocol):
    """Time as it passes here."""

    def now(self) -> datetime:
        """The present instant."""

    def sleep(self, seconds: float) -> None:
        """Let so many seconds pass. Raises Stopped as soon as the process is to end."""

    def check(self) -> None:
        """Raises Stopped if the process is to end."""


class WallClock:
    """The machine's clock; SIGTERM and SIGINT stop it, a second one ends the process at once."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def now(self) -> datetime:
        """The present instant."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Let so many seconds pass. Raises Stopped as soon as the process is to end."""
        self._stopped.wait(max(seconds, 0))
        self.check()

    def check(self) -> None:
        """Raises Stopped if the process is to end."""
        if self._stopped.is_set():
            raise Stopped

    @contextmanager
    def stopped_by_signals(self) -> Iterator[None]:
        """Listen to SIGTERM and SIGINT until the block ends."""
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

        def stop(number: int, _frame: object) -> None:
            self._stopped.set()
            signal.signal(number, before[signal.Signals(number)])

        for number in before:
            signal.signal(number, stop)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@dataclass
class Cycle:
    """What one round did: how many series it asked, how many told a candle by their streams, what of it got in, what was
    refreshed, and up to when bars are fresh.

    failed: what (a series, a model, dbt, the database) and why. fresh: by timeframe, the close that all series reached
    that answered. Times are UTC, seconds are those of the machine.
    """

    number: int
    at: datetime
    asked: int = 0
    heard: int = 0
    inserted: int = 0
    revised: int = 0
    quarantined: int = 0
    refreshed: Refreshed | None = None
    failed: dict[str, TitanError] = field(default_factory=dict)
    fresh: dict[str, datetime] = field(default_factory=dict)
    remark: str | None = None
    load_seconds: float = 0
    refresh_seconds: float = 0
    next_at: datetime = field(init=False)

    @property
    def has_refreshed(self) -> bool:
        """Whether some model was behind."""
        return self.refreshed is not None and bool(self.refreshed.steps or self.refreshed.owed)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to say of it."""
        return not (self.asked or self.heard or self.has_refreshed or self.failed or self.remark)


@dataclass
class _Pace:
    """When a series is asked next, and what it answered so far.

    due: the close that it was asked for last; attempts: how often without that candle. is_quiet: whether a whole period went
    by without one, so that its absence says nothing of the exchange. stream_at: when its stream is looked at next.
    """

    newest: datetime | None
    next_at: datetime
    due: datetime | None = None
    attempts: int = 0
    is_quiet: bool = False
    stream_at: datetime | None = None
    refused: Backoff = field(default_factory=lambda: Backoff(FIRST_REFUSED, LONGEST_REFUSED))


@dataclass(frozen=True)
class _Answer:
    """What a series answered: the close that was due and how long that was ago, how often it was asked for that before."""

    series: Series
    due: datetime
    newest: datetime | None
    attempts: int
    lateness: float
    is_there: bool


def _group_of(answer: _Answer) -> tuple[str, str]:
    return answer.series.exchange, answer.series.timeframe


class Delays:
    """Seconds from a close until its candle is asked for, by exchange and timeframe: as short as the exchange allows."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, str], float] = {}
        self._kept: dict[tuple[str, str], float] = {}

    def of(self, series: Series) -> float:
        """Seconds, of a series' exchange and timeframe."""
        return self._seconds.get((series.exchange, series.timeframe), min(FIRST_DELAY, self._longest(series)))

    def learn(self, answers: Sequence[_Answer]) -> None:
        """Of one round. A candle that was not there yet makes the delay as long as it took; one that was there at the first
        attempt makes it a little shorter.
        """
        for key, group in groupby(sorted(answers, key=_group_of), key=_group_of):
            there = [answer for answer in group if answer.is_there]
            late = [answer.lateness for answer in there if answer.attempts]
            if not there or (not late and there[0].lateness > 2 * self.of(there[0].series)):
                continue  # it was asked long after the close, which tells nothing
            known, longest = self.of(there[0].series), self._longest(there[0].series)
            self._seconds[key] = min(max(*late, known) if late else max(0.95 * known, SHORTEST_DELAY), longest)

    def read(self, connection: Connection) -> None:
        """Recall what an earlier process learnt."""
        rows: Any = connection.execute("select exchange, timeframe, seconds from ops.exchange_delay").fetchall()
        self._kept = {(exchange, timeframe): seconds for exchange, timeframe, seconds in rows}
        self._seconds = self._kept | self._seconds

    def keep(self, connection: Connection) -> None:
        """Write down what has changed by more than a tenth."""
        for (exchange, timeframe), seconds in self._seconds.items():
            if abs(seconds - self._kept.get((exchange, timeframe), 0)) > 0.1 * seconds:
                connection.execute(
                    """
                    insert into ops.exchange_delay (exchange, timeframe, seconds) values (%s, %s, %s)
                    on conflict (exchange, timeframe) do update
                    set seconds = excluded.seconds, learnt_at = clock_timestamp()
                    """,
                    (exchange, timeframe, seconds),
                )
                self._kept[exchange, timeframe] = seconds

    @staticmethod
    def _longest(series: Series) -> float:
        return min(LONGEST_DELAY, series.period.seconds / 4)


class Watch:
    """Rounds over the series, one after the other, over one connection that is opened again when it is lost."""

    def __init__(self, clock: Clock, build: Build | None = None, streams: Streams | None = None) -> None:
        self._clock, self._streams = clock, streams
        self._exchanges = Exchanges(clock.sleep, clock.now)
        self._delays = Delays()
        self._paces: dict[tuple[str, str, str], _Pace] = {}
        self._circuits: dict[str, Circuit] = {}
        self._builds = _PatientBuild(clock, build or build_by_dbt(lambda text: clock.check()))
        self._lock = RunLock("watch", "watch")
        self._connection: Connection | None = None
        self._lost = Backoff(1, LONGEST_PAUSE)
        self._judged_at: datetime | None = None
        self._has_told_of_nothing = False
        self.cycles = 0

    def run(self, tell: Callable[[Cycle], None], most_cycles: int | None = None) -> None:
        """Go on until the clock is stopped, or so many rounds had something to do; tell of each of those.

        Raises BusyError where somebody else watches, MigrationError where the database is not of this checkout, and
        DatabaseUnavailableError where there is no server to begin with.
        """
        self._lock.acquire()
        outcome = "failed"
        try:
            while True:
                cycle = self._cycle()
                if not cycle.is_idle:
                    self.cycles += 1
                    tell(cycle)
                if self.cycles == most_cycles:
                    break
                self._clock.sleep((cycle.next_at - self._clock.now()).total_seconds())
            outcome = "done"
        except Stopped:
            outcome = "done"
        finally:
            self._end(outcome)

    def _end(self, outcome: str) -> None:
        self._lock.record_end(outcome)
        self._lock.close()
        if self._connection is not None:
            self._connection.close()

    def _cycle(self) -> Cycle:
        """One round: what is due is asked for and loaded, what is behind is refreshed."""
        cycle = Cycle(self.cycles + 1, self._clock.now())
        try:
            connection = self._connected()
            series = subscribed(connection, cycle.at)
            with span("cycle", "watch", is_root=True, number=cycle.number) as traced:
                self._circuits = open_circuits(connection)
                self._meet(series, cycle)
                self._hear(connection, series, cycle)
                if due := [one for one in series if self._is_due(one, cycle.at)]:
                    self._load(connection, due, cycle)
                self._refresh(connection, cycle)
                self._describe(cycle, traced)
            traces.write(connection)
            self._judge(connection, cycle.at)
            self._lost.reset()
            cycle.next_at = self._next_at(series, cycle)
        except (DatabaseUnavailableError, psycopg.OperationalError) as error:
            self._lose(error, cycle)
        return cycle

    @staticmethod
    def _describe(cycle: Cycle, traced: Span) -> None:
        traced.is_kept = not cycle.is_idle
        traced.add(asked=cycle.asked, heard=cycle.heard, inserted=cycle.inserted, revised=cycle.revised)
        if cycle.failed:
            what, error = next(iter(cycle.failed.items()))
            traced.fail(f"{what}: {error}")

    def _connected(self) -> Connection:
        self._lock.acquire()  # again, where the server let go of it
        if self._connection is None or self._connection.closed:
            self._connection = connect(autocommit=True)
            self._delays.read(self._connection)
        return self._connection

    def _lose(self, error: Exception, cycle: Cycle) -> None:
        if self._connection is not None:
            self._connection.close()
        told = error if isinstance(error, TitanError) else DatabaseUnavailableError(str(error).strip().splitlines()[0])
        cycle.failed["database"] = told
        wait = self._lost.next()
        event(log, "server lost", logging.WARNING, error=str(told), wait=round(wait, 1))
        cycle.next_at = self._clock.now() + timedelta(seconds=wait)

    def _meet(self, series: Sequence[Series], cycle: Cycle) -> None:
        """Ask at once for what is new in config.subscription; forget what was taken out."""
        if self._streams:
            self._streams.follow({one.key for one in series})
        self._paces = {one.key: self._paces.get(one.key) or _Pace(newest=one.reached, next_at=cycle.at) for one in series}
        if not series and not self._has_told_of_nothing:
            cycle.remark = NOTHING
        self._has_told_of_nothing = not series

    def _is_due(self, series: Series, now: datetime) -> bool:
        return series.exchange not in left_alone(self._circuits, now) and self._paces[series.key].next_at <= now

    def _next_at(self, series: Sequence[Series], cycle: Cycle) -> datetime:
        wanted = [
            max(
                self._paces[one.key].next_at,
                self._circuits[one.exchange].retry_at if one.exchange in self._circuits else cycle.at,
            )
            for one in series
        ]
        listening = [at for one in series if (at := self._paces[one.key].stream_at)]
        return min([*wanted, *listening, cycle.at + timedelta(seconds=TICK)])

    # --- listening --------------------------------------------------------------------------------------------------------

    def _hear(self, connection: Connection, series: Sequence[Series], cycle: Cycle) -> None:
        """Load the candles that have closed by their streams; asking for them, a little later, confirms or revises them.

        A stream that has just been joined again may tell of the next close before it has said anything else.
        """
        if self._streams is None:
            return
        told: dict[Series, Batch] = {}
        away = left_alone(self._circuits, cycle.at)  # what is not open now is not opened for a stream
        for one in series:
            pace = self._paces[one.key]
            pace.stream_at = None
            if pace.newest is None or one.exchange in away:
                continue
            inquiry = Inquiry(*one.key, since=pace.newest, until=one.period.close_of(pace.newest))
            late = (cycle.at - (inquiry.until or cycle.at)).total_seconds()
            if late < STREAM_DELAY:
                pace.stream_at = cycle.at + timedelta(seconds=STREAM_DELAY - late)
            elif row := self._streams.closed(one.key, (pace.newest - EPOCH) // timedelta(milliseconds=1)):
                with suppress(TitanError):  # an exchange that does not answer now: it is asked later, which says so
                    told[one] = self._exchanges.source(one.exchange).heard(inquiry, row, cycle.at)
            elif late < STREAM_PATIENCE and self._streams.is_live(one.key):
                pace.stream_at = cycle.at + timedelta(seconds=STREAM_DELAY)
        for market in {batch.market for batch in told.values()}:
            self._take(connection, {one: batch for one, batch in told.items() if batch.market == market}, cycle)

    def _take(self, connection: Connection, told: dict[Series, Batch], cycle: Cycle) -> None:
        first = next(iter(told))
        origin = f"{first.exchange} {len(told)} symbols {first.timeframe} stream"
        begun = time.monotonic()
        try:
            promoted = promote_into(connection, join(list(told.values()), origin), LoadReport())
        except TitanError as error:  # asking brings the same candles, series by series
            event(log, "stream not taken", logging.WARNING, origin=origin, error=str(error))
            return
        cycle.load_seconds += time.monotonic() - begun
        cycle.heard += len(told)
        cycle.inserted += promoted.inserted
        cycle.revised += promoted.revised
        cycle.quarantined += sum(promoted.quarantined.values())
        for one in told:
            pace, period = self._paces[one.key], one.period
            pace.newest = period.close_of(pace.newest) if pace.newest else None
            if pace.newest:
                pace.next_at = max(pace.next_at, pace.newest + timedelta(seconds=CONFIRMED_AFTER))
                pace.stream_at = period.close_of(pace.newest) + timedelta(seconds=STREAM_DELAY)
                cycle.fresh[one.timeframe] = min(cycle.fresh.get(one.timeframe, pace.newest), pace.newest)

    # --- loading ----------------------------------------------------------------------------------------------------------

    def _load(self, connection: Connection, due: Sequence[Series], cycle: Cycle) -> None:
        begun = time.monotonic()
        asked = dict(zip(due, inquiries(due), strict=True))
        loader = Loader(connection, self._exchanges, lambda text: self._clock.check())
        loaded = loader.load(list(asked.values()), cycle.at)
        cycle.load_seconds += time.monotonic() - begun
        cycle.asked = len(due)
        cycle.inserted += sum(batch.inserted for batch in loaded.report.promoted)
        cycle.revised += sum(batch.revised for batch in loaded.report.promoted)
        cycle.quarantined += loaded.report.quarantined
        cycle.failed |= {str(one): error for one, error in loaded.failed.items()} | dict(loaded.unadjusted)
        failed = {one: loaded.failed[inquiry] for one, inquiry in asked.items() if inquiry in loaded.failed}
        answers = [self._answer(one, loaded.newest.get(asked[one]), cycle.at) for one in due if one not in failed]
        self._delays.learn(answers)
        for answer in answers:
            self._follow(answer, cycle.at)
            if answer.newest:
                fresh = cycle.fresh.setdefault(answer.series.timeframe, answer.newest)
                cycle.fresh[answer.series.timeframe] = min(fresh, answer.newest)
        for one, error in failed.items():
            self._put_off(one, error, loaded, cycle.at)
        self._circuits = open_circuits(connection)
        self._delays.keep(connection)

    def _answer(self, series: Series, newest: datetime | None, now: datetime) -> _Answer:
        """Whether a series had the candle that was due."""
        pace, period = self._paces[series.key], series.period
        known, then = newest or pace.newest, now - self._behind(series)
        due = period.last_close(then, known) if known else period.last_close(then)
        attempts = pace.attempts if pace.due == due else 0
        return _Answer(series, due, newest, attempts, (then - due).total_seconds(), newest is not None and newest >= due)

    def _behind(self, series: Series) -> timedelta:
        """How long after its close a candle of an exchange can be had at all."""
        source = self._exchanges.opened(series.exchange)
        return source.delay if source else timedelta(0)

    def _follow(self, answer: _Answer, now: datetime) -> None:
        """Decide when a series is asked next: for the next candle, or once more for this one."""
        series, pace, delay = answer.series, self._paces[answer.series.key], self._delays.of(answer.series)
        next_close = series.period.close_of(answer.due) + self._behind(series) + timedelta(seconds=delay)
        again = now + timedelta(seconds=max(SHORTEST_DELAY, delay / 4) * 2.0 ** min(answer.attempts, 20))
        pace.is_quiet = pace.is_quiet and answer.newest in (None, pace.newest)
        is_given_up = answer.is_there or pace.is_quiet or again >= next_close
        pace.is_quiet = not answer.is_there and is_given_up
        pace.next_at = next_close if is_given_up else again
        pace.due, pace.attempts = answer.due, 0 if answer.is_there else answer.attempts + 1
        pace.newest = answer.newest or pace.newest
        pace.refused.reset()

    def _put_off(self, series: Series, error: TitanError, loaded: Loaded, now: datetime) -> None:
        pace = self._paces[series.key]
        if isinstance(error, UsageError):  # a market of which it did not know when it was opened?
            self._exchanges.forget(series.exchange)
        if series.exchange not in loaded.unreachable:  # the exchange answers: it is this one that it does not serve
            pace.next_at = now + timedelta(seconds=pace.refused.next())

    # --- refreshing -------------------------------------------------------------------------------------------------------

    def _refresh(self, connection: Connection, cycle: Cycle) -> None:
        begun = time.monotonic()
        try:
            cycle.refreshed = refresh(connection, lambda text: self._clock.check(), is_patient=True, build=self._builds)
            cycle.failed |= {step.node: BuildError(step.reason) for step in cycle.refreshed.failed}
        except BuildError as error:
            if not self._builds.has_waited:
                cycle.failed["dbt"] = error
        cycle.refresh_seconds = time.monotonic() - begun

    def _judge(self, connection: Connection, now: datetime) -> None:
        if self._judged_at is None or (now - self._judged_at).total_seconds() >= JUDGED_EVERY:
            traces.keep_house(connection, now)
            judge(connection, now)
            self._judged_at = now


@dataclass(frozen=True)
class _Refused:
    """What dbt was asked for, over which files, what it said, and until when it is not asked the same again."""

    asked: object
    error: BuildError
    until: datetime


class _PatientBuild:
    """dbt, which is not asked again at once for what it could not build, unless a file has changed since."""

    def __init__(self, clock: Clock, build: Build) -> None:
        self._clock, self._build = clock, build
        self._backoff = Backoff(FIRST_REFUSED, LONGEST_REFUSED)
        self._refused: _Refused | None = None
        self.has_waited = False  # whether the last refusal was the one before, once more

    def __call__(self, names: Sequence[str]) -> None:
        """Raises BuildError where dbt fails, or has failed a while ago."""
        asked = (tuple(names), project_files())
        self.has_waited = False
        if self._refused and self._refused.asked == asked and self._clock.now() < self._refused.until:
            self.has_waited = True
            raise self._refused.error
        try:
            self._build(names)
        except BuildError as error:
            self._refused = _Refused(asked, error, self._clock.now() + timedelta(seconds=self._backoff.next()))
            raise
        self._refused = None
        self._backoff.reset()
