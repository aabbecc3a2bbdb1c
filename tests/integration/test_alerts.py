"""Alerts: each kind of incident is told once, by its own rule, and is resolved by itself; people are told by messengers."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ingest.sources.limits import Backoff
from tests.clocks import wait_until
from tests.commands import titan
from tests.local_exchange import SINCE, LocalExchange
from tests.warehouse import Row, Warehouse, connect, make_batch
from titan.core.errors import ExitCode, GateError, UsageError
from titan.ops import alerts, events
from titan.ops.alerts import Messenger, Telling, judge

HOUR = timedelta(hours=1)
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def told(warehouse: Warehouse) -> list[tuple[str, str, str]]:
    """What was told since this was asked last: rule, state, subject."""
    rows = warehouse.query("select rule, state, subject from ops.alert order by seq")
    warehouse.query("delete from ops.alert")
    return rows


def after(warehouse: Warehouse, **time: float) -> int:
    """Judge so much later than now."""
    return judge(warehouse.connection, datetime.now(UTC) + timedelta(**time))


@pytest.fixture
def sound(warehouse: Warehouse) -> Warehouse:
    """A warehouse in which nothing is wrong: a subscribed series of hours, up to date and refreshed."""
    rows = [Row(NOW - at * HOUR, 100 + at % 7) for at in range(200, 0, -1)]
    warehouse.load(make_batch(rows, exchange="binance", observed=(rows[0].opened_at, NOW)))
    warehouse.query("insert into config.subscription (exchange, symbol, timeframe) values ('binance', 'BTC/USDT', '1h')")
    warehouse.refresh()
    assert judge(warehouse.connection) == 0
    return warehouse


@dataclass
class Incident:
    """One kind: how it is planted and ended, and what is told of it, so much later if it has to last."""

    rule: str
    subject: str
    plant: Callable[[Warehouse], object]
    end: Callable[[Warehouse], object]
    lasts: timedelta = field(default=timedelta(0))


def bad_batch(warehouse: Warehouse) -> None:
    with pytest.raises(GateError):
        warehouse.load(make_batch([Row(NOW - HOUR, -1, "XRP/USDT")]))
    warehouse.query("delete from raw.quarantine")


def good_batch(warehouse: Warehouse) -> None:
    warehouse.load(make_batch([Row(NOW - HOUR, 1, "XRP/USDT")]))
    warehouse.refresh()


def stale(warehouse: Warehouse) -> None:
    warehouse.query(
        "update raw.observed set observed = observed - tstzmultirange(tstzrange(now() - interval '8 hours', null))"
    )
    warehouse.refresh()
    warehouse.query("update ops.incident set resolved_at = now() where resolved_at is null")
    told(warehouse)


def outage(warehouse: Warehouse) -> None:
    warehouse.query(
        "insert into bars.gap (instrument_id, timeframe, closed_at, gap_opened_at, gap_closed_at, missing_count, "
        "missing_time, gap_kind) select instrument_id, '1h', now(), %s, %s, 7, interval '7 hours', 'outage' "
        "from raw.instrument",
        NOW - 9 * HOUR,
        NOW - 2 * HOUR,
    )


def steps(warehouse: Warehouse, *seconds: int) -> None:
    for number, one in enumerate(seconds, start=1):
        warehouse.query(
            """
            with run as (
                insert into ops.run (run_id, command, started_at, finished_at, outcome)
                values (gen_random_uuid(), 'poll', now() - %(ago)s * interval '1 hour', now(), 'done')
                returning run_id, started_at
            )
            insert into ops.step (run_id, step, attempt, started_at, finished_at, outcome)
            select run_id, 'load', 1, started_at, started_at + %(seconds)s * interval '1 second', 'done' from run
            """.replace("%(ago)s", str(50 - number)).replace("%(seconds)s", str(one))
        )


def deep(warehouse: Warehouse) -> None:
    warehouse.query(
        """
        insert into backtest.fct_strategy_equity
        select (jsonb_populate_record(null::backtest.fct_strategy_equity, jsonb_build_object(
            'instrument_id', instrument_id, 'timeframe', signal.timeframe, 'closed_at', now(), 'opened_at', now(),
            'signal', signal.signal, 'realistic_drawdown', -0.31
        ))).*
        from raw.instrument cross join signals.dim_signal as signal where signal.signal = 'ema_crossover_9_21'
        """
    )


AWAY = "insert into ops.circuit_breaker values ('kraken', 1, 'away', false, now(), now())"
RUN = "insert into ops.run values (gen_random_uuid(), 'poll', clock_timestamp(), clock_timestamp(),"
KINDS = [
    Incident("gate_stopped", "test", bad_batch, good_batch),
    Incident(
        "refresh_failed", "bars.gap",
        lambda warehouse: warehouse.query("select ops.record_failure('bars.gap', '22012', 'division by zero')"),
        lambda warehouse: warehouse.query("delete from ops.refresh_failure"),
    ),
    Incident(
        "refresh_behind", "models",
        lambda warehouse: warehouse.query("insert into ops.change (node, instrument_id) select 'raw.ohlcv', instrument_id "
                                          "from raw.instrument"),
        lambda warehouse: warehouse.refresh(), timedelta(minutes=16),
    ),
    Incident(
        "run_failed", "poll",
        lambda warehouse: warehouse.query(f"{RUN} 'failed', 'no')"),
        lambda warehouse: warehouse.query(f"{RUN} 'done', null)"),
    ),
    Incident(
        "exchange_away", "kraken",
        lambda warehouse: warehouse.query(AWAY),
        lambda warehouse: warehouse.query("delete from ops.circuit_breaker"),
    ),
    Incident(
        "series_stale", "binance BTC/USDT 1h", stale,
        lambda warehouse: warehouse.query("update raw.observed set observed = observed + "
                                          "tstzmultirange(tstzrange(now() - interval '9 hours', now()))"),
    ),
    Incident(
        "gap_found", f"binance BTC/USDT 1h from {NOW - 9 * HOUR:%Y-%m-%d %H:%M}", outage,
        lambda warehouse: warehouse.query("delete from bars.gap"),
    ),
    Incident(
        "rows_quarantined", "binance BTC/USDT 1h",
        lambda warehouse: warehouse.query(
            "insert into raw.quarantine (batch_id, exchange, symbol, timeframe, origin, row_number, reason, record) "
            "select 1, 'binance', 'BTC/USDT', '1h', 'x', n, 'is_positive', n::text from generate_series(1, 11) as n"),
        lambda warehouse: warehouse.query("delete from raw.quarantine"),
    ),
    Incident(
        "step_slow", "poll load", lambda warehouse: steps(warehouse, 9, 10, 11, 10, 10, 25),
        lambda warehouse: steps(warehouse, 9, 10, 11, 10, 10, 10, 10),
    ),
    Incident(
        "reconcile_differs", "bars",
        lambda warehouse: warehouse.query("insert into ops.reconciliation values (now(), 10, 1, 'this one')"),
        lambda warehouse: warehouse.query("insert into ops.reconciliation values (now(), 10, 0, null)"),
    ),
    Incident(
        "disk_low", "/data",
        lambda warehouse: warehouse.query("insert into ops.disk values ('/data', 4000000000, 100000000000)"),
        lambda warehouse: warehouse.query("update ops.disk set free_bytes = 6000000000 where place = '/data'"),
    ),
    Incident(
        "relay_behind", "redis alerts",
        lambda warehouse: warehouse.query(
            "insert into ops.alert (kind, subject, message) values ('market', 'x', 'y'); "
            "insert into ops.relay values ('redis', 'alerts', 0, now() - interval '20 minutes')"),
        lambda warehouse: warehouse.query("delete from ops.relay"), timedelta(minutes=16),
    ),
    Incident(
        "drawdown_deep", "ema_crossover_9_21 binance BTC/USDT 1D", deep,
        lambda warehouse: warehouse.query("delete from backtest.fct_strategy_equity where realistic_drawdown = -0.31"),
    ),
    Incident(
        "rule_failed", "mine",
        lambda warehouse: warehouse.query("insert into config.alert_rule (rule, kind, condition, description) "
                                          "values ('mine', 'data', 'select 1/0, 1', '')"),
        lambda warehouse: warehouse.query("update config.alert_rule set condition = 'select 1, 1 where false' "
                                          "where rule = 'mine'"),
    ),
    Incident(
        "mine", "7",
        lambda warehouse: warehouse.query("insert into config.alert_rule (rule, kind, condition, description) "
                                          "values ('mine', 'data', 'select 7, ''seven''', '')"),
        lambda warehouse: warehouse.query("update config.alert_rule set is_active = false where rule = 'mine'"),
    ),
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.rule)
def test_an_incident_is_told_once_by_its_rule_and_resolved_by_itself(sound: Warehouse, kind: Incident) -> None:
    if kind.rule == "drawdown_deep":
        activate(sound)
    kind.plant(sound)
    judge(sound.connection)
    if kind.lasts:
        assert sound.value("select count(*) from ops.alert where rule is not null") == 0
        judge(sound.connection, datetime.now(UTC) + kind.lasts)
    assert sound.query("select rule, state, subject from ops.alert where rule is not null") == [
        (kind.rule, "raised", kind.subject)
    ]
    assert [(row["rule"], row["subject"]) for row in alerts.incidents(sound.connection)] == [(kind.rule, kind.subject)]
    after(sound, minutes=20 if kind.lasts else 1)
    assert sound.value("select count(*) from ops.alert where rule is not null") == 1
    kind.end(sound)
    told(sound)
    after(sound, minutes=21 if kind.lasts else 2)
    assert told(sound) == [(kind.rule, "resolved", kind.subject)]
    assert alerts.incidents(sound.connection) == []
    after(sound, minutes=22 if kind.lasts else 3)
    assert told(sound) == []


def activate(warehouse: Warehouse) -> None:
    """Make the signal one of an active strategy, without the walk that would speak for it."""
    warehouse.query("alter table lab.strategy drop constraint strategy_walk_id_fkey")
    warehouse.query(
        "insert into lab.strategy (strategy, walk_id, type, timeframe, direction, params, execution, params_hash) "
        "select 'mean', 1, type, timeframe, direction, params, execution, params_hash from signals.dim_signal "
        "where signal = 'ema_crossover_9_21'"
    )
    warehouse.query(
        "insert into lab.approval (strategy, from_status, to_status, decided_by, reason, evidence) "
        "values ('mean', 'approved', 'active', 'x', 'x', '{}')"
    )


def test_nothing_is_told_of_a_sound_warehouse(sound: Warehouse) -> None:
    """Hours of judging, between refreshes and loads of what comes; a thousand judgements in `make soak`."""
    for at in range(1, 1 + max(4, int(os.environ.get("TITAN_SOAK", "0")) // 50)):
        sound.load(make_batch([Row(NOW + (at - 1) * HOUR, 100.0)], exchange="binance", observed=(NOW, NOW + at * HOUR),
                              as_of=NOW + at * HOUR))  # fmt: skip
        sound.refresh()
        for minute in range(50):
            judge(sound.connection, NOW + at * HOUR + timedelta(minutes=minute))
    assert told(sound) == []
    assert sound.value("select count(*) from ops.incident") == 0


def test_a_transaction_that_stays_open_is_told(sound: Warehouse) -> None:
    with connect() as forgotten:
        forgotten.execute("select 1")
        after(sound, minutes=61)
        assert [(rule, state) for rule, state, _ in told(sound)] == [("transaction_old", "raised")]
    after(sound, minutes=62)
    assert [(rule, state) for rule, state, _ in told(sound)] == [("transaction_old", "resolved")]


def test_connections_are_counted_against_what_the_server_allows(sound: Warehouse) -> None:
    """With a hundredth of what it asks for, since other tests need theirs."""
    sound.query("update config.alert_rule set condition = replace(condition, '0.9 *', '0.009 *'), told_after = '0' "
                "where rule = 'connections_short'")  # fmt: skip
    judge(sound.connection)
    assert told(sound) == [("connections_short", "raised", "server")]
    (found,) = alerts.incidents(sound.connection)
    allowed = sound.value("select current_setting('max_connections')")
    assert str(found["message"]).endswith(f" of {allowed} connections are taken")


# --- how it is told -------------------------------------------------------------------------------------------------------


@pytest.fixture
def rule(warehouse: Warehouse) -> Callable[..., None]:
    """Makes the rule `mine` find some subjects and no other; it is the only one."""
    warehouse.query("delete from config.alert_rule where rule <> 'rule_failed'")
    warehouse.query(
        "insert into config.alert_rule (rule, kind, condition, description, told_after, repeated_after, escalated_after) "
        "values ('mine', 'data', '', '', '5 minutes', '1 hour', 3)"
    )

    def finds(*subjects: str) -> None:
        rows = ", ".join(f"('{subject}', 'look at {subject}')" for subject in subjects)
        condition = f"select * from (values {rows}) as found" if rows else "select 'x', 'y' where false"
        warehouse.query("update config.alert_rule set condition = %s where rule = 'mine'", condition)

    return finds


def test_it_is_told_when_it_lasts_again_and_again_and_worse_in_the_end(
    warehouse: Warehouse, rule: Callable[..., None]
) -> None:
    rule("disk")
    for minutes, states in ((0, []), (4, []), (5, ["raised"]), (64, []), (65, ["repeated"]), (125, ["escalated"]),
                            (180, []), (185, ["repeated"])):  # fmt: skip
        after(warehouse, minutes=minutes + minutes / 1000)
        assert [state for _, state, _ in told(warehouse)] == states, minutes
    assert alerts.incidents(warehouse.connection)[0]["severity"] == "critical"
    rule()
    after(warehouse, minutes=190)
    assert told(warehouse) == [("mine", "resolved", "disk")]
    rule("disk")
    after(warehouse, minutes=200)
    after(warehouse, minutes=202)
    rule()
    after(warehouse, minutes=203)
    assert told(warehouse) == []  # it passed before it was told
    assert [row["severity"] for row in alerts.incidents(warehouse.connection, is_all=True)] == ["critical", "warning"]


def test_who_acknowledges_is_not_told_again_and_who_is_silenced_later(
    warehouse: Warehouse, rule: Callable[..., None]
) -> None:
    rule("disk_1", "disk_2", "other")
    after(warehouse)
    silenced = titan(
        "alert", "silence", "--rule", "mine", "--subject", "disk_*", "--for", "30m", "--reason", "moving", "--json"
    )
    assert json.loads(silenced.stdout)[0]["made_by"] == "titan"
    after(warehouse, minutes=6)
    assert told(warehouse) == [("mine", "raised", "other")]
    after(warehouse, minutes=31)
    assert told(warehouse) == [("mine", "raised", "disk_1"), ("mine", "raised", "disk_2")]
    found = {row["subject"]: row["incident"] for row in alerts.incidents(warehouse.connection)}
    acknowledged = titan("alert", "ack", str(found["other"]), "--note", "on it")
    assert "titan" in acknowledged.stdout
    after(warehouse, minutes=67)
    assert told(warehouse) == []
    after(warehouse, minutes=92)
    assert told(warehouse) == [("mine", "repeated", "disk_1"), ("mine", "repeated", "disk_2")]
    rule("disk_1", "disk_2")
    after(warehouse, minutes=93)
    assert told(warehouse) == [("mine", "resolved", "other")]


def test_a_rule_that_fails_is_one_itself_and_leaves_what_it_found(warehouse: Warehouse, rule: Callable[..., None]) -> None:
    rule("disk")
    after(warehouse)
    after(warehouse, minutes=6)
    warehouse.query("update config.alert_rule set condition = 'select nothing' where rule = 'mine'")
    after(warehouse, minutes=7)
    assert told(warehouse) == [("mine", "raised", "disk"), ("rule_failed", "raised", "mine")]
    found = alerts.incidents(warehouse.connection)
    assert {row["rule"]: row["message"] for row in found} == {
        "mine": "look at disk", "rule_failed": 'column "nothing" does not exist',
    }  # fmt: skip
    warehouse.query("delete from config.alert_rule where rule = 'mine'")
    after(warehouse, minutes=8)
    assert told(warehouse) == [("rule_failed", "resolved", "mine")]
    assert alerts.incidents(warehouse.connection) == []


def test_two_that_judge_at_once_tell_once(warehouse: Warehouse, rule: Callable[..., None]) -> None:
    rule("disk")
    warehouse.query("update config.alert_rule set told_after = '0'")
    with connect() as one, connect() as other:
        assert one.execute("select ops.judge()").fetchone() == (1,)
        assert other.execute("select ops.judge()").fetchone() == (0,)
        one.commit()
        other.commit()
        assert other.execute("select ops.judge()").fetchone() == (0,)
    assert told(warehouse) == [("mine", "raised", "disk")]


def test_a_reader_sees_incidents_and_judges_nothing(warehouse: Warehouse) -> None:
    readable = "select has_table_privilege('titan_reader', %s, %s)"
    if warehouse.value("select count(*) from pg_roles where rolname = 'titan_reader'"):
        assert warehouse.value(readable, "ops.incident", "select")
        assert not warehouse.value(readable, "ops.incident", "insert")


def test_a_watch_judges_and_a_poll_does(warehouse: Warehouse, exchange: LocalExchange) -> None:
    warehouse.query(AWAY)
    warehouse.query("truncate ops.alert, ops.incident")
    warehouse.query("insert into config.subscription (exchange, symbol, timeframe, since) values "
                    "('binance', 'BTC/USDT', '1D', %s)", SINCE.date())  # fmt: skip
    assert titan("poll").returncode == ExitCode.OK
    assert ("exchange_away", "raised", "kraken") in told(warehouse)
    warehouse.query("delete from ops.circuit_breaker")
    assert titan("watch", "--no-streams", "--cycles", "1").returncode == ExitCode.OK
    assert ("exchange_away", "resolved", "kraken") in told(warehouse)


# --- who is told ----------------------------------------------------------------------------------------------------------


class Endpoint:
    """A webhook on loopback that fails so often first."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.taken: list[tuple[str, dict[str, Any]]] = []
        self.times: list[float] = []
        self.asked = 0
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                endpoint.asked += 1
                fails = endpoint.asked <= endpoint.failures
                if not fails:
                    endpoint.taken.append((self.path, json.loads(body)))
                    endpoint.times.append(time.monotonic())
                self.send_response(500 if fails else 200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.port}/hook"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    yield endpoint
    endpoint.server.shutdown()
    endpoint.server.server_close()


