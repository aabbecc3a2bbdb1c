"""Inputs as people have them, with the right answers of their MANIFEST: what comes in is what is meant, or nothing does."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ingest.sources.adjustments import read_adjustments
from ingest.sources.files import FileOptions
from tests.conftest import SHARED
from tests.warehouse import BARS_ALONE, Warehouse
from titan.ops.loads import load_files

LEFT_ALONE = BARS_ALONE

DAYS = "2024-01-01 2024-02-29"  # first and last open, as dates of the session
HOURS = "2024-01-01T00:00 2024-01-03T11:00"


@dataclass(frozen=True)
class Answer:
    """What stands after the load: symbols with their session, timeframe, number of candles, first and last open in the time
    of the session; columns of one candle of the first symbol, its first one if `at` says no other; or what a refusal names.
    """

    symbols: dict[str, tuple[str, str, int, str]] = field(default_factory=dict)
    candle: dict[str, float | None] = field(default_factory=dict)
    at: str | None = None
    refusal: str | None = None


def equities(*symbols: str) -> dict[str, tuple[str, str, int, str]]:
    return dict.fromkeys(symbols, ("EQUITY", "1D", 44, DAYS))


def coins(*symbols: str, timeframe: str = "1h", count: int = 60, span: str = HOURS) -> dict[str, tuple[str, str, int, str]]:
    return dict.fromkeys(symbols, ("CRYPTO", timeframe, count, span))


FIRST = {"open": 100.0, "high": 100.8551, "low": 98.4988, "close": 99.2687}

ANSWERS = {
    "06": Answer(equities("AAPL"), FIRST | {"volume": 13_498_000}),
    "08": Answer(equities("MSFT"), FIRST | {"volume": 13_498_000}),
    "09": Answer(coins("BTC/USDT"), FIRST | {"volume": 13.498, "quote_volume": 1339.93}),
    "10": Answer(coins("BTC/USD"), FIRST | {"volume": 13.498, "quote_volume": 1339.93}),
    "11": Answer(coins("BTC/USD"), {"close": 99.7256}, at="2024-01-01T13:00"),
    "13": Answer(coins("EUR/USD"), FIRST | {"volume": 120}),
    "14": Answer(equities("AAPL.US"), FIRST | {"volume": 13_498_000}),
    "15": Answer(coins("BTC/USD", timeframe="1D", span=DAYS), {"close": 5091.6, "volume": 43_440}, at="2024-02-29"),
    "17": Answer(equities("AAPL"), {"close": 91.57, "volume": 43_442_000}, at="2024-02-29"),
    "19": Answer(coins("XBT/USD"), FIRST | {"volume": 13.498, "trade_count": 17}),
    "20": Answer(coins("BAT/USD", "BNB/USD", "DOT/USD"), FIRST | {"trade_count": 17}),
    "21": Answer(equities("BRK-A", "BRK-B"), {"open": 500_000, "close": 496_343.5}),
    "23": Answer(equities("BF.B", "BRK-B", "NA", "TRUE")),
    "24": Answer(coins("BTC/USDT", "BTC/USDT-240329"), FIRST | {"volume": 13.498}),
    "25": Answer({"KO": ("EQUITY", "1D", 16_164, "1962-01-02 2023-12-15")}, {"open": 100, "close": 99.7904}),
    "27": Answer(equities("AAPL"), FIRST | {"volume": 13_498_000}),
    "28": Answer(refusal="--no-volume"),
    "29": Answer(coins("BTC/USDT"), FIRST | {"volume": 13.498}),
    "30": Answer(coins("BTC/USDT"), FIRST | {"volume": 13.498}),
    "32": Answer(coins("BTC/USDT"), FIRST | {"volume": 13.498}),
    "35": Answer(coins("BTC/USD", timeframe="1D", span=DAYS), FIRST | {"volume": 13.498}),
    "38": Answer(refusal="weeks from Sunday, e.g. 2022-01-02"),
    "47": Answer(coins("SOL/USDT"), FIRST | {"volume": 13_498}),
    "70": Answer(equities("AAPL", "MSFT") | coins("BTC/USD", timeframe="1D", count=44, span=DAYS), FIRST),
    "72": Answer(coins("ETH/USD", count=72, span="2024-01-10T00:00 2024-01-12T23:00"), FIRST),
    "74": Answer(coins("SOL/USD", timeframe="5m", span="2024-01-01T00:00 2024-01-01T04:55"), FIRST),
    "76": Answer(coins("SPY", timeframe="1D", span=DAYS), FIRST),
    "92": Answer(coins("BTC/USDT", count=59, span="2024-01-01T00:00 2024-01-03T10:00"), FIRST | {"quote_volume": 1339.93}),
    "96": Answer(coins("EUR/GBP", timeframe="1D", span=DAYS), FIRST | {"volume": 1349}),
}  # fmt: skip
# Answered elsewhere: 46 below, 61 by the accounts of test_backtest.py and below.
ELSEWHERE = {"46", "61"}


def asked() -> list[str]:
    """The cases of the MANIFEST's table."""
    manifest = SHARED / "cases" / "MANIFEST.md"
    if not manifest.is_file():
        return sorted(ANSWERS)
    rows = re.findall(r"^\| ([\d, ]+) \|", manifest.read_text("utf-8"), re.MULTILINE)
    return sorted({case.strip() for row in rows for case in row.split(",")} - ELSEWHERE)


