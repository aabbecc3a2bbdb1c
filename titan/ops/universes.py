"""Sets of symbols, as rows of when each belonged to them: by hand, or by a rule that looks at no later day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from titan.core.database import Connection, records, statement
from titan.core.errors import UsageError

EVERY = {"day": "1 day", "week": "7 days", "month": "1 month", "quarter": "3 months"}


@dataclass(frozen=True)
class Rule:
    """The `most` symbols of an exchange with the largest turnover over `days`, chosen anew `every` so often.

    pattern: of symbols, with * and ?. since, until: the first rebalancing and the last one that may be.
    """

    exchange: str
    most: int
    days: int
    every: str
    since: date
    until: date
    pattern: str = "*/USDT"
    market_type: str = "spot"

    def __str__(self) -> str:
        return f"top {self.most} of {self.pattern} by turnover of {self.days} days, every {self.every}"


def choose(connection: Connection, universe: str, rule: Rule) -> list[dict[str, Any]]:
    """Put what a rule chooses in the place of all that a universe had; returns its rows, symbol, from_date and to_date.

    Raises UsageError where no bars are there to choose by.
    """
    if rule.every not in EVERY:
        raise UsageError(f"--every is {', '.join(EVERY)}, not {rule.every!r}")
    if rule.since > rule.until:
        raise UsageError("--since lies in the future")
    escaped = rule.pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    with connection.transaction():
        connection.execute("delete from config.universe where universe = %s", (universe,))
        chosen = records(
            connection,
            statement("titan.ops.sql", "choose_universe"),
            {
                "universe": universe,
                "exchange": rule.exchange,
                "market_type": rule.market_type,
                "pattern": escaped.replace("*", "%").replace("?", "_"),
                "since": datetime(rule.since.year, rule.since.month, rule.since.day),  # noqa: DTZ001 (a day of UTC)
                "until": datetime(rule.until.year, rule.until.month, rule.until.day),  # noqa: DTZ001
                "every": EVERY[rule.every],
                "days": f"{rule.days} days",
                "most": rule.most,
                "reason": str(rule),
            },
        )
        if not chosen:
            raise UsageError(
                f"there are no daily bars of {rule.exchange} {rule.pattern} to choose by",
                hint=f"titan backfill --exchange {rule.exchange} --symbols '{rule.pattern}' --refresh loads them",
            )
    return sorted(chosen, key=lambda row: (row["from_date"], row["symbol"]))


def add(
    connection: Connection, universe: str, exchange: str, symbol: str, from_date: date, to_date: date | None = None
) -> None:
    """Let a symbol belong to a universe from a day on, until another one if that is given.

    Raises UsageError where it belongs to it then already.
    """
    if to_date is not None and to_date <= from_date:
        raise UsageError("--until has to lie after --since")
    with connection.transaction():
        row: Any = connection.execute(
            """
            select from_date, to_date from config.universe
            where
                universe = %s and exchange = %s and symbol = %s
                and daterange(from_date, to_date) && daterange(%s, %s)
            limit 1
            """,
            (universe, exchange, symbol, from_date, to_date),
        ).fetchone()
        if row:
            raise UsageError(f"{exchange} {symbol} belongs to {universe} from {row[0]} to {row[1] or 'now'} already")
        connection.execute(
            "insert into config.universe (universe, exchange, symbol, from_date, to_date) values (%s, %s, %s, %s, %s)",
            (universe, exchange, symbol, from_date, to_date),
        )


def members(connection: Connection, universe: str | None = None) -> list[dict[str, Any]]:
    """One row per stretch in which a symbol belonged to a universe."""
    query = """
        select universe, exchange, symbol, from_date, to_date, reason from config.universe
        where universe = %(universe)s or %(universe)s::text is null
        order by universe, from_date, exchange, symbol
    """
    with connection.transaction():
        return records(connection, query, {"universe": universe})