def raise_alert(warehouse: Warehouse, subject: str = "disk") -> None:
    warehouse.query("insert into ops.alert (kind, rule, severity, subject, message) "
                    "values ('server', 'disk_low', 'critical', %s, 'no room')", subject)  # fmt: skip


@pytest.mark.parametrize("place", ["webhook", "telegram"])
def test_a_messenger_that_fails_twice_first_is_told_once(
    warehouse: Warehouse, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Each by itself: another one that takes nothing holds it up no longer."""
    endpoint.failures = 2
    url = endpoint.url
    if place == "telegram":
        from apprise.plugins.telegram import NotifyTelegram

        monkeypatch.setattr(NotifyTelegram, "notify_url", f"http://127.0.0.1:{endpoint.port}/bot")
        url = "tgram://123456789:abcdefg_hijklmnop/-1001/"
    monkeypatch.setattr("titan.ops.events.Backoff", lambda first, longest: Backoff(0.05, 0.1))
    monkeypatch.setattr(alerts, "BETWEEN", 2)  # longer than a relay waits by itself
    with Telling([alerts.Messenger(url), alerts.Messenger("json://127.0.0.1:1/nobody")]):
        wait_until(lambda: warehouse.value("select count(*) from ops.relay") == 2)
        raise_alert(warehouse)
        wait_until(lambda: endpoint.taken)
        wait_until(lambda: warehouse.value("select count(*) from ops.relay where seq > 0") == 1)
        raise_alert(warehouse, "another")
        wait_until(lambda: len(endpoint.taken) == 2)
    assert endpoint.asked == 4
    assert endpoint.times[1] - endpoint.times[0] > 2
    (path, first), (_, second) = endpoint.taken
    text = first["text"] if place == "telegram" else first["title"] + first["message"]
    assert "disk_low raised: disk" in text
    assert "no room" in text
    assert "another" in json.dumps(second, ensure_ascii=False)
    assert path.startswith("/bot123456789:abcdefg_hijklmnop" if place == "telegram" else "/hook")
    assert "abcdefg" not in str(events.relays(warehouse.connection))


def test_many_alerts_are_one_message_and_what_nobody_took_is_told_by_the_next(
    warehouse: Warehouse, endpoint: Endpoint
) -> None:
    alerts.tell_once([alerts.Messenger(endpoint.url)])  # from now on
    for at in range(25):
        raise_alert(warehouse, f"disk {at}")
    endpoint.failures = 1
    alerts.tell_once([alerts.Messenger(endpoint.url)])
    assert endpoint.taken == []
    alerts.tell_once([alerts.Messenger(endpoint.url)])
    alerts.tell_once([alerts.Messenger(endpoint.url)])
    ((_, message),) = endpoint.taken
    assert message["title"].endswith("Titan: 25 alerts")
    assert message["message"].count("disk_low raised") == alerts.MOST_LINES
    assert message["message"].endswith("and 5 more: titan alert list")


def test_a_test_says_who_took_it_and_an_address_that_is_none_keeps_its_secret(
    warehouse: Warehouse, endpoint: Endpoint
) -> None:
    ended = titan("alert", "test", TITAN_ALERT_URLS=endpoint.url)
    assert (ended.returncode, "took it" in ended.stdout) == (ExitCode.OK, True)
    assert endpoint.taken[0][1]["message"] == "This is a test."
    endpoint.failures = 10
    ended = titan("alert", "test", TITAN_ALERT_URLS=endpoint.url)
    assert (ended.returncode, "did not take it" in ended.stderr) == (ExitCode.FAILED, True)
    for arguments, urls, message in (
        (("alert", "test"), "", "nobody is told anything"),
        (("alert", "test"), "tgram://secret", "an address that Apprise does not know, of the kind 'tgram'"),
        (("alert", "ack", "99"), "", "no incident 99 lasts"),
        (("alert", "silence", "--for", "2x", "--reason", "x"), "", "is no time"),
        (("alert", "silence", "--rule", "x", "--for", "2h", "--reason", "x"), "", "there is no rule 'x'"),
    ):
        ended = titan(*arguments, TITAN_ALERT_URLS=urls)
        assert (ended.returncode, message in ended.stderr, "secret" in ended.stderr) == (ExitCode.USAGE, True, False)
    with pytest.raises(UsageError):
        Messenger("nowhere")


def test_the_list_judges_first_and_shows_the_worst_first(warehouse: Warehouse) -> None:
    assert "nothing is wrong, as far as the rules of config.alert_rule go" in titan("alert", "list").stderr
    warehouse.query(AWAY)
    warehouse.query("insert into ops.reconciliation values (now(), 10, 1, 'this one')")
    found = json.loads(titan("alert", "list", "--json").stdout)
    assert [(row["severity"], row["rule"]) for row in found] == [
        ("critical", "reconcile_differs"), ("warning", "exchange_away"),
    ]  # fmt: skip
    warehouse.query("delete from ops.reconciliation")
    assert [row["rule"] for row in json.loads(titan("alert", "list", "--json").stdout)] == ["exchange_away"]
    everything = json.loads(titan("alert", "list", "--all", "--json").stdout)
    assert [row["rule"] for row in everything] == ["exchange_away", "reconcile_differs"]
    assert {row["rule"] for row in json.loads(titan("alert", "rules", "--json").stdout)} >= {
        kind.rule for kind in KINDS[:-1]
    }
