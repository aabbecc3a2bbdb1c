"""The house: imports go one way between its rooms, and in no circle within one (pyproject.toml, [tool.importlinter])."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from titan.core.settings import REPOSITORY
from titan.ops.project import files_read
from titan.server.migrate import available


def test_imports_go_down_and_in_no_circle() -> None:
    """In a process of its own: the command takes all loggers of a process away."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--config", "pyproject.toml"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 kept, 0 broken" in result.stdout


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
