"""A backfill of a year of minutes that is killed again and again, of an exchange on a bad day: nothing missing or twice."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from tests.bench.backfill import SYMBOLS, close_of, serve
from tests.commands import TITAN
from tests.warehouse import create_database, use_database
from titan.core.database import connect
from titan.server.migrate import migrate

DAYS = 365
KILLS = 20
TROUBLE = 0.05  # of its answers are refusals, HTML, parts, doubled, or none
LIVES = (8.0, 25.0)  # seconds that a process is let live
DATABASE = "bench_kills"
WHOLE = """
select count(*), count(distinct instrument_id), sum(is_right::int), max(candles), min(candles)
from (
    select
        instrument_id, count(*) as candles,
        bool_and(
            close = 100.5 + mod(extract(epoch from opened_at - %(begins)s)::bigint / 60, 97)
            and open = close and high = close and low = close and volume = 2.5 and quote_volume = 99.5 and trade_count = 7
        ) and count(*) = %(candles)s and min(opened_at) = %(begins)s as is_right
    from raw.ohlcv where opened_at < %(until)s group by instrument_id
) as series
"""


def main() -> None:
    """Print how often it was killed, how long it took, what it asked, and whether what is there is what was served."""
    create_database(DATABASE)
    use_database(DATABASE)
    migrate()
    begins = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=DAYS)
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, begins, DAYS, TROUBLE), daemon=True)
    server.start()
    os.environ["TITAN_CCXT_BINANCE"] = json.dumps({**json.loads(ours.recv()), "rateLimit": 50})
    command = [TITAN, "backfill", "--exchange", "binance", "--symbols", "*/USDT", "--timeframe", "1m", "--no-archives"]
    command += ["--since", begins.isoformat()]
    chance, begun, kills = random.Random(7), time.perf_counter(), 0
    for number in count(1):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            _, told = process.communicate(timeout=chance.uniform(*LIVES) if kills < KILLS else None)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
            continue
        if process.returncode == 0:
            break
        assert number < 2 * KILLS, told[-2000:]
    seconds = time.perf_counter() - begun
    ours.send(None)
    requests, refused = ours.recv()
    candles, until = DAYS * 1440, begins + timedelta(days=DAYS)
    with connect() as connection:
        names = {"begins": begins, "candles": candles, "until": until}
        row: Any = connection.execute(WHOLE, names).fetchone()
        twice: Any = connection.execute("select count(*) from raw.ohlcv_revision").fetchone()
    least = SYMBOLS * candles / 1000
    print(f"a backfill of {SYMBOLS} series of {DAYS} days of minutes, {TROUBLE:.0%} of whose answers are none")
    print(
        f"  killed {kills} times, done by process {number} in {seconds:.0f} s: {row[2]} of {row[0]} series right in every "
        f"value, {SYMBOLS * row[3]:,} candles; {twice[0]:,} revisions; {requests:,} requests, {requests / least:.2f} times "
        f"the least, {refused:,} of them over the limit",
        flush=True,
    )
    assert (row[1], row[2], row[3], row[4]) == (SYMBOLS, SYMBOLS, candles, candles), row
    assert close_of(0) == 100.5
