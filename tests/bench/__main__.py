"""Run the benchmarks named on the command line, or all of them, on an embedded server of their own."""

from __future__ import annotations

import logging
import sys

from tests.bench import (
    assets,
    backfill,
    backtest,
    backup,
    bars,
    crashes,
    export,
    features,
    gate,
    gateway,
    kills,
    live,
    promotion,
    refresh,
    traces,
    upgrades,
    watch,
)
from tests.servers import temporary_server

BENCHMARKS = {
    "promotion": promotion.main,
    "gate": gate.main,
    "bars": bars.main,
    "refresh": refresh.main,
    "watch": watch.main,
    "traces": traces.main,
    "backfill": backfill.main,
    "kills": kills.main,
    "crashes": crashes.main,
    "live": live.main,
    "backup": backup.main,
    "upgrades": upgrades.main,
    "gateway": gateway.main,
    "export": export.main,
    "assets": assets.main,
    "features": features.main,
    "backtest": backtest.main,
}


def main() -> int:
    """Run and print; returns the exit code."""
    wanted = sys.argv[1:] or list(BENCHMARKS)
    if unknown := [name for name in wanted if name not in BENCHMARKS]:
        print(f"unknown benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    logging.disable(logging.INFO)  # figures alone
    for name in wanted:
        with temporary_server(is_durable=True):
            BENCHMARKS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
