"""A thousand rounds of a watch: what one takes, and whether memory, `ops.*`, the catalog or dead rows grow."""

from __future__ import annotations

import os
import resource
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from tests.clocks import FastClock
from tests.local_exchange import local_exchange
from tests.warehouse import create_database, use_database
from titan.core.database import connect
from titan.ops.refresh import refresh
from titan.ops.watch import Cycle, Watch
from titan.server.migrate import migrate

SYMBOLS = 20
HISTORY = 1_440  # minutes before the first round
CYCLES = 1_000
SHOWN_EVERY = 200
BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
DATABASE = "bench_watch"
GROWN = """
select
    sum(pg_total_relation_size(oid)) filter (where relnamespace = 'ops'::regnamespace),
    sum(pg_total_relation_size(oid)) filter (where relnamespace = 'pg_catalog'::regnamespace),
    (select sum(n_dead_tup) from pg_stat_user_tables),
    (select count(*) from raw.load_batch) + (select count(*) from ops.gate_result) + (select count(*) from ops.change)
        + (select count(*) from ops.run) + (select count(*) from ops.progress)
from pg_class where relkind = 'r'
"""


def main() -> None:
    """Print a line every so many rounds."""
    create_database(DATABASE)
    use_database(DATABASE)
    migrate()
    with connect(autocommit=True) as connection:
        refresh(connection)
    clock = FastClock(BEGIN + timedelta(minutes=HISTORY))
    with local_exchange() as exchange:
        os.environ["TITAN_CCXT_BINANCE"] = exchange.ccxt_options()
        exchange.now = clock.now
        with connect(autocommit=True) as connection:
            for number in range(SYMBOLS):
                closes = [100.0 + (at * 7 + number) % 23 for at in range(HISTORY + CYCLES + 2)]
                exchange.add(f"A{number:02}USDT", BEGIN, "1m", closes)
                connection.execute(
                    "insert into config.subscription (exchange, symbol, timeframe, since) values ('binance', %s, '1m', %s)",
                    (f"A{number:02}/USDT", BEGIN.date()),
                )
        print(f"a watch of {SYMBOLS} series of minutes, one new candle each a round, over {HISTORY:,} of each")
        print("  round      p50      p95   process    ops.*  its rows  catalog  dead rows")
        told: list[Cycle] = []

        def tell(cycle: Cycle) -> None:
            told.append(cycle)
            assert not cycle.failed, cycle.failed
            if (cycle.number - 1) % SHOWN_EVERY == 0:
                _show(cycle.number - 1, told[-SHOWN_EVERY:])

        Watch(clock).run(tell, CYCLES + 1)
    assert sum(cycle.inserted for cycle in told[1:]) == SYMBOLS * CYCLES


def _show(number: int, cycles: list[Cycle]) -> None:
    seconds = [cycle.load_seconds + cycle.refresh_seconds for cycle in cycles]
    p50, p95 = median(seconds), quantiles(seconds, n=20)[-1] if len(seconds) > 1 else seconds[0]
    with connect(autocommit=True) as connection:
        row: Any = connection.execute(GROWN).fetchone()
    ops, catalog, dead, rows = row
    print(
        f"  {number:5,}  {p50:5.2f} s  {p95:5.2f} s  {_memory() / 1e6:5.0f} MB  {int(ops) / 1e6:4.1f} MB  {int(rows):8,}"
        f"  {int(catalog) / 1e6:4.1f} MB  {int(dead):9,}",
        flush=True,
    )


def _memory() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
