"""How much memory a server takes while something runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import Any

from titan.core.database import connect


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """The most anonymous memory that all processes of the server had at once, in bytes, looked at five times a second."""
    with connect(autocommit=True) as connection:
        row: Any = connection.execute("select pg_backend_pid()").fetchone()
        postmaster = int(Path(f"/proc/{row[0]}/stat").read_text().rsplit(")", 1)[1].split()[1])
    peak, is_over = [0], threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            total = 0
            for status in Path("/proc").glob("[0-9]*/status"):
                try:
                    fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
                except (FileNotFoundError, ProcessLookupError):
                    continue
                if int(fields["PPid"]) == postmaster and "RssAnon" in fields:
                    total += int(fields["RssAnon"].split()[0]) * 1024
            peak[0] = max(peak[0], total)
            sleep(0.2)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        is_over.set()
        watcher.join()
