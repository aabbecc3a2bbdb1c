"""Yahoo's chart format: what it divided by splits is what was traded again, or is refused."""

from __future__ import annotations

import copy
import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from ingest.sources.adjustments import Adjustment, read_adjustments
from ingest.sources.containers import open_pieces
from ingest.sources.files import FileOptions, read_file
from tests.unit.test_reading import session_of
from titan.core.batch import Batch
from titan.core.errors import SourceError

NEW_YORK = ZoneInfo("America/New_York")
DAYS = [day.date() for day in pd.bdate_range("2024-03-01", periods=30)]
TRADED = [100.0 + at % 9 for at in range(10)] + [25.0 + at % 9 / 4 for at in range(10)] + [50.0 + at % 9 for at in range(10)]
SHARES = [1_000.0 * (at % 7 + 1) for at in range(30)]
SPLITS = {10: (4, 1), 20: (1, 2)}  # by the number of the ex-date: 4:1, and a reverse one


def opens(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, 9, 30, tzinfo=NEW_YORK).timestamp())


def divisor(at: int) -> float:
    """What Yahoo divides that day's prices by, since they were made."""
    factor = 1.0
    for ex, (numerator, denominator) in SPLITS.items():
        if ex > at:
            factor = factor * numerator / denominator
    return factor


def chart(is_open: bool = False, **meta: Any) -> dict[str, Any]:
    """All DAYS of a stock as Yahoo answers, asked after the last one's close, or while it is traded."""
    closes: list[float | None] = [price / divisor(at) for at, price in enumerate(TRADED)]
    volumes: list[float | None] = [shares * divisor(at) for at, shares in enumerate(SHARES)]
    closes[5] = volumes[5] = None  # a day on its grid without trades
    last = opens(DAYS[-1])
    asked_at = last + (3600 if is_open else 6 * 3600 + 1800 + 1)
    quote = {"open": closes, "high": closes, "low": closes, "close": closes, "volume": volumes}
    events = {
        "dividends": {"a": {"amount": 0.25, "date": opens(DAYS[3])}, "b": {"amount": 1.5, "date": opens(DAYS[25])}},
        "splits": {
            str(opens(DAYS[ex])): {
                "date": opens(DAYS[ex]), "numerator": numerator, "denominator": denominator, "splitRatio": f"{numerator}:1",
            }
            for ex, (numerator, denominator) in SPLITS.items()
        },
    }  # fmt: skip
    told = {
        "symbol": "AAPL", "instrumentType": "EQUITY", "exchangeTimezoneName": "America/New_York", "dataGranularity": "1d",
        "regularMarketTime": asked_at, "currentTradingPeriod": {"regular": {"start": last, "end": last + 23_400}},
    }  # fmt: skip
    times = [opens(day) for day in DAYS[:-1]] + [asked_at]  # the last one is stamped with the last trade
    result = {"meta": {**told, **meta}, "timestamp": times, "events": events, "indicators": {"quote": [quote]}}
    return {"chart": {"result": [result], "error": None}}


def write(tmp_path: Path, data: Any) -> Path:
    path = tmp_path / "answer.json"
    path.write_text(json.dumps(data))
    return path


def read(tmp_path: Path, data: Any) -> Batch:
    (piece,) = open_pieces(write(tmp_path, data))
    (batch,) = read_file(piece, FileOptions(), session_of)
    assert not batch.rejected
    return batch


def days(batch: Batch) -> list[date]:
    return [at.astype("datetime64[D]").item() for at in batch.candles["opened_at"].astype("datetime64[us]")]


def test_prices_and_volumes_are_those_that_were_traded(tmp_path: Path) -> None:
    batch = read(tmp_path, chart())
    traded = [at for at in range(30) if at != 5]
    assert (batch.market.exchange, list(batch.symbols), batch.market.timeframe) == ("yahoo", ["AAPL"], "1D")
    assert days(batch) == [DAYS[at] for at in traded]
    assert list(batch.candles["close"]) == pytest.approx([TRADED[at] for at in traded], rel=1e-15)
    assert list(batch.candles["volume"]) == pytest.approx([SHARES[at] for at in traded], rel=1e-15)
    assert "AAPL: 2 splits are taken out of its prices again; load them, and 2 dividends" in str(batch.details["columns"])


