"""Asking exchanges: several series of each at once, within its limit; and what they answer, loaded as it comes."""

from __future__ import annotations

import logging
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from queue import Empty, Full, Queue
from threading import Event, Lock, Thread
from typing import Any

from expectations.gate import preload
from ingest.adjustments import note_adjustments
from ingest.listings import note_listings
from ingest.sources.calls import ATTEMPTS
from ingest.sources.exchange import ExchangeSource, ExchangeUnreachableError, Inquiry, RateLimitedError, present
from titan.core.batch import Batch, Market, instant, join
from titan.core.database import Connection
from titan.core.errors import GateError, SourceError, TitanError, UsageError
from titan.core.log import Progress, event
from titan.core.timeframes import parse_timeframe
from titan.ops.circuits import left_alone, note, open_circuits
from titan.ops.loads import LoadReport, promote_into

log = logging.getLogger("titan.exchanges")

MARKETS_AGE = 6 * 3600  # seconds after which a long-lived process reads an exchange's markets again

# What came is committed once this long has passed since the first of it, or so many candles wait, or nothing more comes:
# a process that is killed loses no more, and what arrives together makes one batch.
LINGER = 1.0  # seconds
MOST_CANDLES = 50_000
MOST_WAITING = 64  # answers that wait to be loaded, until those who ask wait, too
# History that begins later than this, and than two periods, after the instant asked for is said to begin late.
LATE_BEGINNING = timedelta(days=1)

BREATH = 0.2  # seconds, in which a wait looks up whether it is still wanted

Check = Callable[[], None]


@dataclass(frozen=True)
class Answer:
    """What came of an inquiry: a batch of candles, or the end, with an error if not all has come that was asked for.

    gone: why its exchange is not asked at all any more.
    """

    inquiry: Inquiry
    batch: Batch | None = None
    error: TitanError | None = None
    gone: ExchangeUnreachableError | None = None

    @property
    def is_last(self) -> bool:
        """Whether nothing comes after it."""
        return self.batch is None


class Exchanges:
    """The exchanges that a process asks, each opened when it is first asked, and again when its markets are old."""

    def __init__(
        self,
        sleep: Callable[[float], None] | None = None,
        now: Callable[[], datetime] | None = None,
        attempts: int = ATTEMPTS,
    ) -> None:
        self._sleep, self._attempts = sleep, attempts
        self.now = now or present
        self._open: dict[str, tuple[ExchangeSource, float]] = {}
        self._opened: set[str] = set()

    def source(self, exchange: str) -> ExchangeSource:
        """Raises what ExchangeSource raises."""
        source, opened_at = self._open.get(exchange, (None, 0.0))
        if source is None or time.monotonic() - opened_at > MARKETS_AGE:
            source = ExchangeSource(exchange, self._sleep, self.now, self._attempts)
            self._open[exchange] = source, time.monotonic()
            self._opened.add(exchange)
        return source

    def source_for(self, connection: Connection, exchange: str) -> ExchangeSource:
        """The same for who insists on asking it. Raises ExchangeUnreachableError, too, if it asked to be left alone."""
        if error := left_alone(open_circuits(connection), self.now(), is_insistent=True).get(exchange):
            raise error
        return self.source(exchange)

    def newly_opened(self) -> list[tuple[str, ExchangeSource]]:
        """The exchanges that were opened since this was asked last, so that their lists of markets are fresh."""
        opened, self._opened = sorted(self._opened), set()
        return [(exchange, self._open[exchange][0]) for exchange in opened if exchange in self._open]

    def opened(self, exchange: str) -> ExchangeSource | None:
        """The exchange, if it is open; nobody is asked."""
        return self._open.get(exchange, (None, 0.0))[0]

    def look_again(self, exchange: str) -> None:
        """Take it for newly opened once more: what is read then could not be."""
        self._opened.add(exchange)

    def forget(self, exchange: str) -> None:
        """Open it anew when it is asked next: its markets may have changed, or it wants to be left alone no longer."""
        source, _ = self._open.pop(exchange, (None, 0.0))
        if source:
            source.close()

    def ask(self, inquiries: Sequence[Inquiry], as_of: datetime, check: Check = lambda: None) -> Iterator[list[Answer]]:
        """What the exchanges answer, as it comes: all that came within a second or so at a time.

        The last answer to each inquiry says that it is over, and why, if it came to no good end. `check` is called while
        nothing comes; what it raises ends the asking.
        """
        answers: Queue[Answer | BaseException] = Queue(MOST_WAITING)
        over = Event()

        def put(answer: Answer | BaseException) -> None:
            while not over.is_set():
                with suppress(Full):
                    answers.put(answer, timeout=BREATH)
                    break

        groups: dict[str, list[Inquiry]] = defaultdict(list)
        for inquiry in inquiries:
            groups[inquiry.exchange].append(inquiry)
        try:
            for exchange, group in groups.items():
                _Crew(self, exchange, group, as_of, put, over).start()
            pending = len(inquiries)
            while pending:
                came = list(_came(answers, pending, check))
                pending -= sum(answer.is_last for answer in came)
                yield came
        finally:
            over.set()


