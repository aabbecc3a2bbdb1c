"""Files through the door: every layout lands, every fault is said, named and kept."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest.sources.files import FileOptions
from tests.warehouse import BARS_ALONE, SMALL_TIMEFRAMES, Warehouse
from titan.core.errors import SourceError, TitanError, UsageError
from titan.ops.loads import LoadReport, load_files

LEFT_ALONE = BARS_ALONE

HEADER = "timestamp,open,high,low,close,volume"
GOOD = "2024-01-01T00:00:00Z,10,12,9,11,5\n2024-01-01T01:00:00Z,11,13,10,12,6\n2024-01-01T02:00:00Z,12,14,11,13,7"


def load(warehouse: Warehouse, path: Path, **options: Any) -> LoadReport:
    return load_files(warehouse.connection, [path], FileOptions(**options))


def write(tmp_path: Path, text: str, name: str = "binance_BTCUSDT_1h.csv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def failure(report: LoadReport) -> TitanError:
    assert len(report.failed) == 1
    return report.failed[0][1]


def test_a_file_lands_once_however_often_it_is_loaded(warehouse: Warehouse, tmp_path: Path) -> None:
    path = write(tmp_path, f"{HEADER}\n{GOOD}\n")
    first, second = load(warehouse, path), load(warehouse, path)
    assert (first.promoted[0].inserted, first.promoted[0].unchanged) == (3, 0)
    assert (second.promoted[0].inserted, second.promoted[0].unchanged) == (0, 3)
    assert second.has_changed_nothing
    assert warehouse.query("select opened_at, close from raw.ohlcv order by 1")[0][1] == 11
    assert warehouse.value("select count(*) from raw.ohlcv_revision") == 0
    observed = warehouse.value("select observed::text from raw.observed")
    assert observed == '{["2024-01-01 00:00:00+00","2024-01-01 03:00:00+00")}'


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("reordered", "Close,Volume,LOW,high,Open,Date\n11,5,9,12,10,2024-01-01 00:00:00\n12,6,10,13,11,2024-01-01 01:00:00"),
        ("semicolons", "time;open;high;low;close;volume\n1704067200;10;12;9;11;5\n1704070800;11;13;10;12;6"),
        ("padded", " time , open , high , low , close , volume \n1704067200, 10, 12 ,9,11,5\n1704070800,11,13,10,12,6"),
        ("quoted", '"time","open","high","low","close","volume"\n"1704067200","10","12","9","11","5"\n"1704070800","11","13","10","12","6"'),
        ("windows", "\ufefftime,open,high,low,close,volume\r\n1704067200,10,12,9,11,5\r\n1704070800,11,13,10,12,6\r\n"),
        ("index column", ",Open,High,Low,Close,Volume\n2024-01-01 00:00:00,10,12,9,11,5\n2024-01-01 01:00:00,11,13,10,12,6"),
        ("kline with header", "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n1704067200000,10,12,9,11,5,1704070799999,55,3,1,1,0\n1704070800000,11,13,10,12,6,1704074399999,72,4,1,1,0"),
        ("kline without header", "1704067200000,10,12,9,11,5,1704070799999,55,3,1,1,0\n1704070800000,11,13,10,12,6,1704074399999,72,4,1,1,0"),
        ("named volumes", "unix,date,symbol,open,high,low,close,Volume BTC,Volume USDT,tradecount\n1704067200000,x,BTC/USDT,10,12,9,11,5,55,3\n1704070800000,x,BTC/USDT,11,13,10,12,6,72,4"),
        ("closes", "close_time,open,high,low,close,volume\n1704070799999,10,12,9,11,5\n1704074399999,11,13,10,12,6"),
        ("old mac", "time,open,high,low,close,volume\r1704067200,10,12,9,11,5\r1704070800,11,13,10,12,6"),
        ("a line of spaces", "time,open,high,low,close,volume\n1704067200,10,12,9,11,5\n  \n1704070800,11,13,10,12,6\n \n"),
        ("a quoted line break", 'time,open,high,low,close,volume,note\n1704067200,10,12,9,11,5,"a\nb"\n1704070800,11,13,10,12,6,c'),
        ("blank lines", "time,open,high,low,close,volume\n\n1704067200,10,12,9,11,5\n\n1704070800,11,13,10,12,6\n\n"),
    ],
)  # fmt: skip
def test_layouts(warehouse: Warehouse, tmp_path: Path, name: str, text: str) -> None:
    report = load(warehouse, write(tmp_path, text))
    assert report.failed == []
    rows = warehouse.query("select opened_at::text, open, high, low, close, volume from raw.ohlcv order by 1")
    assert rows == [
        ("2024-01-01 00:00:00+00", 10, 12, 9, 11, 5),
        ("2024-01-01 01:00:00+00", 11, 13, 10, 12, 6),
    ]
    if "kline" in name or "named" in name:
        extras = warehouse.query("select quote_volume, trade_count from raw.ohlcv order by opened_at")
        assert extras == [(55, 3), (72, 4)]


def test_several_symbols_in_one_file(warehouse: Warehouse, tmp_path: Path) -> None:
    text = "symbol,timestamp,open,high,low,close,volume\nBTCUSDT,1704067200,1,1,1,1,1\nETHUSDT,1704067200,2,2,2,2,2\nBTCUSDT,1704070800,3,3,3,3,3"
    load(warehouse, write(tmp_path, text, "binance_1h.csv"))
    rows = warehouse.query(
        "select symbol, count(*) from raw.ohlcv join raw.instrument using (instrument_id) group by symbol order by 1"
    )
    assert rows == [("BTC/USDT", 2), ("ETH/USDT", 1)]


def test_parquet_lands_bit_for_bit(warehouse: Warehouse, tmp_path: Path) -> None:
    prices = [0.1 + 0.2, 1e-8, 12345.678901234567]
    table = pa.table(
        {
            "timestamp": pa.array([1704067200000, 1704070800000, 1704074400000], pa.timestamp("ms", tz="UTC")),
            **{name: pa.array(prices, pa.float64()) for name in ("open", "high", "low", "close")},
            "volume": pa.array([1, 2, 3], pa.int64()),
            "quote_volume": pa.array([1.5, None, 2.5], pa.float64()),
        }
    )
    path = tmp_path / "kraken_BTCUSD_1h.parquet"
    pq.write_table(table, path)
    load(warehouse, path)
    rows = warehouse.query("select opened_at::text, close, quote_volume from raw.ohlcv order by 1")
    assert [row[1] for row in rows] == prices
    assert [row[2] for row in rows] == [1.5, None, 2.5]
    assert rows[0][0] == "2024-01-01 00:00:00+00"


FAULTS = {
    "has_all_fields": "2024-01-01T03:00:00Z,1,1,1",
    "price_is_a_number": "2024-01-01T03:00:00Z,1,1,1,cheap,1",
    "volume_is_a_number": "2024-01-01T03:00:00Z,1,1,1,1,",
    "time_is_readable": "tomorrow,1,1,1,1,1",
    "price_is_finite": "2024-01-01T03:00:00Z,1,NaN,1,1,1",
    "volume_is_finite": "2024-01-01T03:00:00Z,1,1,1,1,inf",
    "price_is_not_negative": "2024-01-01T03:00:00Z,-1,1,-1,1,1",
    "volume_is_not_negative": "2024-01-01T03:00:00Z,1,1,1,1,-1",
    "high_is_not_below_low": "2024-01-01T03:00:00Z,1,1,2,1,1",
    "open_is_within_range": "2024-01-01T03:00:00Z,3,2,1,1,1",
    "close_is_within_range": "2024-01-01T03:00:00Z,1,2,1,3,1",
    "opens_on_grid": "2024-01-01T03:07:00Z,1,1,1,1,1",
    "is_not_in_the_future": "2124-01-01T03:00:00Z,1,1,1,1,1",
    "price_is_a_number ": "2024-01-01T03:00:00Z,1,1,1e-400,1,1",
    "time_is_readable ": "2024-01-01T03:00:00,1,1,1,1,1",
    "has_all_fields ": '2024-01-01T03:00:00Z,"1,1",1',
    "is_superseded_in_batch": "2024-01-01T02:00:00Z,5,5,5,5,5",
}


@pytest.mark.parametrize("reason", FAULTS)
def test_a_bad_row_is_kept_with_its_reason_and_text_and_the_good_ones_land(
    warehouse: Warehouse, tmp_path: Path, reason: str
) -> None:
    first, *others = GOOD.splitlines()
    fault, reason = FAULTS[reason], reason.strip()
    path = write(tmp_path, "\n".join([HEADER, first, fault, *others]) + "\n")
    report = load(warehouse, path)
    assert report.failed == []
    assert dict(report.promoted[0].quarantined) == {reason: 1}
    assert warehouse.query("select reason, row_number, record from raw.quarantine") == [(reason, 3, fault)]
    assert warehouse.query("select close from raw.ohlcv order by opened_at") == [(11,), (12,), (13,)]
    load(warehouse, path)
    assert warehouse.value("select count(*) from raw.quarantine") == 1


def test_a_bad_duplicate_does_not_shadow_a_good_row(warehouse: Warehouse, tmp_path: Path) -> None:
    load(warehouse, write(tmp_path, f"{HEADER}\n{GOOD}\n2024-01-01T01:00:00Z,11,nan,10,12,6"))
    assert warehouse.query("select close from raw.ohlcv order by opened_at") == [(11,), (12,), (13,)]


def test_equal_duplicates_are_counted_and_not_quarantined(warehouse: Warehouse, tmp_path: Path) -> None:
    report = load(warehouse, write(tmp_path, f"{HEADER}\n{GOOD}\n{GOOD}"))
    assert (report.promoted[0].inserted, report.promoted[0].duplicate, report.quarantined) == (3, 3, 0)


def test_an_unsorted_file_lands_like_a_sorted_one(warehouse: Warehouse, tmp_path: Path) -> None:
    load(warehouse, write(tmp_path, "\n".join([HEADER, *GOOD.splitlines()[::-1]])))
    assert warehouse.query("select close from raw.ohlcv order by opened_at") == [(11,), (12,), (13,)]


def test_a_batch_of_only_bad_rows_creates_no_instrument(warehouse: Warehouse, tmp_path: Path) -> None:
    report = load(warehouse, write(tmp_path, f"{HEADER}\n{FAULTS['price_is_finite']}\n"), timeframe="1h")
    assert "stopped by the gate" in str(report.failed[0][1])
    assert warehouse.query("select reason, resolution from raw.quarantine") == [("price_is_finite", None)]
    assert warehouse.value("select count(*) from raw.instrument") == 0


def test_a_revised_candle_keeps_its_old_version(warehouse: Warehouse, tmp_path: Path) -> None:
    load(warehouse, write(tmp_path, f"{HEADER}\n{GOOD}"))
    before = warehouse.query("select * from raw.ohlcv_as_of(%s) order by closed_at", 1)
    report = load(warehouse, write(tmp_path, f"{HEADER}\n{GOOD.replace(',12,6', ',12.5,6')}"))
    assert (report.promoted[0].revised, report.promoted[0].unchanged) == (1, 2)
    assert warehouse.query("select close, from_batch, to_batch from raw.ohlcv_revision") == [(12, 1, 2)]
    assert warehouse.query("select * from raw.ohlcv_as_of(%s) order by closed_at", 1) == before


def test_another_timeframe_is_kept_for_cross_checks_and_said(warehouse: Warehouse, tmp_path: Path) -> None:
    load(warehouse, write(tmp_path, f"{HEADER}\n{GOOD}"))
    report = load(warehouse, write(tmp_path, f"{HEADER}\n2024-01-01,10,14,9,13,18", "binance_BTCUSDT_1d.csv"))
    assert "cross-checks" in report.promoted[0].notices[0]
    warehouse.refresh()
    assert warehouse.query("select distinct timeframe from bars.candle") == [("1h",)]


REFUSALS = {
    "an empty file": ("", SourceError, "the file is empty"),
    "only a header": (f"{HEADER}\n", SourceError, "a header and no rows below it"),
    "a binary file": ("time,open\n\0\0\0", SourceError, "NUL bytes"),
    "a missing column": (
        "timestamp,open,high,low,close\n1,2,3,4,5\n",
        SourceError,
        "no column for volume; it has: timestamp",
    ),
    "an unknown layout": ("1,2,3\n4,5,6\n", SourceError, "no header line, and 3 fields"),
    "a wrong timeframe": (f"{HEADER}\n{GOOD}", UsageError, "called 1D, but its times are mostly 1h apart"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_file_that_is_no_candles_is_refused_in_one_line(warehouse: Warehouse, tmp_path: Path, name: str) -> None:
    text, kind, message = REFUSALS[name]
    path = write(tmp_path, text, "binance_BTCUSDT_1d.csv" if "timeframe" in name else "binance_BTCUSDT.csv")
    error = failure(load(warehouse, path))
    assert isinstance(error, kind)
    assert str(path) in str(error)
    assert message in str(error)
    assert "\n" not in str(error)


def test_a_truncated_gzip_is_refused_whole(warehouse: Warehouse, tmp_path: Path) -> None:
    path = tmp_path / "binance_BTCUSDT_1h.csv.gz"
    path.write_bytes(gzip.compress(f"{HEADER}\n{GOOD}".encode())[:-20])
    assert "truncated" in str(failure(load(warehouse, path)))
    assert warehouse.value("select count(*) from raw.load_batch") == 0


def test_a_parquet_file_with_the_wrong_schema_is_refused(warehouse: Warehouse, tmp_path: Path) -> None:
    path = tmp_path / "binance_BTCUSDT_1h.parquet"
    pq.write_table(pa.table({"a": [1], "b": [2]}), path)
    assert "it has: a, b" in str(failure(load(warehouse, path)))


def test_what_cannot_be_inferred_is_asked_for(warehouse: Warehouse, tmp_path: Path) -> None:
    path = write(tmp_path, f"{HEADER}\n{GOOD}", "prices.csv")
    assert "--symbol" in str(failure(load(warehouse, path)).hint)
    report = load(warehouse, path, symbol="BTC/USDT")
    assert report.promoted[0].exchange == "file"


def test_naive_times_take_the_timezone_and_say_so(warehouse: Warehouse, tmp_path: Path) -> None:
    text = f"{HEADER}\n2024-01-05 09:30:00,1,1,1,1,1\n2024-01-05 09:31:00,1,1,1,1,1"
    path = write(tmp_path, text, "yahoo_SPY_1m.csv")
    report = load(warehouse, path, timezone="America/New_York", session="EQUITY")
    assert "America/New_York" in report.promoted[0].details["times"]
    assert warehouse.value("select min(opened_at)::text from raw.ohlcv") == "2024-01-05 14:30:00+00"
    assert "unknown timezone" in str(failure(load(warehouse, path, timezone="Mars/Olympus")))


def test_a_short_update_keeps_the_session_that_the_instrument_has(warehouse: Warehouse, tmp_path: Path) -> None:
    days = [f"2024-01-{day:02},1,1,1,1,1" for day in (2, 3, 4, 5, 8, 9, 10, 11, 12, 16)]
    load(warehouse, write(tmp_path, "\n".join([HEADER, *days]), "yahoo_SPY_1d.csv"))
    report = load(warehouse, write(tmp_path, f"{HEADER}\n2024-01-17,1,1,1,1,1", "yahoo_SPY_1d.csv"))
    assert report.failed == []
    assert warehouse.query("select session_id from raw.instrument") == [("EQUITY",)]
    assert warehouse.value("select max(opened_at)::text from raw.ohlcv") == "2024-01-17 05:00:00+00"
    refused = load(warehouse, write(tmp_path, f"{HEADER}\n2024-01-18,1,1,1,1,1", "yahoo_SPY_1d.csv"), session="crypto")
    assert "trades in session EQUITY, not CRYPTO" in str(failure(refused))


def test_counts_of_trades_are_exact(warehouse: Warehouse, tmp_path: Path) -> None:
    rows = "\n".join(
        f"{line},{count}" for line, count in zip(GOOD.splitlines(), ("9007199254740993", "12.0", "1e300"), strict=True)
    )
    whole = "\n".join(f"{line},{count}" for line, count in zip(GOOD.splitlines(), (9007199254740993, 1, ""), strict=False))
    report = load(warehouse, write(tmp_path, f"{HEADER},count\n{rows}"))
    assert dict(report.promoted[0].quarantined)["trade_count_is_a_number"] >= 1
    load(warehouse, write(tmp_path, f"{HEADER},count\n{whole.splitlines()[0]}"), timeframe="1h")
    assert warehouse.value("select max(trade_count) from raw.ohlcv") == 9007199254740993


def test_one_bad_file_does_not_stop_the_others(warehouse: Warehouse, tmp_path: Path) -> None:
    write(tmp_path, "a\0b", "binance_AUSDT_1h.csv")
    write(tmp_path, f"{HEADER}\n{GOOD}", "binance_BTCUSDT_1h.csv")
    report = load_files(warehouse.connection, [tmp_path], FileOptions())
    assert (len(report.failed), report.promoted[0].inserted) == (1, 3)


def test_two_sources_under_no_name_are_noticed(warehouse: Warehouse, tmp_path: Path) -> None:
    load(warehouse, write(tmp_path, f"{HEADER}\n{GOOD}", "SPY_1h.csv"))
    scaled = "\n".join(
        f"{line.split(',')[0]}," + ",".join(str(float(x) * 10000) for x in line.split(",")[1:]) for line in GOOD.splitlines()
    )
    report = load(warehouse, write(tmp_path, f"{HEADER}\n{scaled}", "SPY_1h.csv"))
    assert "--exchange" in report.promoted[0].notices[0]


def test_a_file_that_revises_most_of_another_ones_candles_stops_and_says_so(warehouse: Warehouse, tmp_path: Path) -> None:
    def days(price: float) -> str:
        return "\n".join([HEADER, *(f"2024-01-{day:02},{price},{price},{price},{price},1" for day in range(1, 15))])

    first = write(tmp_path, days(500_000), "yahoo_BRK-A.csv")
    load(warehouse, first)
    (tmp_path / "other").mkdir()
    other = write(tmp_path / "other", days(350), "yahoo_BRK-A.csv")
    error = failure(load(warehouse, other))
    assert f"{other}: 14 of the 14 candles that stand already would be revised, e.g. BRK-A" in str(error)
    assert f"500000 in {first}, 350 here" in str(error)
    assert "--revise" in str(error.hint)
    assert (
        warehouse.value("select count(*) from raw.ohlcv_revision") + warehouse.value("select max(batch_id) from raw.ohlcv")
        == 1
    )
    write(tmp_path, days(500_001), "yahoo_BRK-A.csv")  # the same file, corrected
    assert load(warehouse, first).promoted[0].revised == 14
    assert load(warehouse, other, may_revise=True).promoted[0].revised == 14


def test_a_short_hole_between_two_files_is_said(warehouse: Warehouse, tmp_path: Path) -> None:
    load(warehouse, write(tmp_path, f"{HEADER}\n{GOOD}", "a.csv"), symbol="BTC/USD")
    later = f"{HEADER}\n2024-01-01T05:00:00Z,10,12,9,11,5\n2024-01-01T06:00:00Z,11,13,10,12,6"
    second = write(tmp_path, later, "b.csv")
    (promoted,) = load(warehouse, second, symbol="BTC/USD").promoted
    assert promoted.notices == [
        "BTC/USD: no file covers 2024-01-01 03:00 … 2024-01-01 05:00, so the bars across it are left out; if one does, load it "
        "with --covers"
    ]
    (promoted,) = load(warehouse, second, symbol="BTC/USD", covers="2024-01-01").promoted
    assert promoted.notices == []
    assert warehouse.value("select observed::text from raw.observed") == (
        '{["2024-01-01 00:00:00+00","2024-01-02 00:00:00+00")}'
    )


def test_symbols_that_a_dash_or_a_dot_tells_apart_are_two(warehouse: Warehouse, tmp_path: Path) -> None:
    for name in ("BRK-A", "BRK-B", "BTCUSDT_240329-1h", "BTCUSDT-1h"):
        load(warehouse, write(tmp_path, f"{HEADER}\n{GOOD}", f"binance_{name}.csv"))
    found = warehouse.query("select market_type, symbol from raw.instrument order by symbol")
    assert found == [("spot", "BRK-A"), ("spot", "BRK-B"), ("spot", "BTC/USDT"), ("future", "BTC/USDT-240329")]


def test_real_files_of_many_layouts_land_whole(warehouse: Warehouse, shared: Path) -> None:
    files = {
        "daily/binance_spot_BTCUSDT_1d.csv.gz": (3178, 0),
        "daily/cmc_BTC_2015_2025_comma.csv.gz": (3952, 0),
        "daily/cmc_kaggle/coin_Ethereum.csv.gz": (2160, 0),
        "daily/ta4j_coinbase_ETHUSD_1d.csv.gz": (3582, 0),
        "equity/backtestingpy_GOOG.csv.gz": (2148, 0),
        "equity/mplfinance_yahoofinance-SPY-20080101-20180101.csv.gz": (2517, 2),
        "minute/coinbase_BTC-USD_1m_2023-12.csv.gz": (46_450, 1),
        "raw_samples/ETHUSDT-1m-2022-01-03.csv.gz": (1440, 0),
    }
    for name, (inserted, quarantined) in files.items():
        report = load(warehouse, shared / "data" / name)
        assert report.failed == []
        assert (report.promoted[0].inserted, report.quarantined) == (inserted, quarantined), name
    warehouse.query("delete from config.timeframe where timeframe <> all (%s)", SMALL_TIMEFRAMES)
    warehouse.refresh()
    last = warehouse.query(
        "select last_price from marts.market_summary where exchange = 'binance' and symbol = 'BTC/USDT' and market_type = 'spot'"
    )
    assert last == [(75_780.0,)]
    missing = warehouse.query(
        """
        select symbol, sum(missing_count) from bars.gap join bars.dim_instrument using (instrument_id)
        where symbol in ('GOOG', 'SPY') and timeframe = '1D' group by symbol order by symbol
        """
    )
    assert missing == [("GOOG", 0), ("SPY", 2)]  # no trading day is missing but the two in quarantine
    many = load(warehouse, shared / "data" / "daily" / "binance_futures_1d_all_symbols.csv.gz")
    assert (many.failed, many.promoted[0].inserted, many.quarantined) == ([], 120_517, 0)


def test_daily_rollups_equal_the_exchanges_own_days(warehouse: Warehouse, shared: Path) -> None:
    load(warehouse, shared / "data" / "intraday" / "binance_spot_BTCUSDT_1h.csv.gz")
    load(warehouse, shared / "data" / "daily" / "binance_spot_BTCUSDT_1d.csv.gz")
    warehouse.refresh()
    compared, equal = warehouse.query(
        """
        select
            count(*),
            count(*) filter (where
                (rolled.open, rolled.high, rolled.low, rolled.close) = (daily.open, daily.high, daily.low, daily.close)
                and abs(rolled.volume - daily.volume) <= 1e-9 * daily.volume
            )
        from bars.daily as rolled
        inner join raw.ohlcv as daily
            on rolled.instrument_id = daily.instrument_id and daily.timeframe = '1D' and rolled.closed_at = daily.closed_at
        """
    )[0]
    assert compared == 1580
    assert equal == compared


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f'{HEADER}\n{GOOD}\n2024-01-01T03:00:00Z,"1,1,1,1,1\n' + "2024-01-01T04:00:00Z,1,1,1,1,1\n" * 9,
            "runs on to line 15",
        ),
        (f'{HEADER}\n{GOOD}\n2024-01-01T03:00:00Z,"1,1,1,1,1\n' + "2024-01-01T04:00:00Z,1,1,1,1,1\n" * 9_000, "no CSV"),
    ],
)
def test_a_quote_that_is_never_closed_does_not_swallow_a_file(
    warehouse: Warehouse, tmp_path: Path, text: str, said: str
) -> None:
    error = failure(load(warehouse, write(tmp_path, text)))
    assert said in str(error)
    assert error.hint == "is a quote never closed?"


def test_a_time_of_no_year_is_unreadable(warehouse: Warehouse, tmp_path: Path) -> None:
    text = "time,open,high,low,close,volume\n-99999999999999,10,12,9,11,5\n1704067200000,10,12,9,11,5\n1704070800000,1,1,1,1,1\n"
    report = load(warehouse, write(tmp_path, text))
    assert dict(report.promoted[0].quarantined) == {"time_is_readable": 1}
