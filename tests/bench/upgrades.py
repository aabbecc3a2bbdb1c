"""Each earlier state of the schema with data, built by the code of its time: after today's migrations, a fresh build?"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

from tests.commands import titan
from tests.upgrades import State, checkout, contents, fill, fresh, states, upgrade, write_days
from tests.warehouse import Warehouse, create_database, use_database

DATABASE, FRESH = "bench_upgraded", "bench_fresh"
_KEEPS_CANDLES = "0008"  # before it, of what was turned away its text alone was kept


def main() -> None:
    """Print what the upgrade from each state took, and what of it differs from a fresh build."""
    earlier = states()
    assert earlier, "the history of the repository is not here: git fetch --unshallow"
    with tempfile.TemporaryDirectory() as folder:
        _compare(Path(folder), earlier)


def _compare(folder: Path, earlier: list[State]) -> None:
    days, warehouse, differ = write_days(folder), Warehouse(), 0
    wanted = fresh(warehouse, FRESH, days)
    print(f"upgrades from {len(earlier)} earlier states of the schema, each filled and built by its own code")
    for state in earlier:
        create_database(DATABASE)
        use_database(DATABASE)
        warehouse.close()
        with checkout(state) as old:
            fill(old, days)
            tried = old.has("backtest", "run")
        begun = time.perf_counter()
        upgrade(warehouse)
        seconds = time.perf_counter() - begun
        found = contents(warehouse)
        expected = wanted
        if state.migration < _KEEPS_CANDLES:
            found, expected = _as_then(found), _as_then(wanted)
        left = {name for (name,) in warehouse.query("select relation from ops.left_behind")}  # that status tells of
        wrong = sorted(name for name in (expected.keys() | found.keys()) - left if expected.get(name) != found.get(name))
        faults = warehouse.query("select * from ops.verify_audit()")
        replayed = "no backtest"
        if tried:
            replayed = "; ".join(line.strip() for line in titan("backtest", "verify", "1").stdout.splitlines())
        differ += bool(wrong or faults)
        rows = sum(map(len, found.values()))
        told = f"{len(wrong)} relations differ: {', '.join(wrong)}" if wrong else f"all {len(wanted)} relations equal"
        told += f", left behind {', '.join(sorted(left))}" if left else ""
        print(f"  {state.migration:32} {state.commit[:7]}  {seconds:5.1f} s  {told} ({rows:,} rows); {replayed}", flush=True)
        if wrong and os.environ.get("TITAN_BENCH_SHOW"):
            for name in wrong[:3]:
                was, now = set(expected.get(name, [])), set(found.get(name, []))
                print("    ", name, sorted(was - now)[:2], sorted(now - was)[:2], flush=True)
    assert not differ, f"{differ} differ"


def _as_then(contents: dict[str, list[str]]) -> dict[str, list[str]]:
    """The same without what was read of a row that was turned away."""
    rows = [json.loads(row) for row in contents["raw.quarantine"]]
    texts = [{name: value for name, value in row.items() if name not in ("candle", "session_id")} for row in rows]
    return contents | {"raw.quarantine": sorted(map(json.dumps, texts))}
