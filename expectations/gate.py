"""The gate that every batch passes: mark the rows that fail a predicate, measure the rest, judge the whole.

It works on the landed rows, before anything of the batch is visible, and writes nothing but the landing itself.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import md5
from importlib import import_module
from threading import Thread
from typing import Any

import numpy as np
from psycopg import sql

from expectations.measures import FEWEST_ROWS, MEASURES
from expectations.predicates import PREDICATES
from expectations.settings import READABLE, Setting, read_settings
from expectations.verdict import Profile, Verdict
from titan.core.batch import Batch, Candles, Rejected, candle_of, instant, plain
from titan.core.clock import Clock
from titan.core.database import Connection, records, statement

_PREDICATE_NAMES = tuple(predicate.name for predicate in PREDICATES)
MEASURE_NAMES = tuple(measure.name for measure in MEASURES)


@dataclass(frozen=True)
class Inspected:
    """A batch at the gate: the rows that are good, those that are not, and what is found of the whole.

    `settled` counts rejected rows that somebody has released or dropped before; they are not among `rejected`.
    """

    candles: Candles
    rejected: list[Rejected]
    settled: int
    unfinished: int
    verdict: Verdict


def preload() -> None:
    """Import Great Expectations aside, while candles are being read or asked for."""
    Thread(target=import_module, args=("expectations.suites",), name="preload").start()


def inspect(connection: Connection, batch: Batch, clock: Clock) -> Inspected:
    """Mark and judge the landed rows of a batch; those that do not get in leave the landing.

    Raises UsageError when config.expectation names what does not exist.
    """
    settings = read_settings(connection, batch.market.exchange, clock.suite)
    failing = _mark(connection, batch, clock)
    candles = _without(connection, batch.candles, [row_number for row_number, _, _ in failing])
    turned_away = [row for row in failing if row[2] != "unfinished" or batch.is_piecemeal]
    rejected = [*batch.rejected, *reject(batch, turned_away)]
    remaining = unsettled(connection, batch, rejected)
    if batch.is_piecemeal:  # each row by itself: no measure of the whole, and none stops the others
        settings = tuple(Setting(one.expectation, "warning", 0) for one in settings if one.expectation not in MEASURE_NAMES)
    return Inspected(
        candles,
        remaining,
        settled=len(rejected) - len(remaining),
        unfinished=sum(reason == "unfinished" for _, _, reason in failing),
        verdict=_judge(connection, batch, clock, settings, candles, remaining),
    )


def record(connection: Connection, batch_id: int, verdict: Verdict) -> None:
    """Keep what was found of a batch in ops.gate_result."""
    connection.execute(
        "insert into ops.gate_result (batch_id, suite, verdict, results, profile) values (%s, %s, %s, %s, %s)",
        (
            batch_id,
            verdict.suite,
            verdict.name,
            json.dumps([asdict(finding) for finding in verdict.findings]),
            json.dumps(verdict.profile, default=str),
        ),
    )


def reject(batch: Batch, rows: Sequence[tuple[int, int, str]]) -> list[Rejected]:
    """Landed rows that do not get in, given as (row number, series, reason)."""
    places = np.searchsorted(batch.candles["row_number"], [row_number for row_number, _, _ in rows])
    return [
        Rejected(row_number, reason, None, batch.record_of(row_number), batch.symbols[series], candle_of(candle))
        for (row_number, series, reason), candle in zip(rows, plain(batch.candles[places]), strict=True)
    ]


def _mark(connection: Connection, batch: Batch, clock: Clock) -> list[tuple[int, int, str]]:
    """The rows that do not get in: (row number, series, reason), `unfinished` among the reasons."""
    cases = sql.SQL("\n            ").join(
        sql.SQL("when ({}) is not true then {}").format(
            sql.SQL(predicate.sql),
            sql.Literal(predicate.name),
        )
        for predicate in PREDICATES
    )
    query = statement(
        "expectations.sql",
        "mark",
        cases=cases,
        closed_at=clock.closed_at,
        is_on_grid=clock.is_on_grid,
        as_of=sql.SQL("{}::timestamptz").format(sql.Literal(batch.as_of)),
    )
    rows: list[Any] = connection.execute(query).fetchall()
    return rows


def _without(connection: Connection, candles: Candles, row_numbers: list[int]) -> Candles:
    if not row_numbers:
        return candles
    # Of one type, or the server compares every row with every number.
    connection.execute("delete from landing where row_number = any (%s::bigint[])", (row_numbers,))
    return candles[~np.isin(candles["row_number"], row_numbers)]


def unsettled(connection: Connection, batch: Batch, rejected: list[Rejected]) -> list[Rejected]:
    """Those that nobody has released or dropped: a file with a bad line that was seen to is not complained of again."""
    if batch.is_piecemeal or not rejected:
        return rejected
    market = batch.market
    settled = set(
        connection.execute(
            """
            select coalesce(symbol, ''), reason, record_hash from raw.quarantine
            where exchange = %s and market_type = %s and timeframe = %s and resolution is not null
            """,
            (market.exchange, market.market_type, market.timeframe),
        ).fetchall()
    )
    if not settled:
        return rejected
    return [row for row in rejected if (row.symbol or "", row.reason, _record_hash(row)) not in settled]


def _record_hash(row: Rejected) -> str:
    return md5(row.record.encode(), usedforsecurity=False).hexdigest()


def _judge(
    connection: Connection,
    batch: Batch,
    clock: Clock,
    settings: Sequence[Setting],
    candles: Candles,
    rejected: Sequence[Rejected],
) -> Verdict:
    from expectations.suites import judge

    return judge(clock.suite, settings, _profile(connection, batch, clock, candles, rejected))


def _profile(connection: Connection, batch: Batch, clock: Clock, candles: Candles, rejected: Sequence[Rejected]) -> Profile:
    """One row per series: rows that fail each predicate, and the measures."""
    failing: dict[str, Counter[str]] = {}
    for row in rejected:
        reason = row.reason if row.reason in _PREDICATE_NAMES else READABLE
        failing.setdefault(row.symbol or "", Counter())[reason] += 1
    judged = len(candles) + len(rejected)
    share = 1.0 if rejected and not len(candles) else len(rejected) / max(judged, FEWEST_ROWS)
    measured = _measured(connection, batch, clock, candles)
    unnamed = [{"symbol": symbol} for symbol in failing if symbol not in batch.symbols]
    return [
        {
            **dict.fromkeys(("first_at", "last_at", *MEASURE_NAMES)),
            **one,
            "bad_row_share": share,
            **{name: failing.get(one["symbol"], Counter())[name] for name in (READABLE, *_PREDICATE_NAMES)},
        }
        for one in [*measured, *unnamed]
    ]


def _measured(connection: Connection, batch: Batch, clock: Clock, candles: Candles) -> Profile:
    first_at, last_at = (
        (instant(candles["opened_at"].min()), instant(candles["opened_at"].max())) if len(candles) else (batch.as_of,) * 2
    )
    answered = batch.answered or [()] * len(batch.symbols)
    query = statement(
        "expectations.sql",
        "profile",
        special_days=clock.special_days,
        trading_date=clock.trading_date,
        is_closed_date=clock.is_closed_date,
        is_outside_session=clock.is_closed_date if batch.has_extended_hours else clock.is_outside_session,
        fewest_rows=sql.Literal(FEWEST_ROWS),
        closed_at=clock.closed_at,
        expected_count=clock.periods("ranged.from_at", "coalesce(ranged.asked_until, ranged.last_closed_at)"),
        timeframe=sql.Literal(clock.timeframe.name),
        first_at=sql.SQL("{}::timestamptz").format(sql.Literal(first_at)),
        last_at=sql.SQL("{}::timestamptz").format(sql.Literal(last_at)),
        is_day_or_longer=sql.Literal(not clock.timeframe.is_intraday),
        seconds=sql.Literal(clock.timeframe.seconds),
    )
    return records(
        connection,
        query,
        {
            "exchange": batch.market.exchange,
            "market_type": batch.market.market_type,
            "symbols": list(batch.symbols),
            "asked_from": [stretches[0][0] if stretches else None for stretches in answered],
            "asked_until": [stretches[-1][1] if stretches else None for stretches in answered],
        },
    )
