"""Promise 1 over generated histories: whatever is loaded, in whatever order, builds to what a full refresh gives."""

from __future__ import annotations

import json
import os
from contextlib import closing
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ingest.deletion import delete
from ingest.promotion import promote
from tests.warehouse import DATABASE, Row, Warehouse, create_database, instant, make_batch
from titan.core.errors import BuildError
from titan.ops.refresh import needs_refresh

EXAMPLES = int(os.environ.get("TITAN_SOAK", 6))

# Four series with different histories: hours around the clock, days, and days and half hours of a session across a change of
# clocks.
SERIES = {
    "HOUR/USD": ("1h", instant("2024-02-28"), timedelta(hours=1), 96, None),
    "DAY/USD": ("1D", instant("2024-02-20"), timedelta(days=1), 40, None),
    "STOCK": ("1D", instant("2024-03-01"), timedelta(days=1), 30, "EQUITY"),
    "HALF": ("30m", instant("2024-03-08T14:00"), timedelta(minutes=30), 160, "EQUITY"),
}

symbols = st.sampled_from(sorted(SERIES))
positions = st.integers(0, 95)

loads = st.tuples(
    st.just("load"),
    symbols,
    positions,
    st.integers(1, 30),  # how many
    st.integers(1, 3),  # stride: a stride above one leaves holes
    st.integers(0, 2),  # version of the prices
    st.booleans(),  # newest first
    st.booleans(),  # every row twice
)
deletions = st.tuples(st.just("delete"), symbols, positions, st.integers(0, 60))
edits = st.tuples(st.just("edit"), st.sampled_from(["2 hours", "6 hours", "3 days"]), st.booleans())
holidays = st.tuples(
    st.just("holiday"),
    st.integers(0, 25),
    st.sampled_from(["closed", "13:00", "none"]),  # a date of March
)
timeframe_edits = st.tuples(st.just("timeframe"), st.sampled_from(["90m", "3D", "10D", "3W_US", "5MO_TD"]), st.booleans())
adjustments = st.tuples(
    st.just("adjust"),
    st.sampled_from(["STOCK", "HALF"]),
    st.integers(0, 29),
    st.sampled_from(["split", "dividend", "none"]),
    st.booleans(),  # known only a day later
)
indicators = st.tuples(
    st.just("indicator"),
    st.sampled_from(["rsi_3", "sma_20", "macd_12_26_9", "return_quartiles"]),
    st.sampled_from(["other", "off", "on"]),
)
signals = st.tuples(
    st.just("signal"), st.sampled_from(["quick_rsi", "quick_mean", "quick_day"]), st.sampled_from(["other", "off", "on"])
)
costs = st.tuples(st.just("cost"), st.sampled_from([0, 10]))
delistings = st.tuples(st.just("delist"), st.sampled_from(["HOUR/USD", "DAY/USD"]), st.integers(0, 40))
observations = st.tuples(st.just("observe"), symbols, positions, st.integers(1, 40))
builds = st.tuples(
    st.just("build"),
    st.sampled_from(
        [
            "",
            "candle",
            "rollup_stored",
            "daily",
            "multi_day",
            "gap",
            "bar_features",
            "dim_indicator",
            "dim_signal",
            "fct_signals",
            "fill",
            "fct_strategy_equity+",
            "observed+",
            "dim_instrument",
            "dim_calendar",
        ]
    ),
)
failures = st.tuples(
    st.just("fail"),
    st.sampled_from(["bars.rollup_stored", "bars.multi_day", "bars.gap", "features.bar_features", "backtest.fill"]),
)

dbt_builds = st.just(("dbt",))  # instead of the database's own refresh

# A first build stands on some history; what comes after it is what incremental builds have to get right.
steps = st.one_of(
    loads, loads, loads, deletions, edits, observations, builds, dbt_builds, failures, holidays, timeframe_edits,
    adjustments, indicators, signals, costs, delistings,
)  # fmt: skip
histories = st.builds(
    lambda first, rest, last: [*first, ("build", ""), *rest, *last],
    st.lists(loads, min_size=1, max_size=3),
    st.lists(steps, min_size=1, max_size=7),
    st.sampled_from([[], [], [("build", ""), ("dbt",)]]),  # by dbt, which has nothing to do
)


def opened_at(symbol: str, position: int) -> Any:
    _, start, step, count, session = SERIES[symbol]
    moment = start + step * (position % count)
    if (
        session and SERIES[symbol][0] == "1D"
    ):  # a date of New York: midnight there, before and after the clocks change on 2024-03-10
        return moment + timedelta(hours=5 if moment < instant("2024-03-11") else 4)
    return moment


