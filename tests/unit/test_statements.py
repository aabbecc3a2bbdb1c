"""The statements that Python sends: each in a file that sqlfluff reads, unless it is short."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import lint_sql
from titan.core.settings import REPOSITORY

MOST_LINES = 18
OURS = ("titan", "ingest", "expectations", "flows")


def modules() -> Iterator[tuple[Path, ast.AST]]:
    for folder in OURS:
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            yield path, ast.parse(path.read_text())


def test_every_statement_has_a_file_and_every_file_a_use() -> None:
    used = {
        (str(node.args[0].value), str(node.args[1].value))
        for _, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "statement"
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[1], ast.Constant)
    }
    asked = {  # by the gateway, whose every answer is one
        ("titan.gateway.sql", str(argument.value))
        for path, tree in modules()
        for node in ast.walk(tree)
        if path.parent.name == "gateway"
        and isinstance(node, ast.Call)
        and getattr(node.func, "attr", getattr(node.func, "id", "")) in ("ask", "rows", "ask_as_of")
        for argument in node.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    }
    there = {(".".join(path.relative_to(REPOSITORY).parent.parts), path.stem) for path in lint_sql.statements()}
    report = {
        ("titan.lab.sql", name) for name in ("folds", "stability", "out_of_sample")
    }  # walk_forward.report, by its keys
    assert used | report | asked == there


def test_long_statements_are_not_hidden_in_python() -> None:
    long = [
        f"{path.relative_to(REPOSITORY)}:{node.lineno}"
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.match(r"\s*(select|insert|update|delete|with|create|do \$)\b", node.value)
        and (node.end_lineno or node.lineno) - node.lineno >= MOST_LINES
    ]
    assert long == []


def test_what_stands_for_parts_is_sql() -> None:
    text = "select %(a)s, {b} from {c} as d inner join ({e}) as f on d.{g} is distinct from {h}"
    assert (
        lint_sql.as_sql(text) == "select '(a)', 'b' from _c_ as d inner join (select 1) as f on d._g_ is distinct from 'h'"
    )


def test_a_fault_in_a_statement_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "faulty.sql"
    path.write_text("select one.a\nfrom {work} as one\nwhere other.b = %(b)s\n")
    monkeypatch.setattr(lint_sql, "statements", lambda: iter([path]))
    assert lint_sql.lint_statements() == 1
    assert "faulty.sql:3:7: RF01 " in capsys.readouterr().out
