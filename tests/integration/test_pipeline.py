"""Runs: recorded under one id, one at a time, tried again after what may pass, and told as they were."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from ingest.load_batch import WRITER_LOCK
from tests.clocks import this_hour
from tests.commands import QUICK_TITAN, TITAN, titan
from tests.integration.test_command_line import CANDLES
from tests.local_exchange import LocalExchange
from tests.warehouse import Row, Warehouse, make_batch
from titan.core import correlation
from titan.core.database import connect
from titan.core.errors import BusyError, DatabaseUnavailableError, ExitCode
from titan.core.timeframes import TIMEFRAMES
from titan.ops import pipeline
from titan.ops.pipeline import Progressed, Request, Step
from titan.ops.report import markdown
from titan.ops.run_lock import held

RUN_ID = uuid4()

pytestmark = [
    pytest.mark.usefixtures("quick_builds"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # requests keeps its connections until it is collected
]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(pipeline, "RETRY_DELAYS", (0, 0))
    with correlation.run(RUN_ID):
        yield


@pytest.fixture
def candles(tmp_path: Path) -> Path:
    path = tmp_path / "binance_BTCUSDT_1d.csv"
    path.write_text(CANDLES)
    return path


def run(*paths: Path, has_tests: bool = False) -> Progressed:
    return pipeline.run(Request("run", paths, has_tests=has_tests))


# --- one id ---------------------------------------------------------------------------------------------------------------


def test_one_id_leads_from_the_run_to_all_that_it_did(warehouse: Warehouse, candles: Path) -> None:
    environment = {"TITAN_RUN_ID": str(RUN_ID)}
    result = titan("run", str(candles), **environment)
    assert result.returncode == 0, result.stdout + result.stderr
    for table in ("ops.run", "raw.load_batch", "ops.gate_result", "ops.build", "ops.step"):
        assert warehouse.query(f"select distinct run_id from {table}") == [(RUN_ID,)], table
    assert warehouse.query("select command, outcome, finished_at is not null from ops.run") == [("run", "done", True)]
    steps = warehouse.query("select step, attempt, outcome from ops.step order by started_at")
    assert steps == [(name, 1, "done") for name in ("load", "gate", "refresh", "test", "summary")]
    assert warehouse.query("select command, failed from ops.build order by started_at") == [("test", [])]
    logged = [json.loads(line) for line in result.stderr.splitlines()]
    assert {line["run_id"] for line in logged} == {str(RUN_ID)}
    assert {"step begun", "batch promoted", "refreshed", "dbt ended", "step done", "run ended"} <= {
        line["event"] for line in logged
    }


def test_what_a_user_calls_by_hand_has_an_id_too(warehouse: Warehouse, candles: Path) -> None:
    assert titan("load", "file", str(candles)).returncode == 0
    assert titan("build").returncode == 0
    loaded, built = warehouse.value("select run_id from raw.load_batch"), warehouse.value("select run_id from ops.build")
    assert None not in (loaded, built)
    assert loaded != built


def test_a_wrong_id_is_refused(warehouse: Warehouse) -> None:
    result = titan("status", TITAN_RUN_ID="today")
    assert (result.returncode, "TITAN_RUN_ID is no UUID" in result.stderr) == (2, True)


def test_logs_are_text_for_those_who_ask(warehouse: Warehouse) -> None:
    result = titan("quarantine", "show", "1", TITAN_LOG="text")
    assert result.stderr.startswith("error: there is no row 1 in quarantine")


# --- one at a time --------------------------------------------------------------------------------------------------------


def test_a_second_run_ends_at_once_and_says_who_is_first(warehouse: Warehouse, candles: Path) -> None:
    with held("pipeline"):
        result = titan("run", str(candles))
        assert result.returncode == ExitCode.BUSY
        assert f"another run is under way: pipeline {RUN_ID}" in result.stderr
        assert warehouse.value("select count(*) from raw.load_batch") == 0
    assert titan("run", str(candles)).returncode == 0


def test_a_run_may_wait_for_its_turn(warehouse: Warehouse) -> None:
    with held("poll") as lock:
        with pytest.raises(BusyError), held("run", wait_seconds=0.1):
            pass
        threading.Timer(0.5, lock.close).start()
        with held("run", wait_seconds=20):
            pass


def test_the_lock_is_taken_again_when_its_connection_is_lost(warehouse: Warehouse) -> None:
    with held("run") as lock:
        (pid,) = lock.execute("select pg_backend_pid()")
        warehouse.query("select pg_terminate_backend(%s)", pid)
        assert lock.execute("select pg_backend_pid()") != (pid,)
        with pytest.raises(BusyError), held("run"):
            pass


# --- what may pass --------------------------------------------------------------------------------------------------------


@contextmanager
def writer_locked(warehouse: Warehouse) -> Iterator[psycopg.Connection]:
    """Hold the promotions back: whoever loads has landed and inspected its candles, and waits."""
    with connect() as blocker, blocker.transaction():
        blocker.execute(WRITER_LOCK)
        yield blocker  # type: ignore[misc]


def _wait_for_landing(warehouse: Warehouse) -> int:
    """Wait until somebody has landed candles and waits for the writer's lock; returns its process."""
    deadline = time.monotonic() + 60
    waiting = "select pid from pg_stat_activity where datname = current_database() and wait_event = 'relation'"
    while not (found := warehouse.query(waiting)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return int(found[0][0])


def _contents(warehouse: Warehouse) -> tuple[object, ...]:
    queries = ("raw.ohlcv", "raw.observed", "raw.load_batch", "raw.quarantine", "ops.gate_result", "ops.change")
    return tuple(warehouse.value(f"select count(*) from {table}") for table in queries)


def test_a_kill_between_landing_and_promotion_leaves_nothing_and_a_rerun_everything(
    warehouse: Warehouse, candles: Path
) -> None:
    candles.write_text(CANDLES + "2024-01-09,9,1,9,9,1\n")
    before = _contents(warehouse)
    with writer_locked(warehouse):
        process = subprocess.Popen([TITAN, "load", "file", str(candles)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        _wait_for_landing(warehouse)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert _contents(warehouse) == before
    assert titan("load", "file", str(candles)).returncode == ExitCode.PARTIAL
    after = _contents(warehouse)
    assert after[:5] == (8, 1, 1, 1, 1)
    warehouse.refresh()
    warehouse.assert_incremental_equals_full()


def test_a_connection_lost_in_the_middle_of_a_load_is_a_line_and_loses_nothing(warehouse: Warehouse, candles: Path) -> None:
    before = _contents(warehouse)
    with writer_locked(warehouse):
        process = subprocess.Popen(
            [TITAN, "load", "file", str(candles)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        warehouse.query("select pg_terminate_backend(%s)", _wait_for_landing(warehouse))
        _, said = process.communicate()
    assert process.returncode == 1
    assert "the database failed: terminating connection" in said
    assert "Traceback" not in said
    assert _contents(warehouse) == before


def test_a_step_is_tried_again_when_the_connection_was_lost(warehouse: Warehouse, candles: Path) -> None:
    done: list[Progressed] = []
    with writer_locked(warehouse):
        runner = threading.Thread(target=lambda: done.append(run(candles)))
        runner.start()
        warehouse.query("select pg_terminate_backend(%s)", _wait_for_landing(warehouse))
    runner.join()
    assert done[0].code == ExitCode.OK
    steps = warehouse.query("select step, attempt, outcome from ops.step where step = 'load' order by attempt")
    assert steps == [("load", 1, "failed"), ("load", 2, "done")]
    assert _contents(warehouse)[:3] == (8, 1, 1)


def test_a_refresh_whose_server_went_away_is_tried_again(warehouse: Warehouse, candles: Path) -> None:
    done: list[Progressed] = []
    with connect() as other:
        other.execute("select ops.lock_node('bars.candle')")
        runner = threading.Thread(target=lambda: done.append(run(candles)))
        runner.start()
        waiting = "select pid from pg_stat_activity where wait_event_type = 'Lock' and query like '%%ops.refresh(%%'"
        deadline = time.monotonic() + 60
        while not (found := warehouse.query(waiting)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        warehouse.query("select pg_terminate_backend(%s)", found[0][0])
        other.rollback()
    runner.join()
    assert done[0].code == ExitCode.OK
    steps = warehouse.query("select attempt, outcome from ops.step where step = 'refresh' order by attempt")
    assert steps == [(1, "failed"), (2, "done")]
    assert warehouse.value("select count(*) from marts.ohlcv where timeframe = '1D'") == 8


def test_tests_whose_server_went_away_are_tried_again(
    warehouse: Warehouse, candles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from titan.ops import dbt

    invoke, calls = dbt.invoke, []

    def lost_once(command: str, *arguments: object, **options: object) -> object:
        calls.append(command)
        result = invoke(command, **options)  # type: ignore[arg-type]
        if len(calls) == 1:
            gone = dbt.NodeResult("unique", "test", "error", 0.1, "server closed the connection unexpectedly", 0, "")
            result.nodes.append(gone)
        return result

    monkeypatch.setattr(dbt, "invoke", lost_once)
    assert run(candles, has_tests=True).code == ExitCode.OK
    assert calls == ["test", "test"]


def test_a_mistake_is_not_tried_again(warehouse: Warehouse, tmp_path: Path) -> None:
    warehouse.query("insert into config.expectation values ('nonsense', '*', '*', 'warning', 1)")
    path = tmp_path / "binance_BTCUSDT_1d.csv"
    path.write_text(CANDLES)
    progressed = run(path)
    assert progressed.code == ExitCode.FAILED
    assert "no such predicate or measure" in str(progressed.report.failed[0][1])
    assert warehouse.query("select step, attempt from ops.step") == [("load", 1), ("gate", 1)]


def test_the_database_gone_for_good_is_a_line(server: None, candles: Path) -> None:
    result = titan("run", str(candles), PGHOST="127.0.0.1", PGPORT="1")
    assert (result.returncode, "cannot connect to postgresql://" in result.stderr) == (1, True)
    assert "Traceback" not in result.stderr


def test_attempts_end_after_the_third(warehouse: Warehouse) -> None:
    calls: list[int] = []

    def away() -> None:
        calls.append(1)
        raise DatabaseUnavailableError("away")

    with pytest.raises(DatabaseUnavailableError):
        pipeline.attempt_here(Step("load", lambda progressed, progress: None), away)
    assert len(calls) == 3


# --- what is told ---------------------------------------------------------------------------------------------------------


def test_a_failing_test_is_named_with_its_sql(warehouse: Warehouse, candles: Path) -> None:
    run(candles)
    warehouse.query("delete from bars.candle where closed_at = '2024-01-05'")
    progressed = run(candles, has_tests=True)
    assert progressed.code == ExitCode.FAILED
    assert warehouse.query("select attempt, outcome from ops.step where step = 'test'") == [(1, "failed")]
    text = markdown(progressed)
    assert "# run: failed" in text
    assert "## test `candles_equal_raw`: fail" in text
    assert "```sql" in text
    assert '"raw"."ohlcv"' in text
    failed = warehouse.value("select failed from ops.build where command = 'test'")
    assert "candles_equal_raw" in {node["name"] for node in failed}


def test_a_stopped_file_does_not_stop_the_others_and_leaves_data_docs(
    warehouse: Warehouse, candles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TITAN_HOME", str(tmp_path / "home"))
    bad = tmp_path / "binance_ETHUSDT_1d.csv"
    bad.write_text(CANDLES.replace(",1\n", ",-1\n"))
    progressed = run(candles, bad)
    assert progressed.code == ExitCode.PARTIAL
    assert {row["origin"]: row["verdict"] for row in progressed.gate} == {str(candles): "passed", str(bad): "stopped"}
    assert progressed.data_docs is not None
    assert "ETH/USDT" in progressed.data_docs.read_text()
    text = markdown(progressed)
    assert "2 batches: 1 stopped, 1 passed" in text
    assert "## Not loaded" in text
    assert warehouse.query("select outcome, message from ops.run") == [
        ("done in part", "gate: the gate stopped 1 of 2 batches")
    ]  # fmt: skip
    assert warehouse.query("select symbol from marts.market_summary") == [("BTC/USDT",)]


def test_the_report_is_written_where_asked(warehouse: Warehouse, candles: Path, tmp_path: Path) -> None:
    assert titan("run", str(candles), "--report", str(tmp_path / "report.md")).returncode == 0
    assert (tmp_path / "report.md").read_text().startswith("# run: done\n")
    runs = warehouse.value("select count(*) from ops.run")
    nowhere = titan("run", str(candles), "--report", str(tmp_path / "no" / "report.md"))
    assert (nowhere.returncode, "cannot be written" in nowhere.stderr) == (2, True)
    assert warehouse.value("select count(*) from ops.run") == runs  # said before anything is done


# --- poll -----------------------------------------------------------------------------------------------------------------


def poll() -> Progressed:
    return pipeline.run(Request("poll", is_subscribed=True, has_tests=False))


@pytest.mark.builds_everything
def test_a_poll_loads_what_is_new_and_builds_only_then(warehouse: Warehouse, exchange: LocalExchange) -> None:
    warehouse.query("insert into config.subscription values ('Binance', 'BTC/USDT', '1d', '2024-01-01')")
    first = poll()
    assert (first.code, first.report.promoted[0].inserted, first.is_fresh) == (ExitCode.OK, 5, True)
    assert warehouse.value("select last_price from marts.market_summary") == 104
    second = poll()
    assert (second.code, second.report.has_changed_nothing, second.refreshed.steps) == (ExitCode.OK, True, [])
    asked = warehouse.value("select details ->> 'since' from raw.load_batch order by batch_id desc limit 1")
    # Its last candle is long ago, so it is asked again for a week (CATCH_UP) and two candles.
    assert (this_hour().date() - date.fromisoformat(asked[:10])).days == 9


def test_a_subscription_is_spelled_as_its_candles_are_or_refused(warehouse: Warehouse) -> None:
    insert = "insert into config.subscription values ('binance', 'BTC/USDT', %s) returning timeframe"
    for timeframe in TIMEFRAMES.values():
        assert warehouse.value(insert, timeframe.ccxt_name) == timeframe.name
    for spelling in ("2D", "60m", "1H", "3M", "daily", ""):
        with pytest.raises(psycopg.errors.RaiseException) as refused:
            warehouse.query(insert, spelling)
        assert refused.value.diag.message_primary == f"config.subscription: no exchange delivers candles of {spelling}"
        assert refused.value.diag.message_hint == f"Write one of {', '.join(TIMEFRAMES)}."
    with pytest.raises(psycopg.errors.RaiseException):
        warehouse.query("update config.subscription set timeframe = '7D'")


def _subscribe_daily(warehouse: Warehouse, days: int) -> datetime:
    since = this_hour().replace(hour=0) - timedelta(days=days)
    warehouse.query("insert into config.subscription values ('binance', 'ETH/USDT', '1D', %s)", since.date())
    return since


def test_a_poll_catches_up_with_an_exchange_that_was_late(warehouse: Warehouse, exchange: LocalExchange) -> None:
    since = _subscribe_daily(warehouse, 20)
    exchange.add("ETHUSDT", since, "1d", [10.0] * 15)
    assert poll().report.promoted[0].inserted == 15
    exchange.add("ETHUSDT", since, "1d", [10.0] * 20)
    assert poll().report.promoted[0].inserted == 5


def test_a_poll_goes_on_from_the_first_hole(warehouse: Warehouse, exchange: LocalExchange) -> None:
    since = _subscribe_daily(warehouse, 20)
    rows = [Row(since + timedelta(days=at), 10.0, "ETH/USDT") for at in (*range(5), 15)]
    warehouse.load(make_batch(rows[:5], exchange="binance", timeframe="1D"))
    warehouse.load(make_batch(rows[5:], exchange="binance", timeframe="1D"))
    exchange.add("ETHUSDT", since, "1d", [10.0] * 20)
    assert poll().report.promoted[0].inserted == 14


def test_a_poll_of_spot_does_not_go_on_from_a_perpetual(warehouse: Warehouse, exchange: LocalExchange) -> None:
    since = _subscribe_daily(warehouse, 20)
    rows = [Row(since + timedelta(days=at), 10.0, "ETH/USDT") for at in range(15)]
    batch = make_batch(rows, exchange="binance", timeframe="1D")
    batch.market = replace(batch.market, market_type="perpetual")
    warehouse.load(batch)
    exchange.add("ETHUSDT", since, "1d", [10.0] * 20)
    assert [batch.inserted for batch in poll().report.promoted] == [20]


def test_a_subscription_that_fails_does_not_stop_the_others(warehouse: Warehouse, exchange: LocalExchange) -> None:
    warehouse.query(
        """
        insert into config.subscription values
            ('binance', 'NO/SUCH', '1D', '2024-01-01', true), ('binance', 'BTC/USDT', '1D', '2024-01-01', true),
            ('atlantis', 'BTC/USDT', '1D', '2024-01-01', true), ('binance', 'NOT/ASKED', '1D', '2024-01-01', false)
        """
    )
    progressed = poll()
    assert progressed.code == ExitCode.PARTIAL
    assert [origin for origin, _ in progressed.report.failed] == ["atlantis BTC/USDT 1D", "binance NO/SUCH 1D"]
    assert progressed.report.promoted[0].inserted == 5


def test_a_poll_of_nothing_says_what_to_do(warehouse: Warehouse) -> None:
    result = titan("poll")
    assert (result.returncode, "insert series into config.subscription" in result.stdout) == (0, True)


def test_polls_whose_exchange_is_away_are_tried_again(
    warehouse: Warehouse, exchange: LocalExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.query("insert into config.subscription values ('binance', 'BTC/USDT', '1D', '2024-01-01')")
    options = json.loads(os.environ["TITAN_CCXT_BINANCE"])
    options["urls"]["api"]["public"] = "http://127.0.0.1:1/api/v3"
    monkeypatch.setenv("TITAN_CCXT_BINANCE", json.dumps(options))
    progressed = poll()
    assert progressed.code == ExitCode.FAILED
    assert "cannot be reached" in str(progressed.errors["load"])
    assert warehouse.value("select max(attempt) from ops.step") == 3


# --- the flow -------------------------------------------------------------------------------------------------------------


def test_the_flow_takes_the_same_steps_under_its_own_id(warehouse: Warehouse, candles: Path, tmp_path: Path) -> None:
    candles.write_text(CANDLES + "2024-01-09,9,1,9,9,1\n")
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_API_URL": ""}
    command = [*QUICK_TITAN, "run", "--prefect", str(candles)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == ExitCode.PARTIAL, result.stdout + result.stderr
    said = result.stdout.strip().splitlines()[-1]
    assert said.endswith("Partial: 1 rows in quarantine")
    assert "| ERROR" not in result.stderr
    assert "Traceback" not in result.stderr
    flow_run_id = said.split()[2].rstrip(":")
    assert str(warehouse.value("select run_id from ops.run")) == flow_run_id
    assert warehouse.query("select distinct run_id::text from raw.load_batch") == [(flow_run_id,)]
    steps = warehouse.query("select step, outcome from ops.step order by started_at")
    assert steps == [(name, "done") for name in ("load", "gate", "refresh", "test", "summary")]
    spans = [text for (text,) in warehouse.query("select span from ops.spans_of(%s)", flow_run_id)]
    assert [text for text in spans if not text.startswith("   ")] == [
        "pipeline", *(f"  {name} pipeline" for name in ("load", "gate", "refresh", "test", "summary")),
    ]  # fmt: skip
    assert "    dbt test" in spans


def test_a_prefect_server_that_is_away_is_a_line(warehouse: Warehouse, candles: Path) -> None:
    environment = {**os.environ, "PREFECT_API_URL": "http://127.0.0.1:1/api"}
    command = [TITAN, "run", "--prefect", str(candles)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (result.returncode, "the Prefect server at http://127.0.0.1:1/api does not answer" in result.stderr) == (1, True)
    assert [json.loads(line)["level"] for line in result.stderr.splitlines()] == ["error"]
    assert warehouse.value("select count(*) from ops.run") == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_flow_run_tells_how_it_ended(warehouse: Warehouse, candles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_LOGGING_EXTRA_LOGGERS", "")  # there is no server to send logs to
    from flows import pipeline as flows

    artifacts: list[str] = []
    monkeypatch.setattr(flows, "_flow_run_id", lambda: RUN_ID)
    monkeypatch.setattr(flows, "_as_task", pipeline.attempt_here)
    monkeypatch.setattr(flows, "create_markdown_artifact", lambda **artifact: artifacts.append(artifact["markdown"]))

    with held("run"):
        skipped = flows.poll.fn()
    assert (skipped.name, skipped.type.value) == ("Skipped", "CANCELLED")
    assert "another run is under way: run" in skipped.message
    done = flows.pipeline.fn(paths=[str(candles)], is_subscribed=False, wait_seconds=0)
    assert (done.name, done.type.value) == ("Completed", "COMPLETED")
    candles.write_text(CANDLES + "2024-01-09,9,1,9,9,1\n")
    partial = flows.pipeline.fn(paths=[str(candles)], is_subscribed=False, wait_seconds=0)
    assert (partial.name, partial.type.value) == ("Partial", "COMPLETED")
    warehouse.query("delete from bars.candle where closed_at = '2024-01-05'")
    failed = flows.pipeline.fn(paths=[str(candles)], is_subscribed=False, wait_seconds=0)
    assert (failed.name, failed.type.value) == ("Failed", "FAILED")
    assert "candles_equal_raw" in failed.message
    assert [text.splitlines()[0] for text in artifacts] == [
        f"# pipeline: {how}" for how in ("done", "done in part", "failed")
    ]
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    assert "cannot connect" in flows.poll.fn().message
