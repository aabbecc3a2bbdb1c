"""Spans from a flow to the refresh of a model, metrics, and what becomes of both: written, passed on, kept and forgotten."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from psycopg import sql

from tests.clocks import FastClock, this_hour
from tests.commands import titan
from tests.integration.test_command_line import CANDLES
from tests.local_exchange import SINCE, LocalExchange
from tests.warehouse import Row, Warehouse, instant, make_batch
from titan.core import correlation, trace
from titan.core.database import connect
from titan.core.errors import UsageError
from titan.ops import alerts, dbt, events, pipeline, traces
from titan.ops.events import Relay, SinkUnavailableError
from titan.ops.pipeline import Request
from titan.ops.refresh import refresh_model
from titan.ops.run_lock import RunLock, held
from titan.ops.watch import Watch

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # requests keeps its connections until it is collected

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def nothing_waits() -> Iterator[None]:
    trace.take()
    yield
    trace.take()


@pytest.fixture
def candles(tmp_path: Path) -> Path:
    path = tmp_path / "binance_BTCUSDT_1d.csv"
    path.write_text(CANDLES)
    return path


def tree(warehouse: Warehouse, trace_id: UUID) -> list[str]:
    return [text for (text,) in warehouse.query("select span from ops.spans_of(%s)", trace_id)]


def written(warehouse: Warehouse, name: str, seconds: float = 1, *, at: datetime = NOW, subject: str = "x") -> None:
    """A span, as if it had been written then."""
    traces.write(warehouse.connection)  # what was done to make the warehouse
    with trace.span(name, subject) as one:
        pass
    one.started_at, one.seconds = at, seconds
    assert traces.write(warehouse.connection) == 1


# --- one id from the run to the model -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick_builds")
def test_a_run_is_one_tree_from_its_steps_to_its_batches_models_and_tests(warehouse: Warehouse, candles: Path) -> None:
    identity = uuid4()
    with correlation.run(identity):
        pipeline.run(Request("run", (candles,), has_tests=False))
        dbt.invoke("run", ["--select", "dim_timeframe"])  # no part of the run, and none of its spans
        traces.write(warehouse.connection)
    spans = tree(warehouse, identity)
    assert spans[:4] == ["run", "  load run", f"    batch {candles}", f"      inspect {candles}"]
    assert "    refresh what is behind" in spans
    assert "      model bars.candle" in spans
    assert spans[-3:] == ["  summary run", "dbt run", "  model dim_timeframe"]
    orphans = warehouse.query(
        "select name from ops.trace as child where parent_id is not null and not exists "
        "(select from ops.trace as parent where parent.trace_id = child.trace_id and parent.span_id = child.parent_id)"
    )
    assert orphans == []
    batch_id, inserted = warehouse.query(
        "select (details ->> 'batch_id')::bigint, (details ->> 'inserted')::bigint from ops.trace where name = 'batch'"
    )[0]
    assert warehouse.query("select batch_id, rows_inserted, run_id from raw.load_batch") == [(batch_id, inserted, identity)]
    # A part takes no longer than the whole, and begins no earlier.
    parts = warehouse.query(
        """
        select whole.name, part.name from ops.trace as part
        inner join ops.trace as whole on whole.trace_id = part.trace_id and whole.span_id = part.parent_id
        where
            part.started_at < whole.started_at - interval '1 ms'
            or part.started_at + part.seconds * interval '1 s' > whole.started_at + (whole.seconds + 0.01) * interval '1 s'
        """
    )
    assert parts == []


def test_what_fails_is_a_failed_span_with_its_reason_and_loses_nothing(warehouse: Warehouse, candles: Path) -> None:
    warehouse.query("create function bars.broken() returns trigger language plpgsql as "
                    "$$ begin raise exception 'no such luck'; end $$")  # fmt: skip
    warehouse.query("create trigger broken before insert on bars.candle for each row execute function bars.broken()")
    identity = uuid4()
    with correlation.run(identity):
        pipeline.run(Request("run", (candles,), has_tests=False), attempt=lambda step, once: once())
    failed = warehouse.query(
        "select name, subject, message from ops.trace where trace_id = %s and is_failed order by started_at desc", identity
    )
    assert failed[0] == ("model", "bars.candle", "no such luck")
    assert [name for name, *_ in failed] == ["model", "refresh", "refresh", "run"]
    assert warehouse.query("select subject, message from ops.failing where kind = 'model'") == [
        ("bars.candle", "no such luck")
    ]


def test_who_calls_brings_the_trace_and_what_is_none_is_passed_over(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer = "4bf92f3577b34da6a3ce929d0e0e4736"
    monkeypatch.setenv("TRACEPARENT", f"00-{outer}-00f067aa0ba902b7-01")
    with trace.span("inner"):
        told = trace.traceparent()
    assert told.startswith(f"00-{outer}-")
    for wrong in (f"00-{'0' * 32}-00f067aa0ba902b7-01", "00-4bf9-00f0-01", f"00-{outer}-{'0' * 16}-01", "ff", "é"):
        monkeypatch.setenv("TRACEPARENT", wrong)
        with trace.span("of the run"):
            pass
    traces.write(warehouse.connection)
    assert warehouse.query("select name, trace_id, parent_id from ops.trace order by started_at limit 1") == [
        ("inner", UUID(outer), "00f067aa0ba902b7")
    ]
    assert warehouse.query("select distinct trace_id, parent_id from ops.trace where name = 'of the run'") == [
        (correlation.run_id(), None)
    ]


def test_each_round_of_a_watch_is_a_trace_and_an_idle_one_is_none(exchange: LocalExchange, warehouse: Warehouse) -> None:
    exchange.candles.clear()
    exchange.add("BTCUSDT", SINCE, "1m", [100 + at % 7 for at in range(180)])
    warehouse.query("insert into config.subscription (exchange, symbol, timeframe, since) "
                    "values ('binance', 'BTC/USDT', '1m', %s)", SINCE.date())  # fmt: skip
    clock = FastClock(SINCE + timedelta(hours=2), until=SINCE + timedelta(hours=2, minutes=2, seconds=30))
    exchange.now = clock.now
    rounds: list[Any] = []
    Watch(clock).run(rounds.append)
    cycles = warehouse.query("select trace_id, run_id, parent_id from ops.trace where name = 'cycle'")
    assert len(cycles) == len(rounds) == len({trace_id for trace_id, *_ in cycles})
    assert {(run_id, parent) for _, run_id, parent in cycles} == {(correlation.run_id(), None)}
    shown = json.loads(titan("trace", str(correlation.run_id()), "--json").stdout)
    assert shown[0]["span"] == "cycle watch"  # the newest of them
    with_batches = warehouse.value("select count(distinct trace_id) from ops.trace where name = 'batch'")
    assert with_batches == warehouse.value("select count(*) from raw.load_batch where source = 'exchange'")
    assert warehouse.value("select count(*) from ops.trace where name = 'model' and subject = 'bars.candle'") >= 2


def test_a_dbt_run_by_hand_is_a_trace_of_its_own(warehouse: Warehouse) -> None:
    """Without anything of ours around it, as in a shell."""
    from dbt.cli.main import dbtRunner

    runner = dbtRunner(manifest=dbt.manifest())
    assert runner.invoke(["run", "--log-level", "none", "--select", "dim_timeframe"]).success
    ((name, subject, parent, trace_id),) = warehouse.query("select name, subject, parent_id, trace_id from ops.trace")
    assert (name, subject, parent) == ("model", "dim_timeframe", None)
    assert trace_id != correlation.run_id()


def test_spans_wait_for_a_server_that_is_away_and_the_oldest_are_lost(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "MOST_WAITING", 3)
    with connect(autocommit=True) as lost:
        for number in range(3):
            with trace.span("load", f"file {number}"):
                pass
        warehouse.query("select pg_terminate_backend(%s)", lost.info.backend_pid)
        with pytest.raises(psycopg.OperationalError):
            traces.write(lost)
    with trace.span("load", "file 3"):
        pass
    assert trace.waiting() == 4
    spans = trace.take()
    trace.put_back(spans)
    traces.write_rest()
    assert [subject for (subject,) in warehouse.query("select subject from ops.trace order by started_at")] == [
        "file 1", "file 2", "file 3",
    ]  # fmt: skip


def test_what_came_to_nothing_leaves_nothing_of_its_parts(warehouse: Warehouse) -> None:
    with trace.span("before"):
        pass
    with trace.span("whole") as whole:
        with trace.span("part"), trace.span("part of a part"):
            pass
        whole.is_kept = False
    with trace.span("after"):
        pass
    assert [one.name for one in trace.take()] == ["before", "after"]


def test_texts_of_any_kind_are_kept(warehouse: Warehouse) -> None:
    with trace.span("load", "a\0b ' \\u0000 \\", note="c\\0 \"'", nothing=None):
        pass
    with trace.span("load", "y" * 10_000) as long:
        long.fail("z" * 10_000)
    assert traces.write(warehouse.connection) == 2
    assert warehouse.query("select subject, details from ops.trace where not is_failed") == [
        ("ab ' \\u0000 \\", {"note": "c\\0 \"'"})
    ]
    assert warehouse.query("select length(subject), length(message) from ops.trace where is_failed") == [(500, 2000)]


def test_the_command_shows_the_last_trace_or_the_one_that_is_named(warehouse: Warehouse) -> None:
    assert "nothing was traced yet" in titan("trace").stderr
    warehouse.load(make_batch([Row(this_hour() - DAY, 1)]))
    loaded = titan("refresh")
    assert loaded.returncode == 0
    shown = titan("trace", "--json")
    spans = json.loads(shown.stdout)
    assert spans[0]["span"] == "refresh what is behind"
    assert "  model bars.candle" in [span["span"] for span in spans]
    identity = str(warehouse.value("select trace_id from ops.trace where name = 'model' limit 1"))
    assert titan("trace", identity, "--json").stdout == shown.stdout
    for wrong, said in (("nonsense", "is no id"), (str(uuid4()), "nothing is known")):
        refused = titan("trace", wrong)
        assert (refused.returncode, said in refused.stderr) == (2, True)
    assert refresh_model(warehouse.connection, "bars.candle").action == "nothing"  # somebody else was faster
    assert trace.waiting() == 0
    before = warehouse.value("select count(*) from ops.trace")
    for command in ("refresh", "status"):  # nothing to do, and nothing to tell
        titan(command)
    assert warehouse.value("select count(*) from ops.trace") == before


# --- passed on ------------------------------------------------------------------------------------------------------------


class Collector:
    """OpenTelemetry's on loopback, which fails so often first."""

    def __init__(self) -> None:
        self.failures = 0
        self.spans: list[Any] = []
        self.services: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.failures -= 1
                if collector.failures < 0:
                    told = ExportTraceServiceRequest.FromString(body)
                    for resource in told.resource_spans:
                        collector.services |= {one.value.string_value for one in resource.resource.attributes}
                        collector.spans += [span for scope in resource.scope_spans for span in scope.spans]
                self.send_response(400 if collector.failures >= 0 else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    collector = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server.server_port}")
    yield collector
    collector.server.shutdown()
    collector.server.server_close()


