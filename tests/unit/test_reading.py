"""Files as people really have them: read, or refused in one line that names a value. No server is asked."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from datetime import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ingest.sources.containers import MOST_UNPACKED, find_files, open_pieces, shown
from ingest.sources.files import FileOptions, SessionQuestion, read_file
from titan.core.batch import Batch
from titan.core.clock import Session
from titan.core.errors import SourceError, TitanError, UsageError

CRYPTO = Session("CRYPTO", True, 7, "UTC", time(0), time(0))
EQUITY = Session("EQUITY", False, 5, "America/New_York", time(9, 30), time(16))

HOURS = 30
CLOSE = [round(100 + (at * 7 % 11) / 10, 1) for at in range(HOURS)]
PRICES = [f"{close},{close + 1},{close - 1},{close}" for close in CLOSE]
VOLUME = [round(1 + (at * 3 % 7) / 2, 1) for at in range(HOURS)]
STARTS = pd.date_range("2024-01-01", periods=HOURS, freq="h")
DAYS = pd.bdate_range("2024-01-01", periods=HOURS)


def session_of(question: SessionQuestion) -> Session:
    return EQUITY if (question.named or question.guess) == "EQUITY" else CRYPTO


def read_all(tmp_path: Path, name: str, content: str | bytes, **options: Any) -> list[Batch]:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [batch for piece in open_pieces(path) for batch in read_file(piece, FileOptions(**options), session_of)]


def read(tmp_path: Path, name: str, content: str | bytes, **options: Any) -> Batch:
    (batch,) = read_all(tmp_path, name, content, **options)
    assert not batch.rejected
    return batch


def opened(batch: Batch) -> list[str]:
    return [str(at.astype("datetime64[s]")) for at in batch.candles["opened_at"].astype("datetime64[us]")]


def lines(header: str, *columns: Any, delimiter: str = ",") -> str:
    rows = [delimiter.join(map(str, row)) for row in zip(*columns, strict=True)]
    return "\n".join([header, *rows]) + "\n"


HOURLY = lines("time,open,high,low,close,volume", STARTS, PRICES, VOLUME)


@pytest.mark.parametrize(
    ("header", "times"),
    [
        ("time", STARTS.strftime("%Y-%m-%d %I-%p")),
        ("time", STARTS.strftime("%m/%d/%Y %I:%M %p")),
        ("time", STARTS.strftime("%d.%m.%Y %H:%M")),
        ("time", STARTS.strftime("%b %d %Y %H:%M")),
        ("time", STARTS.strftime("%d-%b-%y %H:%M")),
        ("time", STARTS.strftime("%Y%m%d %H%M%S")),
        ("time", STARTS.strftime("%Y%m%d%H%M")),
        ("time", [f"{at.year}.{at.month}.{at.day} {at.hour}:00" for at in STARTS]),
        ("date,time", STARTS.strftime("%Y-%m-%d,%H:%M:%S")),
        ("<DATE>,<TIME>", STARTS.strftime("%Y%m%d,%H%M%S")),
        ("Date,Time", STARTS.strftime("%m/%d/%Y,%I:%M %p")),
        ("Date,Time", [f"{at:%m/%d/%Y},{at.hour}00" for at in STARTS]),
        ("t,datetime", [f"{number},{at}" for number, at in enumerate(STARTS)]),
        ("index,datetime", [f"{HOURS - number},{at}" for number, at in enumerate(STARTS)]),
        ("unix,date", [f"{at.value // 10**9},{at:%d/%m/%Y}" for at in STARTS]),
    ],
)
def test_times_are_read_however_people_write_them(tmp_path: Path, header: str, times: Any) -> None:
    batch = read(tmp_path, "BTCUSDT_1h.csv", lines(f"{header},open,high,low,close,volume", times, PRICES, VOLUME))
    assert opened(batch) == [at.isoformat() for at in STARTS]
    assert batch.candles["close"].tolist() == CLOSE


def test_an_hour_that_does_not_say_its_half_of_the_day_is_not_read(tmp_path: Path) -> None:
    content = HOURLY.replace("2024-01-01 01:00:00", "2024-01-01 01:00")
    for at in STARTS:
        content = content.replace(str(at), f"{at:%Y-%m-%d %I:%M %p}")
    (batch,) = read_all(tmp_path, "BTCUSDT_1h.csv", content)
    assert [(row.reason, row.value) for row in batch.rejected] == [("time_is_readable", "2024-01-01 01:00")]
    assert opened(batch)[12] == "2024-01-01T13:00:00"


def test_a_column_that_counts_rows_is_no_time(tmp_path: Path) -> None:
    content = lines("t,open,high,low,close,volume", range(HOURS), PRICES, VOLUME)
    with pytest.raises(SourceError, match="no column for a time"):
        read(tmp_path, "BTCUSDT_1h.csv", content)


@pytest.mark.parametrize(
    ("texts", "numbers", "note"),
    [
        (['"$98.50"', '"$1,098.50"'], [98.5, 1098.5], "$ is left off"),
        (['"5,091.6"', '"891.5"'], [5091.6, 891.5], "a comma divides thousands, as in '5,091.6'"),
        (['"1,234,567"', '"8"'], [1_234_567, 8], "a comma divides thousands, as in '1,234,567'"),
        (['"5,091"', '"992.5"'], [5091, 992.5], "a comma divides thousands, as in '5,091'"),
        (["€98", "€1"], [98, 1], "€ is left off"),
    ],
)
def test_numbers_are_read_where_they_cannot_be_mistaken(
    tmp_path: Path, texts: list[str], numbers: list[float], note: str
) -> None:
    header = "date,open,high,low,close,volume"
    batch = read(tmp_path, "BTCUSD_1d.csv", lines(header, ["2024-01-01", "2024-01-02"], texts, texts, texts, texts, [1, 2]))
    assert batch.candles["close"].tolist() == numbers
    assert note in batch.details["columns"]


def test_a_comma_begins_the_fraction_where_fields_are_divided_otherwise(tmp_path: Path) -> None:
    times, prices = ["2024-01-01", "2024-01-02"], ["1.100,25", "99,5"]
    header = "date;open;high;low;close;volume"
    content = lines(header, times, prices, prices, prices, prices, ["12,5", "1.000,5"], delimiter=";")
    batch = read(tmp_path, "BTCEUR_1d.csv", content)
    assert (batch.candles["close"].tolist(), batch.candles["volume"].tolist()) == ([1100.25, 99.5], [12.5, 1000.5])
    with pytest.raises(SourceError, match=r"written in two ways: '1\.100,25' and '12\.5'"):
        read(tmp_path, "BTCEUR_1d.csv", content.replace("12,5", "12.5"))


@pytest.mark.parametrize(
    ("price", "message"),
    [
        ('"5,091"', "'5,091' is a thousand and some, or one and a fraction"),
        ("$9", "prices in $ and €"),
        ("9.5 EUR", "close is no number in any row, e.g. '9.5 EUR'"),
    ],
)
def test_numbers_that_can_be_mistaken_are_refused_by_name(tmp_path: Path, price: str, message: str) -> None:
    other = "€9" if price == "$9" else price
    content = lines("date,close,open,high,low,volume", ["2024-01-01", "2024-01-02"], [price, other], *[[9, 9]] * 3, [1, 2])
    if "EUR" not in price:
        content = content.replace(",9,9,9", f",{price},{price},{price}")
    with pytest.raises(SourceError) as refusal:
        read(tmp_path, "BTCUSD_1d.csv", content)
    assert message.replace("close", str(refusal.value).split(": ")[1].split()[0]) in str(refusal.value)


def test_thousands_and_fractions_by_commas_in_one_file_are_refused(tmp_path: Path) -> None:
    prices = ['"5,091.6"', '"5,092.6"']
    content = lines("date,open,high,low,close,volume", ["2024-01-01", "2024-01-02"], *[prices] * 4, ['"100,25"', '"99,5"'])
    with pytest.raises(SourceError, match=r"two ways: '5,091\.6' and '100,25'"):
        read(tmp_path, "BTCUSD_1d.csv", content)


def test_volumes_of_thousands_are_thousands(tmp_path: Path) -> None:
    volumes = ["12.3K", "1.5M", "2B", "7"] + ["1"] * (HOURS - 4)
    batch = read(tmp_path, "BTCUSDT_1h.csv", lines("time,open,high,low,close,volume", STARTS, PRICES, volumes))
    assert batch.candles["volume"][:4].tolist() == [12_300, 1_500_000, 2e9, 7]
    assert "'12.3K' is a number that its source has rounded" in batch.details["columns"]


def test_one_bad_number_proves_nothing_of_the_others(tmp_path: Path) -> None:
    content = HOURLY.replace(PRICES[3], f'"12,5",{PRICES[3].partition(",")[2]}', 1)
    (batch,) = read_all(tmp_path, "BTCUSDT_1h.csv", content)
    assert [row.reason for row in batch.rejected] == ["price_is_a_number"]
    assert len(batch.candles) == HOURS - 1


def test_named_volumes_are_told_by_their_values(tmp_path: Path) -> None:
    quote = [round(volume * close, 4) for volume, close in zip(VOLUME, CLOSE, strict=True)]
    for header, columns in (("Volume USD,Volume BTC", (quote, VOLUME)), ("Volume BTC,Volume USD", (VOLUME, quote))):
        batch = read(tmp_path, "BTCUSD_1h.csv", lines(f"date,open,high,low,close,{header}", STARTS, PRICES, *columns))
        assert batch.candles["volume"].tolist() == VOLUME
        assert batch.candles["quote_volume"].tolist() == quote
    with pytest.raises(SourceError, match="they are the other way round"):
        read(tmp_path, "BTCUSD_1h.csv", lines("date,open,high,low,close,volume,quote_volume", STARTS, PRICES, quote, VOLUME))
    with pytest.raises(SourceError, match="its only volume is in USD, the quote currency"):
        read(tmp_path, "BTCUSD_1h.csv", lines("date,open,high,low,close,Volume USD", STARTS, PRICES, quote))


def test_contracts_are_no_volume_where_the_file_has_it_in_base_currency(tmp_path: Path) -> None:
    quote = [round(volume * close, 4) for volume, close in zip(VOLUME, CLOSE, strict=True)]
    contracts = [100 * volume for volume in VOLUME]
    content = lines("ts,o,h,l,c,vol,volCcy,volCcyQuote,confirm", STARTS, PRICES, contracts, VOLUME, quote, [1] * HOURS)
    batch = read(tmp_path, "okx_BTC-USDT-SWAP_1h.csv", content, symbol="BTC/USDT:USDT")
    assert batch.candles["volume"].tolist() == VOLUME
    assert "the volume is 'volCcy'" in batch.details["columns"]


def test_a_source_that_stamps_bars_at_their_close_is_known_by_its_columns(tmp_path: Path) -> None:
    quote = [round(volume * close, 4) for volume, close in zip(VOLUME, CLOSE, strict=True)]
    header = "timestamp,symbol,open,high,low,close,trades,volume,lastSize,turnover,homeNotional,foreignNotional"
    ends = [f"{at + pd.Timedelta(hours=1):%Y-%m-%dT%H:%M:%S.000Z}" for at in STARTS]
    others = [[1] * HOURS, [9] * HOURS, [1] * HOURS, [1] * HOURS]
    batch = read(tmp_path, "bitmex.csv", lines(header, ends, ["XBTUSD"] * HOURS, PRICES, *others, VOLUME, quote))
    assert opened(batch) == [at.isoformat() for at in STARTS]
    assert batch.candles["volume"].tolist() == VOLUME
    assert batch.candles["trade_count"].tolist() == [1] * HOURS
    header = '"Date","Time","Open","High","Low","Close","Up","Down"'
    ends = [f"{at + pd.Timedelta(minutes=60):%m/%d/%Y,%H:%M}" for at in STARTS]
    batch = read(tmp_path, "SPY_1h.csv", lines(header, ends, PRICES, [3] * HOURS, [4] * HOURS))
    assert opened(batch) == [at.isoformat() for at in STARTS]
    assert batch.candles["volume"].tolist() == [7] * HOURS


def test_dates_are_those_of_their_days_unless_they_are_said_to_be_closes(tmp_path: Path) -> None:
    days = [f"{day:%m/%d/%Y}" for day in pd.date_range("2024-01-20", periods=HOURS)]
    content = lines(
        '"Date","Time","Open","High","Low","Close","Vol","OI"', days, ["00:00"] * HOURS, PRICES, VOLUME, [0] * HOURS
    )
    assert opened(read(tmp_path, "BTCUSD_1d.csv", content))[0] == "2024-01-20T00:00:00"
    assert opened(read(tmp_path, "BTCUSD_1d.csv", content, stamp="close"))[0] == "2024-01-19T00:00:00"


def test_rows_that_the_source_marks_as_unfinished_are_left_out_and_counted(tmp_path: Path) -> None:
    confirmed = [1] * (HOURS - 1) + [0]
    batch = read(tmp_path, "BTCUSDT_1h.csv", lines("ts,o,h,l,c,vol,confirm", STARTS, PRICES, VOLUME, confirmed))
    assert (len(batch.candles), batch.unfinished, batch.rows_read) == (HOURS - 1, 1, HOURS)


def test_a_file_without_volume_is_refused_until_that_is_said(tmp_path: Path) -> None:
    content = lines("time,open,high,low,close", STARTS, PRICES)
    with pytest.raises(SourceError) as refusal:
        read(tmp_path, "EURUSD_1h.csv", content)
    assert "--no-volume" in str(refusal.value.hint)
    batch = read(tmp_path, "EURUSD_1h.csv", content, no_volume=True)
    assert not batch.candles["volume"].any()
    assert "it is zero" in batch.details["columns"]


def test_each_symbol_has_its_own_session(tmp_path: Path) -> None:
    days = [str(day.date()) for day in DAYS]
    content = lines(
        "date,symbol,open,high,low,close,volume",
        days * 3,
        sorted(["AAPL", "BTC/USD", "MSFT"] * HOURS),
        PRICES * 3,
        VOLUME * 3,
    )
    first, second = read_all(tmp_path, "universe.csv", content)
    assert [(batch.market.session_id, batch.symbols) for batch in (first, second)] == [
        ("EQUITY", ["AAPL", "MSFT"]),
        ("CRYPTO", ["BTC/USD"]),
    ]
    assert opened(first)[:HOURS] == [f"{day}T05:00:00" for day in days]
    assert opened(second) == [f"{day}T00:00:00" for day in days]
    assert first.candles["series"].tolist() == [0] * HOURS + [1] * HOURS
    assert second.candles["series"].tolist() == [0] * HOURS


@pytest.mark.parametrize("month", ["2024-01", "2024-07"])
def test_days_stamped_at_the_session_open_and_at_midnight_utc_are_dates(tmp_path: Path, month: str) -> None:
    days = pd.bdate_range(f"{month}-01", periods=HOURS)
    local = days.tz_localize("America/New_York")
    for stamps in (local + pd.Timedelta(hours=9.5), days.tz_localize("UTC")):
        times = [int(stamp.timestamp()) for stamp in stamps]
        batch = read(tmp_path, "NASDAQ_AAPL, 1D.csv", lines("time,open,high,low,close,Volume", times, PRICES, VOLUME))
        assert opened(batch) == [f"{at.tz_convert('UTC'):%Y-%m-%dT%H:%M:%S}" for at in local]


def test_weeks_from_sunday_are_refused_by_name(tmp_path: Path) -> None:
    weeks = pd.date_range("2022-01-02", periods=HOURS, freq="7D").date
    with pytest.raises(SourceError, match=r"weeks from Sunday, e\.g\. 2022-01-02"):
        read(tmp_path, "BTCUSD_1w.csv", lines("date,open,high,low,close,volume", weeks, PRICES, VOLUME))


def test_a_name_that_says_a_shorter_timeframe_than_the_times_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="called 1m, but its times are mostly 1h apart"):
        read(tmp_path, "BTCUSDT_1m.csv", HOURLY)
    assert read(tmp_path, "BTCUSDT_1m.csv", HOURLY, timeframe="1m").market.timeframe == "1m"
    assert read(tmp_path, "BTCUSDT.csv", HOURLY.replace("01:00:00,", "00:30:00,"), timeframe="30m").market.timeframe == "30m"


def test_columns_that_say_something_of_the_whole_file_say_one_thing(tmp_path: Path) -> None:
    def content(venue: list[str], period: list[str]) -> str:
        return lines("time,venue,interval,open,high,low,close,volume", STARTS, venue, period, PRICES, VOLUME)

    batch = read(tmp_path, "BTCUSDT.csv", content(["Kraken"] * HOURS, ["60"] * HOURS))
    assert (batch.market.exchange, batch.market.timeframe) == ("kraken", "1h")
    for columns in ((["Kraken", "OKX"] * (HOURS // 2), ["1h"] * HOURS), (["OKX"] * HOURS, ["1h", "2h"] * (HOURS // 2))):
        with pytest.raises(SourceError, match=r"several of (exchange|timeframe): "):
            read(tmp_path, "BTCUSDT.csv", content(*columns))


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="two columns are called 'volume'"):
        read(tmp_path, "BTCUSDT.csv", lines("time,open,high,low,close,volume,volume", STARTS, PRICES, VOLUME, VOLUME))


def test_lines_above_the_table_are_passed_over_and_said(tmp_path: Path) -> None:
    (batch,) = read_all(tmp_path, "BTCUSDT_1h.csv", f"https://www.example.com\n\n{HOURLY}2024,5\n")
    assert opened(batch) == [at.isoformat() for at in STARTS]
    assert batch.details["columns"] == "line 1 is passed over: https://www.example.com"
    assert [(row.row_number, row.record) for row in batch.rejected] == [(HOURS + 4, "2024,5")]  # as an editor numbers lines


def test_a_header_of_three_lines_names_the_ticker(tmp_path: Path) -> None:
    head = "Price,Close,High,Low,Open,Volume\nTicker,MSFT,MSFT,MSFT,MSFT,MSFT\nDate,,,,,\n"
    rows = [f"{day:%Y-%m-%d},{close},{close + 1},{close - 1},{close},5" for day, close in zip(DAYS, CLOSE, strict=True)]
    batch = read(tmp_path, "download.csv", head + "\n".join(rows))
    assert (batch.symbols, batch.candles["close"].tolist(), batch.market.session_id) == (["MSFT"], CLOSE, "EQUITY")
    with pytest.raises(SourceError, match="several tickers: AAPL, MSFT"):
        read(tmp_path, "download.csv", head.replace("Ticker,MSFT", "Ticker,AAPL") + "\n".join(rows))


RECORDS = [
    {
        "time": int(at.timestamp()) * 1000,
        "open": close,
        "high": close + 1,
        "low": close - 1,
        "close": close,
        "volume": volume,
    }
    for at, close, volume in zip(STARTS, CLOSE, VOLUME, strict=True)
]


@pytest.mark.parametrize(
    "data",
    [
        RECORDS,
        [list(row.values()) for row in RECORDS],
        {"code": "0", "data": [list(map(str, row.values())) for row in RECORDS]},
        {
            "columns": list(RECORDS[0])[1:],
            "index": [str(at) for at in STARTS],
            "data": [list(row.values())[1:] for row in RECORDS],
        },
    ],
)
def test_json_of_lists_and_of_records(tmp_path: Path, data: Any) -> None:
    batch = read(tmp_path, "BTC_USDT-1h.json", json.dumps(data))
    assert opened(batch) == [at.isoformat() for at in STARTS]
    assert batch.candles["close"].tolist() == CLOSE
    assert json.loads(batch.record_of(1))


def test_json_that_is_no_table_is_refused(tmp_path: Path) -> None:
    for content in ('{"error": "rate limited"}', "[1, 2]", "[]", '{"a": [[1]], "b": [[2]]}', "[[1,", "[" * 100_000):
        with pytest.raises(SourceError):
            read(tmp_path, "BTCUSDT_1h.json", content)


def test_digits_of_json_stay_as_they_are_written(tmp_path: Path) -> None:
    content = json.dumps(RECORDS).replace(f'"volume": {VOLUME[0]}', '"volume": 0.30000000000000000001', 1)
    assert read(tmp_path, "BTC_USDT-1h.json", content).record_of(1).count("0.30000000000000000001")


def test_feather_and_an_unnamed_index_of_parquet(tmp_path: Path) -> None:
    frame = pd.DataFrame(RECORDS).drop(columns="time").set_index(pd.DatetimeIndex(STARTS).as_unit("us"))
    frame.to_parquet(tmp_path / "BTCUSDT_1h.parquet")
    frame.rename_axis("date").reset_index().to_feather(tmp_path / "BTCUSDT_1h.feather")
    for name in ("BTCUSDT_1h.parquet", "BTCUSDT_1h.feather"):
        batch = read(tmp_path, name, (tmp_path / name).read_bytes())
        assert opened(batch) == [at.isoformat() for at in STARTS]


def packed(members: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_every_table_of_an_archive_is_read_by_its_own_name(tmp_path: Path) -> None:
    content = packed({"BTCUSDT-1h.csv": HOURLY, "deep/ETHUSDT-1h.csv": HOURLY, "__MACOSX/x.csv": "", "read.me": "no"})
    batches = read_all(tmp_path, "all.zip", content)
    assert [batch.symbols for batch in batches] == [["BTC/USDT"], ["ETH/USDT"]]
    assert batches[1].origin.endswith("all.zip/deep/ETHUSDT-1h.csv")
    with pytest.raises(SourceError, match=r"no file of candles in this archive; it holds read\.me"):
        read_all(tmp_path, "all.zip", packed({"read.me": "no"}))
    with pytest.raises(SourceError, match="an Excel workbook"):
        read_all(tmp_path, "all.xlsx", packed({"[Content_Types].xml": "", "sheet.csv": HOURLY}))
    with pytest.raises(SourceError, match="cannot be read"):
        read_all(tmp_path, "all.zip", content[: len(content) // 2])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n" * (3 << 20), "nothing but white space"),
        (b"a,b\n" + b"1" * (4 << 20), "a line of more than a megabyte"),
        (b"\x28\xb5\x2f\xfd123", "zstd"),
        (b"<!DOCTYPE html>", "a web page"),
        ((HOURLY[:76] * 1_000_000).encode(), f"unpacks to more than {MOST_UNPACKED} times its size"),
    ],
)
def test_what_is_no_table_is_given_up_before_it_fills_the_memory(tmp_path: Path, content: bytes, message: str) -> None:
    for name, packed_content in (
        ("a.csv.gz", gzip.compress(content, 9)),
        ("a.zip", packed({"a.csv": content.decode("latin-1")})),
    ):
        if name == "a.zip" and b"\x28\xb5" in content:
            continue
        with pytest.raises(SourceError, match=message):
            read_all(tmp_path, name, packed_content, symbol="BTC/USDT")


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "candles.csv")
    with pytest.raises(SourceError, match="not a regular file"):
        open_pieces(tmp_path / "candles.csv")
    (tmp_path / "BTCUSDT_1h.csv").write_text(HOURLY)
    assert find_files([tmp_path]) == [tmp_path / "BTCUSDT_1h.csv"]


def test_a_name_that_is_no_utf_8_is_shown_and_read(tmp_path: Path) -> None:
    path = tmp_path / "binance_BTCUSDT_1h_\udce9.csv"
    path.write_text(HOURLY)
    (piece,) = open_pieces(path)
    (batch,) = read_file(piece, FileOptions(), session_of)
    assert batch.origin == f"{tmp_path}/binance_BTCUSDT_1h_\\xe9.csv" == shown(path)
    assert batch.origin.encode()
    assert (batch.symbols, len(batch.candles)) == (["BTC/USDT"], HOURS)


def test_every_refusal_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    for content in ("", "a,b\n1,2\n", "\udcff".encode("utf-8", "surrogateescape")):
        with pytest.raises(TitanError) as refusal:
            read_all(tmp_path, "BTCUSDT_1h.csv", content)
        assert str(tmp_path / "BTCUSDT_1h.csv") in str(refusal.value)
        assert "\n" not in str(refusal.value)
    assert np.isfinite(read(tmp_path, "BTCUSDT_1h.csv", HOURLY).candles["close"]).all()


def year_of_minutes(first: str, last: str) -> str:
    times = pd.date_range("2015-01-01 00:07", "2015-12-31 23:00", periods=200).floor("min")
    times = pd.DatetimeIndex([pd.Timestamp(first), *times, pd.Timestamp(last)]).unique().sort_values()
    return "time,open,high,low,close,volume\n" + "".join(f"{at},5,5,5,5,1\n" for at in times)


def test_a_file_that_fills_the_year_of_its_name_covers_the_year(tmp_path: Path) -> None:
    for name in ("BTCUSD_1m_2015.csv", "BTCUSD-1m-2015.csv.gz"):
        content = year_of_minutes("2015-01-01 00:05", "2015-12-31 23:39").encode()
        batch = read(tmp_path, name, gzip.compress(content) if name.endswith("gz") else content, timeframe="1m")
        assert batch.observed is not None
        assert [str(at) for at in batch.observed] == ["2015-01-01 00:00:00+00:00", "2016-01-01 00:00:00+00:00"]
        assert batch.details["covers"] == "2015-01-01 00:00 … 2016-01-01 00:00 UTC (its name)"
    for first, last, name in (
        ("2015-01-01 00:05", "2015-12-20 23:39", "2016"),  # of another year
        ("2015-01-01 00:05", "2016-01-01 00:00", "2015"),  # beyond it
        ("2015-01-01 00:05", "2015-12-31 23:39", "15"),
    ):
        batch = read(tmp_path, f"BTCUSD_1m_{name}.csv", year_of_minutes(first, last), timeframe="1m")
        assert batch.observed is None
    cut = "".join(year_of_minutes("2015-01-01 00:05", "2015-12-31 23:39").splitlines(keepends=True)[:190])
    assert read(tmp_path, "BTCUSD_1m_2015.csv", cut, timeframe="1m").observed is None  # it ends in December, and early


@pytest.mark.parametrize(
    ("covers", "span"),
    [
        ("2024", "2024-01-01T05:00 2025-01-01T05:00"),
        ("2024-01..2024-07", "2024-01-01T05:00 2024-08-01T04:00"),
        ("2024-01-01..2024-03-10", "2024-01-01T05:00 2024-03-11T04:00"),
    ],
)
def test_what_a_file_covers_can_be_said_in_the_time_of_its_session(tmp_path: Path, covers: str, span: str) -> None:
    content = lines("date,open,high,low,close,volume", [day.date() for day in DAYS], PRICES, VOLUME)
    batch = read(tmp_path, "AAPL_1d.csv", content, covers=covers)
    assert batch.observed is not None
    assert " ".join(f"{at:%Y-%m-%dT%H:%M}" for at in batch.observed) == span
    for wrong, message in (("2023", "it has a candle of 2024"), ("yesterday", "is no time"), ("2024..2023", "is no time")):
        with pytest.raises(UsageError, match=message):
            read(tmp_path, "AAPL_1d.csv", content, covers=wrong)
