"""What it costs to know: spans of a round, measurements, and the entry of a change of configuration."""

from __future__ import annotations

from datetime import UTC, datetime
from statistics import median
from time import perf_counter

from tests.bench.history import History
from titan.core import trace
from titan.core.database import Connection, connect
from titan.ops import traces

CYCLES = 200
EVENING = datetime(2026, 1, 5, 18, 0, tzinfo=UTC)


def main() -> None:
    """Print the figures one after the other."""
    history = History(50_000, EVENING, timeframe="1m")
    history.use()
    with connect(autocommit=True) as connection:
        _rounds(history, connection)
        _measure(connection)
        _edit(connection)


def _rounds(history: History, connection: Connection) -> None:
    """Spans are written in every other round, and dropped in the others: by turns, so that both grow alike."""
    taken: dict[bool, list[float]] = {True: [], False: []}
    writing, spans = [], 0
    trace.take()
    for cycle in range(2 * CYCLES):
        is_traced = bool(cycle % 2)
        begun = perf_counter()
        history.load(history.until + history.step)
        history.refresh()
        loaded = perf_counter()
        if is_traced:
            spans += traces.write(connection)
            writing.append(perf_counter() - loaded)
        else:
            trace.take()
        taken[is_traced].append(perf_counter() - begun)
    with_spans, without = median(taken[True]), median(taken[False])
    print(f"one new 1m candle for 20 symbols, loaded and refreshed; medians of {CYCLES} rounds each, by turns")
    print(f"  spans dropped    {without * 1000:8.1f} ms")
    print(f"  spans written    {with_spans * 1000:8.1f} ms, {spans / CYCLES:.0f} a round")
    print(f"  writing alone    {median(writing) * 1000:8.1f} ms, {100 * median(writing) / without:.1f} % of a round")
    size, rows = connection.execute(
        "select bytes, (select count(*) from ops.trace) from ops.sizes() where relation = 'ops.trace'"
    ).fetchone() or (0, 1)
    print(f"  kept             {float(str(size)) / float(str(rows)):8.0f} bytes a span, with its indexes")


def _measure(connection: Connection) -> None:
    hourly: list[float] = []
    other: list[float] = []
    for minute in range(0, 24 * 60, 5):
        begun = perf_counter()
        connection.execute("select ops.measure(timestamptz '2024-01-01' + %s * interval '1 minute')", (minute,))
        (other if minute % 60 else hourly).append(perf_counter() - begun)
    print("measuring; medians of a day")
    print(f"  every five minutes    {median(other) * 1000:6.1f} ms")
    print(f"  every hour            {median(hourly) * 1000:6.1f} ms")


def _edit(connection: Connection) -> None:
    taken: dict[str, list[float]] = {"enable": [], "disable": []}
    for cycle in range(2 * CYCLES):
        action = "enable" if cycle % 2 else "disable"
        connection.execute(f"alter table config.approval_threshold {action} trigger user".encode())
        begun = perf_counter()
        connection.execute("update config.approval_threshold set least = least + 1 where metric = 'sharpe'")
        taken[action].append(perf_counter() - begun)
    print(f"an edit of configuration; medians of {CYCLES}, by turns")
    print(f"  without triggers    {median(taken['disable']) * 1000:6.2f} ms")
    print(f"  entered             {median(taken['enable']) * 1000:6.2f} ms")
    begun = perf_counter()
    (faults,) = connection.execute("select count(*) from ops.verify_audit()").fetchone() or (0,)
    (entries,) = connection.execute("select count(*) from ops.audit").fetchone() or (0,)
    print(f"  {entries} entries verified in {perf_counter() - begun:.3f} s; {faults} edits without an entry noticed")