@pytest.mark.filterwarnings("ignore")
def test_spans_are_passed_on_as_they_were_once(warehouse: Warehouse, collector: Collector) -> None:
    with trace.span("load", "a file", rows=3, files=["a", "b"]) as whole, trace.span("batch") as part:
        part.fail("no room")
    traces.write(warehouse.connection)
    collector.failures = 1
    (teller,) = alerts.tellers()
    deadline = time.monotonic() + 30
    while not collector.spans and time.monotonic() < deadline:
        alerts.tell_once([teller])
    assert collector.failures == -1  # it failed once, and took them at once
    alerts.tell_once([teller])
    sent = {span.name: span for span in collector.spans}
    assert len(collector.spans) == 2
    assert {span.trace_id.hex() for span in collector.spans} == {whole.trace_id.hex}
    assert sent["batch"].parent_span_id.hex() == sent["load"].span_id.hex() == whole.span_id
    assert (sent["batch"].status.code, sent["batch"].status.message) == (2, "no room")
    assert sent["load"].status.code == 0
    told = {one.key: one.value.string_value or one.value.int_value for one in sent["load"].attributes}
    assert told == {
        "titan.subject": "a file", "titan.run_id": str(correlation.run_id()), "titan.rows": 3, "titan.files": '["a", "b"]',
    }  # fmt: skip
    length = (sent["load"].end_time_unix_nano - sent["load"].start_time_unix_nano) / 1e9
    assert length == pytest.approx(whole.seconds, abs=1e-6)
    assert sent["load"].start_time_unix_nano / 1e9 == pytest.approx(whole.started_at.timestamp(), abs=1e-6)
    assert "titan" in collector.services


