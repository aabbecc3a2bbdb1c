"""The series of config.subscription: which there are, and what is new of them, loaded together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from ingest.sources.exchange import Inquiry
from titan.core.database import Connection, statement
from titan.core.log import Progress
from titan.core.timeframes import TIMEFRAMES, Timeframe
from titan.ops.exchanges import Exchanges, Loader
from titan.ops.loads import LoadReport

NOTHING = "nothing to load: insert series into config.subscription (exchange, symbol, timeframe)"

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


def subscribed(connection: Connection, as_of: datetime) -> list[Series]:
    """Every active series of config.subscription, by exchange, timeframe and symbol."""
    names = {"catch_up": CATCH_UP, "as_of": as_of}
    with connection.transaction(), connection.cursor(row_factory=class_row(Series)) as cursor:
        return cursor.execute(statement("titan.ops.sql", "subscriptions"), names).fetchall()


def load_subscriptions(connection: Connection, progress: Progress = lambda text: None) -> LoadReport:
    """Load what is new of every active series of config.subscription; one that fails does not stop the others.

    Raises ExchangeUnreachableError when no exchange at all can be reached.
    """
    exchanges = Exchanges()
    now = exchanges.now()
    series = subscribed(connection, now)
    if not series:
        return LoadReport(remarks=[NOTHING])
    loaded = Loader(connection, exchanges, progress).load(inquiries(series), now)
    if loaded.unreachable and not loaded.report.promoted:
        raise next(iter(loaded.unreachable.values()))
    return loaded.report


def inquiries(series: Sequence[Series]) -> list[Inquiry]:
    """What is to be asked of series, in their order: what is new of each."""
    return [Inquiry(*one.key, since=one.begins_at, is_new=one.is_new) for one in series]
