"""The server, the migrations and the roles."""

from __future__ import annotations

import os
import secrets
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.servers import temporary_server
from tests.warehouse import DATABASE, Row, Warehouse, create_database, instant, make_batch
from titan.core.correlation import in_environment
from titan.core.database import connect
from titan.core.errors import DatabaseUnavailableError, MigrationError
from titan.core.settings import Settings
from titan.ops.run_lock import held
from titan.server import migrate as migrations
from titan.server.embedded import EmbeddedServer
from titan.server.migrate import available, migrate

BARE = f"{DATABASE}_bare"
LIMITS = {"statement_timeout": "10min", "idle_in_transaction_session_timeout": "4min"}


@pytest.fixture
def bare(server: None) -> Settings:
    settings = Settings.from_environment()
    create_database(BARE)
    return Settings(settings.host, settings.port, settings.user, BARE, settings.is_embedded)


def test_migrations_apply_once(bare: Settings) -> None:
    assert [name[:4] for name in migrate(bare)] == [f"{migration.version:04d}" for migration in available()]
    assert migrate(bare) == []


def test_two_processes_that_start_at_once_migrate_once(bare: Settings) -> None:
    applied: list[list[str]] = []
    threads = [threading.Thread(target=lambda: applied.append(migrate(bare))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(len, applied)) == [0, 0, 0, len(available())]


def test_a_failed_migration_leaves_nothing_and_can_be_run_again(bare: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [*available(), migrations.Migration(9000, "broken", "create table public.half (a int); select 1/0;")]
    monkeypatch.setattr(migrations, "available", lambda: broken)
    with pytest.raises(MigrationError, match=r"migration 9000 .broken. failed and was rolled back"):
        migrate(bare)
    with connect(bare) as connection:
        assert connection.execute("select to_regclass('public.half')").fetchone() == (None,)
    monkeypatch.setattr(migrations, "available", lambda: broken[:-1])
    assert migrate(bare) == []


def test_an_edited_or_unknown_migration_is_refused(bare: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate(bare)
    first, *others = available()
    edited = migrations.Migration(first.version, first.name, first.text + " ")
    monkeypatch.setattr(migrations, "available", lambda: [edited, *others])
    with pytest.raises(MigrationError, match="edited after it had been applied"):
        migrate(bare)
    monkeypatch.setattr(migrations, "available", lambda: [first])
    with pytest.raises(MigrationError, match="this checkout does not know"):
        migrate(bare)


def test_the_reader_reads_everything_and_writes_nothing(warehouse: Warehouse) -> None:
    warehouse.refresh()
    warehouse.refresh(is_full=True)
    connection = warehouse.connection
    connection.execute("set role titan_reader")
    for relation in ("raw.ohlcv", "bars.fct_bars", "features.bar_features", "features.fct_returns", "marts.market_summary",
        "marts.strategy_leaderboard", "signals.fct_signals_ema_crossover", "lab.run",
    ):  # fmt: skip
        connection.execute(f"select * from {relation} limit 1")
    for statement in (
        "insert into config.timeframe values ('9m', 'MIN', 9)",
        "delete from raw.ohlcv",
        "update ops.progress set seq = 0",
        "create table marts.mine ()",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)


# What processes of Titan once kept each other out by; anybody may take an advisory lock.
ADVISORY = [("titan", name) for name in ("feed", "run", "promote", "swap", "build", "approval", "migrate")]


def test_a_reader_stops_nobody(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """It locks whatever it may, and keeps it, while others load, build, run and decide."""
    monkeypatch.setenv("PGOPTIONS", "-c lock_timeout=20s")  # nobody waits here for ever
    with connect(autocommit=True) as reader:
        reader.execute("set role titan_reader")
        for table in ("run", "promotion", "feed", "swap", "node"):
            for mode in ("access share", "exclusive"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    reader.execute(f"begin; lock table locks.{table} in {mode} mode".encode())
                reader.execute("rollback")
        for statement in (
            "select from ops.change for key share",
            "select from lab.walk for key share",
            "begin; lock table lab.approval in row share mode",
            "begin; lock table ops.migration in share update exclusive mode",
            "select ops.lock_node('bars.candle')",
            "create temporary table mine (); create trigger mine before insert on mine execute function ops.lock_feed()",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(statement.encode())
            reader.execute("rollback")
        for names in (*ADVISORY, ("titan.node", "bars.dim_timeframe")):
            reader.execute("select pg_advisory_lock(hashtext(%s), hashtext(%s))", names)
        reader.execute("begin; select * from bars.dim_timeframe, ops.change")
        reader.execute("commit")
        warehouse.load(make_batch([Row(instant("2024-01-02"), 5)]))
        with held("run"):
            warehouse.build("--select", "dim_timeframe", "--full-refresh")
        assert warehouse.value("select ops.prune_changes()") >= 0
        assert migrate() == []


def test_readers_have_limits_and_the_owner_has_none(bare: Settings) -> None:
    migrate(bare)
    reader = f"{DATABASE}_reader"
    password = secrets.token_urlsafe()
    with connect(bare, autocommit=True) as owner:
        assert [owner.execute(f"show {name}".encode()).fetchone() for name in LIMITS] == [("0",), ("0",)]
        owner.execute(f"drop role if exists {reader}".encode())
        owner.execute(f"create role {reader} login password '{password}' in role titan_reader".encode())
        try:
            with psycopg.connect(
                host=bare.host, port=bare.port, user=reader, password=password, dbname=bare.database, autocommit=True
            ) as connection:
                shown = {name: connection.execute(f"show {name}".encode()).fetchone() for name in LIMITS}
                assert shown == {name: (limit,) for name, limit in LIMITS.items()}
                for statement in ("select lo_create(0)", "select lo_creat(-1)", "select lo_from_bytea(0, 'x')"):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        connection.execute(statement.encode())
        finally:
            owner.execute(f"drop role {reader}".encode())


def test_an_old_server_is_refused(bare: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("titan.core.database.MINIMUM_VERSION", 99)
    with pytest.raises(DatabaseUnavailableError, match="Titan needs 99 or newer"):
        connect(bare)


def test_what_the_user_asks_of_libpq_holds(bare: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Except where Titan's numbers depend on it."""
    monkeypatch.setenv("PGOPTIONS", "-c statement_timeout=12345 -c timezone=Asia/Tokyo")
    with connect(bare) as connection:
        asked = [connection.execute(f"show {name}".encode()).fetchone() for name in ("statement_timeout", "timezone")]
    assert asked == [("12345ms",), ("UTC",)]


def test_no_statement_of_ours_is_compiled_by_llvm_unless_somebody_asks_for_it(
    bare: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def jit() -> list[object]:
        asked = "select setting || ' by ' || source from pg_settings where name = 'jit'"
        with connect(bare) as ours, in_environment(), psycopg.connect(bare.url) as of_dbt:
            return [row[0] for one in (ours, of_dbt) for row in one.execute(asked).fetchall()]

    monkeypatch.delenv("PGOPTIONS", raising=False)
    assert jit() == ["off by client"] * 2
    monkeypatch.setenv("PGOPTIONS", "-c jit=on")
    assert jit() == ["on by client"] * 2


def test_the_embedded_server_starts_once_asks_for_a_password_and_stops() -> None:
    with temporary_server() as embedded:
        settings = embedded.settings
        assert embedded.is_running()
        assert embedded.start() is False
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(host="127.0.0.1", port=settings.port, user="titan", dbname="titan", passfile="/dev/null")
        with connect(settings) as connection:
            listening: Any = connection.execute("show listen_addresses").fetchone()
            assert listening == ("127.0.0.1",)
            rights = connection.execute(
                "select rolsuper, rolcreatedb, rolcreaterole from pg_roles where rolname = current_user"
            ).fetchone()
            assert rights == (False, True, True)
            for statement in ("select pg_read_file('/etc/passwd')", "copy (select 1) to program 'true'"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                    connection.execute(statement.encode())
        for name in ("password", "superuser-password"):
            assert (embedded.root / name).stat().st_mode & 0o777 == 0o600
        assert Path(os.environ["PGPASSFILE"]).stat().st_mode & 0o777 == 0o600
        other = EmbeddedServer(Settings("127.0.0.1", settings.port + 1, "titan", "titan", True), embedded.root)
        with pytest.raises(DatabaseUnavailableError, match=f"runs on port {settings.port}"):
            other.start()
        assert embedded.stop() is True
        assert embedded.stop() is False
        with pytest.raises(DatabaseUnavailableError, match="cannot connect"):
            connect(settings)
        assert embedded.start() is True


def test_a_taken_port_is_said(tmp_path: Any) -> None:
    with temporary_server() as embedded:
        other = EmbeddedServer(embedded.settings, tmp_path / "other")
        for folder in (tmp_path, *list(tmp_path.parents)[:3]):  # as root, the server runs as another user
            folder.chmod(0o755)
        with pytest.raises(DatabaseUnavailableError, match="is taken by another program"):
            other.start()