def _came(answers: Queue[Answer | BaseException], pending: int, check: Check) -> Iterator[Answer]:
    """The next answer, and what follows it at once. Raises what went wrong with who asked."""
    candles, until = 0, None
    while pending and candles < MOST_CANDLES:
        left = BREATH if until is None else until - time.monotonic()
        if left <= 0:
            return
        try:
            answer = answers.get(timeout=min(left, BREATH))
        except Empty:
            check()
            continue
        if isinstance(answer, BaseException):
            raise answer
        until = until or time.monotonic() + LINGER
        pending -= answer.is_last
        candles += len(answer.batch.candles) if answer.batch else 0
        yield answer


class _Crew:
    """Threads that ask one exchange until all inquiries are answered."""

    def __init__(
        self,
        exchanges: Exchanges,
        exchange: str,
        inquiries: Sequence[Inquiry],
        as_of: datetime,
        put: Callable[[Answer | BaseException], None],
        over: Event,
    ) -> None:
        self._exchanges, self._exchange, self._as_of = exchanges, exchange, as_of
        self._put, self._over = put, over
        self._todo = deque((inquiry, self._batches(inquiry)) for inquiry in inquiries)
        self._opening = Lock()
        self._gone: ExchangeUnreachableError | None = None

    def start(self) -> None:
        """One begins; the others join it once the exchange is open and says how many it takes."""
        self._hire(self._lead)

    def _hire(self, work: Callable[[], None]) -> None:
        Thread(target=self._guard, args=(work,), name=f"ask {self._exchange}", daemon=True).start()

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._put(error)

    def _lead(self) -> None:
        try:
            crew = min(self._source().crew, len(self._todo))
        except ExchangeUnreachableError as error:
            self._gone, crew = error, 1
        except TitanError:  # no such exchange: each inquiry will say so
            crew = 1
        for _ in range(crew - 1):
            self._hire(self._work)
        self._work()

    def _source(self) -> ExchangeSource:
        with self._opening:
            return self._exchanges.source(self._exchange)

    def _work(self) -> None:
        """A page of each inquiry in turn, so that all come to their end together and the crew stays whole until then."""
        while not self._over.is_set():
            try:
                inquiry, batches = self._todo.popleft()
            except IndexError:
                return
            answer = self._answer(inquiry, batches)
            self._put(answer)
            if not answer.is_last:
                self._todo.append((inquiry, batches))

    def _answer(self, inquiry: Inquiry, batches: Iterator[Batch]) -> Answer:
        if self._gone:
            return Answer(inquiry, error=self._gone, gone=self._gone)
        try:
            return Answer(inquiry, next(batches, None))
        except TitanError as error:
            return Answer(inquiry, error=error, gone=self._gone)

    def _batches(self, inquiry: Inquiry) -> Iterator[Batch]:
        source = None
        try:
            source = self._source()
            source.check([inquiry.symbol], inquiry.period)
            yield from source.ask(inquiry, self._as_of)
        except ExchangeUnreachableError as error:
            self._lose(source, error)
            raise

    def _lose(self, source: ExchangeSource | None, error: ExchangeUnreachableError) -> None:
        """Ask no more of an exchange that cannot be opened anew, or asks to be left alone.

        One inquiry that does not reach it may be of a market that it cannot serve.
        """
        with self._opening:
            if self._gone is None and (isinstance(error, RateLimitedError) or not self._can_open(source)):
                self._exchanges.forget(self._exchange)
                self._gone = error

    def _can_open(self, failed: ExchangeSource | None) -> bool:
        if failed is None:  # it could not be opened a moment ago
            return False
        try:
            if self._exchanges.source(self._exchange) is failed:
                self._exchanges.forget(self._exchange)
                self._exchanges.source(self._exchange)
        except ExchangeUnreachableError:
            return False
        return True


@dataclass
class Loaded:
    """What came of inquiries: the report, the close of the newest finished candle of each, and what failed, by inquiry.

    Of an exchange that could not be reached the error is kept, too. candles: how many have come; reached: how far each
    inquiry is; answered: those that are answered to their end. unadjusted: whose splits and dividends could not be had, and
    why.
    """

    report: LoadReport = field(default_factory=LoadReport)
    newest: dict[Inquiry, datetime] = field(default_factory=dict)
    failed: dict[Inquiry, TitanError] = field(default_factory=dict)
    unreachable: dict[str, ExchangeUnreachableError] = field(default_factory=dict)
    candles: int = 0
    reached: dict[Inquiry, datetime] = field(default_factory=dict)
    answered: set[Inquiry] = field(default_factory=set)
    unadjusted: list[tuple[str, TitanError]] = field(default_factory=list)