def command(shared: Path, case: str) -> tuple[list[Path], dict[str, Any]]:
    """The files and the options of a case's command."""
    (folder,) = (shared / "cases").glob(f"{case}-*")
    words = shlex.split((folder / "cmd.txt").read_text("utf-8").replace("{d}", str(folder)))
    options = {word[2:].replace("-", "_"): words[at + 1] for at, word in enumerate(words) if word.startswith("--")}
    paths = [Path(word) for word in words if word.startswith(str(folder))]
    files = [file for path in paths for file in ([path] if path.is_file() else sorted(path.iterdir()))]
    return [file for file in files if file.name not in ("cmd.txt", "want.txt", "src.txt")], options


@pytest.mark.parametrize("case", asked())
def test_what_people_load_is_what_they_mean_or_is_refused(warehouse: Warehouse, shared: Path, case: str) -> None:
    if not (shared / "cases").is_dir():
        pytest.skip("no ../shared/cases here")
    answer = ANSWERS[case]
    paths, options = command(shared, case)
    report = load_files(warehouse.connection, paths, FileOptions(**options))
    if answer.refusal:
        ((_, error),) = report.failed
        assert answer.refusal in f"{error} {error.hint}"
        assert warehouse.value("select count(*) from raw.ohlcv") == 0
        return
    assert (report.failed, report.quarantined) == ([], 0)
    assert [batch.revised for batch in report.promoted] == [0] * len(report.promoted)
    told = {symbol: batch.details["session"] for batch in report.promoted for symbol in batch.symbols}
    assert told == {symbol: session for symbol, (session, *_) in answer.symbols.items()}
    found = warehouse.query(
        """
        select
            symbol, session_id, timeframe, count(*),
            min(opened_at at time zone timezone), max(opened_at at time zone timezone)
        from raw.ohlcv inner join raw.instrument using (instrument_id) inner join config.session using (session_id)
        group by symbol, session_id, timeframe order by symbol
        """
    )
    clock = "%Y-%m-%d" if all(row[2] == "1D" for row in found) else "%Y-%m-%dT%H:%M"
    stands = {
        symbol: (session, timeframe, count, f"{first:{clock}} {last:{clock}}")
        for symbol, session, timeframe, count, first, last in found
    }
    assert stands == answer.symbols
    first = warehouse.query(
        f"""
        select {", ".join(answer.candle) or "null"} from raw.ohlcv inner join raw.instrument using (instrument_id)
        inner join config.session using (session_id)
        where symbol = '{min(stands)}' and opened_at at time zone timezone >= '{answer.at or "-infinity"}'::timestamp
        order by opened_at limit 1
        """
    )
    assert dict(zip(answer.candle, first[0], strict=False)) == answer.candle


def test_zeros_of_actions_are_nothing_however_written(shared: Path) -> None:
    if not (shared / "cases").is_dir():
        pytest.skip("no ../shared/cases here")
    (path,) = command(shared, "46")[0]
    assert [(action.kind, action.amount, action.ratio) for action in read_adjustments(path)] == [
        ("dividend", 0.24, None),
        ("split", None, 4.0),
    ]


def test_a_price_of_zero_is_said_by_the_gate(warehouse: Warehouse, shared: Path) -> None:
    if not (shared / "cases").is_dir():
        pytest.skip("no ../shared/cases here")
    (folder,) = (shared / "cases").glob("61-*")
    report = load_files(warehouse.connection, [folder / "GGUSD_1d.csv", folder / "ZZUSD_1d.csv"], FileOptions())
    assert report.failed == []
    warnings = {batch.symbols[0]: [finding.expectation for finding in batch.warnings] for batch in report.promoted}
    assert "zero_price_count" in warnings["ZZ/USD"] + warnings["GG/USD"]
