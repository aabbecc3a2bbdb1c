"""Who changed what people decide: entered by the database itself, chained, and proven by other code."""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from datetime import UTC, datetime
from threading import Thread
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from ingest.quarantine import Selection, drop
from tests.commands import titan
from tests.warehouse import Row, Warehouse, instant, make_batch
from titan.core.database import connect
from titan.core.errors import UsageError
from titan.core.settings import Settings, home
from titan.ops import audit

START = instant("2024-01-01")


def forget() -> None:
    for path in (home() / "audit").glob("*.json"):
        path.unlink()


@pytest.fixture(autouse=True)
def nothing_remembered(server: None) -> None:
    forget()


def subscribe(warehouse: Warehouse, symbol: str = "BTC/USDT") -> None:
    warehouse.query("insert into config.subscription (exchange, symbol, timeframe) values ('binance', %s, '1h')", symbol)


def entered(warehouse: Warehouse) -> list[tuple[str, str, Any]]:
    """What was entered after the tables as they were made."""
    migrated = "select max(applied_at) from ops.migration"
    query = f"select relation, action, changes from ops.audit where entered_at > ({migrated}) order by seq"
    return [(relation, action, changes) for relation, action, changes in warehouse.query(query)]


def faults(warehouse: Warehouse) -> list[str]:
    return audit.verify(warehouse.connection).faults


def test_a_change_is_entered_with_what_was_and_what_is(warehouse: Warehouse) -> None:
    subscribe(warehouse)
    warehouse.query("update config.subscription set is_active = false")
    warehouse.query("update config.subscription set is_active = false")  # changes nothing, and is none
    warehouse.query("update config.subscription set symbol = 'ETH/USDT'")  # another row, by its key
    warehouse.query("delete from config.subscription")
    warehouse.query("delete from config.subscription")
    (_, _, came), (_, _, changed), (_, _, renamed), (_, _, went) = entered(warehouse)
    assert [action for _, action, _ in entered(warehouse)] == ["insert", "update", "update", "delete"]
    assert came[0]["key"] == {"exchange": "binance", "symbol": "BTC/USDT", "timeframe": "1h"}
    assert came[0]["after"]["is_active"] is True
    assert changed == [{"key": came[0]["key"], "before": {"is_active": True}, "after": {"is_active": False}}]
    assert [sorted(one) for one in renamed] == [["before", "key"], ["after", "key"]]
    assert went[0]["before"]["symbol"] == "ETH/USDT"
    assert faults(warehouse) == []


def test_every_table_of_config_is_audited(warehouse: Warehouse) -> None:
    """Those of later migrations as well."""
    unaudited = warehouse.query(
        """
        select relname from pg_class
        where
            relnamespace = 'config'::regnamespace and relkind = 'r'
            and 4 > (select count(*) from pg_trigger where tgrelid = pg_class.oid and tgname like 'witness_%')
        """
    )
    assert unaudited == []


