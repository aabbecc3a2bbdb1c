"""The gateway, a process of its own on loopback, and candles to serve."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import httpx
from psycopg import sql

from tests.commands import TITAN
from tests.warehouse import Row, Warehouse, instant
from titan.core.database import connect
from titan.core.settings import Settings

FIRST, HOURS = instant("2024-01-01"), 900
LAST = FIRST + timedelta(hours=HOURS)


@contextmanager
def gateway(*options: str) -> Iterator[httpx.Client]:
    """`titan serve` on a port of its own, until the block ends; it has to end by itself then."""
    process = subprocess.Popen(
        [TITAN, "serve", "--port", "0", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        assert process.stderr
        address = process.stdout.readline().strip()
        assert address.startswith("http://"), process.stderr.read()
        with httpx.Client(base_url=address, timeout=30) as client:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                try:
                    if client.get("/v1/health/live").status_code == 200:
                        break
                except httpx.ConnectError:
                    time.sleep(0.05)
            yield client
            process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=20)
        assert "Traceback" not in told, told
        assert process.returncode in (0, -signal.SIGTERM)
    finally:
        process.kill()
        process.communicate()


@contextmanager
def letting_in(warehouse: Warehouse) -> Iterator[Callable[[bool], None]]:
    """What tells the server whether it lets anybody into the warehouse's database; where it does not, gateways lose it."""
    name = warehouse.connection.info.dbname
    with connect(replace(Settings.from_environment(), database="postgres"), autocommit=True) as elsewhere:

        def allow(is_allowed: bool) -> None:
            elsewhere.execute(
                sql.SQL("alter database {} with allow_connections {}").format(sql.Identifier(name), is_allowed)
            )
            elsewhere.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = %s and application_name like 'titan serve%%'",
                (name,),
            )

        yield allow


CHROMIUM = os.environ.get("TITAN_TEST_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")
HOURLY = (  # a signal that trades often
    'insert into config.signal select (jsonb_populate_record(shipped, \'{"signal": "hourly", "timeframe": "1h"}\')).* '
    "from config.signal as shipped where shipped.signal = 'ema_crossover_9_21'"
)


def rows(symbols: dict[str, float], hours: int = HOURS) -> list[Row]:
    chance = random.Random(7)
    made = []
    for symbol, price in symbols.items():
        for at in range(hours):
            price *= 1 + chance.gauss(0, 0.01)
            made.append(Row(FIRST + timedelta(hours=at), price, symbol))
    return made
