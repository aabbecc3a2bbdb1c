"""What names tell."""

from __future__ import annotations

import pytest

from ingest.sources.names import NameTells, given_name, read_name, split_symbol
from titan.core.errors import SourceError, UsageError
from titan.core.timeframes import TIMEFRAMES, parse_timeframe


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
        ("BRK-A", NameTells(None, None, "BRK-A", None)),
        ("BF.B_1d", NameTells(None, None, "BF.B", "1D")),
        ("XBTUSD_60", NameTells(None, None, "XBT/USD", None)),
        ("BTCUSDT_240329-1h-2024-01", NameTells(None, "future", "BTC/USDT-240329", "1h")),
        ("BTC_USDT_USDT-1h-futures", NameTells(None, "perpetual", "BTC/USDT:USDT", "1h")),
        ("NASDAQ_AAPL, 1D", NameTells("nasdaq", None, "AAPL", "1D")),
        ("EURUSD60", NameTells(None, None, "EUR/USD", None)),
        ("mplfinance_SP500_NOV2019_IDay", NameTells(None, None, "SP500", None)),
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
        ("BNBUSD", "BNB/USD"),
        ("DOTUSD", "DOT/USD"),
        ("BATUSD", "BAT/USD"),
        ("XBTUSD", "XBT/USD"),
        ("BRK-B", "BRK-B"),
        ("BF.B", "BF.B"),
        ("A/B/C", "A/B/C"),
        ("CBETH", "CBETH"),
        ("BTC_USDT_USDT", "BTC/USDT:USDT"),
    ],
)
def test_symbols(text: str, symbol: str) -> None:
    assert split_symbol(text) == symbol


def test_a_name_that_may_be_cut_in_two_ways_is_asked_for_unless_the_exchange_tells() -> None:
    with pytest.raises(SourceError, match="ARBUSD may be AR/BUSD or ARB/USD"):
        split_symbol("ARBUSD")
    assert [split_symbol("ARBUSD", exchange) for exchange in ("kraken", "binance")] == ["ARB/USD", "AR/BUSD"]
    with pytest.raises(SourceError, match="is the symbol AAPL or MSFT"):
        read_name("AAPL 1d MSFT")
    assert read_name("AAPL 1d MSFT", is_symbol_said=True).symbol is None


def test_folders_tell_what_the_name_leaves_open() -> None:
    folders = ("/", "data", "binance", "futures", "um", "monthly", "klines")
    assert read_name("BTCUSDT-1h-2024-01", folders) == NameTells("binance", "perpetual", "BTC/USDT", "1h")
    assert read_name("kraken_spot_XBTUSD", folders) == NameTells("kraken", "spot", "XBT/USD", None)


@pytest.mark.parametrize("text", ["", "  ", "A\u202eB", "A\nB", "X" * 65])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no name"):
        given_name(text, "--symbol")


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