def test_the_chain_is_what_other_code_makes_of_it(warehouse: Warehouse) -> None:
    subscribe(warehouse, 'Ünï "quoted" | \\ line\n')
    warehouse.query("update config.alert_rule set told_after = '90 minutes' where rule = 'disk_low'")
    with connect() as connection:  # whatever the session's settings are
        connection.execute("set timezone = 'America/New_York'")
        connection.execute("set intervalstyle = 'iso_8601'")
        connection.execute("insert into config.alert_silence (until_at, reason) values ('2024-05-05 12:00', 'x')")
    rows = warehouse.query(
        "select seq, entered_at, login, role, application, host(address), run_id, relation, action, row_count, "
        "changes::text, previous_hash, hash from ops.audit order by seq"
    )
    before = ""
    for number, row in enumerate(rows, 1):
        seq, at, login, role, application, address, run_id, relation, action, count, changes, previous, digest = row
        micros = round((at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)
        names = [json.dumps(name, ensure_ascii=False) for name in (login, role, application)]
        where = f"{address}/32" if address else ""
        parts = [before, seq, micros, *names, where, run_id or "", relation, action, count, changes]
        assert (seq, previous) == (number, before)
        assert digest == hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()
        before = digest
    assert faults(warehouse) == []


def test_the_login_is_entered_whatever_role_it_takes_on(warehouse: Warehouse) -> None:
    warehouse.query("drop role if exists titan_audited_test")
    warehouse.query("create role titan_audited_test login password 'only here'")
    warehouse.query("grant usage on schema config to titan_audited_test")
    warehouse.query("grant all on config.alert_silence to titan_audited_test")
    try:
        with connect() as connection:
            connection.execute("set role titan_audited_test")
            connection.execute("set application_name = 'somebody else'")
            connection.execute("insert into config.alert_silence (until_at, reason) values (now(), 'x')")
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute("select ops.enter_audit('config.alert_silence', 'insert', '[]')")
        row = warehouse.query("select login, role, application from ops.audit order by seq desc limit 1")
        assert row == [(warehouse.value("select session_user::text"), "titan_audited_test", "somebody else")]
        settings = Settings.from_environment()
        place = make_conninfo(
            host=settings.host, port=settings.port, dbname=settings.database, user="titan_audited_test",
            password="only here",  # noqa: S106 (of a role that is made and dropped here)
        )  # fmt: skip
        with psycopg.connect(place) as other:
            other.execute("insert into config.alert_silence (until_at, reason) values (now(), 'y')")
        row = warehouse.query("select login, role from ops.audit order by seq desc limit 1")
        assert row == [("titan_audited_test", "titan_audited_test")]
    finally:
        warehouse.query("drop owned by titan_audited_test")
        warehouse.query("drop role titan_audited_test")


def test_nothing_is_changed_in_it_by_mistake(warehouse: Warehouse) -> None:
    subscribe(warehouse)
    for statement in ("update ops.audit set login = 'x'", "delete from ops.audit", "truncate ops.audit"):
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            warehouse.query(statement)


FORGERIES = {
    "an entry that is not what it was": (
        "update ops.audit set login = 'somebody' where seq = (select max(seq) - 1 from ops.audit)", "not what it was"),
    "one that is gone": ("delete from ops.audit where seq = (select max(seq) - 1 from ops.audit)", "1 entries before it"),
    "a hash made to fit": (
        "with one as (update ops.audit set login = 'x' where seq = (select max(seq) - 1 from ops.audit) returning *) "
        "select 1", "not what it was"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGERIES)
def test_who_owns_the_table_and_changes_it_nevertheless_is_found_out(warehouse: Warehouse, name: str) -> None:
    forgery, said = FORGERIES[name]
    for symbol in ("BTC/USDT", "ETH/USDT", "SOL/USDT"):
        subscribe(warehouse, symbol)
    warehouse.query("alter table ops.audit disable trigger user")
    warehouse.query(forgery)
    warehouse.query("alter table ops.audit enable trigger user")
    assert any(said in fault for fault in faults(warehouse))


def test_an_entry_that_is_forged_with_its_hash_breaks_the_next(warehouse: Warehouse) -> None:
    for symbol in ("BTC/USDT", "ETH/USDT"):
        subscribe(warehouse, symbol)
    warehouse.query("alter table ops.audit disable trigger user")
    last = "(select max(seq) - 1 from ops.audit)"
    warehouse.query(f"update ops.audit set login = 'somebody' where seq = {last}")
    warehouse.query(f"update ops.audit set hash = ops.hash_audit(audit) where seq = {last}")
    assert any("does not follow" in fault for fault in faults(warehouse))


def test_a_change_behind_its_back_is_found_out(warehouse: Warehouse) -> None:
    subscribe(warehouse)
    subscribe(warehouse, "ETH/USDT")
    warehouse.query("alter table config.subscription disable trigger user")
    warehouse.query("update config.subscription set is_active = false where symbol = 'BTC/USDT'")
    warehouse.query("delete from config.subscription where symbol = 'ETH/USDT'")
    subscribe(warehouse, "SOL/USDT")
    found = faults(warehouse)
    assert any("a trigger is off or gone" in fault for fault in found)
    warehouse.query("alter table config.subscription enable trigger user")
    found = faults(warehouse)
    assert len(found) == 3
    assert sorted(fault.rpartition("}")[2] for fault in found) == [
        " came without an entry", " changed without an entry", " is gone without an entry",
    ]  # fmt: skip


@pytest.mark.parametrize("behind", ["update config.subscription set is_active = false", "delete from config.subscription"])
def test_a_change_behind_its_back_is_found_out_though_it_was_mended(warehouse: Warehouse, behind: str) -> None:
    """The table is what it should be again; what the next entry found there is not what the one before had left."""
    subscribe(warehouse)
    warehouse.query("alter table config.subscription disable trigger user")
    warehouse.query(behind)
    warehouse.query("alter table config.subscription enable trigger user")
    if behind.startswith("delete"):
        subscribe(warehouse)
    else:
        warehouse.query("update config.subscription set is_active = true")
    (fault,) = faults(warehouse)
    assert fault.endswith("had changed without an entry")


def test_an_end_that_was_cut_off_is_missed_by_who_saw_it(warehouse: Warehouse) -> None:
    subscribe(warehouse)
    seen = audit.verify(warehouse.connection)
    assert seen.faults == []
    warehouse.query("alter table ops.audit disable trigger user")
    warehouse.query("alter table config.subscription disable trigger user")
    warehouse.query("delete from config.subscription")
    warehouse.query("delete from ops.audit where seq = (select max(seq) from ops.audit)")
    warehouse.query("alter table config.subscription enable trigger user")
    (missed,) = faults(warehouse)
    assert missed.startswith(f"entry {seen.entries} is not there, as {home() / 'audit'}/")
    forget()
    assert faults(warehouse) == []
    assert audit.verify(warehouse.connection, seen.head).faults == [f"entry {seen.entries} is not there, as given"]
    with pytest.raises(UsageError, match="is no entry"):
        audit.verify(warehouse.connection, "nonsense")


def test_rows_that_come_and_go_and_come_and_columns_that_a_migration_adds_are_no_fault(warehouse: Warehouse) -> None:
    for _ in range(3):
        subscribe(warehouse)
        warehouse.query("update config.subscription set is_active = not is_active")
        warehouse.query("delete from config.subscription")
    subscribe(warehouse)
    subscribe(warehouse, "ETH/USDT")
    warehouse.query("truncate config.subscription")
    subscribe(warehouse)
    warehouse.query("alter table config.subscription add column note text default 'x'")
    assert faults(warehouse) == []
    warehouse.query("update config.subscription set note = 'y'")
    warehouse.query("alter table config.subscription drop column note")
    assert faults(warehouse) == []


def test_what_becomes_of_quarantine_is_entered_and_what_is_loaded_is_not(warehouse: Warehouse) -> None:
    rows = [Row(START, -1, "XRP/USDT"), *(Row(START.replace(hour=at), 1, "XRP/USDT") for at in range(1, 15))]
    warehouse.load(make_batch(rows))
    assert entered(warehouse) == []
    drop(warehouse.connection, Selection(is_everything=True))
    ((relation, action, changes),) = entered(warehouse)
    assert (relation, action) == ("raw.quarantine", "update")
    assert "record" not in changes[0]["after"]
    assert faults(warehouse) == []


def test_two_that_change_at_once_are_entered_one_after_the_other(warehouse: Warehouse) -> None:
    with connect() as one, connect() as other:
        one.execute("insert into config.history values ('kraken', '1h', '1 year')")
        other.execute("set lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute("insert into config.history values ('bybit', '1h', '1 year')")
        other.rollback()
        one.rollback()
        other.execute("insert into config.history values ('bybit', '1h', '1 year')")
        thread = Thread(target=one.execute, args=(b"insert into config.history values ('okx', '1h', '1 year')",))
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        other.commit()
        thread.join(10)
    assert [changes[0]["key"]["exchange"] for _, _, changes in entered(warehouse)] == ["bybit", "okx"]
    assert faults(warehouse) == []


def test_the_commands_list_and_verify(warehouse: Warehouse) -> None:
    subscribe(warehouse)
    told = titan("audit", "list", "--relation", "config.subscription", "--json")
    assert told.returncode == 0, told.stderr
    listed = json.loads(told.stdout)
    assert [row["action"] for row in listed] == ["insert", "baseline"]
    assert titan("audit", "list", "--login", "nobody").stdout == ""
    assert titan("audit", "list", "--since", "2100-01-01").stdout == ""
    assert "config.subscription" in titan("audit", "list", "--since", "2020-01-01", "--limit", "1").stdout
    verified = titan("audit", "verify")
    assert (verified.returncode, "all as they were entered" in verified.stdout) == (0, True)
    head = verified.stdout.strip().rpartition(" ")[2]
    assert titan("audit", "verify", "--head", head).returncode == 0
    wrong = titan("audit", "verify", "--head", f"{head.partition(':')[0]}:00", "--json")
    assert wrong.returncode == 1
    assert "is another one, as given" in json.loads(wrong.stdout)["faults"][0]


def test_a_reader_reads_it_and_verifies(warehouse: Warehouse) -> None:
    subscribe(warehouse)
    with closing(connect()) as connection:
        connection.execute("set role titan_reader")
        assert connection.execute("select count(*) from ops.verify_audit()").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(sql.SQL("insert into ops.audit select * from ops.audit"))