class Kept:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.spans: list[str] = []
        self.is_away = False

    def send(self, topic: str, messages: Any) -> None:
        if self.is_away:
            raise SinkUnavailableError("away")
        self.spans += [message["subject"] for message in messages]


def pass_on(relay: Relay, sink: Kept, count: int) -> None:
    """As long as anybody has a transaction under way that is older, in any database of the server, spans wait."""
    deadline = time.monotonic() + 30
    while len(sink.spans) < count and time.monotonic() < deadline:
        relay.pass_on()
        time.sleep(0.02)
    relay.pass_on()


def test_spans_that_are_committed_later_are_passed_on_later_and_none_is_missed(warehouse: Warehouse) -> None:
    """Transactions in every order of first write, span and commit."""
    sink = Kept()
    relay = Relay("kept", ["traces"], sink, lambda seconds: None)
    relay.pass_on()
    warehouse.query("select ops.make_month('ops.trace', %s)", NOW)
    with connect() as early, connect() as late:
        early.execute("insert into ops.disk values ('x', 1, 1)")  # has its number now, its span later
        for connection, subject in ((late, "late"), (early, "early")):
            row = f'[{{"name": "x", "subject": "{subject}", "started_at": "{NOW.isoformat()}", "seconds": 1}}]'
            connection.execute("select ops.record_spans(%s)", (row,))
            relay.pass_on()
        assert sink.spans == []
        late.commit()
        relay.pass_on()
        assert sink.spans == []  # early has a lower number and is not over
        early.commit()
    pass_on(relay, sink, 2)
    relay.close()
    assert sink.spans == ["early", "late"]


