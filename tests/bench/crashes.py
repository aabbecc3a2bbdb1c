"""Days of every program, each killed, cut off and left without room at random instants, until there were 200 kills."""

from __future__ import annotations

import os
import random
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.clocks import this_hour
from tests.crashes import ROOM, Day, differences, may_mount
from tests.local_exchange import local_exchange
from tests.servers import temporary_server

KILLS = 200
HOUR = timedelta(hours=1)
LONGEST = timedelta(minutes=8)  # of a day
DATABASE = "bench_crashes"


def main() -> None:
    """Print what befell the programs, and what differs from an undisturbed day."""
    with_small_disk = may_mount()
    blows = ["kill", "kill", "server", "connections"] + (["disk"] if with_small_disk else [])
    differ, days = 0, 0
    with (
        tempfile.TemporaryDirectory() as folder,
        local_exchange() as exchange,
        temporary_server(is_durable=True, room=ROOM if with_small_disk else None) as embedded,
    ):
        os.environ["TITAN_CCXT_BINANCE"] = exchange.ccxt_options()
        day = Day(embedded, exchange, Path(folder), DATABASE)
        begun = time.perf_counter()
        hour, wanted = this_hour(), day.undisturbed()
        took = time.perf_counter() - begun
        print(f"a day of {len(day.seconds)} programs, undisturbed in {took:.0f} s, then struck at random", flush=True)
        chance = random.Random(19)
        while day.tally.of("kill") + day.tally.of("server") < KILLS:
            if this_hour() != hour or datetime.now(UTC) > hour + HOUR - LONGEST:
                # What a day leaves tells which hour it is of: it has to be compared with one of the same hour.
                while datetime.now(UTC) > this_hour() + HOUR - LONGEST - timedelta(seconds=took):
                    time.sleep(10)
                hour, wanted = this_hour(), day.undisturbed()
            found = differences(wanted, day.disturbed(chance, blows))
            days += 1
            differ += len(found)
            kills = day.tally.of("kill") + day.tally.of("server")
            print(f"  day {days}: {kills} kills so far, {len(found)} differences", flush=True)
            for name, (missing, extra) in list(found.items())[:3]:
                print(f"    {name}: missing {str(missing)[:300]}, too many {str(extra)[:300]}", flush=True)
    tally = day.tally
    told = ", ".join(f"{what} {tally.of(blow)} times" for blow, what in _BLOWS.items())
    print(f"  {days} days in {time.perf_counter() - begun:.0f} s: {told}; {tally.in_transaction} transactions were open")
    for program in day.seconds:
        counts = ", ".join(f"{blow} {tally.struck[program, blow]}" for blow in _BLOWS)
        print(f"    {program:12} {day.seconds[program]:5.1f} s  {counts}")
    print(f"  {tally.refusals} attempts came too early; {differ} differences", flush=True)
    assert not differ


_BLOWS = {"kill": "killed", "server": "its server killed", "connections": "cut off", "disk": "no room on the disk"}
