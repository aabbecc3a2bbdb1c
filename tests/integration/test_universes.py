"""Universes: what a rule chooses, beside the same by pandas, and what it may not know."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from tests.commands import titan
from tests.warehouse import Row, Warehouse, make_batch
from titan.core.errors import ExitCode, UsageError
from titan.ops import universes
from titan.ops.universes import Rule

START = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 150
RULE = Rule("binance", 3, 20, "month", date(2024, 2, 1), date(2024, 5, 20))


def load(warehouse: Warehouse, seed: int, days: int = DAYS) -> pd.DataFrame:
    """Daily candles of eight symbols whose turnovers wander; some begin late or end early. Returns turnover by day."""
    chance = random.Random(seed)
    rows, turnovers = [], {}
    for number, name in enumerate("ABCDEFGH"):
        first, last = (40 if name == "C" else 0), (95 if name == "D" else DAYS)
        for at in range(first, last):
            close, volume = chance.uniform(1, 9), chance.lognormvariate(number % 3, 1.5)
            if at < days:
                rows.append(Row(START + timedelta(days=at), close, f"{name}/USDT", volume))
                turnovers[(START + timedelta(days=at + 1)).replace(tzinfo=None), f"{name}/USDT"] = close * volume
    rows.append(Row(START, 1e9, "HUGE/BTC", 1e9))
    warehouse.load(make_batch(rows, timeframe="1D", exchange="binance", observed=(START, START + timedelta(days=days))))
    warehouse.refresh()
    return pd.Series(turnovers).unstack()


def expected(turnover: pd.DataFrame) -> set[tuple[str, date, date | None]]:
    """By pandas: the stretches of the three largest sums of the twenty days that had closed."""
    found: dict[str, list[list[date | None]]] = {}
    months = [at.date() for at in pd.date_range("2024-02-01", "2024-05-20", freq="MS")]
    for month, following in zip(months, [*months[1:], None], strict=True):
        closed = turnover[
            (turnover.index > pd.Timestamp(month) - pd.Timedelta(days=20)) & (turnover.index <= pd.Timestamp(month))
        ]
        for symbol in closed.sum().sort_values(ascending=False).index[:3]:
            stretches = found.setdefault(symbol, [])
            if stretches and stretches[-1][1] == month:
                stretches[-1][1] = following
            else:
                stretches.append([month, following])
    return {(symbol, start, stop) for symbol, stretches in found.items() for start, stop in stretches if start}


@pytest.mark.parametrize("seed", range(3))
def test_a_rule_chooses_what_pandas_does(warehouse: Warehouse, seed: int) -> None:
    turnover = load(warehouse, seed)
    chosen = universes.choose(warehouse.connection, "top3", RULE)
    assert {(row["symbol"], row["from_date"], row["to_date"]) for row in chosen} == expected(turnover)
    assert len(chosen) > 3
    at = "select count(*) from config.universe_at('top3', %s)"
    assert [warehouse.value(at, f"2024-0{month}-15") for month in (1, 2, 3, 4, 5)] == [0, 3, 3, 3, 3]
    assert {row["reason"] for row in universes.members(warehouse.connection, "top3")} == {str(RULE)}


def test_what_comes_later_changes_no_earlier_choice(warehouse: Warehouse) -> None:
    load(warehouse, 1, days=100)
    early = universes.choose(warehouse.connection, "top3", RULE)
    load(warehouse, 1)
    late = universes.choose(warehouse.connection, "top3", RULE)
    until = date(2024, 4, 9)

    def members(rows: list[dict[str, Any]], day: date) -> set[str]:
        return {row["symbol"] for row in rows if row["from_date"] <= day < (row["to_date"] or date.max)}

    for day in pd.date_range("2024-02-01", until):
        assert members(early, day.date()) == members(late, day.date())


def test_the_commands_choose_add_and_list(warehouse: Warehouse) -> None:
    load(warehouse, 2)
    command = ("universe", "choose", "top3", "--exchange", "binance", "--top", "3", "--days", "20", "--since", "2024-02-01")
    assert titan(*command).stdout.startswith("symbol\tfrom_date\tto_date\n")
    added = titan("universe", "add", "top3", "--exchange", "binance", "--symbol", "X/USDT", "--since", "2024-01-01")
    assert added.returncode == ExitCode.OK
    again = titan("universe", "add", "top3", "--exchange", "binance", "--symbol", "X/USDT", "--since", "2025-01-01")
    assert (again.returncode, "belongs to top3 from 2024-01-01 to now already" in again.stderr) == (ExitCode.USAGE, True)
    assert "top3\tbinance\tX/USDT\t2024-01-01" in titan("universe", "list").stdout
    nothing = titan("universe", "choose", "none", "--exchange", "kraken")
    assert (nothing.returncode, "no daily bars of kraken" in nothing.stderr) == (ExitCode.USAGE, True)
    with pytest.raises(UsageError, match="--every is day, week, month, quarter, not 'year'"):
        universes.choose(warehouse.connection, "top3", Rule("binance", 3, 20, "year", date(2024, 2, 1), date(2024, 5, 20)))
    assert len(universes.members(warehouse.connection, "top3")) > 3
