"""The command as a person and a pipe meet it."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from tests.commands import TITAN, titan
from tests.warehouse import DATABASE, Warehouse, create_database
from titan.cli.main import app
from titan.core.settings import REPOSITORY, Settings
from titan.ops import pipeline, status

CANDLES = "timestamp,open,high,low,close,volume\n" + "".join(
    f"2024-01-0{day},{day},{day},{day},{day},1\n" for day in range(1, 9)
)


def commands() -> list[list[str]]:
    found = [["db", name] for name in ("start", "stop", "status", "upgrade", "url")]
    found += [["load", name] for name in ("file", "exchange", "adjustments", "synthetic")]
    found += [["gate", name] for name in ("list", "show", "docs")]
    lab = ("run", "show", "freeze", "verify", "compare", "leaderboard", "walk", "walks")
    found += [["backtest", name] for name in lab]
    found += [["strategy", name] for name in ("propose", "approve", "activate", "archive", "list")]
    found += [["quarantine", name] for name in ("list", "show", "release", "drop")]
    found += [["events", name] for name in ("listen", "relay", "relays", "forget")]
    found += [["universe", name] for name in ("choose", "add", "list")]
    found += [["storage", name] for name in ("show", "apply")]
    found += [["alert", name] for name in ("list", "rules", "ack", "silence", "test")]
    alone = ("backfill", "delete", "refresh", "build", "run", "poll", "watch", "status", "listings", "rename", "reconcile")
    found += [["audit", name] for name in ("list", "verify")]
    found += [["login", name] for name in ("create", "list", "drop")]
    found += [["key", name] for name in ("create", "list", "revoke")]
    alone += ("backup", "restore", "health", "trace", "serve")
    return [*found, *([name] for name in alone)]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_has_help_with_an_example(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Example: " in result.output
    assert "titan" in result.output.split("Example: ")[1]


def test_the_commands_listed_here_are_all_that_there_are() -> None:
    names = {command.name or command.callback.__name__ for command in app.registered_commands}  # type: ignore[union-attr]
    groups = {
        group.name: {command.name for command in group.typer_instance.registered_commands}  # type: ignore[union-attr]
        for group in app.registered_groups
    }
    known = commands()
    assert names == {command[0] for command in known if len(command) == 1}
    for group, members in groups.items():
        assert members == {command[1] for command in known if command[0] == group}


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert titan("--version").stdout == f"titan {project['version']}\n"


# Read, or refuse what was asked: what they take to start is all that they take.
QUICK = ["--help", "status", "refresh", "gate list", "quarantine list", "storage show", "strategy list", "backtest show",
         "backtest walks", "backtest leaderboard", "backtest run fast=9"]  # fmt: skip

# Each takes seconds of CPU to import.
SLOW = {"dbt", "great_expectations", "pandas", "pyarrow", "prefect", "ccxt", "matplotlib", "opentelemetry"}


def test_commands_import_nothing_slow_that_they_do_not_use(warehouse: Warehouse) -> None:
    script = f"""