def test_a_transaction_is_passed_on_whole(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "AT_ONCE", 2)
    sink = Kept()
    relay = Relay("kept", ["traces"], sink, lambda seconds: None)
    relay.pass_on()
    for number in range(3):
        with trace.span("x", f"{number}"):
            pass
    traces.write(warehouse.connection)
    pass_on(relay, sink, 1)
    assert sorted(sink.spans) == ["0", "1", "2"]
    written(warehouse, "x", subject="3")
    sink.is_away = True
    with pytest.raises(SinkUnavailableError):
        pass_on(relay, sink, 4)
    sink.is_away = False
    pass_on(relay, sink, 4)
    relay.close()
    assert sorted(sink.spans) == ["0", "1", "2", "3"]


def test_what_was_restored_elsewhere_is_passed_on_from_there(warehouse: Warehouse) -> None:
    sink = Kept()
    warehouse.query("insert into ops.relay (relay, topic, seq) values ('kept', 'traces', 1000000000000)")
    written(warehouse, "load", subject="here")
    relay = Relay("kept", ["traces"], sink, lambda seconds: None)
    pass_on(relay, sink, 1)
    relay.close()
    assert sink.spans == ["here"]


def test_no_topic_of_a_users_own_is_called_traces(warehouse: Warehouse) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        warehouse.query("insert into config.topic values ('traces', 'bars.candle')")


# --- months ---------------------------------------------------------------------------------------------------------------


def months(warehouse: Warehouse, parent: str = "trace") -> list[str]:
    query = "select relname from pg_inherits inner join pg_class on inhrelid = oid where inhparent = %s::regclass order by 1"
    return [name for (name,) in warehouse.query(query, f"ops.{parent}")]


