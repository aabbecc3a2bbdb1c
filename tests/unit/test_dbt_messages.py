"""What dbt says of a failure, told in a line."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest

from titan.ops import dbt
from titan.ops.dbt import Invocation, NodeResult, reason

MESSAGES = {
    "Database Error in model daily (dbt_project/models/bars/daily.sql)\n  deadlock detected\n"
    "  DETAIL:  Process 1 waits for ShareLock on transaction 7; blocked by process 2.\n"
    "  HINT:  See server log for query details.\n  CONTEXT:  SQL statement \"lock table\"\n  PL/pgSQL function f() line 3\n"
    "  compiled code at target/run/titan/daily.sql": "deadlock detected. Process 1 waits for ShareLock on transaction 7; "
    "blocked by process 2. See server log for query details.",
    'Database Error\n  column "x" does not exist\n  LINE 3:   select x\n                 ^': 'column "x" does not exist',
    "Compilation Error in model daily (daily.sql)\n  bars.daily exists as a view: drop it yourself\n  \n"
    "  > in macro refuse_other_type (dbt_project/macros/a.sql)\n  > called by <Unknown>": (
        "bars.daily exists as a view: drop it yourself"
    ),
    "Got 3 results, configured to fail if != 0": "Got 3 results, configured to fail if != 0",
    "Database Error": "Database Error",
    "": "",
}  # fmt: skip


@pytest.mark.parametrize(("message", "told"), MESSAGES.items())
def test_the_servers_own_words_are_told(message: str, told: str) -> None:
    assert reason(message) == told


def test_the_first_failures_are_named() -> None:
    def node(name: str, status: str) -> NodeResult:
        return NodeResult(name, "test", status, 0.1, "Got 1 result", 1, "")

    assert Invocation([node("a", "pass")]).failure() is None
    error = Invocation([node("a", "pass"), *(node(name, "fail") for name in "bcdef")]).failure()
    assert str(error) == "b, c, d and 2 more failed: Got 1 result"
    assert error is not None
    assert error.hint == "dbt test --select b tries it alone, and writes its statements to logs/dbt.log"


def test_a_project_is_read_again_where_it_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file, text, target or database; not for a second invocation over the same."""
    monkeypatch.setattr(dbt, "_manifest", lru_cache(maxsize=3)(dbt._manifest.__wrapped__))
    monkeypatch.setattr(dbt, "parse", lambda project: object())
    monkeypatch.delenv("DBT_TARGET", raising=False)
    model = tmp_path / "dbt_project" / "models" / "one.sql"
    model.parent.mkdir(parents=True)
    model.write_text("select 1")
    first = dbt.manifest(tmp_path)
    assert dbt.manifest(tmp_path) is first
    read = [first]

    def is_read_again() -> bool:
        read.append(dbt.manifest(tmp_path))
        return read[-1] is not read[-2] and dbt.manifest(tmp_path) is read[-1]

    model.write_text("select 2")
    assert is_read_again()
    for name in ("dbt_project.yml", "profiles.yml", "titan/server/migrations/0001_first.sql", "dbt_project/models/one.yml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
        assert is_read_again(), name
    monkeypatch.setenv("DBT_TARGET", "other")
    assert is_read_again()
    monkeypatch.setenv("PGDATABASE", "another")
    assert is_read_again()
    (tmp_path / "notes.md").write_text("of no concern")
    assert dbt.manifest(tmp_path) is read[-1]
