"""What names tell."""

from __future__ import annotations

import pytest

from ingest.sources.names import NameTells, read_name, split_symbol
from ingest.timeframes import TIMEFRAMES, parse_timeframe
from titan.errors import UsageError


@pytest.mark.parametrize(
    ("stem", "told"),
    [
        ("binance_spot_BTCUSDT_1d", NameTells("binance", "spot", "BTC/USDT", "1D")),
        ("binance_futures_BTCUSDT_1m_2022", NameTells("binance", "perpetual", "BTC/USDT", "1m")),
        ("coinbase_BTC-USD_1m_2023-12", NameTells("coinbase", None, "BTC/USD", "1m")),
        ("ETHUSDT-1m-2022-01-03", NameTells(None, None, "ETH/USDT", "1m")),
        ("freqtrade_ADA_BTC-5m", NameTells(None, None, "ADA/BTC", "5m")),
        ("BTCUSDT-1M", NameTells(None, None, "BTC/USDT", "1MO")),
        ("lean_SPY_1d_x10000", NameTells(None, None, "SPY", "1D")),
        ("prices", NameTells()),
    ],
)
def test_file_names(stem: str, told: NameTells) -> None:
    assert read_name(stem) == told


@pytest.mark.parametrize(
    ("text", "symbol"),
    [
        ("BTCUSDT", "BTC/USDT"),
        ("btc_usdt", "BTC/USDT"),
        ("ETH-BTC", "ETH/BTC"),
        ("AAPL", "AAPL"),
        ("1000BONKUSDT", "1000BONK/USDT"),
    ],
)
def test_symbols(text: str, symbol: str) -> None:
    assert split_symbol(text) == symbol


@pytest.mark.parametrize(
    ("text", "name"),
    [("1d", "1D"), ("1M", "1MO"), ("1m", "1m"), ("1w", "1W_ISO"), ("60min", "1h"), ("daily", "1D")],
)
def test_timeframes(text: str, name: str) -> None:
    assert parse_timeframe(text).name == name


def test_an_unknown_timeframe_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match="unknown timeframe '7x'") as refusal:
        parse_timeframe("7x")
    assert all(name in str(refusal.value.hint) for name in TIMEFRAMES)