def test_months_are_made_as_they_come_and_go_whole(warehouse: Warehouse) -> None:
    for text in ("2024-01-31T23:59:59", "2024-02-01T00:00:00", "2024-12-31T23:59:59.999999"):
        written(warehouse, "load", at=instant(text))
    assert months(warehouse) == ["trace_2024_01", "trace_2024_02", "trace_2024_12"]
    warehouse.query("select ops.prune('2024-03-02T00:00:01Z')")  # thirty days after the end of January
    assert months(warehouse) == ["trace_2024_01", "trace_2024_02", "trace_2024_12"][1:]
    warehouse.query("update config.kept set kept = '10 years' where relation = 'ops.trace'")
    warehouse.query("select ops.prune()")
    assert len(months(warehouse)) == 2
    warehouse.query("update config.kept set kept = null where relation = 'ops.trace'")
    warehouse.query("select ops.prune('2100-01-01')")
    assert len(months(warehouse)) == 2


def test_two_that_need_a_month_at_once_get_it(warehouse: Warehouse) -> None:
    with connect() as one, connect() as other:
        one.execute("select ops.make_month('ops.metric', '2024-05-05')")
        done = threading.Event()

        def make() -> None:
            other.execute("select ops.make_month('ops.metric', '2024-05-06')")
            other.commit()
            done.set()

        thread = threading.Thread(target=make)
        thread.start()
        assert not done.wait(0.3)
        one.commit()
        thread.join(10)
    assert done.is_set()
    assert months(warehouse, "metric") == ["metric_2024_05"]


def test_a_month_that_somebody_reads_goes_later(warehouse: Warehouse) -> None:
    written(warehouse, "load", at=instant("2024-01-05"))
    with connect() as reader:
        reader.execute("select count(*) from ops.trace")
        warehouse.query("select ops.prune()")
        assert months(warehouse) == ["trace_2024_01"]
    warehouse.query("select ops.prune()")
    assert months(warehouse) == []


# --- metrics and growth ---------------------------------------------------------------------------------------------------


def test_measures_are_taken_every_five_minutes_and_of_tables_every_hour(warehouse: Warehouse) -> None:
    start = instant("2024-05-01")
    taken = [
        (minute, warehouse.value("select ops.measure(%s)", start + timedelta(minutes=minute))) for minute in range(0, 66)
    ]
    assert [minute for minute, count in taken if count] == list(range(0, 66, 5))
    assert [minute for minute, count in taken if count > 50] == [0, 60]
    assert warehouse.value("select count(distinct subject) from ops.metric where metric = 'table_bytes'") == warehouse.value(
        "select count(*) from ops.sizes()"
    )


def test_once_an_hour_what_is_old_is_forgotten(warehouse: Warehouse) -> None:
    written(warehouse, "load", at=instant("2024-01-05"))
    for minutes, left in ((0, 0), (5, 1), (55, 1), (60, 0)):
        warehouse.query("select ops.keep_house(%s)", NOW + timedelta(minutes=minutes))
        assert len(months(warehouse)) == left
        if not left:
            written(warehouse, "load", at=instant("2024-01-05"))


def test_sizes_are_those_of_the_server(warehouse: Warehouse) -> None:
    warehouse.load(make_batch([Row(this_hour() - DAY, 1)]))
    warehouse.query("select ops.measure()")
    written(warehouse, "load")
    sizes = {name: size for name, size, *_ in warehouse.query("select * from ops.sizes()")}
    assert sizes["config.timeframe"] == warehouse.value("select pg_total_relation_size('config.timeframe')")
    parts = "select sum(pg_total_relation_size(inhrelid)) from pg_inherits where inhparent = 'ops.trace'::regclass"
    assert sizes["ops.trace"] == warehouse.value(parts) > 0
    assert sizes["raw.ohlcv"] > 0
    assert not [name for name in sizes if name.startswith(("ops.trace_", "ops.metric_", "locks."))]


def test_a_year_is_told_by_the_last_week(warehouse: Warehouse) -> None:
    def year() -> Any:
        return warehouse.query("select grown_bytes, bytes_a_year from ops.growth where relation = 'raw.ohlcv'")[0]

    size = int(warehouse.value("select bytes from ops.sizes() where relation = 'raw.ohlcv'"))
    warehouse.query("select ops.make_month('ops.metric', now() - n * interval '1 day') from generate_series(0, 31) as n")

    def plant(days: float, grown: int) -> None:
        warehouse.query("insert into ops.metric values (now() - %s * interval '1 day', 'table_bytes', 'raw.ohlcv', %s)",
                        days, size - grown)  # fmt: skip

    assert year() == (None, None)
    plant(0.5, 100)
    assert year() == (100, None)  # too short a time to tell of a year
    plant(7, 700_000)
    assert year()[0] == 700_000
    assert year()[1] == pytest.approx(700_000 / 7 * 365.25, rel=1e-3)
    plant(20, 5)
    assert year()[0] == 700_000


