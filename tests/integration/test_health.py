"""Probes: what lives, what is ready, what is not and why, with exit codes for whoever only looks at those."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.commands import titan
from tests.warehouse import DATABASE, Row, Warehouse, create_database, instant, make_batch, use_database
from titan.core.errors import ExitCode
from titan.ops.run_lock import held

START = instant("2024-01-01")


def asked(*probe: str) -> tuple[int, dict[str, Any]]:
    ended = titan("health", *probe, "--json")
    return ended.returncode, json.loads(ended.stdout)


def test_a_sound_warehouse_is_ready(warehouse: Warehouse) -> None:
    warehouse.load(make_batch([Row(START, 1.0)]))
    warehouse.refresh()
    code, found = asked()
    assert (code, found["status"]) == (ExitCode.OK, "ok"), found
    assert found["checks"]["models"]["checks"].keys() == {"declared", "behind", "failed"}
    assert [asked(probe)[1]["checks"].keys() for probe in ("live", "startup")] == [{"server"}, {"server", "migrations"}]
    lines = titan("health").stdout.splitlines()
    assert lines[0] == "ready: ok"
    assert "    failed: ok (0)" in lines


PLANTED = [
    ("select ops.record_failure('bars.gap', '22012', 'division by zero')", "failing", "models", "failed",
     "1, bars.gap among them"),
    ("insert into ops.change (node, instrument_id, published_at) select 'raw.ohlcv', instrument_id, "
     "now() - interval '16 minutes' from raw.instrument", "degraded", "models", "behind", "since"),
    ("insert into ops.change (node, instrument_id) select 'raw.ohlcv', instrument_id from raw.instrument", "ok", "models",
     "behind", "since"),
    ("insert into config.subscription (exchange, symbol, timeframe) values ('binance', 'BTC/USDT', '1h')", "degraded",
     "programs", "watch", "neither titan watch nor titan poll"),
    ("insert into ops.circuit_breaker values ('kraken', 1, 'it is away', false, now(), now())", "degraded", "exchanges",
     "kraken", "it is away"),
    ("select ops.see_incident('reconcile_differs', 'bars', '1 differs')", "failing", "incidents", "critical",
     "1: reconcile_differs"),
]  # fmt: skip


@pytest.mark.parametrize(("plant", "status", "group", "check", "message"), PLANTED)
def test_what_is_wrong_is_named_where_it_belongs(
    warehouse: Warehouse, plant: str, status: str, group: str, check: str, message: str
) -> None:
    warehouse.load(make_batch([Row(START, 1.0)]))
    warehouse.refresh()
    warehouse.query(plant)
    code, found = asked("ready")
    assert (code, found["status"]) == (ExitCode.FAILED if status == "failing" else ExitCode.OK, status)
    part = found["checks"][group]["checks"][check]
    assert (part["status"], message in part["message"]) == (status, True)
    assert asked("live")[0] == ExitCode.OK


def test_a_watch_that_runs_sees_to_what_is_subscribed_to(warehouse: Warehouse) -> None:
    warehouse.query("insert into config.subscription (exchange, symbol, timeframe) values ('binance', 'BTC/USDT', '1h')")
    with held("watch", lock="watch"):
        assert asked()[1]["checks"]["programs"]["checks"]["watch"] == {"status": "ok", "message": "it runs"}
    warehouse.query("insert into ops.run values (gen_random_uuid(), 'poll', now(), now(), 'done', null)")
    assert "polled at" in asked()[1]["checks"]["programs"]["checks"]["watch"]["message"]


def test_what_is_not_there_yet_or_any_more_fails_in_a_line(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    create_database(f"{DATABASE}_bare")
    use_database(f"{DATABASE}_bare")
    assert asked("live")[0] == ExitCode.OK
    code, found = asked("startup")
    assert (code, found["checks"]["migrations"]["status"]) == (ExitCode.FAILED, "failing")
    assert asked("ready")[1]["checks"].keys() == {"server", "migrations"}
    use_database(DATABASE)
    monkeypatch.setenv("PGPORT", "1")
    code, found = asked("live")
    assert (code, "cannot connect" in found["checks"]["server"]["message"]) == (ExitCode.FAILED, True)
    monkeypatch.undo()
    assert titan("health", "well").returncode == ExitCode.USAGE


def test_the_readers_role_may_ask(warehouse: Warehouse) -> None:
    if not warehouse.value("select pg_has_role(current_user, 'titan_reader', 'member') or "
                           "(select rolsuper from pg_roles where rolname = current_user)"):  # fmt: skip
        warehouse.query("grant titan_reader to current_user")
    ended = titan("health", "--json", PGOPTIONS="-c role=titan_reader")
    found = json.loads(ended.stdout)
    assert (ended.returncode, found["status"]) == (ExitCode.OK, "ok"), found
