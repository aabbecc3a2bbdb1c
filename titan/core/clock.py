"""How the times of a batch are read: its timeframe in the timezone of its session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import time
from typing import Any

from psycopg import sql

from titan.core.database import Connection
from titan.core.errors import UsageError
from titan.core.timeframes import Timeframe


@dataclass(frozen=True)
class Session:
    """A row of config.session, as far as times depend on it."""

    session_id: str
    is_24_7: bool
    trading_days_per_week: int
    timezone: str
    open_local: time
    close_local: time


def find_session(
    connection: Connection,
    exchange: str,
    *,
    named: str | None = None,
    market_type: str = "spot",
    symbols: Sequence[str] = (),
    guess: str | None = None,
) -> Session:
    """The session that is named, else the one that these instruments have, else the guess, else the exchange's own.

    Raises UsageError when the one named does not exist.
    """
    row: Any = connection.execute(
        """
        select session_id, is_24_7, trading_days_per_week, timezone, open_local, close_local from config.session
        where session_id = coalesce(
            upper(%(named)s),
            (
                select session_id from raw.instrument
                where
                    exchange = %(exchange)s and market_type = %(market_type)s
                    and symbol = any (%(symbols)s) and base_timeframe is not null
                limit 1
            ),
            %(guess)s,
            (
                select session_id from config.exchange
                where exchange in (%(exchange)s, '*') order by exchange = '*' limit 1
            )
        )
        """,
        {
            "named": named,
            "exchange": exchange,
            "market_type": market_type,
            "symbols": list(symbols),
            "guess": guess,
        },
    ).fetchone()
    if row is None:
        raise UsageError(f"unknown session {named!r}", hint="select session_id from config.session lists them")
    return Session(*row)


@dataclass(frozen=True)
class Clock:
    """SQL for the times of landed candles."""

    timeframe: Timeframe
    session: Session

    @property
    def suite(self) -> str:
        """Which of the two kinds of candles these are: `intraday` or `daily` (a day or longer)."""
        return "intraday" if self.timeframe.is_intraday else "daily"

    @property
    def closed_at(self) -> sql.Composable:
        """SQL: the exclusive end of the period that begins at landing.opened_at. Days are those of the timezone."""
        if self.timeframe.is_intraday or self.session.timezone == "UTC":
            return sql.SQL("(landing.opened_at + {}::interval)").format(sql.Literal(self.timeframe.interval))
        return sql.SQL("((landing.opened_at at time zone {zone} + {period}::interval) at time zone {zone})").format(
            zone=sql.Literal(self.session.timezone), period=sql.Literal(self.timeframe.interval)
        )

    def periods(self, from_at: str, until_at: str) -> sql.Composable:
        """SQL: how many periods lie between two instants, as SQL, beside special_day; null for the hours of a session."""
        names = {
            "from_at": sql.SQL(from_at),
            "until_at": sql.SQL(until_at),
            "zone": sql.Literal(self.session.timezone),
            "seconds": sql.Literal(self.timeframe.seconds),
            "days": sql.Literal(self.session.trading_days_per_week),
        }
        if self.timeframe.base_unit == "MO":
            text = (
                "(select extract(year from span) * 12 + extract(month from span) from "
                "age(({until_at}) at time zone {zone}, ({from_at}) at time zone {zone}) as span)"
            )
        elif self.session.is_24_7 or self.timeframe.base_unit == "W":
            text = "floor(extract(epoch from ({until_at}) - ({from_at})) / {seconds} + 0.01)"  # a week may be an hour short
        elif self.timeframe.is_intraday:
            text = "null"
        else:
            text = """(
                select count(*)
                from generate_series(
                    ({from_at}) at time zone {zone}, ({until_at}) at time zone {zone} - interval '1 day', interval '1 day'
                ) as moment
                where
                    extract(isodow from moment) <= {days}
                    and not exists (
                        select from special_day
                        where
                            special_day.date = moment::date
                            and num_nonnulls(special_day.open_local, special_day.close_local) = 0
                    )
            )"""
        return sql.SQL(f"({text})::double precision").format(**names)

    @property
    def has_closed_dates(self) -> bool:
        """Whether the calendar can tell of a candle that its session is closed: not around the clock, nor of a week."""
        return not self.session.is_24_7 and self.timeframe.base_unit in ("MIN", "H", "D")

    @property
    def trading_date(self) -> sql.Composable:
        """SQL: the local date on which landing.opened_at lies; null where no date is ever closed."""
        if not self.has_closed_dates:
            return sql.SQL("null::date")
        return sql.SQL("(landing.opened_at at time zone {})::date").format(sql.Literal(self.session.timezone))

    @property
    def special_days(self) -> sql.Composable:
        """SQL: the days on which the session is closed or keeps other hours."""
        if not self.has_closed_dates:
            return sql.SQL("select null::date as date, null::time as open_local, null::time as close_local where false")
        return sql.SQL("select * from config.special_days({}, 1970, 2050)").format(sql.Literal(self.session.session_id))

    @property
    def is_closed_date(self) -> sql.Composable:
        """SQL: whether the session is closed all day on the date of landing.opened_at (beside a join to special_day)."""
        if not self.has_closed_dates:
            return sql.SQL("false")
        return sql.SQL(
            "(extract(isodow from {date}) > {days} or coalesce("
            "special_day.date is not null and num_nonnulls(special_day.open_local, special_day.close_local) = 0, false))"
        ).format(date=self.trading_date, days=sql.Literal(self.session.trading_days_per_week))

    @property
    def is_outside_session(self) -> sql.Composable:
        """SQL: whether no part of the candle lies in the session's hours (beside a join to special_day)."""
        if not (self.has_closed_dates and self.timeframe.is_intraday):
            return self.is_closed_date
        return sql.SQL(
            "({closed} or landing.opened_at >= ({date} + coalesce(special_day.close_local, {close})) at time zone {zone} "
            "or landing.opened_at + {period}::interval <= ({date} + coalesce(special_day.open_local, {open})) "
            "at time zone {zone})"
        ).format(
            closed=self.is_closed_date,
            date=self.trading_date,
            zone=sql.Literal(self.session.timezone),
            open=sql.Literal(self.session.open_local),
            close=sql.Literal(self.session.close_local),
            period=sql.Literal(self.timeframe.interval),
        )

    @property
    def is_on_grid(self) -> sql.Composable:
        """SQL: whether landing.opened_at begins a period. Sessions that open at half past have bars that do, too."""
        if self.timeframe.is_intraday:
            seconds = self.timeframe.seconds if self.session.is_24_7 else min(self.timeframe.seconds, 1800)
            return sql.SQL("date_bin({}::interval, landing.opened_at, timestamptz 'epoch') = landing.opened_at").format(
                sql.Literal(f"{seconds} seconds")
            )
        return sql.SQL("date_trunc({}, landing.opened_at, {}) = landing.opened_at").format(
            sql.Literal(self.timeframe.truncation), sql.Literal(self.session.timezone)
        )
