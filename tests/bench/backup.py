"""A backup of ten million minutes with everything that is made of them, restored and compared table by table."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

from tests.bench.history import History
from titan.core.database import connect
from titan.server.backup import backup, restore

BARS = 500_000  # of each of twenty symbols
UNTIL = datetime(2024, 1, 1, tzinfo=UTC)


def main() -> None:
    """Print how large it is, and what both took, hashes included."""
    history = History(BARS, UNTIL, timeframe="1m")
    history.use()
    folder = Path(tempfile.mkdtemp()) / "backup"
    begun = perf_counter()
    made = backup(folder)
    backed_up = perf_counter() - begun
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    begun = perf_counter()
    restore(folder, "bench_restored")
    restored = perf_counter() - begun
    with connect() as connection:
        row = connection.execute("select pg_database_size(current_database())").fetchone()
    shutil.rmtree(folder.parent)
    assert row is not None
    rows = f"{made.rows:,} rows of {len(made.tables)} tables"
    print(f"a backup of {history.candles:,} candles of a minute and all models: {rows}")
    print(
        f"  backup {backed_up:.0f} s, {size / 1e9:.2f} GB of {int(str(row[0])) / 1e9:.2f} GB; restore {restored:.0f} s; "
        "every table with the hash that it had",
        flush=True,
    )
