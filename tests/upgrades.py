"""Titan as it was: the earlier states of the schema, each run by the code of its time, out of the repository's history."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from io import BytesIO
from pathlib import Path

from tests.commands import titan
from tests.warehouse import AGING, LARGE, Warehouse, create_database, instant, use_database
from titan.core.errors import ExitCode
from titan.core.settings import REPOSITORY
from titan.server.migrate import migrate

START = instant("2024-01-01")
HOURS = 500
SYMBOLS = ("BTC", "ETH", "SOL")
_FOLDER = "migrations/"

# A row of `kept` as an object, with an instrument's name for its number.
NAMED = """
to_jsonb(kept) || case when to_jsonb(kept) ? 'instrument_id' then jsonb_build_object('instrument_id', (
    select format('%s %s %s', exchange, market_type, symbol) from raw.instrument
    where instrument.instrument_id = (to_jsonb(kept) ->> 'instrument_id')::integer
)) else '{}' end
"""

# What is compared besides what dbt makes: the candles and what was said of them, without the numbers and times of loads.
_KEPT = {
    "raw.ohlcv": "- 'batch_id'",
    "raw.ohlcv_revision": "- '{from_batch,to_batch}'::text[]",
    "raw.instrument": "- 'created_at'",
    "raw.observed": "",
    "raw.quarantine": "- '{quarantine_id,batch_id,quarantined_at}'::text[]",
}


@dataclass(frozen=True)
class State:
    """A state of the schema: its newest migration, and the last commit that had it."""

    migration: str
    commit: str


def states() -> list[State]:
    """The earlier states that today's migrations go on from, oldest first. None where the history is not there.

    One that has a file which is another one today never left the hands of who wrote it: migrate would refuse it.
    """
    if _git("rev-parse", "--is-inside-work-tree").returncode:
        return []
    today = _migrations("HEAD")
    names = sorted(today)
    found: dict[int, State] = {}
    for commit in _git("log", "--reverse", "--format=%H", "HEAD").stdout.decode().split():
        then = _migrations(commit)
        if then and sorted(then) == names[: len(then)] and all(today[name] == blob for name, blob in then.items()):
            found[len(then)] = State(names[len(then) - 1], commit)
    return [state for number, state in sorted(found.items()) if number < len(names)]


def write_days(folder: Path) -> list[list[Path]]:
    """Candles of three symbols in two days' files: the second goes on, corrects, and has rows that cannot be right."""
    days = []
    for day, (first, last) in enumerate(((0, HOURS), (HOURS - 24, HOURS + 48))):
        files = []
        for at, symbol in enumerate(SYMBOLS):
            path = folder / f"day{day}" / f"{symbol}USDT-1h.csv"
            path.parent.mkdir(exist_ok=True)
            lines = ["open_time,open,high,low,close,volume"]
            for hour in range(first, last):
                if hour % 97 == 13 + at:
                    continue  # a gap
                close = round(100 * (at + 1) + 20 * math.sin(hour / 11 + at) + (day and hour % 24 == 0) * 0.01, 4)
                low = close + 5 if hour % 211 == 200 else close - 1  # a row for the quarantine
                lines.append(
                    f"{(START + timedelta(hours=hour)).isoformat()},{close - 0.5},{close + 1},{low},{close},{hour + 1}"
                )
            path.write_text("\n".join(lines) + "\n")
            files.append(path)
        days.append(files)
    return days


class Old:
    """A checkout of an earlier state, and its commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        script = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["scripts"]["titan"]
        module, _, function = script.partition(":")
        self._program = f"import sys; from {module} import {function} as main; sys.argv[0] = 'titan'; main()"

    def titan(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        """What a command of that time says. It has to end with one of the codes."""
        environment = {**os.environ, "PYTHONPATH": str(self.folder)}
        environment |= {name: str(self.folder / name.lower()) for name in ("DBT_TARGET_PATH", "DBT_LOG_PATH")}
        ended = subprocess.run(
            [sys.executable, "-c", self._program, *arguments],
            cwd=self.folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode in codes, (arguments, ended.returncode, ended.stdout[-3000:], ended.stderr[-3000:])
        return ended.stdout

    def has(self, *command: str) -> bool:
        """Whether there was such a command."""
        return not subprocess.run(
            [sys.executable, "-c", self._program, *command, "--help"],
            cwd=self.folder, env={**os.environ, "PYTHONPATH": str(self.folder)}, capture_output=True, check=False,
        ).returncode  # fmt: skip


@contextmanager
def checkout(state: State) -> Iterator[Old]:
    """The files of an earlier state in a folder of their own."""
    with tempfile.TemporaryDirectory() as folder:
        packed = _git("archive", state.commit)
        assert packed.returncode == 0, packed.stderr
        with tarfile.open(fileobj=BytesIO(packed.stdout)) as files:
            files.extractall(folder, filter="data")
        yield Old(Path(folder))


def fill(old: Old, days: list[list[Path]]) -> None:
    """Load and build as it was done then, in the database that the environment names; a backtest where there were any."""
    old.titan("db", "start")
    for day in days:
        old.titan("load", "file", *map(str, day), "--exchange", "binance", codes=(ExitCode.OK, ExitCode.PARTIAL))
        old.titan("build")
    if old.has("backtest", "run"):
        old.titan("backtest", "run", "--type", "ema_crossover", "--timeframe", "1h", "fast=5,9", "slow=21,34")


def upgrade(warehouse: Warehouse) -> None:
    """Today's migrations, and what today's project makes of what is there."""
    migrate()
    warehouse.refresh()


def fresh(warehouse: Warehouse, database: str, days: list[list[Path]]) -> dict[str, list[str]]:
    """What today's code makes of the same files in an empty database."""
    create_database(database)
    use_database(database)
    warehouse.close()
    migrate()
    for day in days:
        ended = titan("load", "file", *map(str, day), "--exchange", "binance")
        assert ended.returncode in (ExitCode.OK, ExitCode.PARTIAL), ended.stderr
        warehouse.refresh()
    return contents(warehouse)


def contents(warehouse: Warehouse) -> dict[str, list[str]]:
    """Every row of what dbt made, of the configuration, and of the candles, as text; large tables as one hash.

    Instruments by their names: the number of one may be another where a load was killed that had drawn it.
    """
    config = warehouse.query("select relname from pg_class where relkind = 'r' and relnamespace = 'config'::regnamespace")
    made = [relation for relation in warehouse.relations() if relation not in AGING]
    kept = {**dict.fromkeys([*made, *(f"config.{name}" for (name,) in config)], ""), **_KEPT}
    return {name: _rows(warehouse, name, without) for name, without in kept.items()}


def _rows(warehouse: Warehouse, relation: str, without: str) -> list[str]:
    row = f"(({NAMED}) {without})::text"
    if warehouse.value(f"select count(*) from {relation}") > LARGE:
        every_row = f"md5(string_agg({row}, '|' order by {row}))"
        return [warehouse.value(f"select {every_row} from {relation} as kept")]
    return [text for (text,) in warehouse.query(f"select {row} from {relation} as kept order by 1")]


def _migrations(commit: str) -> dict[str, str]:
    lines = (line.split("\t") for line in _git("ls-tree", "-r", commit, "--", "titan").stdout.decode().splitlines())
    return {path.rpartition("/")[2]: about.split()[2] for about, path in lines if _FOLDER in path and path.endswith(".sql")}


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "-C", str(REPOSITORY), *arguments], capture_output=True, check=False)