def test_every_table_that_grows_has_a_rule(warehouse: Warehouse) -> None:
    """Those of models grow by what is loaded; those of config by people; the lab keeps everything."""
    rules = dict(warehouse.query("select relation, rule from config.kept"))
    tables = warehouse.query(
        "select format('%s.%s', nspname, relname) from pg_class inner join pg_namespace on relnamespace = pg_namespace.oid "
        "where nspname in ('ops', 'raw') and relkind in ('r', 'p') and not relispartition"
    )
    assert {name for (name,) in tables} == set(rules)
    assert all(rules.values())
    with pytest.raises(psycopg.errors.CheckViolation):
        warehouse.query("update config.kept set kept = '30 days' where relation = 'raw.ohlcv_revision'")


def test_what_is_old_is_forgotten_and_what_is_needed_is_not(warehouse: Warehouse) -> None:
    warehouse.load(make_batch([Row(this_hour() - DAY, 1)]))
    for source, inserted, gate in (
        ("exchange", 0, False),
        ("exchange", 1, False),
        ("file", 0, False),
        ("exchange", 0, True),
    ):
        warehouse.query(
            "insert into raw.load_batch (source, origin, started_at, promoted_at, rows_inserted) "
            "values (%s, %s, now(), now() - interval '31 days', %s)", source, f"{source} {inserted} {gate}", inserted,
        )  # fmt: skip
        if gate:
            warehouse.query("insert into ops.gate_result (batch_id, suite, verdict, results, profile) "
                            "select max(batch_id), 'x', 'stopped', '[]', '[]' from raw.load_batch")  # fmt: skip
    for days in (200, 150, 10):
        warehouse.query(
            "with run as (insert into ops.run (run_id, command, started_at, finished_at, outcome) values "
            "(gen_random_uuid(), 'poll', now() - %s * interval '1 day', now(), 'done') returning run_id) "
            "insert into ops.step (run_id, step, attempt) select run_id, 'load', 1 from run", days,
        )  # fmt: skip
        warehouse.query("insert into ops.build values (gen_random_uuid(), null, 'run', now(), "
                        "now() - %s * interval '1 day', 1)", days)  # fmt: skip
    warehouse.query(
        "insert into ops.run (run_id, command, started_at) values (gen_random_uuid(), 'watch', now() - interval '2 years')"
    )
    warehouse.query(
        "insert into ops.backup select now() - n * interval '500 days', 'x', 1, 1, 1 from generate_series(1, 3) as n"
    )
    warehouse.query(
        "insert into ops.reconciliation select now() - n * interval '500 days', 1, 0, null from generate_series(1, 3) as n"
    )
    pruned = dict(warehouse.query("select * from ops.prune()"))
    assert pruned == {
        "ops.alert": 0, "ops.backup": 2, "ops.build": 2, "ops.gate_result": 0, "ops.incident": 0, "ops.metric": 0,
        "ops.reconciliation": 2, "ops.run": 2, "ops.trace": 0, "raw.load_batch": 1,
    }  # fmt: skip
    assert warehouse.value("select count(*) from raw.load_batch") == 4
    assert warehouse.value("select count(*) from ops.step") == 1
    assert warehouse.query("select command from ops.run order by 1") == [("poll",), ("watch",)]


# --- what an operator asks ------------------------------------------------------------------------------------------------