def apply(warehouse: Warehouse, action: tuple[Any, ...]) -> None:
    match action:
        case ("load", symbol, position, count, stride, version, is_reversed, is_doubled):
            timeframe, _, _, length, session = SERIES[symbol]
            places = sorted({(position + stride * at) % length for at in range(count)})
            rows = [
                # Up and down, or nothing would ever signal; every eleventh without trading.
                Row(opened_at(symbol, at), 100 + at * 7 % 11 + at * 0.1 + version * 0.01, symbol, 0.1 * (at % 11))
                for at in places
            ]
            rows = rows * 2 if is_doubled else rows
            batch = make_batch(rows[::-1] if is_reversed else rows, timeframe=timeframe, session=session)
            promote(warehouse.connection, batch)
        case ("observe", symbol, position, count):
            # The source is asked about more than it has: one candle that stands already, and silence around it.
            timeframe, _, step, _, session = SERIES[symbol]
            start = opened_at(symbol, position)
            batch = make_batch(
                [Row(start, 100, symbol)],
                timeframe=timeframe,
                session=session,
                observed=(start - step * count, start + step * count),
            )
            promote(warehouse.connection, batch)
        case ("delete", symbol, position, count):
            found = warehouse.query("select 1 from raw.instrument where symbol = %s", symbol)
            if found:
                span = {} if count == 0 else {"from_at": opened_at(symbol, position)}
                if count:
                    span["until_at"] = span["from_at"] + SERIES[symbol][2] * count
                delete(warehouse.connection, exchange="test", symbol=symbol, **span)
        case ("edit", outage_after, prints_empty_candles):
            warehouse.query(
                """
                insert into config.exchange values ('test', 'CRYPTO', %s, %s)
                on conflict (exchange) do update set
                    prints_empty_candles = excluded.prints_empty_candles, outage_after = excluded.outage_after
                """,
                prints_empty_candles,
                outage_after,
            )
        case ("holiday", day, hours):
            date = instant("2024-03-01") + timedelta(days=day)
            warehouse.query("delete from config.holiday where session_id = 'EQUITY' and date = %s", date.date())
            if hours != "none":
                warehouse.query(
                    "insert into config.holiday values ('EQUITY', %s, 'test', null, %s)",
                    date.date(),
                    None if hours == "closed" else hours,
                )
        case ("timeframe", name, is_there):
            warehouse.query("delete from config.timeframe where timeframe = %s", name)
            if is_there:
                warehouse.query("insert into config.timeframe (timeframe, compute_features) values (%s, true)", name)
        case ("adjust", symbol, day, kind, is_late):
            found = warehouse.query("select instrument_id from raw.instrument where symbol = %s", symbol)
            if found:
                date = (instant("2024-03-01") + timedelta(days=day)).date()
                warehouse.query("delete from raw.adjustment where instrument_id = %s and ex_date = %s", found[0][0], date)
                if kind != "none":
                    warehouse.query(
                        """
                        insert into raw.adjustment (instrument_id, ex_date, kind, ratio, amount, known_at, batch_id)
                        values (%s, %s, %s, %s, %s, %s, 0)
                        """,
                        found[0][0],
                        date,
                        kind,
                        *((2, None) if kind == "split" else (None, 1.5)),
                        date + timedelta(days=1) if is_late else None,
                    )
        case ("indicator", name, how):
            kernel, params, other = {
                "rsi_3": ("rsi", {"period": 3}, {"period": 4}),
                "sma_20": ("sma", {"period": 20}, {"period": 6}),
                "macd_12_26_9": ("macd", {"fast": 12, "slow": 26, "signal": 9}, {"fast": 2, "slow": 5, "signal": 3}),
                "return_quartiles": ("return_quartiles", {"bars": 252, "fence": 1.5}, {"bars": 10, "fence": 1.5}),
            }[name]
            warehouse.query(
                """
                insert into config.indicator (indicator, kernel, params, is_enabled) values (%s, %s, %s, %s)
                on conflict (indicator) do update set params = excluded.params, is_enabled = excluded.is_enabled
                """,
                name,
                kernel,
                json.dumps(other if how == "other" else params),
                how != "off",
            )
        case ("signal", name, how):
            warehouse.query(
                "update config.signal set is_enabled = %s, execution = execution || %s where signal = %s",
                how != "off",
                json.dumps({"pyramiding": 3 if how == "other" else 1}),
                name,
            )
        case ("cost", fee):
            warehouse.query("insert into config.cost values ('test', 'spot', %s, 5, 2) on conflict do nothing", fee)
            warehouse.query("update config.cost set fee_bps = %s where exchange = 'test'", fee)
        case ("delist", symbol, position):
            warehouse.query("delete from config.delisting where symbol = %s", symbol)
            if position:
                warehouse.query(
                    "insert into config.delisting values ('test', 'spot', %s, %s)", symbol, opened_at(symbol, position)
                )
        case ("build", selection):
            warehouse.refresh_models(selection) if selection else warehouse.refresh()
        case ("dbt",):
            is_done = not needs_refresh(warehouse.connection)
            before = warehouse.contents() if is_done else None
            warehouse.build()
            assert before is None or warehouse.contents() == before
        case ("fail", table):
            # A model fails in the middle of the graph, after its parents have moved on; it is tried again later.
            warehouse.query(f"alter table {table} add constraint broken check (false) not valid")
            try:
                warehouse.try_refresh()
            except BuildError as error:  # dbt was called by hand before: it declares everything, and meets the same
                if table.split(".")[1] not in str(error):
                    raise
            warehouse.query(f"alter table {table} drop constraint if exists broken")  # a rebuilt table has none


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=not os.environ.get("TITAN_SOAK"),
)
@given(history=histories)
@example(  # what was asked for later ends a day that had not ended
    history=[
        ("load", "HOUR/USD", 0, 30, 1, 0, False, False),
        ("build", ""),
        ("load", "HOUR/USD", 70, 20, 1, 0, False, False),
        ("build", ""),
        ("dbt",),
    ]
)
@example(  # and a deletion opens it again
    history=[
        ("load", "HOUR/USD", 0, 30, 1, 0, False, False),
        ("build", ""),
        ("load", "HOUR/USD", 70, 20, 1, 0, False, False),
        ("build", ""),
        ("delete", "HOUR/USD", 60, 30),
    ]
)
@example(  # the same between two builds that see one half each
    history=[
        ("load", "HOUR/USD", 0, 30, 1, 0, False, False),
        ("load", "HOUR/USD", 70, 20, 1, 0, False, False),
        ("build", ""),
        ("delete", "HOUR/USD", 60, 30),
        ("build", "observed"),
        ("load", "HOUR/USD", 80, 5, 1, 0, False, False),
    ]
)
@example(  # an indicator comes, its parameters change while candles come late, and it goes again
    history=[
        ("load", "HOUR/USD", 0, 30, 1, 0, False, False),
        ("build", ""),
        ("indicator", "rsi_3", "on"),
        ("load", "HOUR/USD", 30, 20, 1, 0, False, False),
        ("build", ""),
        ("indicator", "rsi_3", "other"),
        ("load", "HOUR/USD", 10, 5, 1, 1, False, False),
        ("build", ""),
        ("indicator", "rsi_3", "off"),
        ("build", "dim_indicator"),
        ("load", "HOUR/USD", 50, 5, 1, 0, False, False),
    ]
)
@example(  # signals come and go and are traded otherwise, candles come late, an instrument is delisted
    history=[
        ("load", "HOUR/USD", 0, 60, 1, 0, False, False),
        ("load", "DAY/USD", 0, 30, 1, 0, False, False),
        ("build", ""),
        ("load", "HOUR/USD", 60, 30, 1, 0, False, False),
        ("build", "fct_signals+"),
        ("signal", "quick_day", "other"),
        ("load", "HOUR/USD", 20, 5, 1, 1, False, False),
        ("build", ""),
        ("cost", 10),
        ("load", "DAY/USD", 10, 3, 1, 1, False, False),
        ("delist", "HOUR/USD", 40),
        ("build", ""),
        ("signal", "quick_rsi", "off"),
        ("load", "DAY/USD", 30, 10, 1, 0, False, False),
        ("delete", "HOUR/USD", 50, 6),
    ]
)
@example(  # the first day of a month ceases to be a trading day: a bar to date stands before its new period
    history=[("load", "STOCK", 0, 21, 2, 0, False, False), ("build", ""), ("holiday", 0, "closed")]
)
@example(  # what was asked about is forgotten where no candle was: gaps of every timeframe are judged anew
    history=[("load", "HOUR/USD", 72, 21, 2, 0, False, False), ("build", ""), ("delete", "HOUR/USD", 48, 12)]
)
@example(  # a model fails where dbt, called by hand before, is asked to declare every model
    history=[
        ("load", "DAY/USD", 52, 30, 3, 0, False, False),
        ("build", ""),
        ("dbt",),
        ("delete", "DAY/USD", 56, 23),
        ("fail", "bars.multi_day"),
    ]
)
def test_incremental_equals_full(small: str, history: list[tuple[Any, ...]]) -> None:
    create_database(DATABASE, small)
    with closing(Warehouse()) as warehouse:
        for action in history:
            apply(warehouse, action)
        warehouse.refresh()
        warehouse.assert_incremental_equals_full()
