"""Logins of people and tools: what they can do, and what not, by connecting as them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.commands import titan
from tests.local_gateway import rows
from tests.warehouse import Warehouse, make_batch
from titan.core.database import arguments
from titan.core.errors import ExitCode
from titan.core.settings import REPOSITORY, Settings

NAME = "anna o'hara"


def enter(name: str, password: str) -> psycopg.Connection:
    wanted = {**arguments(Settings.from_environment()), "user": name, "password": password}
    wanted.pop("passfile", None)
    return psycopg.connect(**wanted, autocommit=True)


def refused(*arguments: str) -> subprocess.CompletedProcess[str]:
    result = titan(*arguments)
    assert (result.returncode, result.stdout) == (ExitCode.USAGE, ""), result.stderr
    return result


def done(*arguments: str) -> str:
    result = titan(*arguments)
    assert result.returncode == ExitCode.OK, result.stderr
    return result.stdout


@pytest.fixture
def tidy(warehouse: Warehouse) -> Iterator[Warehouse]:
    """Logins are of the server, and outlast a database."""
    yield warehouse
    for name in (NAME, "plain"):
        if warehouse.query("select 1 from pg_roles where rolname = %s", name):
            done("login", "drop", name)


def test_a_login_reads_everything_and_changes_nothing(tidy: Warehouse) -> None:
    tidy.load(make_batch(rows({"BTC/USDT": 9}, 50), exchange="one"))
    tidy.refresh()
    password = done("login", "create", NAME, "--timeout", "2s").strip()
    assert len(password) >= 32
    with enter(NAME, password) as reader:
        relations = tidy.query(
            "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname in "
            "('raw', 'config', 'ops', 'bars', 'features', 'signals', 'backtest', 'lab') union all "
            "select format('%I.%I', schemaname, viewname) from pg_views where schemaname in ('marts', 'features', 'ops')"
        )
        assert len(relations) > 60
        for (relation,) in relations:
            reader.execute(f"select from {relation} limit 1")
        assert reader.execute("select count(*) from marts.ohlcv").fetchone() > (50,)  # type: ignore[operator]
        for statement in (
            "delete from raw.ohlcv", "insert into config.kept values ('a', 'b')", "create table bars.mine (a int)",
            "drop view marts.ohlcv", "update ops.head set seq = 0", "create temp table mine (a int)",
        ):  # fmt: skip
            with pytest.raises((psycopg.errors.ReadOnlySqlTransaction, psycopg.errors.InsufficientPrivilege)):
                reader.execute(statement)
            reader.execute("set default_transaction_read_only = off")  # it holds nobody who means it
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(statement.replace("temp table", "table public."))
            reader.execute("reset default_transaction_read_only")
        with pytest.raises(psycopg.errors.QueryCanceled):
            reader.execute("select pg_sleep(4)")
        (told,) = [one for one in done("login", "list").splitlines() if one.startswith(NAME)]
        assert "2s" in told
        assert "1" in told.split("\t")[-1]
        assert done("login", "drop", NAME).strip().endswith("1 sessions ended")
        with pytest.raises(psycopg.OperationalError):
            reader.execute("select 1")
    with pytest.raises(psycopg.OperationalError):
        enter(NAME, password)


def test_a_login_is_replaced_by_name_alone_where_it_is_a_readers(tidy: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    first = done("login", "create", "plain").strip()
    again = refused("login", "create", "plain")
    assert "--replace" in again.stderr
    enter("plain", first).close()
    monkeypatch.setenv("PLAIN_PASSWORD", "chosen: by 'me'")
    assert done("login", "create", "plain", "--replace", "--password-env", "PLAIN_PASSWORD") == ""
    enter("plain", "chosen: by 'me'").close()
    with pytest.raises(psycopg.OperationalError):
        enter("plain", first)
    owner = Settings.from_environment().user
    for name in (owner, "titan_reader", "pg_mine", "", "x" * 64):
        assert "Traceback" not in refused("login", "create", name, "--replace").stderr
    assert "no length of time" in refused("login", "create", "other", "--timeout", "soon").stderr
    assert not tidy.query("select 1 from pg_roles where rolname = 'other'")
    refused("login", "drop", owner)
    tidy.query("grant select on raw.ohlcv to plain")  # by name: the role cannot go while that stands
    assert "was granted it by name" in refused("login", "drop", "plain").stderr
    enter("plain", "chosen: by 'me'").close()  # and so it stays, as it was
    tidy.query("revoke select on raw.ohlcv from plain")
    monkeypatch.delenv("PLAIN_PASSWORD")
    assert "has no password" in refused("login", "create", "other", "--password-env", "PLAIN_PASSWORD").stderr


def test_the_recipes_of_the_notebook_work(tidy: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they stand in docs/connect.md, by a login that reads."""
    tidy.load(make_batch(rows({"BTC/USDT": 9}, 50), exchange="one"))
    tidy.refresh()
    settings = Settings.from_environment()
    password = done("login", "create", "plain").strip()
    url = f"postgresql://plain:{password}@{settings.host}:{settings.port}/{settings.database}"
    monkeypatch.setenv("DATABASE_URL", url)
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "connect.md").read_text(), re.DOTALL)
    (recipe,) = [block for block in blocks if "duckdb" not in block]
    names: dict[str, Any] = {}
    exec(recipe, names)  # noqa: S102 - which is what a reader does with it
    assert (names["bars"].height, len(names["frame"])) == (50, 50)
    assert names["frame"]["close"].tolist() == names["bars"]["close"].to_list()
