"""A day's work of the programs, each struck at random instants: killed, its server killed, cut off, its disk filled.

What they leave when each has got through in the end is compared with what an undisturbed day leaves.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from tests.commands import QUICK_TITAN, TITAN
from tests.local_exchange import LocalExchange
from tests.servers import mount, unmount
from tests.upgrades import NAMED, START, contents, write_days
from tests.warehouse import SMALL_TIMEFRAMES, Row, Warehouse, create_database, drop_database, make_batch, use_database
from titan.core.database import connect
from titan.core.errors import DatabaseUnavailableError, ExitCode
from titan.core.settings import Settings
from titan.server.embedded import EmbeddedServer

ROOM = 3 * 2**30  # of the server's disk, where it may have one of its own, to be filled
LEFT = 2**21  # what is left of it when it is full
PATIENCE = 60.0
QUICK = 3.0  # seconds
DONE = (ExitCode.OK, ExitCode.PARTIAL)
HOUR = timedelta(hours=1)
# What is there whatever becomes of the programs, and which results stand for which question.
RESULTS = {
    "lab.trial": "select distinct (to_jsonb(kept) - 'run_id')::text from lab.trial as kept order by 1",
    "lab.metric": f"select distinct (({NAMED}) - 'run_id')::text from lab.metric as kept order by 1",
    "lab.walk_metric": "select distinct result_hash from lab.walk_metric order by 1",
    "relations": "select relname::text from pg_class where relnamespace::regnamespace::text = any "
    "(array['raw', 'config', 'lab', 'bars', 'features', 'signals', 'backtest', 'marts']) and relkind in ('r', 'v') "
    "order by 1",
    "pending": "select node from ops.pending",
    "audit": "select fault from ops.verify_audit()",
    "running": "select workflow from ops.workflow_state where state = 'running'",
}


@dataclass(frozen=True)
class Program:
    """A command and what a person would do first, where an attempt before came to nothing."""

    name: str
    command: Callable[[], Sequence[str]]
    tidy: Callable[[], None] = lambda: None


@dataclass
class Tally:
    """What befell the programs."""

    struck: Counter[tuple[str, str]] = field(default_factory=Counter)  # by program and blow: it was at work
    in_transaction: int = 0  # of the kills, while it had a transaction open
    refusals: int = 0  # further attempts that found what came before still at work

    def of(self, blow: str) -> int:
        """How many blows there were of a kind."""
        return sum(count for (_, kind), count in self.struck.items() if kind == blow)


def may_mount() -> bool:
    """Whether there may be a disk of its own: by root, and not in every container."""
    with tempfile.TemporaryDirectory() as folder:
        return mount(Path(folder), LEFT) and unmount(Path(folder))


class Day:
    """The programs of a day, on a database that is made anew, and an exchange that answers the same whoever asks when."""

    def __init__(self, server: EmbeddedServer, exchange: LocalExchange, folder: Path, database: str) -> None:
        self.server, self.exchange, self.folder, self.database = server, exchange, folder, database
        self.tally = Tally()
        self.warehouse = Warehouse()
        self.seconds: dict[str, float] = {}
        self._days = write_days(folder)
        self._actions = folder / "actions.csv"
        self._actions.write_text("symbol,ex_date,kind,value\nETH/USDT,2024-01-10,split,2\n")
        until = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        for at, symbol in enumerate(("AAAUSDT", "BBBUSDT", "CCCUSDT")):
            exchange.add(symbol, until - 700 * HOUR, "1h", [50.0 + (at + hour) % 89 / 7 for hour in range(700)])

    # --- the programs -----------------------------------------------------------------------------------------------

    def programs(self) -> list[Program]:
        """In their order."""
        history = (datetime.now(UTC) - timedelta(days=25)).date().isoformat()
        asked = ("--exchange", "binance", "--symbols", "CCC/USDT,BBB/USDT", "--timeframe", "1h", "--since", history)
        grid = (
            "--type",
            "ema_crossover",
            "--timeframe",
            "1h",
            "--symbols",
            "BTC/USDT,SOL/USDT",
            "fast=5,9,13",
            "slow=21,34",
        )
        walk = ("--metric", "total_return", "--folds", "3", *grid)
        return [
            self._program("migrate", TITAN, "db", "start"),
            self._program("load", TITAN, "load", "file", *map(str, self._days[0])),
            self._program("refresh", TITAN, "refresh"),
            self._program("dbt", TITAN, "build", "--full-refresh"),
            self._program("adjustments", TITAN, "load", "adjustments", str(self._actions)),
            self._program("run", *QUICK_TITAN, "run", *map(str, self._days[1])),
            self._program("backfill", TITAN, "backfill", *asked, "--no-archives", "--refresh"),
            self._program("watch", TITAN, "watch", "--cycles", "1", "--no-streams"),
            self._program(
                "delete", TITAN, "delete", "--exchange", "file", "--symbol", "SOL/USDT", "--since", "2024-01-20", "--yes"
            ),
            self._program("poll", *QUICK_TITAN, "poll"),
            self._program("backtest", TITAN, "backtest", "run", *grid),
            Program("walk", lambda: [TITAN, "backtest", "walk", *self._resume(), *([] if self._resume() else walk)]),
            Program("backup", lambda: [TITAN, "backup", str(self.folder / "backup")]),
            Program(
                "restore",
                lambda: [TITAN, "restore", str(self.folder / "backup"), "--database", self._restored],
                tidy=self._drop_restored,
            ),
        ]

    @staticmethod
    def _program(name: str, *command: str) -> Program:
        return Program(name, lambda: command)

    @property
    def _restored(self) -> str:
        return f"{self.database}_restored"

    def _drop_restored(self) -> None:
        with self._maintenance() as connection:
            drop_database(connection, self._restored)

    def _resume(self) -> list[str]:
        """A walk that was begun and is not over."""
        rows = self.query("select max(walk_id) from lab.walk where walk_id not in (select walk_id from lab.walk_metric)")
        return [] if rows[0][0] is None else ["--resume", str(rows[0][0])]

    # --- a day ------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """An empty database, and what is to be in it before the first program."""
        create_database(self.database)
        use_database(self.database)
        self.warehouse.close()
        shutil.rmtree(self.folder / "backup", ignore_errors=True)
        self._drop_restored()

    def configure(self) -> None:
        """What a person says once the schemas are there."""
        self.query("delete from config.timeframe where timeframe <> all (%s)", SMALL_TIMEFRAMES)
        self.warehouse.load(
            make_batch([Row(START, 50, f"{name}/USDT") for name in ("AAA", "BBB", "CCC")], exchange="binance")
        )
        for symbol in ("AAA/USDT", "BBB/USDT"):
            since = (datetime.now(UTC) - timedelta(days=20)).date()
            self.query(
                "insert into config.subscription (exchange, symbol, timeframe, since) values ('binance', %s, '1h', %s)",
                symbol,
                since,
            )

    def undisturbed(self, names: Sequence[str] = ()) -> dict[str, list[str]]:
        """What is there at the end of a day on which nothing happens."""
        self.begin()
        for program in self._wanted(names):
            begun = time.monotonic()
            self._get_through(program)
            self.seconds[program.name] = time.monotonic() - begun
        return self.left()

    def disturbed(
        self, chance: random.Random, blows: Sequence[str], names: Sequence[str] = (), often: Sequence[int] = (2, 3, 4)
    ) -> dict[str, list[str]]:
        """What is there at the end of a day on which each program is struck, as often as one of these says.

        Quick ones are struck twice as often.
        """
        self.begin()
        for program in self._wanted(names):
            times = chance.choice(often) * (2 if self.seconds[program.name] < QUICK else 1)
            for blow in chance.choices(blows, k=times):
                program.tidy()
                self._strike(program, blow, chance.uniform(0.1, 0.9) * self.seconds[program.name])
            program.tidy()
            self._get_through(program)
        return self.left()

    def left(self) -> dict[str, list[str]]:
        """What is compared of a day's end."""
        found = {name: [str(row) for row in self.query(query)] for name, query in RESULTS.items()}
        found = {**contents(self.warehouse), **found}
        self.warehouse.close()
        return found

    def _wanted(self, names: Sequence[str]) -> Iterator[Program]:
        for program in self.programs():
            if not names or program.name in names:
                yield program
                if program.name == "migrate":
                    self.configure()

    def _get_through(self, program: Program) -> None:
        """Run it until it is done, as whoever supervises it would: one that comes too early comes again."""
        deadline = time.monotonic() + PATIENCE
        while True:
            process = self._begin(program)
            _, said = process.communicate(timeout=5 * PATIENCE)
            self._is_told_well(program, said)
            if process.returncode in DONE:
                return
            if program.name == "backup" and "is there already" in said:
                return  # the blow came when it was made
            assert time.monotonic() < deadline, (program.name, process.returncode, said[-2000:])
            self.tally.refusals += 1
            program.tidy()
            time.sleep(0.2)

    # --- blows ------------------------------------------------------------------------------------------------------

    def _strike(self, program: Program, blow: str, after: float) -> None:
        """Begin it, and strike it later, if it is not done by then. It ends with a word, unless it was killed itself."""
        process = self._begin(program)
        try:
            process.communicate(timeout=after)
        except subprocess.TimeoutExpired:
            self.tally.struck[program.name, blow] += 1
            said = getattr(self, f"_{blow}")(process)
            self._is_told_well(program, said)

    def _kill(self, process: subprocess.Popen[str]) -> str:
        self.tally.in_transaction += self.query(
            "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() "
            "and xact_start is not null"
        )[0][0]
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return ""

    def _server(self, process: subprocess.Popen[str]) -> str:
        """The server and everything that works for it, at once; somebody starts it again."""
        postmaster = int((self.server.data / "postmaster.pid").read_text().split()[0])
        workers = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        for pid in (postmaster, *map(int, workers)):
            os.kill(pid, signal.SIGKILL)
        self._start()
        return self._wait(process)

    def _connections(self, process: subprocess.Popen[str]) -> str:
        with self._maintenance() as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where usename = current_user and datname = %s",
                (self.database,),
            )
        return self._wait(process)

    def _disk(self, process: subprocess.Popen[str]) -> str:
        """Fill the server's disk until the program has ended, or has gone on without it for a while."""
        ballast = self.server.root / "ballast"
        while shutil.disk_usage(self.server.root).free > 2 * LEFT:
            with suppress(OSError), ballast.open("wb") as file:  # somebody writes meanwhile
                os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(self.server.root).free - LEFT)
        try:
            return self._wait(process, patience=20)
        finally:
            ballast.unlink()
            self._start()

    def _start(self) -> None:
        self.warehouse.close()
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with suppress(DatabaseUnavailableError, psycopg.OperationalError):
                self.server.start()
                return
            time.sleep(0.2)
        self.server.start()

    @staticmethod
    def _wait(process: subprocess.Popen[str], patience: float = 2 * PATIENCE) -> str:
        try:
            return process.communicate(timeout=patience)[1]
        except subprocess.TimeoutExpired:
            process.terminate()
            return process.communicate(timeout=PATIENCE)[1]

    # --- the pieces -------------------------------------------------------------------------------------------------

    def query(self, text: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of a query, once the server answers."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return self.warehouse.query(text, *parameters)
            except (DatabaseUnavailableError, psycopg.OperationalError):
                self.warehouse.close()
                assert time.monotonic() < deadline
                time.sleep(0.1)

    @staticmethod
    def _begin(program: Program) -> subprocess.Popen[str]:
        return subprocess.Popen(
            program.command(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    @staticmethod
    def _is_told_well(program: Program, said: str) -> None:
        assert "Traceback" not in said, (program.name, said[-4000:])

    @contextmanager
    def _maintenance(self) -> Iterator[psycopg.Connection[Any]]:
        settings = Settings.from_environment()
        to = Settings(settings.host, settings.port, settings.user, "postgres", settings.is_embedded)
        with connect(to, autocommit=True) as connection:
            yield connection


def differences(wanted: dict[str, list[str]], found: dict[str, list[str]]) -> dict[str, tuple[list[str], list[str]]]:
    """What of a disturbed day is not as on an undisturbed one: by relation, rows that are missing, and rows too many."""
    return {
        name: (
            sorted(set(wanted.get(name, [])) - set(found.get(name, [])))[:3],
            sorted(set(found.get(name, [])) - set(wanted.get(name, [])))[:3],
        )
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    }
