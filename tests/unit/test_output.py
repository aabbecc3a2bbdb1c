"""What people and programs see of the same rows."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from titan.cli import output

HASH = "0123456789abcdef" * 4
WALK: list[dict[str, Any]] = [{"bars": 1200, "sharpe": 1.23456789, "total_return": -0.12345678, "result_hash": HASH}]
SERIES: list[dict[str, Any]] = [
    {
        "exchange": "binance", "market": market, "symbol": "BTC/USDT", "timeframe": "1m", "is_base": True,
        "first_at": datetime(2020, 1, 1, tzinfo=UTC), "last_at": datetime(2025, 1, 1, tzinfo=UTC), "gaps": gaps,
        "missing": 12, "completeness": completeness,
    }
    for market, gaps, completeness in (("spot", 3, 0.99987), ("perpetual", None, None))
]  # fmt: skip


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    told = io.StringIO()
    console = Console(file=told, force_terminal=True, color_system=None, width=80, soft_wrap=True, highlight=False)
    monkeypatch.setattr(output, "out", console)
    return told


def test_a_pipe_gets_every_digit_and_every_hash(capsys: pytest.CaptureFixture[str]) -> None:
    output.tables({"empty": [], "walk": WALK, "series": [{"symbol": "a\tb", "completeness": 0.5}]})
    assert capsys.readouterr().out == (
        f"bars\tsharpe\ttotal_return\tresult_hash\n1200\t1.23456789\t-0.12345678\t{HASH}\n\nsymbol\tcompleteness\na\\tb\t0.5\n"
    )


def test_a_report_in_a_pipe_cuts_nothing_off(capsys: pytest.CaptureFixture[str]) -> None:
    output.table([{"was": HASH, "is": HASH[::-1], "what": "bars", "why": "x" * 100}], title="data", is_report=True)
    assert capsys.readouterr().out.splitlines()[2].split() == [HASH, HASH[::-1], "bars", "x" * 100]


def test_a_terminal_gets_per_cent_and_whole_hashes(terminal: io.StringIO) -> None:
    output.table(WALK)
    assert "-12.35 %" in terminal.getvalue()
    output.table([{"what": "total_return", "first": 0.5, "second": 0.25}, {"what": "trades", "first": 3, "second": 4}])
    assert [line.split() for line in terminal.getvalue().splitlines()[-2:]] == [
        ["total_return", "50.00", "%", "25.00", "%"],
        ["trades", "3", "4"],
    ]
    output.table([{"symbol": "BTC/USDT", "data_hash": HASH, "feature_hash": HASH}])
    lines = terminal.getvalue().splitlines()[-2:]
    assert all(len(line) <= 80 for line in lines)
    assert "".join(line.split()[-1] for line in lines) == HASH  # folded, not cut


def test_a_narrow_terminal_does_without_what_can_be_spared(terminal: io.StringIO) -> None:
    output.table(SERIES, spare=("is_base", "missing", "nothing", "first_at", "market"))
    assert [line.split() for line in terminal.getvalue().splitlines()] == [
        ["exchange", "market", "symbol", "timeframe", "last_at", "gaps", "completeness"],
        ["binance", "spot", "BTC/USDT", "1m", "2025-01-01", "00:00", "3", "99.99", "%"],
        ["binance", "perpetual", "BTC/USDT", "1m", "2025-01-01", "00:00"],
    ]
    assert max(map(len, terminal.getvalue().splitlines())) <= 80