def test_how_it_stands_with_everything_that_runs(warehouse: Warehouse) -> None:
    def states() -> dict[str, tuple[str, int]]:
        rows = warehouse.query("select workflow, state, failures from ops.workflow_state")
        return {workflow: (state, failures) for workflow, state, failures in rows}

    def stand(**expected: tuple[str, int]) -> None:
        """Who closes a connection holds its locks until the server has noticed."""
        deadline = time.monotonic() + 10
        while states() != expected and time.monotonic() < deadline:
            time.sleep(0.02)
        assert states() == expected

    with correlation.run(uuid4()), held("poll") as lock:
        assert states() == {"poll": ("running", 0)}
        lock.record_end("failed")
    with correlation.run(uuid4()), held("poll", 5) as lock:
        lock.record_end("failed")
    stand(poll=("failed", 2))
    with correlation.run(uuid4()), held("poll", 5):
        pass  # killed: its end was never told
    stand(poll=("killed", 2))
    with correlation.run(uuid4()), held("run", 5):
        # Of the two whose end is not told, one can only be the one that holds the lock.
        assert states() == {"poll": ("killed", 2), "run": ("running", 0)}
        watch = RunLock("watch", "watch")
        with correlation.run(uuid4()):
            watch.acquire()
        assert states()["watch"] == ("running", 0)
        watch.close()
        stand(poll=("killed", 2), run=("running", 0), watch=("killed", 0))
    stand(poll=("killed", 2), run=("killed", 0), watch=("killed", 0))
    failing = warehouse.query("select subject from ops.failing where kind = 'workflow' order by 1")
    assert failing == [("poll",), ("run",), ("watch",)]
    with correlation.run(uuid4()), held("poll", 5) as lock:
        lock.record_end("done in part")
    assert states()["poll"] == ("done in part", 0)
    assert warehouse.value("select count(*) from ops.run where started_by = session_user") == 6


def test_what_got_slower_is_told_by_its_week(warehouse: Warehouse) -> None:
    def slower() -> list[Any]:
        return warehouse.query("select name, subject, seconds, median_seconds, span_count from ops.slower")

    for at in range(6):
        written(warehouse, "model", 1, at=NOW - timedelta(hours=10 - at), subject="a")
        written(warehouse, "model", 100, at=NOW - 8 * DAY, subject="a")  # more than a week ago
    written(warehouse, "model", 2.5, at=NOW - timedelta(hours=1), subject="b")
    assert slower() == []
    written(warehouse, "model", 1.9, at=NOW - timedelta(minutes=9), subject="a")
    assert slower() == []
    written(warehouse, "model", 2.1, at=NOW - timedelta(minutes=8), subject="a")
    assert slower() == [("model", "a", 2.1, 1.0, 8)]
    written(warehouse, "model", 1, at=NOW - timedelta(minutes=7), subject="a")
    assert slower() == []


def test_what_is_late_is_told_by_series(warehouse: Warehouse) -> None:
    warehouse.load(
        make_batch([Row(this_hour() - DAY, 1)], exchange="binance", observed=(this_hour() - 2 * DAY, this_hour() - DAY))
    )
    for symbol in ("BTC/USDT", "ETH/USDT"):
        warehouse.query("insert into config.subscription (exchange, symbol, timeframe) values ('binance', %s, '1h')", symbol)
    late = dict(warehouse.query("select symbol, seconds from ops.late"))
    assert late["BTC/USDT"] >= 86400
    assert late["ETH/USDT"] is None


def test_readers_read_all_of_it_and_write_none(warehouse: Warehouse) -> None:
    written(warehouse, "load")
    warehouse.query("select ops.measure()")
    with connect() as connection:
        connection.execute("set role titan_reader")
        for relation in (
            "trace",
            "metric",
            "metric_now",
            "workflow_state",
            "failing",
            "late",
            "slower",
            "growth",
            "relay_waiting",
        ):
            connection.execute(sql.SQL("select * from {}").format(sql.Identifier("ops", relation)))
        connection.execute("select * from ops.spans_of(%s)", (correlation.run_id(),))
        connection.execute(sql.SQL("select * from {}").format(sql.Identifier("ops", f"trace_{NOW:%Y_%m}")))
        for statement in (
            'select ops.record_spans(\'[{"name": "x", "started_at": "now", "seconds": 1}]\')',
            "delete from ops.trace",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute(statement.encode())


def test_an_address_that_is_none_is_said_before_anything_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TITAN_ALERT_URLS", "nonsense://x")
    with pytest.raises(UsageError):
        alerts.tellers()
    monkeypatch.setenv("TITAN_ALERT_URLS", "")
    assert alerts.tellers() == []
