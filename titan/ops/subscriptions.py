"""The series of config.subscription: which there are, and what is new of them, loaded together."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter

from psycopg.rows import class_row

from expectations.gate import preload
from ingest.sources.exchange import PAGE_LIMIT, ExchangeSource, ExchangeUnreachableError, RateLimitedError
from titan.core.batch import Batch, instant, join
from titan.core.database import Connection, statement
from titan.core.errors import GateError, TitanError, UsageError
from titan.core.log import Progress, event
from titan.core.timeframes import TIMEFRAMES, Timeframe
from titan.ops.loads import LoadReport, promote_into, tell_of_late_beginning

log = logging.getLogger("titan.subscriptions")

NOTHING = "nothing to load: insert series into config.subscription (exchange, symbol, timeframe)"

# Periods by which the beginnings of series may lie apart that are asked for the same time, to be loaded together.
MOST_APART = 100

MARKETS_AGE = 6 * 3600  # seconds after which a long-lived process reads an exchange's markets again

# Periods before the last known candle that a poll asks for again: exchanges revise their newest ones.
OVERLAP = 2

# How far a poll goes back for a source that had nothing to say: it may have been late. A market that ended long ago is not
# asked for its silence again and again.
CATCH_UP = "7 days"


@dataclass(frozen=True)
class Series:
    """A row of config.subscription. reached: the close of its last candle before any hole; None if nothing is here."""

    exchange: str
    symbol: str
    timeframe: str
    since: datetime
    reached: datetime | None

    @property
    def key(self) -> tuple[str, str, str]:
        """What names it."""
        return self.exchange, self.symbol, self.timeframe

    @property
    def period(self) -> Timeframe:
        """Its timeframe."""
        return TIMEFRAMES[self.timeframe]

    @property
    def is_new(self) -> bool:
        """Whether nothing of it is here."""
        return self.reached is None

    @property
    def begins_at(self) -> datetime:
        """From where it is asked for: its last candles once more."""
        return self.since if self.reached is None else self.reached - OVERLAP * self.period.length

    def __str__(self) -> str:
        return " ".join(self.key)


@dataclass
class Loaded:
    """What came of loading series: the report, the close of the newest finished candle of each, and what failed, by series.

    Of an exchange that could not be reached the error is kept, too.
    """

    report: LoadReport = field(default_factory=LoadReport)
    newest: dict[Series, datetime] = field(default_factory=dict)
    failed: dict[Series, TitanError] = field(default_factory=dict)
    unreachable: dict[str, ExchangeUnreachableError] = field(default_factory=dict)


class Exchanges:
    """The exchanges that a process asks, each opened when it is first asked, and again when its markets are old."""

    def __init__(self, sleep: Callable[[float], None] | None = None) -> None:
        self._sleep = sleep
        self._open: dict[str, tuple[ExchangeSource, float]] = {}

    def source(self, exchange: str) -> ExchangeSource:
        """Raises what ExchangeSource raises."""
        source, opened_at = self._open.get(exchange, (None, 0.0))
        if source is None or time.monotonic() - opened_at > MARKETS_AGE:
            source = ExchangeSource(exchange, self._sleep)
            self._open[exchange] = source, time.monotonic()
        return source

    def can_open(self, exchange: str) -> bool:
        """Whether it can be reached at all: it is opened anew."""
        was_open = exchange in self._open
        self.forget(exchange)
        if not was_open:  # it could not be opened a moment ago
            return False
        try:
            self.source(exchange)
        except ExchangeUnreachableError:
            return False
        return True

    def forget(self, exchange: str) -> None:
        """Open it anew when it is asked next: its markets may have changed, or it wants to be left alone no longer."""
        self._open.pop(exchange, None)


def subscribed(connection: Connection) -> list[Series]:
    """Every active series of config.subscription, by exchange, timeframe and symbol."""
    with connection.transaction(), connection.cursor(row_factory=class_row(Series)) as cursor:
        return cursor.execute(statement("titan.ops.sql", "subscriptions"), {"catch_up": CATCH_UP}).fetchall()


def load_subscriptions(connection: Connection, progress: Progress = lambda text: None) -> LoadReport:
    """Load what is new of every active series of config.subscription; one that fails does not stop the others.

    Raises ExchangeUnreachableError when no exchange at all can be reached.
    """
    series = subscribed(connection)
    if not series:
        return LoadReport(remarks=[NOTHING])
    loaded = load_series(connection, series, Exchanges(), datetime.now(UTC), progress)
    if loaded.unreachable and not loaded.report.promoted:
        raise next(iter(loaded.unreachable.values()))
    return loaded.report


def load_series(
    connection: Connection,
    series: Sequence[Series],
    exchanges: Exchanges,
    as_of: datetime,
    progress: Progress = lambda text: None,
) -> Loaded:
    """Load what each series has finished by `as_of`.

    Series of a market that were asked for the same time make one batch; what is new here, or long, makes one of its own, as
    soon as it has come.

    Raises psycopg.Error when the server fails.
    """
    preload()
    loaded = Loaded()
    together: dict[object, list[tuple[Series, Batch]]] = defaultdict(list)
    for exchange, group in groupby(series, key=attrgetter("exchange")):
        progress(f"asking {exchange}")
        for one, batch in _ask(exchanges, exchange, list(group), as_of, progress, loaded):
            if one.is_new or batch.cut_short or len(batch.candles) > PAGE_LIMIT:
                _load_alone(connection, one, batch, loaded)
            else:
                together[batch.market, batch.observed, tuple(batch.unanswered)].append((one, batch))
    for batches in together.values():
        progress(f"loading {len(batches)} series of {batches[0][0].exchange}")
        _load_together(connection, batches, loaded)
    return loaded


def _ask(
    exchanges: Exchanges, exchange: str, series: Sequence[Series], as_of: datetime, progress: Progress, loaded: Loaded
) -> Iterator[tuple[Series, Batch]]:
    """What an exchange answers of each series. One that does not reach it may be a market that it cannot serve, unless the
    exchange cannot be opened anew either: then, or if it asks to, it is left alone.
    """
    begins = _begins(series)
    for at, one in enumerate(series):
        try:
            source = exchanges.source(exchange)
            source.check([one.symbol], one.period)
            batch = source.fetch(
                one.symbol, one.period, begins[one],
                lambda symbol, reached: progress(f"{exchange} {symbol}: reached {reached:%Y-%m-%d}"),
                as_of=as_of,
            )  # fmt: skip
        except ExchangeUnreachableError as error:
            _fail(loaded, one, error)
            if isinstance(error, RateLimitedError) or not exchanges.can_open(exchange):
                exchanges.forget(exchange)
                loaded.unreachable[exchange] = error
                for other in series[at + 1 :]:
                    _fail(loaded, other, error)
                return
        except TitanError as error:
            _fail(loaded, one, error)
        else:
            yield one, batch


def _begins(series: Sequence[Series]) -> dict[Series, datetime]:
    """From where each is asked for. Those that are nearly as far ask for the same time."""
    begins = {one: one.begins_at for one in series}
    for timeframe in {one.timeframe for one in series}:
        known = [one for one in series if one.timeframe == timeframe and not one.is_new]
        if not known:
            continue
        earliest = max(begins[one] for one in known) - MOST_APART * known[0].period.length
        near = [one for one in known if begins[one] >= earliest]
        begins |= dict.fromkeys(near, min(begins[one] for one in near))
    return begins


def _fail(loaded: Loaded, series: Series, error: TitanError) -> None:
    loaded.failed[series] = error
    loaded.report.failed.append((str(series), error))


def _load_alone(connection: Connection, series: Series, batch: Batch, loaded: Loaded) -> None:
    if batch.cut_short:
        event(log, "batch cut short", logging.WARNING, origin=batch.origin, error=str(batch.cut_short))
        _fail(loaded, series, batch.cut_short)
    try:
        promoted = promote_into(connection, batch, loaded.report)
    except TitanError as error:
        event(log, "batch refused", logging.WARNING, origin=batch.origin, error=str(error))
        _fail(loaded, series, error)
        return
    if series.is_new:
        tell_of_late_beginning(promoted, batch, series.since)
    _note_newest(series, batch, loaded)


def _load_together(connection: Connection, batches: Sequence[tuple[Series, Batch]], loaded: Loaded) -> None:
    """One batch of all; where that is refused, one of each: what is wrong with one does not stop the others."""
    first = batches[0][0]
    origin = f"{first.exchange} {len(batches)} symbols {first.timeframe} since {batches[0][1].answered[0][0].date()}"
    try:
        if len(batches) > 1:
            promote_into(connection, join([batch for _, batch in batches], origin), loaded.report)
            for one, batch in batches:
                _note_newest(one, batch, loaded)
            return
    except (GateError, UsageError) as error:
        event(log, "batch taken apart", logging.WARNING, origin=origin, error=str(error))
    for one, batch in batches:
        _load_alone(connection, one, batch, loaded)


def _note_newest(series: Series, batch: Batch, loaded: Loaded) -> None:
    closes = (series.period.close_of(instant(opened_at)) for opened_at in batch.candles["opened_at"][::-1])
    if newest := next((closed_at for closed_at in closes if closed_at <= batch.as_of), None):
        loaded.newest[series] = newest
