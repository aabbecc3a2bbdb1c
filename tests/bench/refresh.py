"""What a refresh costs: of nothing, of the next minute over a short and a long history, as a command, and through dbt."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

from tests.bench.history import History
from tests.commands import TITAN
from titan.core.database import connect
from titan.core.settings import REPOSITORY
from titan.ops.refresh import refresh

CYCLES = 200
COMMANDS = 7
RUNS = 5
EVENING = datetime(2026, 1, 5, 18, 0, tzinfo=UTC)
DBT = str(Path(TITAN).with_name("dbt"))


def main() -> None:
    """Print the figures one after the other."""
    histories = [History(bars, EVENING, timeframe="1m") for bars in (50_000, 500_000)]
    _add_minutes(histories)
    histories[0].use()
    _do_nothing()
    _start_commands()
    _start_dbt()


def _add_minutes(histories: list[History]) -> None:
    """The next candle of each symbol, loaded and refreshed in this process; the histories take turns."""
    taken: list[list[float]] = [[] for _ in histories]
    for _ in range(CYCLES):
        for history, seconds in zip(histories, taken, strict=True):
            begun = perf_counter()
            history.load(history.until + history.step)
            history.refresh()
            seconds.append(perf_counter() - begun)
    print(f"one new 1m candle for 20 symbols, loaded and refreshed in a running process; {CYCLES} cycles")
    for history, seconds in zip(histories, taken, strict=True):
        spread = f"p50 {median(seconds):.3f} s, p95 {quantiles(seconds, n=20)[-1]:.3f} s"
        print(f"  {history.candles:>10,} candles of history  {spread}")
    print(f"  ratio of the medians {median(taken[1]) / median(taken[0]):.2f}")


def _do_nothing() -> None:
    seconds = []
    with connect(autocommit=True) as connection:
        for _ in range(RUNS + 1):
            begun = perf_counter()
            connection.execute("select ops.next_behind('{}')").fetchall()
            connection.execute("select node, ops.owed_build(model) from ops.model").fetchall()
            seconds.append(perf_counter() - begun)
        whole = _median(lambda: refresh(connection))
    print(f"a refresh with nothing to do; medians of {RUNS} rounds")
    print(f"  in the database   {median(seconds[1:]) * 1000:8.1f} ms")
    print(f"  in the process    {whole * 1000:8.1f} ms")


def _start_commands() -> None:
    print(f"commands, from start to end; medians of {COMMANDS} rounds")
    for arguments in (["refresh"], ["status"], ["--help"]):
        seconds = _median(lambda arguments=arguments: _call(TITAN, *arguments), COMMANDS)  # type: ignore[misc]
        print(f"  titan {' '.join(arguments):<10}  {seconds:6.2f} s")


def _start_dbt() -> None:
    """Beside an empty project, on the same server, and one of as many models that ask the server one thing each: what dbt
    itself takes to walk through them.
    """
    with tempfile.TemporaryDirectory() as folder, connect() as connection:
        models = len(connection.execute("select from ops.model").fetchall())
        empty = _project(Path(folder, "empty"))
        trivial = _project(Path(folder, "trivial"), models=models)
        takes: dict[str, list[float]] = {"an empty project": [], f"{models} models of one statement each": [], "ours": []}
        for _ in range(RUNS + 1):
            for seconds, project in zip(takes.values(), (empty, trivial, REPOSITORY), strict=True):
                options = ["--project-dir", project, "--profiles-dir", project]
                options += ["--target-path", f"{folder}/target_{project.name}", "--log-path", f"{folder}/logs"]
                seconds.append(_seconds(lambda options=options: _call(DBT, "run", *map(str, options))))  # type: ignore[misc]
    nothing = median(takes["an empty project"][1:])
    print(f"dbt run with nothing to do; medians of {RUNS} rounds")
    for name, seconds in takes.items():
        whole = median(seconds[1:])
        print(f"  {name:<32}  {whole:6.2f} s, {whole - nothing:.2f} s beyond an empty one")


def _project(folder: Path, models: int = 0) -> Path:
    """A project of dbt in a folder, with models that do nothing but to ask for one row."""
    for part in ("models", "macros"):
        (folder / part).mkdir(parents=True)
    shutil.copy(REPOSITORY / "profiles.yml", folder)
    (folder / "dbt_project.yml").write_text(
        f"name: {folder.name}\nprofile: titan\nversion: '1.0.0'\nconfig-version: 2\n"
        + (f"models: {{{folder.name}: {{+materialized: question}}}}\n" if models else "")
    )
    if models:
        (folder / "macros" / "question.sql").write_text(
            "{% materialization question, adapter='postgres' %}"
            "{% call statement('main', fetch_result=true) %}{{ sql }}{% endcall %}{{ adapter.commit() }}"
            "{{ return({'relations': []}) }}"
            "{% endmaterialization %}"
        )
    for number in range(models):
        (folder / "models" / f"model_{number}.sql").write_text(f"select {number} as number")
    return folder


def _call(*command: str) -> None:
    subprocess.run(command, capture_output=True, check=True, cwd=REPOSITORY)


def _seconds(action: Callable[[], object]) -> float:
    begun = perf_counter()
    action()
    return perf_counter() - begun


def _median(action: Callable[[], object], rounds: int = RUNS) -> float:
    """Of some rounds, after one that warms up."""
    action()
    return median(_seconds(action) for _ in range(rounds))
