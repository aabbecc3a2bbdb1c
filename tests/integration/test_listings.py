"""What an exchange on loopback lists, changes and takes out, and what is remembered of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.clocks import FastClock
from tests.commands import titan
from tests.local_exchange import SINCE, LocalExchange
from tests.warehouse import Warehouse
from titan.ops.exchanges import Exchanges, Inquiry, Loader

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # requests keeps its connections until it is collected

BTC = Inquiry("binance", "BTC/USDT", "1D", SINCE)
DAY = timedelta(days=1)


def load(warehouse: Warehouse, exchange: LocalExchange, now: datetime) -> list[str]:
    """Ask for days as of an instant; returns what is said of it."""
    exchange.now = FastClock(now).now
    loaded = Loader(warehouse.connection, Exchanges(now=exchange.now), is_insistent=True).load([BTC], now)
    return loaded.report.remarks


def listed(warehouse: Warehouse, symbol: str, *columns: str) -> list[tuple[Any, ...]]:
    return warehouse.query(f"select {', '.join(columns)} from raw.listing where symbol = %s order by from_at", symbol)


def steps(lot: str, tick: str = "0.01") -> dict[str, Any]:
    return {
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "9000", "stepSize": lot},
            {"filterType": "NOTIONAL", "minNotional": "5"},
        ]
    }


def test_what_changes_ends_a_row_and_begins_another(warehouse: Warehouse, exchange: LocalExchange) -> None:
    first, second, third, fourth = (SINCE + at * DAY for at in range(5, 9))
    exchange.markets = {"BTCUSDT": steps("0.001"), "ETHUSDT": {}}
    assert load(warehouse, exchange, first) == []
    assert load(warehouse, exchange, first + timedelta(hours=1)) == []
    exchange.markets = {"BTCUSDT": steps("0.00001"), "ETHUSDT": {"status": "BREAK"}, "SOLUSDT": {}}
    assert load(warehouse, exchange, second) == ["binance BTC/USDT is traded in other steps"]  # nobody has the others
    exchange.markets = {"BTCUSDT": steps("0.00001"), "SOLUSDT": {}}
    assert load(warehouse, exchange, third) == []
    exchange.markets = {"BTCUSDT": {**steps("0.00001"), "status": "BREAK"}, "ETHUSDT": {}, "SOLUSDT": {}}
    assert load(warehouse, exchange, fourth) == ["binance BTC/USDT is halted"]
    assert listed(
        warehouse, "BTC/USDT", "own_name", "is_trading", "lot_size", "tick_size", "least_notional", "from_at", "to_at"
    ) == [
        ("BTCUSDT", True, 0.001, 0.01, 5, first, second),
        ("BTCUSDT", True, 0.00001, 0.01, 5, second, fourth),
        ("BTCUSDT", False, 0.00001, 0.01, 5, fourth, None),
    ]
    assert listed(warehouse, "ETH/USDT", "is_trading", "from_at", "to_at") == [
        (True, first, second), (False, second, third), (True, fourth, None),
    ]  # fmt: skip
    assert listed(warehouse, "SOL/USDT", "from_at", "to_at") == [(second, None)]
    assert warehouse.query("select kind, subject, message from ops.alert order by seq") == [
        ("market", "binance BTC/USDT", "is traded in other steps"),
        ("market", "binance BTC/USDT", "is halted"),
    ]


def test_half_a_list_ends_nothing(warehouse: Warehouse, exchange: LocalExchange) -> None:
    names = [f"{letter * 3}USDT" for letter in "ABCDEFGHIJKLMNOP"]
    exchange.markets = {name: {} for name in names}
    load(warehouse, exchange, SINCE + 5 * DAY)
    exchange.markets = {name: {} for name in names[:8]}
    load(warehouse, exchange, SINCE + 6 * DAY)
    assert warehouse.value("select count(*) from raw.listing where to_at is not null") == 0
    exchange.markets = {name: {} for name in names[:-1]}  # one of them is news
    load(warehouse, exchange, SINCE + 7 * DAY)
    assert warehouse.query("select symbol from raw.listing where to_at is not null") == [("PPP/USDT",)]


def test_the_command_lists_what_is_here_or_all_of_an_exchange(warehouse: Warehouse, exchange: LocalExchange) -> None:
    assert "no list of markets has been read yet" in titan("listings").stderr
    exchange.markets = {"ETHUSDT": {}}
    load(warehouse, exchange, datetime(2024, 1, 6, tzinfo=UTC))
    lines = titan("listings").stdout.splitlines()
    assert [line.split("\t")[2] for line in lines[1:]] == ["BTC/USDT"]
    assert len(titan("listings", "--exchange", "binance").stdout.splitlines()) == 3
    assert len(titan("listings", "--symbol", "ETH/USDT").stdout.splitlines()) == 2