import sys
from titan.cli.main import main
for command in {QUICK}:
    sys.argv = ["titan", *command.split()]
    try:
        main()
    except SystemExit:
        pass
    print("slow", command, "imports", *({SLOW} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    told = [line.split(" imports")[1] for line in ran.stdout.splitlines() if line.startswith("slow ")]
    assert told == [""] * len(QUICK), ran.stdout


def test_great_expectations_writes_nothing_into_a_load(warehouse: Warehouse, caplog: pytest.LogCaptureFixture) -> None:
    from expectations import suites  # as pytest collects, its warnings would be errors

    suites._standing_batch_definition.cache_clear()  # another test of this process may have made its context
    result = titan("load", "synthetic", "--symbols", "1", "--bars", "10")
    assert [record.getMessage() for record in caplog.records] == []
    assert [json.loads(line)["event"] for line in result.stderr.splitlines()] == ["making up a market", "batch promoted"]


def test_url_prints_a_libpq_url_and_nothing_else(warehouse: Warehouse) -> None:
    result = subprocess.run([TITAN, "db", "url"], capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == (Settings.from_environment().url + "\n", "")


def test_load_build_status_delete(warehouse: Warehouse, tmp_path: Path) -> None:
    path = tmp_path / "binance_BTCUSDT_1d.csv"
    path.write_text(CANDLES)
    loaded = titan("load", "file", str(path))
    assert loaded.returncode == 0, loaded.stderr
    assert "8 rows read, 8 new" in loaded.stdout
    assert "inferred: exchange binance" in loaded.stdout
    again = titan("load", "file", str(path))
    assert "8 known already; nothing changed" in again.stdout
    refreshed = titan("refresh")
    assert refreshed.returncode == 0, refreshed.stdout + refreshed.stderr
    assert warehouse.value("select last_price from marts.market_summary") == 8
    status = json.loads(titan("status", "--json").stdout)
    assert status["series"][0]["symbol"] == "BTC/USDT"
    assert status["behind"] == []
    deleted = titan("delete", "--exchange", "binance", "--symbol", "BTC/USDT", "--since", "2024-01-05", "--yes")
    assert "4 candles deleted" in deleted.stdout
    assert json.loads(titan("status", "--json").stdout)["behind"] != []


@pytest.mark.usefixtures("quick_builds")
def test_the_synthetic_market_is_taken_out_and_nothing_else(warehouse: Warehouse, tmp_path: Path) -> None:
    assert titan("load", "synthetic", "--symbols", "3", "--bars", "5").returncode == 0
    assert titan("load", "synthetic", "--symbols", "1", "--bars", "5", "--timeframe", "1h").returncode == 0
    path = tmp_path / "binance_BTCUSD_1d.csv"  # a name that the synthetic market has, too
    path.write_text(CANDLES)
    assert "titan delete --synthetic" in titan("run", str(path)).stdout
    real = warehouse.query(
        "select * from raw.ohlcv inner join raw.instrument using (instrument_id) where exchange = 'binance'"
    )
    assert len(real) == 8
    done = titan("delete", "--synthetic", "--yes")
    assert (done.returncode, done.stdout) == (
        0,
        "20 synthetic candles of 3 instruments deleted; titan refresh forgets them\n",
    )
    assert warehouse.query("select * from raw.ohlcv inner join raw.instrument using (instrument_id)") == real
    assert warehouse.value("select count(*) from raw.ohlcv_revision") == 20
    warehouse.refresh()
    assert warehouse.query(
        "select distinct exchange from bars.fct_bars inner join bars.dim_instrument using (instrument_id)"
    ) == [("binance",)]
    assert titan("delete", "--synthetic", "--yes").stdout.startswith("0 synthetic candles of 0 instruments")


def test_quarantined_rows_exit_with_three_and_are_shown(warehouse: Warehouse, tmp_path: Path) -> None:
    path = tmp_path / "binance_BTCUSDT_1d.csv"
    path.write_text(CANDLES + "2024-01-09,9,1,9,9,1\n")
    result = titan("load", "file", str(path))
    assert result.returncode == 3
    assert "high_is_not_below_low, e.g. row 10: 2024-01-09,9,1,9,9,1" in result.stdout
    report = json.loads(titan("load", "file", str(path), "--json").stdout)
    assert report["promoted"][0]["quarantined"] == {"high_is_not_below_low": 1}


def test_a_full_disk_is_said_with_what_helps(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise psycopg.errors.DiskFull('could not extend file "base/5/16384": No space left on device')

    monkeypatch.setattr(status, "series", fail)
    result = titan("status")
    assert result.returncode == 1
    assert "the server has no room: could not extend file" in result.stderr
    assert "titan storage show" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["load", "file", "nowhere.csv"], 1, "nowhere.csv: No such file"),
        (["load", "synthetic", "--timeframe", "7x"], 2, "unknown timeframe '7x'"),
        (["load", "exchange", "binance", "--symbols", "BTC/USDT", "--since", "then"], 2, "'then' is no date"),
        (["delete", "--exchange", "x", "--symbol", "Y", "--yes"], 2, "there is no spot Y of x"),
        (["delete", "--symbol", "Y", "--yes"], 2, "name the --exchange and the --symbol"),
        (["delete", "--synthetic", "--symbol", "Y", "--yes"], 2, "--synthetic takes all of the synthetic market"),
        (["run", "x.csv", "--exchange", "kraken"], 2, "--exchange is for asking an exchange, not for files"),
        (["run", "--subscribed", "--since", "2024-01-01"], 2, "--since is for asking an exchange, not for the series of"),
        (["run", "x.csv", "--subscribed"], 2, "--subscribed loads no files"),
        (["db", "upgrade", "nowhere"], 2, "is not the embedded server"),
        (["frobnicate"], 2, "No such command"),
    ],
)
def test_mistakes_end_in_a_line_and_an_exit_code(warehouse: Warehouse, arguments: list[str], code: int, said: str) -> None:
    result = titan(*arguments)
    assert result.returncode == code
    assert said in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_a_database_that_is_down_is_said_in_a_line(server: None) -> None:
    for arguments in (["status"], ["build"], ["load", "synthetic"]):
        result = titan(*arguments, PGHOST="127.0.0.1", PGPORT="1")
        assert result.returncode == 1
        assert "cannot connect to postgresql://" in result.stderr
        assert "Traceback" not in result.stderr


def test_a_database_that_was_never_migrated_is_said_in_a_line(server: None) -> None:
    create_database(f"{DATABASE}_bare")
    for arguments in (["status"], ["load", "synthetic"], ["build"]):
        result = titan(*arguments, PGDATABASE=f"{DATABASE}_bare")
        assert result.returncode == 1
        assert "titan db start" in result.stderr
        assert "Traceback" not in result.stderr


@pytest.mark.usefixtures("quick_builds")
def test_run_on_files_ends_with_a_line_to_connect_with(warehouse: Warehouse, tmp_path: Path) -> None:
    path = tmp_path / "binance_BTCUSDT_1d.csv"
    path.write_text(CANDLES)
    result = titan("run", str(path))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "8 rows read, 8 new" in result.stdout
    assert "synthetic" not in result.stdout
    assert "tests passed" in result.stdout
    assert result.stdout.strip().splitlines()[-2:] == [
        "Look at it: titan serve, and http://127.0.0.1:8000", f"Connect with: {Settings.from_environment().url}",
    ]  # fmt: skip


@pytest.mark.usefixtures("quick_builds")
def test_run_takes_the_synthetic_market_where_the_exchange_cannot_be_reached(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pipeline.load_synthetic
    monkeypatch.setattr(pipeline, "load_synthetic", lambda *given, **asked: whole(*given, **{**asked, "bar_count": 100}))
    options = {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False}
    unreachable = json.dumps({"urls": {"api": {"public": "http://127.0.0.1:1/api/v3"}}, "options": options})
    result = titan("run", TITAN_CCXT_BINANCE=unreachable)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("cannot be reached") == 1
    assert warehouse.query("select distinct exchange from raw.instrument") == [("synthetic",)]


def test_who_sends_both_outputs_to_one_place_reads_no_log_between_the_lines(warehouse: Warehouse) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TITAN_LOG"}
    run = functools.partial(subprocess.run, text=True, check=True, env=environment)

    def load(seed: int) -> list[str]:
        return ["load", "synthetic", "--symbols", "1", "--bars", "30", "--seed", str(seed)]

    whole = run([TITAN, *load(1), "--refresh"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert "30 new" in whole.stdout
    assert re.search(r"\d+ models refreshed in \d", whole.stdout)
    assert "{" not in whole.stdout
    titan(*load(2))
    apart = run([TITAN, "refresh"], capture_output=True)
    assert {json.loads(line)["level"] for line in apart.stderr.splitlines()} == {"info"}
    titan(*load(3))
    chosen = run([TITAN, "--log", "text", "refresh"], capture_output=True)
    assert (chosen.stderr, "models refreshed" in chosen.stdout) == ("", True)
    wrong = titan("--log", "xml", "status")
    assert (wrong.returncode, "--log is text or json, not 'xml'" in wrong.stderr) == (2, True)


def test_a_refresh_says_what_it_did(warehouse: Warehouse) -> None:
    assert titan("load", "synthetic", "--symbols", "1", "--bars", "30").returncode == 0
    first = json.loads(titan("refresh", "--json").stdout)
    assert first["declared"] == {}
    assert {"node": "bars.candle", "action": "rewrite", "reason": "changed rows"}.items() <= first["steps"][3].items()
    assert titan("refresh").stdout.startswith("nothing to refresh in ")
    warehouse.query("alter table bars.candle add constraint broken check (false) not valid")
    assert titan("load", "synthetic", "--symbols", "2", "--bars", "30").returncode == 0
    failed = titan("refresh", TITAN_LOG="text")
    assert failed.returncode == 1
    # A hypertable's row is one of a chunk.
    assert re.match(r'error: bars\.candle failed: new row for relation "\w+" violates check', failed.stderr)
    behind = {row["model"]: row["failures"] for row in json.loads(titan("status", "--json").stdout)["behind"]}
    assert behind["bars.candle"] == 1
