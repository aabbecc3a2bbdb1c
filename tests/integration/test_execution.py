"""The rules of execution (docs/backtest.md), each by name: events and bars go in, fills come out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.warehouse import DATABASE, Warehouse, instant, microseconds, separate_warehouse, use_database
from titan.core.batch import Batch, Market, empty_candles
from titan.core.timeframes import TIMEFRAMES

START = instant("2024-01-01")
DAY = timedelta(days=1)

# By case and table, the rows.
Results = dict[str, dict[str, list[dict[str, Any]]]]
# open, high, low, close, volume; one without a volume of its own has 1.
Bar = tuple[float, ...]
# Known at the close of which bar, action, direction, fraction of the account.
Event = tuple[int, str, str] | tuple[int, str, str, float]


@dataclass(frozen=True)
class Case:
    """Bars from START on, what was signalled over them, and how it is traded."""

    bars: list[Bar]
    events: list[Event]
    execution: dict[str, Any] = field(default_factory=dict)
    direction: str = "both"
    step: timedelta = DAY
    exchange: str = "free"
    delisted_after: int | None = None


def flat(*closes: float) -> list[Bar]:
    """Bars of one price each."""
    return [(close, close, close, close, 1.0) for close in closes]


CASES = {
    "an order fills at the open of the next bar": Case(
        [(10, 10, 10, 10), (20, 30, 10, 25), (40, 40, 40, 40)], [(0, "entry", "long"), (1, "exit", "long")]
    ),
    "a bar without volume fills nothing": Case(
        [(10, 10, 10, 10), (20, 20, 20, 20, 0), (30, 30, 30, 30), (30, 30, 30, 30, 0), (50, 50, 50, 50)],
        [(0, "entry", "long"), (2, "exit", "long")],
    ),
    "a bar without volume touches no stop": Case(
        [*flat(10, 10), (5, 5, 5, 5, 0), *flat(10, 10)], [(0, "entry", "long")], {"stop_loss": 0.2}
    ),
    "an exit calls off an entry that still waits": Case(
        [*flat(10), (10, 10, 10, 10, 0), *flat(10, 10)], [(0, "entry", "long"), (1, "exit", "long")]
    ),
    "of one bar exits come before entries": Case(
        flat(10, 10, 20), [(0, "entry", "long"), (1, "exit", "long"), (1, "entry", "long")]
    ),
    "an entry while in is left out": Case(flat(10, 10, 10, 10), [(0, "entry", "long"), (1, "entry", "long")]),
    "an exit while out is left out": Case(flat(10, 10, 10), [(0, "exit", "long")]),
    "a stop fills at its level": Case([*flat(100, 100), (100, 100, 85, 99)], [(0, "entry", "long")], {"stop_loss": 0.1}),
    "a gap through a stop fills at the open": Case(
        [*flat(100, 100), (80, 100, 80, 99)], [(0, "entry", "long")], {"stop_loss": 0.1}
    ),
    "a target fills at its level": Case(
        [*flat(100, 100), (100, 125, 100, 99)], [(0, "entry", "long")], {"take_profit": 0.2}
    ),
    "a gap through a target fills at the open": Case(
        [*flat(100, 100), (130, 130, 50, 99)], [(0, "entry", "long")], {"take_profit": 0.2, "stop_loss": 0.1}
    ),
    "both touched in one bar means the stop": Case(
        [*flat(100, 100), (100, 130, 80, 99)], [(0, "entry", "long")], {"take_profit": 0.2, "stop_loss": 0.1}
    ),
    "a stop holds from the bar of the entry on": Case(
        [*flat(100), (100, 100, 85, 99), *flat(99)], [(0, "entry", "long")], {"stop_loss": 0.1}
    ),
    "a trailing stop follows the bars before and not its own": Case(
        [*flat(100), (100, 200, 95, 150), (185, 300, 181, 250), (280, 280, 269, 280)],
        [(0, "entry", "long")],
        {"trailing_stop": 0.1},
    ),
    "a short mirrors stop and target": Case(
        [*flat(100, 100), (100, 112, 100, 100), *flat(100), (100, 100, 79, 80)],
        [(0, "entry", "short"), (2, "entry", "short")],
        {"stop_loss": 0.1, "take_profit": 0.2},
    ),
    "a short ends where its account does": Case(
        [*flat(100, 100), (100, 250, 100, 240), *flat(240)], [(0, "entry", "short"), (2, "entry", "short")]
    ),
    "an entry the other way round leaves first": Case(
        flat(100, 100, 110, 120), [(0, "entry", "long"), (1, "entry", "short")]
    ),
    "units are added up to the pyramid and leave first in first out": Case(
        flat(100, 100, 110, 120, 130, 140, 150),
        [(0, "entry", "long"), (1, "entry", "long"), (2, "entry", "long"), (3, "exit", "long"), (4, "exit", "long")],
        {"pyramiding": 2, "exit_units": 1},
    ),
    "an exit closes all units": Case(
        flat(100, 100, 110, 120), [(0, "entry", "long"), (1, "entry", "long"), (2, "exit", "long")], {"pyramiding": 2}
    ),
    "each unit has its own stop": Case(
        [*flat(100, 100, 200), (200, 200, 150, 160), *flat(160)],
        [(0, "entry", "long"), (1, "entry", "long")],
        {"pyramiding": 2, "stop_loss": 0.1},
    ),
    "a fraction of the account is put in": Case(
        flat(100, 100, 200), [(0, "entry", "long", 0.25), (1, "exit", "long")], {"fraction": 0.25}
    ),
    "no more than there is free is put in": Case(
        flat(100, 100, 300, 300), [(0, "entry", "long", 0.5), (1, "entry", "long", 0.5)], {"pyramiding": 2}
    ),
    "without a size nothing is bought": Case(flat(100, 100), [(0, "entry", "long", float("nan"))]),
    "fees and slippage are taken from the realistic account": Case(
        flat(100, 100, 200), [(0, "entry", "long"), (1, "exit", "long")], exchange="costly"
    ),
    "a short pays for what it borrows by the day": Case(
        flat(100, 100, 100, 100, 100, 100), [(0, "entry", "short"), (4, "exit", "short")], exchange="costly"
    ),
    "an account compounds": Case(
        flat(100, 100, 200, 200, 400, 400),
        [(0, "entry", "long"), (1, "exit", "long"), (2, "entry", "long"), (3, "exit", "long")],
    ),
    "the delisted leave at the last traded close": Case(
        [*flat(100, 100), (110, 110, 110, 120), (120, 120, 120, 120, 0), *flat(500)],
        [(0, "entry", "long")],
        delisted_after=3,
    ),
    "a short ends where closing it takes all": Case(
        [*flat(100, 100), (100, 250, 100, 240), *flat(50)], [(0, "entry", "short"), (2, "entry", "short")], exchange="costly"
    ),
    "a gap beyond a short's account leaves a debt": Case(
        [*flat(9, 9), (40, 40, 40, 40), *flat(8, 8, 8)],
        [(0, "entry", "short"), (2, "entry", "short"), (3, "entry", "short")],
    ),
    "a close ends a short without volume, too": Case(
        [*flat(9, 9), (40, 40, 40, 40, 0), *flat(8, 8)], [(0, "entry", "short"), (2, "entry", "short")]
    ),
    # 1 / 49 * 49 is not 1: what rounding leaves of the cash would be the account.
    "a close of zero ends an account that holds only that": Case(
        [*flat(49, 49), (49, 49, 0, 0), *flat(60, 60, 60)], [(0, "entry", "long"), (3, "entry", "long")]
    ),
    "a close of zero ends it without volume, too": Case(
        [*flat(49, 49), (49, 49, 0, 0, 0), *flat(60, 60)], [(0, "entry", "long"), (3, "exit", "long")], exchange="costly"
    ),
    "a close of zero is watched with stops as well": Case(
        [*flat(49, 49), (49, 49, 0, 0, 0), *flat(60)], [(0, "entry", "long")], {"take_profit": 0.9}
    ),
    "an account with cash outlives a close of zero": Case(
        [*flat(10, 10), (10, 10, 0, 0), *flat(20)], [(0, "entry", "long", 0.25)], {"fraction": 0.25}
    ),
    "an exit sells at an open of zero": Case(
        [*flat(10, 10, 10), (0, 15, 0, 15), *flat(20, 20)],
        [(0, "entry", "long", 0.5), (2, "exit", "long"), (3, "entry", "long", 0.5)],
        {"fraction": 0.5},
    ),
    "a stop sells at an open of zero": Case(
        [*flat(10, 10), (0, 15, 0, 15)], [(0, "entry", "long", 0.5)], {"fraction": 0.5, "stop_loss": 0.1}
    ),
    "an open of zero calls off an entry": Case([*flat(10), (0, 10, 0, 10), *flat(10)], [(0, "entry", "long")]),
    "what rounding leaves is not traded with": Case(
        flat(49, 49, 555, 555, 61, 61),
        [(0, "entry", "long"), (1, "entry", "long"), (4, "entry", "long")],
        {"pyramiding": 3},
    ),
    "orders fill on a finer timeframe": Case(
        [(float(at), at + 0.5, at - 0.5, float(at)) for at in range(100, 172)],
        [(0, "entry", "long"), (1, "exit", "long")],
        {"execution_timeframe": "1h"},
        step=timedelta(hours=1),
    ),
    "a stop is watched on the finer timeframe": Case(
        [*flat(*[100.0] * 30), (100, 100, 50, 100), *flat(*[100.0] * 41)],
        [(0, "entry", "long")],
        {"execution_timeframe": "1h", "stop_loss": 0.2},
        step=timedelta(hours=1),
    ),
}


def batch_of(case: Case, symbol: str) -> Batch:
    candles = empty_candles(len(case.bars))
    for at, (opened, high, low, close, *volume) in enumerate(case.bars):
        candles[at] = (
            at + 1, 0, microseconds(START + case.step * at), opened, max(high, opened, close), min(low, opened, close),
            close, volume[0] if volume else 1.0, 0, False, 0, False,
        )  # fmt: skip
    return Batch(
        source="test",
        origin="test",
        market=Market(case.exchange, "spot", TIMEFRAMES["1D" if case.step == DAY else "1h"].name, None),
        symbols=[symbol],
        candles=candles,
        rows_read=len(case.bars),
        record_of=lambda number: repr(case.bars[number - 1]),
        as_of=instant("2026-01-01"),
        answered=[[(START, START + case.step * len(case.bars))]],
    )


@pytest.fixture(scope="module")
def traded(manifest: Any) -> Iterator[tuple[Warehouse, Results]]:
    """Fills, trades and equity of every case: one instrument and one signal each, in one warehouse."""
    warehouse = separate_warehouse("execution")
    warehouse.query("delete from config.signal")
    warehouse.query("update config.timeframe set compute_features = false where timeframe <> '1D'")
    warehouse.query("insert into config.cost values ('free', 'spot', 0, 0, 0), ('costly', 'spot', 100, 50, 200)")
    for number, case in enumerate(CASES.values()):
        warehouse.load(batch_of(case, f"CASE{number}/USD"))
        warehouse.query(
            "insert into config.signal values (%s, 'ema_crossover', '1D', '{\"fast\": 9, \"slow\": 21}', %s, %s)",
            f"case_{number}",
            case.direction,
            json.dumps(case.execution),
        )
        if case.delisted_after is not None:
            warehouse.query(
                "insert into config.delisting values (%s, 'spot', %s, %s)",
                case.exchange,
                f"CASE{number}/USD",
                START + case.step * (case.delisted_after + 1),
            )
    warehouse.refresh()
    for number, case in enumerate(CASES.values()):
        for at, action, direction, *fraction in case.events:
            size = fraction[0] if fraction else case.execution.get("fraction", 1 / case.execution.get("pyramiding", 1))
            warehouse.query(
                """
                insert into signals.fct_signals
                select instrument_id, '1D', %s, %s, %s, %s, 'ema_crossover', %s, 0, nullif(%s, 'NaN'::float8), '{}', '', ''
                from bars.dim_instrument where symbol = %s
                """,
                START + DAY * (at + 1),
                f"case_{number}",
                direction,
                action,
                START + DAY * (at + 1),
                size,
                f"CASE{number}/USD",
            )
    fills, equity = (
        warehouse.value(
            "select oid::regproc::text from pg_proc where pronamespace = 'backtest'::regnamespace and proname ~ %s",
            f"^{name}_[0-9a-f]{{12}}$",
        )
        for name in ("fills", "equity")
    )
    warehouse.query("truncate backtest.fill, backtest.fct_strategy_equity")
    for table, function in (("fill", fills), ("fct_strategy_equity", equity)):
        warehouse.query(
            f"""
            insert into backtest.{table}
            select instrument_id, '1D', made.*, 'case_' || substring(symbol from 5 for length(symbol) - 8)
            from bars.dim_instrument
            cross join lateral {function}(
                'case_' || substring(symbol from 5 for length(symbol) - 8), instrument_id, '1D', '-infinity'
            ) as made
            """
        )
    use_database(DATABASE)
    found: Results = {
        name: {
            table: warehouse_rows(
                warehouse, f"select * from backtest.{table} where signal = 'case_{number}' order by {order}"
            )
            for table, order in (
                ("fill", "fill_number"),
                ("fct_strategy_trade", "trade_number"),
                ("fct_strategy_equity", "closed_at"),
            )
        }
        for number, name in enumerate(CASES)
    }
    yield warehouse, found
    warehouse.close()


@pytest.fixture
def results(traded: tuple[Warehouse, Results]) -> Results:
    """What became of each case."""
    return traded[1]


def warehouse_rows(warehouse: Warehouse, query: str) -> list[dict[str, Any]]:
    cursor = warehouse.connection.execute(query.encode())
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def day(moment: datetime) -> float:
    """How many days after START."""
    return (moment - START) / DAY


# (opened on day, action, direction, price, reason) of each fill
EXPECTED: dict[str, list[tuple[float, str, str, float, str]]] = {
    "an order fills at the open of the next bar": [
        (1, "entry", "long", 20, "signal"),
        (2, "exit", "long", 40, "signal"),
    ],
    "a bar without volume fills nothing": [(2, "entry", "long", 30, "signal"), (4, "exit", "long", 50, "signal")],
    "a bar without volume touches no stop": [(1, "entry", "long", 10, "signal")],
    "an exit calls off an entry that still waits": [],
    "of one bar exits come before entries": [
        (1, "entry", "long", 10, "signal"),
        (2, "exit", "long", 20, "signal"),
        (2, "entry", "long", 20, "signal"),
    ],
    "an entry while in is left out": [(1, "entry", "long", 10, "signal")],
    "an exit while out is left out": [],
    "a stop fills at its level": [(1, "entry", "long", 100, "signal"), (2, "exit", "long", 90, "stop")],
    "a gap through a stop fills at the open": [(1, "entry", "long", 100, "signal"), (2, "exit", "long", 80, "stop")],
    "a target fills at its level": [(1, "entry", "long", 100, "signal"), (2, "exit", "long", 120, "target")],
    "a gap through a target fills at the open": [(1, "entry", "long", 100, "signal"), (2, "exit", "long", 130, "target")],
    "both touched in one bar means the stop": [(1, "entry", "long", 100, "signal"), (2, "exit", "long", 90, "stop")],
    "a stop holds from the bar of the entry on": [(1, "entry", "long", 100, "signal"), (1, "exit", "long", 90, "stop")],
    # 90 while in the bar of the entry, 180 after its high of 200, 270 after the next one's of 300.
    "a trailing stop follows the bars before and not its own": [
        (1, "entry", "long", 100, "signal"),
        (3, "exit", "long", 270, "stop"),
    ],
    "a short mirrors stop and target": [
        (1, "entry", "short", 100, "signal"),
        (2, "exit", "short", 110, "stop"),
        (3, "entry", "short", 100, "signal"),
        (4, "exit", "short", 80, "target"),
    ],
    "a short ends where its account does": [
        (1, "entry", "short", 100, "signal"),
        (2, "exit", "short", 200, "liquidation"),
    ],
    "an entry the other way round leaves first": [
        (1, "entry", "long", 100, "signal"),
        (2, "exit", "long", 110, "reversal"),
        (2, "entry", "short", 110, "signal"),
    ],
    "units are added up to the pyramid and leave first in first out": [
        (1, "entry", "long", 100, "signal"),
        (2, "entry", "long", 110, "signal"),
        (4, "exit", "long", 130, "signal"),
        (5, "exit", "long", 140, "signal"),
    ],
    "an exit closes all units": [
        (1, "entry", "long", 100, "signal"),
        (2, "entry", "long", 110, "signal"),
        (3, "exit", "long", 120, "signal"),
        (3, "exit", "long", 120, "signal"),
    ],
    "each unit has its own stop": [
        (1, "entry", "long", 100, "signal"),
        (2, "entry", "long", 200, "signal"),
        (3, "exit", "long", 180, "stop"),
    ],
    "a fraction of the account is put in": [
        (1, "entry", "long", 100, "signal"),
        (2, "exit", "long", 200, "signal"),
    ],
    "no more than there is free is put in": [
        (1, "entry", "long", 100, "signal"),
        (2, "entry", "long", 300, "signal"),
    ],
    "without a size nothing is bought": [],
    "fees and slippage are taken from the realistic account": [
        (1, "entry", "long", 100, "signal"),
        (2, "exit", "long", 200, "signal"),
    ],
    "a short pays for what it borrows by the day": [
        (1, "entry", "short", 100, "signal"),
        (5, "exit", "short", 100, "signal"),
    ],
    "an account compounds": [
        (1, "entry", "long", 100, "signal"),
        (2, "exit", "long", 200, "signal"),
        (3, "entry", "long", 200, "signal"),
        (4, "exit", "long", 400, "signal"),
    ],
    "the delisted leave at the last traded close": [
        (1, "entry", "long", 100, "signal"),
        (4, "exit", "long", 120, "delisted"),
    ],
    # Where buying back at 0.5 % more, with 1 % of fees and 2 % for each of two days, takes all: not at 200.
    "a short ends where closing it takes all": [
        (1, "entry", "short", 100, "signal"),
        (2, "exit", "short", 1.96 * 99.5 / (1.005 * 1.01), "liquidation"),
    ],
    "a gap beyond a short's account leaves a debt": [
        (1, "entry", "short", 9, "signal"),
        (2, "exit", "short", 40, "liquidation"),
    ],
    "a close ends a short without volume, too": [
        (1, "entry", "short", 9, "signal"),
        (2, "exit", "short", 40, "liquidation"),
    ],
    "a close of zero ends an account that holds only that": [
        (1, "entry", "long", 49, "signal"),
        (2, "exit", "long", 0, "worthless"),
    ],
    "a close of zero ends it without volume, too": [
        (1, "entry", "long", 49, "signal"),
        (2, "exit", "long", 0, "worthless"),
    ],
    "a close of zero is watched with stops as well": [
        (1, "entry", "long", 49, "signal"),
        (2, "exit", "long", 0, "worthless"),
    ],
    "an account with cash outlives a close of zero": [(1, "entry", "long", 10, "signal")],
    "an exit sells at an open of zero": [
        (1, "entry", "long", 10, "signal"),
        (3, "exit", "long", 0, "signal"),
        (4, "entry", "long", 20, "signal"),
    ],
    "a stop sells at an open of zero": [(1, "entry", "long", 10, "signal"), (2, "exit", "long", 0, "stop")],
    "an open of zero calls off an entry": [],
    "what rounding leaves is not traded with": [
        (1, "entry", "long", 49, "signal"),
        (2, "entry", "long", 555, "signal"),
    ],
    "orders fill on a finer timeframe": [
        (1, "entry", "long", 124, "signal"),
        (2, "exit", "long", 148, "signal"),
    ],
    "a stop is watched on the finer timeframe": [
        (1, "entry", "long", 100, "signal"),
        (1.25, "exit", "long", 80, "stop"),
    ],
}


@pytest.mark.parametrize("name", CASES)
def test_fills(results: Results, name: str) -> None:
    """Which bar fills what, at which price, and why."""
    fills = results[name]["fill"]
    found = [(day(row["opened_at"]), row["action"], row["direction"], row["price"], row["reason"]) for row in fills]
    assert found == [(at, action, way, pytest.approx(price), reason) for at, action, way, price, reason in EXPECTED[name]]
    assert [row["fill_number"] for row in fills] == list(range(1, len(fills) + 1))
    if fills and all(unit["action"] == "entry" for unit in fills[-1:]):
        assert results[name]["fct_strategy_trade"][-1]["is_open"]


def test_the_last_open_position_is_marked_and_flagged(results: Results) -> None:
    (trade,) = results["an entry while in is left out"]["fct_strategy_trade"]
    assert trade["is_open"]
    assert (trade["exit_at"], trade["closed_at"], trade["exit_reason"]) == (None, None, None)
    assert trade["exit_price"] == 10
    assert trade["clean_return"] == 0


def test_quantities_are_what_the_account_has(results: Results) -> None:
    """Fractions, free money, compounding."""
    fill = results["a fraction of the account is put in"]["fill"]
    assert [row["quantity"] for row in fill] == [0.0025, 0.0025]
    assert [row["cash"] for row in fill] == [0.75, 1.25]
    first, second = results["no more than there is free is put in"]["fill"]
    assert first["quantity"] == 0.005
    # Half of an account of 2 would be 1: free are the 0.5 that did not go into the first unit.
    assert second["quantity"] * 300 == pytest.approx(0.5)
    assert second["cash"] == pytest.approx(0)
    assert results["an account compounds"]["fill"][-1]["cash"] == pytest.approx(4)
    assert [row["clean_equity"] for row in results["an account compounds"]["fct_strategy_equity"]] == [1, 1, 2, 2, 4, 4]


def test_units_leave_first_in_first_out(results: Results) -> None:
    """Which unit leaves, and what is left."""
    fills = results["units are added up to the pyramid and leave first in first out"]["fill"]
    assert [row["trade_number"] for row in fills] == [1, 2, 1, 2]
    assert [row["entry_price"] for row in fills] == [100, 110, 100, 110]
    assert fills[-1]["holding"] == 0
    (stopped,) = [row for row in results["each unit has its own stop"]["fill"] if row["reason"] == "stop"]
    assert stopped["trade_number"] == 2
    trades = results["units are added up to the pyramid and leave first in first out"]["fct_strategy_trade"]
    assert [trade["clean_return"] for trade in trades] == [pytest.approx(0.3), pytest.approx(140 / 110 - 1)]


def test_costs_are_those_of_the_table(results: Results) -> None:
    """1 % of each notional, prices worse by 0.5 %, and 2 % a day of what a short was worth."""
    entry, leave = results["fees and slippage are taken from the realistic account"]["fill"]
    assert entry["realistic_price"] == pytest.approx(100.5)
    assert entry["realistic_quantity"] == pytest.approx(1 / (100.5 * 1.01))
    assert entry["realistic_cash"] == pytest.approx(0, abs=1e-15)
    assert leave["realistic_price"] == pytest.approx(199)
    assert leave["realistic_cash"] == pytest.approx(entry["realistic_quantity"] * 199 * 0.99)
    (trade,) = results["fees and slippage are taken from the realistic account"]["fct_strategy_trade"]
    assert trade["realistic_profit"] == pytest.approx(leave["realistic_cash"] - 1)
    assert (trade["clean_return"], trade["clean_profit"]) == (1, 1)

    entry, leave = results["a short pays for what it borrows by the day"]["fill"]
    notional = entry["realistic_quantity"] * 99.5
    assert leave["borrow"] == pytest.approx(notional * 0.02 * 4)
    (trade,) = results["a short pays for what it borrows by the day"]["fct_strategy_trade"]
    assert trade["realistic_profit"] == pytest.approx(leave["realistic_cash"] - 1)
    equity = [
        row["realistic_equity"] for row in results["a short pays for what it borrows by the day"]["fct_strategy_equity"]
    ]
    assert equity[1] - equity[2] == pytest.approx(notional * 0.02)
    assert equity[2] - equity[3] == pytest.approx(notional * 0.02)


def test_equity_is_cash_and_what_is_held_at_the_close(results: Results) -> None:
    rows = results["an order fills at the open of the next bar"]["fct_strategy_equity"]
    assert [row["clean_equity"] for row in rows] == [1, 25 / 20, 2]
    assert [row["clean_return"] for row in rows] == [0, 0.25, pytest.approx(0.6)]
    assert [row["hold_equity"] for row in rows] == [1, 2.5, 4]
    rows = results["a short mirrors stop and target"]["fct_strategy_equity"]
    assert [row["clean_equity"] for row in rows] == [1, 1, pytest.approx(0.9), pytest.approx(0.9), pytest.approx(1.08)]
    assert [row["clean_drawdown"] for row in rows] == [0, 0, pytest.approx(-0.1), pytest.approx(-0.1), 0]


def test_what_is_worth_nothing_stays_so(results: Results) -> None:
    """No return is divided by what rounding leaves: a close of zero costs everything, once."""
    for name in (
        "a close of zero ends an account that holds only that",
        "a close of zero ends it without volume, too",
        "a close of zero is watched with stops as well",
    ):
        rows = results[name]["fct_strategy_equity"]
        for account in ("clean", "realistic", "hold", "realistic_hold"):
            assert [row[f"{account}_equity"] for row in rows[2:]] == [0] * (len(rows) - 2), (name, account)
            assert [row[f"{account}_return"] for row in rows[2:]] == [-1, *[0] * (len(rows) - 3)], (name, account)
            assert rows[-1][f"{account}_drawdown"] == -1
        assert [trade["clean_return"] for trade in results[name]["fct_strategy_trade"]] == [-1]
    rows = results["an account with cash outlives a close of zero"]["fct_strategy_equity"]
    assert [row["clean_equity"] for row in rows] == [1, 1, 0.75, 1.25]
    assert [row["hold_equity"] for row in rows] == [1, 1, 0, 0]
    assert results["an exit sells at an open of zero"]["fill"][1]["cash"] == 0.5


def test_a_ruined_account_is_dead_and_its_debt_is_shown(results: Results) -> None:
    """It trades no more, whatever is signalled; nothing grows it, and closing it was part of what ruined it."""
    fill = results["a short ends where closing it takes all"]["fill"][-1]
    assert fill["realistic_cash"] == 0
    assert fill["cash"] > 0.05
    rows = results["a short ends where closing it takes all"]["fct_strategy_equity"]
    assert [row["realistic_equity"] for row in rows[2:]] == [0, 0]
    for name in ("a gap beyond a short's account leaves a debt", "a close ends a short without volume, too"):
        rows = results[name]["fct_strategy_equity"]
        assert [row["clean_equity"] for row in rows[2:]] == [pytest.approx(2 - 40 / 9)] * (len(rows) - 2)
        assert [row["clean_return"] for row in rows[2:]] == [pytest.approx(1 - 40 / 9), *[0] * (len(rows) - 3)]


def test_a_walk_is_taken_up_anywhere(traded: tuple[Warehouse, Results]) -> None:
    """From every bar on, the same fills and the same equity, to the bit."""
    warehouse, _ = traded
    for table in ("fill", "fct_strategy_equity"):
        function = warehouse.value(
            "select oid::regproc::text from pg_proc where pronamespace = 'backtest'::regnamespace and proname ~ %s",
            f"^{'fills' if table == 'fill' else 'equity'}_[0-9a-f]{{12}}$",
        )
        for at in range(0, 8):
            differing = warehouse.query(
                f"""
                with again as (
                    select instrument_id, '1D' as timeframe, made.*, signal
                    from (select distinct instrument_id, signal from backtest.fct_strategy_equity) as series
                    cross join lateral {function}(signal, instrument_id, '1D', %s) as made
                )
                select 'only again', row_of::text from (
                    select again::text as row_of from again except select stands::text from backtest.{table} as stands
                ) as only_again
                union all
                select 'missing', row_of::text from (
                    select stands::text as row_of from backtest.{table} as stands where closed_at >= %s
                    except select again::text from again
                ) as missing
                """,
                START + DAY * at,
                START + DAY * at,
            )
            assert differing == []
