"""The house: imports go one way between its rooms, and in no circle within one (pyproject.toml, [tool.importlinter])."""

from __future__ import annotations

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

from titan.core.settings import REPOSITORY
from titan.ops.project import files_read
from titan.server.migrate import available


def test_imports_go_down_and_in_no_circle(capsys: pytest.CaptureFixture[str]) -> None:
    status = lint_imports(config_filename=str(REPOSITORY / "pyproject.toml"), no_cache=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out
    assert "2 kept, 0 broken" in capsys.readouterr().out


def test_every_package_of_ours_is_in_the_house() -> None:
    """Or nobody would notice what it imports."""
    folders = {path.parent.name for path in REPOSITORY.glob("*/__init__.py")} - {"tests"}
    rooms = {path.parent.name for path in (REPOSITORY / "titan").glob("*/__init__.py")}
    text = (REPOSITORY / "pyproject.toml").read_text()
    assert folders == {"titan", "ingest", "expectations", "flows"}
    assert [room for room in rooms if f'    "titan.{room}",\n' not in text] == []


def test_what_dbt_reads_is_where_it_stands() -> None:
    """A pattern that matches nothing would let a process work from what it read before."""
    read = {path.rpartition("/")[2] for path in files_read()}
    assert {f"{one.version:04d}_{one.name}.sql" for one in available()} <= read
    assert {"dbt_project.yml", "profiles.yml", "bar_features.sql", "feature_program.sql", "sources.yml"} <= read
