"""The gate in a warm process: a million landed rows beside what the promotion takes after it, and twenty rows."""

from __future__ import annotations

from statistics import median
from time import perf_counter

from expectations.gate import inspect
from ingest import promotion
from ingest.landing import land
from ingest.sources.synthetic import synthetic_batch
from titan.core.batch import Batch
from titan.core.clock import Clock, find_session
from titan.core.database import Connection, connect
from titan.core.timeframes import TIMEFRAMES
from titan.server.migrate import migrate

ROUNDS = 5


def main() -> None:
    """Print medians over the rounds, and the median of the ratios within each round."""
    import expectations.suites  # noqa: F401  # the process is warm

    migrate()
    for series, bars, fresh in ((20, 50_000, True), (20, 1, False)):
        batch = synthetic_batch(symbol_count=series, bar_count=bars, timeframe="1m")
        gated, promoted = [], []
        with connect() as connection:
            promotion.promote(connection, batch)
            for _ in range(ROUNDS):
                if fresh:
                    connection.execute(
                        "truncate raw.ohlcv, raw.ohlcv_revision, raw.observed, raw.load_batch, ops.gate_result, ops.change"
                    )
                    connection.commit()
                gated.append(_gate(connection, batch))
                begun = perf_counter()
                promotion.promote(connection, batch)
                promoted.append(perf_counter() - begun)
        ratio = median(gate / (whole - gate) for gate, whole in zip(gated, promoted, strict=True))
        what = "fresh" if fresh else "known already"
        print(f"gate, {len(batch.candles):,} landed rows, {what}, medians of {ROUNDS} rounds")
        print(f"  gate              {median(gated):6.3f} s")
        remark = f"; the gate takes {ratio:.2f} of that" if fresh else ""
        print(f"  load without it   {median(promoted) - median(gated):6.3f} s{remark}")


def _gate(connection: Connection, batch: Batch) -> float:
    """Seconds of the gate alone, over rows that have just landed."""
    with connection.transaction(force_rollback=True):
        connection.execute("set local work_mem = '256MB'")
        clock = Clock(TIMEFRAMES[batch.market.timeframe], find_session(connection, batch.market.exchange))
        land(connection, batch.candles)
        begun = perf_counter()
        inspect(connection, batch, clock)
        return perf_counter() - begun