def test_its_splits_and_dividends_are_adjustments_in_the_cash_of_their_day(tmp_path: Path) -> None:
    assert read_adjustments(write(tmp_path, chart())) == [
        Adjustment(DAYS[10], "split", ratio=4.0, symbol="AAPL"),
        Adjustment(DAYS[20], "split", ratio=0.5, symbol="AAPL"),
        Adjustment(DAYS[3], "dividend", amount=0.5, symbol="AAPL"),
        Adjustment(DAYS[25], "dividend", amount=1.5, symbol="AAPL"),
    ]


def test_the_day_that_is_traded_while_it_is_asked_for_is_left_out(tmp_path: Path) -> None:
    batch = read(tmp_path, chart(is_open=True))
    assert days(batch)[-1] == DAYS[-2]
    assert "its last candle was not finished when it was asked for" in str(batch.details["columns"])


def test_minutes_are_at_their_instants_and_the_last_one_is_whole(tmp_path: Path) -> None:
    data = chart(dataGranularity="1m")
    (result,) = data["chart"]["result"]
    begin = opens(DAYS[-1])
    result["timestamp"] = [begin + 60 * at for at in range(30)]
    result["meta"]["regularMarketTime"] = begin + 60 * 29 + 20
    batch = read(tmp_path, data)
    assert batch.market.timeframe == "1m"
    assert len(batch.candles) == 28
    assert batch.candles["opened_at"][0] == begin * 1_000_000
    assert list(batch.candles["close"][:3]) == pytest.approx([25.0 * 2, 25.0 * 2 + 0.5, 51.0], rel=0.2)


def test_a_coin_has_no_splits_to_prove(tmp_path: Path) -> None:
    data = chart(symbol="BTC-USD", instrumentType="CRYPTOCURRENCY", exchangeTimezoneName="UTC")
    (result,) = data["chart"]["result"]
    del result["events"]
    midnight = int(pd.Timestamp("2024-03-01", tz="UTC").timestamp())
    result["timestamp"] = [midnight + 86_400 * at for at in range(30)]
    result["meta"]["regularMarketTime"] = result["timestamp"][-1] + 3600
    result["meta"]["currentTradingPeriod"]["regular"]["end"] = result["timestamp"][-1] + 86_340
    batch = read(tmp_path, data)
    assert (list(batch.symbols), len(batch.candles)) == (["BTC/USD"], 28)
    assert days(batch)[-1] == date(2024, 3, 1) + timedelta(days=28)


def cut(data: dict[str, Any]) -> None:
    (result,) = data["chart"]["result"]
    result["timestamp"] = result["timestamp"][:20]


BROKEN = [
    (lambda data: data["chart"]["result"][0].pop("events"), "comes without its splits"),
    (lambda data: data["chart"]["result"][0]["events"].pop("splits"), "comes without its splits"),
    (cut, "ends on 2024-03-28, and its prices are divided by every split until 2024-04-11"),
    (lambda data: data["chart"]["result"][0]["meta"].pop("regularMarketTime"), "not a whole chart of Yahoo's"),
    (lambda data: data["chart"]["result"][0]["meta"].update(exchangeTimezoneName="Mars/Olympus"), "not a whole chart"),
    (lambda data: data["chart"]["result"][0]["indicators"]["quote"][0]["close"].__setitem__(0, "?"), "not a whole chart"),
    (lambda data: data["chart"]["result"][0]["indicators"]["quote"][0].update(close=[]), "not a whole chart"),
    (lambda data: data["chart"].update(result=None, error={"description": "No data found"}), "No data found"),
    (lambda data: data["chart"].update(result=[]), "no result"),
]


@pytest.mark.parametrize(("damage", "message"), BROKEN)
def test_what_cannot_be_known_is_refused(tmp_path: Path, damage: Any, message: str) -> None:
    data = copy.deepcopy(chart())
    damage(data)
    with pytest.raises(SourceError, match=message):
        read(tmp_path, data)
    with pytest.raises(SourceError):
        read_adjustments(tmp_path / "answer.json")


def test_a_stock_that_never_split_is_said_to_be_one(tmp_path: Path) -> None:
    data = chart()
    data["chart"]["result"][0]["events"] = {"splits": {}}
    assert read(tmp_path, data).candles["close"][0] == pytest.approx(TRADED[0] / divisor(0))


def test_another_json_is_no_file_of_adjustments(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no chart of Yahoo's in this JSON"):
        read_adjustments(write(tmp_path, {"splits": []}))
    path = tmp_path / "half.json"
    path.write_text('{"chart": ')
    with pytest.raises(SourceError, match="not readable as JSON"):
        read_adjustments(path)