@dataclass
class _Course:
    """What came of an inquiry: candles, the first one's opening, and whether the answers begin where it does."""

    candles: int = 0
    first_at: datetime | None = None
    is_answered: bool = False


class Loader:
    """Loads what exchanges answer, all that came together in one transaction."""

    def __init__(
        self,
        connection: Connection,
        exchanges: Exchanges,
        progress: Progress = lambda text: None,
        *,
        is_insistent: bool = False,
    ) -> None:
        self._is_insistent = is_insistent
        self._connection, self._exchanges, self._progress = connection, exchanges, progress
        self._courses: dict[Inquiry, _Course] = defaultdict(_Course)
        self._told = ""
        self.loaded = Loaded()

    def load(self, inquiries: Sequence[Inquiry], as_of: datetime) -> Loaded:
        """Load what is answered; one inquiry that fails does not stop the others.

        An exchange that did not answer a moment ago is not asked, unless who loads is insistent and the exchange has not
        asked to be left alone. Raises psycopg.Error when the server fails; what was committed stays.
        """
        preload()
        circuits = open_circuits(self._connection)
        gone = left_alone(circuits, self._exchanges.now(), is_insistent=self._is_insistent)
        for inquiry in inquiries:
            if error := gone.get(inquiry.exchange):
                self._finish(Answer(inquiry, error=error, gone=error))
        asked = [inquiry for inquiry in inquiries if inquiry.exchange not in gone]
        names = sorted({inquiry.exchange for inquiry in asked})
        self._tell(f"asking {', '.join(names)}")
        for came in self._exchanges.ask(asked, as_of, lambda: self._progress(self._told)):
            self._load(came)
        opened = dict(self._exchanges.newly_opened())
        for name, source in opened.items():
            self._note_listings(name, source)
        self._note_adjustments(set(opened), [inquiry for inquiry in asked if inquiry.is_new])
        self.loaded.report.failed += self.loaded.unadjusted
        lost = {name: error for name, error in self.loaded.unreachable.items() if name not in gone}
        if lost or any(name in circuits for name in names):
            note(self._connection, self._exchanges.now(), lost, [name for name in names if name not in lost])
        return self.loaded

    def _note_listings(self, exchange: str, source: ExchangeSource) -> None:
        """Say what changed of markets that are here."""
        for row in note_listings(self._connection, exchange, source.listings(), self._exchanges.now()):
            if row["is_ours"]:
                self.loaded.report.remarks.append(f"{exchange} {row['symbol']} {row['change']}")

    def _note_adjustments(self, opened: Set[str], new: Sequence[Inquiry]) -> None:
        """Ask for splits and dividends: of all that is here where an exchange was opened, else of what is new."""
        for name in sorted(opened | {inquiry.exchange for inquiry in new}):
            source = self._exchanges.opened(name)
            if not (source and source.has_adjustments):
                continue
            here = self._spot_symbols(name)
            of_new = {inquiry.symbol for inquiry in new if inquiry.exchange == name}
            symbols = [symbol for symbol in here if name in opened or symbol in of_new]
            try:
                done = note_adjustments(self._connection, name, source.adjustments(symbols))
            except TitanError as error:  # the candles are here; what adjusts them is asked for again by the next load
                self._exchanges.look_again(name)
                self.loaded.unadjusted.append((f"{name} splits and dividends", error))
                continue
            if done:
                self.loaded.report.remarks.append(
                    f"{done.origin}: {done.inserted} new, {done.revised} revised, of {', '.join(done.symbols)}"
                )

    def _spot_symbols(self, exchange: str) -> list[str]:
        with self._connection.transaction():  # and not beyond: the exchange is asked next
            rows: list[Any] = self._connection.execute(
                "select symbol from raw.instrument where exchange = %s and market_type = 'spot' order by symbol", (exchange,)
            ).fetchall()
        return [symbol for (symbol,) in rows]

    def _load(self, came: Sequence[Answer]) -> None:
        by_market: dict[Market, list[Answer]] = defaultdict(list)
        for answer in came:
            if answer.batch:
                by_market[answer.batch.market].append(answer)
        for answers in by_market.values():
            self._together(answers)
        for answer in came:
            if answer.is_last:
                self._finish(answer)

    def _together(self, answers: Sequence[Answer]) -> None:
        """One batch of all; where that is refused, one of each inquiry: what is wrong with one does not stop the others."""
        by_inquiry: dict[Inquiry, list[Batch]] = defaultdict(list)
        for answer in answers:
            if answer.batch:
                by_inquiry[answer.inquiry].append(answer.batch)
        if len(by_inquiry) > 1:
            first = next(iter(by_inquiry))
            since = min(inquiry.since for inquiry in by_inquiry)
            origin = f"{first.exchange} {len(by_inquiry)} symbols {first.timeframe} since {since.date()}"
            try:
                self._promote(by_inquiry, origin)
            except (GateError, UsageError) as error:
                event(log, "batch taken apart", logging.WARNING, origin=origin, error=str(error))
            else:
                return
        for inquiry, batches in by_inquiry.items():
            try:
                self._promote({inquiry: batches}, inquiry.origin)
            except TitanError as error:
                event(log, "batch refused", logging.WARNING, origin=inquiry.origin, error=str(error))
                self._fail(inquiry, error)

    def _promote(self, by_inquiry: dict[Inquiry, list[Batch]], origin: str) -> None:
        batches = [batch for came in by_inquiry.values() for batch in came]
        promote_into(self._connection, join(batches, origin), self.loaded.report)
        for inquiry, batches in by_inquiry.items():
            for batch in batches:
                self._note(inquiry, batch)

    def _note(self, inquiry: Inquiry, batch: Batch) -> None:
        course, period = self._courses[inquiry], inquiry.period
        course.candles += len(batch.candles)
        self.loaded.candles += len(batch.candles)
        if batch.observed:
            course.is_answered |= batch.observed[0] <= inquiry.since
            self.loaded.reached[inquiry] = max(batch.observed[1], self.loaded.reached.get(inquiry, batch.observed[1]))
        if not len(batch.candles):
            return
        first_at = instant(batch.candles["opened_at"].min())
        course.first_at = min(first_at, course.first_at or first_at)
        closes = (period.close_of(instant(opened_at)) for opened_at in batch.candles["opened_at"][::-1])
        if newest := next((closed_at for closed_at in closes if closed_at <= batch.as_of), None):
            self.loaded.newest[inquiry] = max(newest, self.loaded.newest.get(inquiry, newest))
        self._tell(f"{inquiry.exchange} {inquiry.symbol}: reached {self.loaded.reached.get(inquiry, first_at):%Y-%m-%d}")

    def _tell(self, text: str) -> None:
        self._told = text
        self._progress(text)

    def _finish(self, answer: Answer) -> None:
        inquiry, error, course = answer.inquiry, answer.error, self._courses[answer.inquiry]
        if error is None:
            if inquiry not in self.loaded.failed:
                self.loaded.answered.add(inquiry)
            if inquiry.is_new:
                self._tell_of_late_beginning(inquiry, course)
            return
        if answer.gone:
            self.loaded.unreachable[inquiry.exchange] = answer.gone
        if course.candles:
            reached = self.loaded.reached.get(inquiry, inquiry.since)
            error = SourceError(
                f"{course.candles:,} candles are loaded, up to {reached:%Y-%m-%d %H:%M}, the rest is not: {error}",
                hint=error.hint,
            )
        self._fail(inquiry, error)

    def _tell_of_late_beginning(self, inquiry: Inquiry, course: _Course) -> None:
        """Say when history begins long after the instant that was asked for, and whether the source has none before."""
        late = max(LATE_BEGINNING, 2 * inquiry.period.length)
        if course.first_at is None or course.first_at - inquiry.since <= late:
            return
        days = (course.first_at - inquiry.since).days
        notice = (
            f"{inquiry.symbol} begins on {course.first_at:%Y-%m-%d}, {days:,} days after the time asked for: "
            f"{inquiry.exchange} "
            + (
                "has none before"
                if course.is_answered
                else "did not answer for the time before, as if it gave its newest ones alone"
            )
        )
        for promoted in self.loaded.report.promoted:
            if inquiry.symbol in promoted.symbols and promoted.timeframe == inquiry.timeframe:
                promoted.notices.append(notice)

    def _fail(self, inquiry: Inquiry, error: TitanError) -> None:
        self.loaded.failed.setdefault(inquiry, error)
        self.loaded.report.failed.append((str(inquiry), error))


def load_exchange(
    connection: Connection,
    exchange: str,
    symbols: Sequence[str],
    timeframe: str,
    since: datetime,
    progress: Progress = lambda text: None,
) -> LoadReport:
    """Load the candles of an exchange's symbols, or patterns of them, since an instant; one that fails does not stop others.

    Raises the first one's error when all of them fail and nothing has come.
    """
    period = parse_timeframe(timeframe)
    exchanges = Exchanges()
    source = exchanges.source_for(connection, exchange.lower())
    found = source.find(symbols)
    source.check(found, period)
    inquiries = [Inquiry(exchange.lower(), symbol, period.name, since, is_new=True) for symbol in found]
    loaded = Loader(connection, exchanges, progress, is_insistent=True).load(inquiries, exchanges.now())
    if len(loaded.failed) == len(inquiries) and not loaded.report.promoted:
        raise loaded.failed[inquiries[0]]
    return loaded.report
