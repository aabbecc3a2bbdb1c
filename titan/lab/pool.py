"""Which instruments a run goes over, and which may not stand in one portfolio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from titan.core.database import Connection, records, statement
from titan.core.errors import UsageError, some
from titan.lab.spec import RunSpec


def instruments_of(connection: Connection, spec: RunSpec) -> list[int]:
    """Those that are meant and have bars in the range. Raises UsageError where there are none."""
    rows = records(
        connection,
        statement("titan.lab.sql", "instruments_in_range"),
        {
            "timeframe": spec.timeframe, "symbols": list(spec.symbols) or None, "exchange": spec.exchange,
            "market": spec.market,
        },
    )  # fmt: skip
    missing = sorted(set(spec.symbols) - {row["symbol"] for row in rows})
    if missing or not rows:
        asked = [name for name in (spec.exchange, spec.market) if name]
        what = " ".join([*asked, ", ".join(missing)] if missing else asked) or "any instrument"
        raise UsageError(f"there are no bars of {spec.timeframe} of {what}", hint="titan status tells what there is")
    within = [
        row["instrument_id"]
        for row in rows
        if not (spec.since and row["closed_at"] <= spec.since) and not (spec.until and row["opened_at"] >= spec.until)
    ]
    if not within:
        first, last = min(row["opened_at"] for row in rows), max(row["closed_at"] for row in rows)
        raise UsageError(f"no bar lies in that range; there are bars from {first:%Y-%m-%d} to {last:%Y-%m-%d}")
    return within


def pool(connection: Connection, spec: RunSpec) -> tuple[list[int], list[str]]:
    """The instruments that are meant and may stand in one portfolio, and the names of those with fewer than two bars.

    Raises UsageError where they may not: synthetic ones beside real ones, sessions whose bars do not close together, one
    symbol of several sources or markets, or one that was named and has no two bars.
    """
    rows = records(
        connection,
        statement("titan.lab.sql", "pool"),
        {
            "instruments": instruments_of(connection, spec), "timeframe": spec.timeframe, "since": spec.since,
            "until": spec.until,
        },
    )  # fmt: skip
    few = [row for row in rows if row["bars"] < 2]
    names = [row["name"] for row in few]
    if few and (spec.symbols or len(few) == len(rows)):
        bars = "one bar" if any(row["bars"] for row in few) else "no bar"
        raise UsageError(
            f"{bars} of {spec.timeframe} lies in that range of {some(names)}: there is nothing to trade",
            hint="titan status tells what there is",
        )
    kept = [row for row in rows if row["bars"] == 2]
    _refuse_mixture(kept)
    return sorted(row["instrument_id"] for row in kept), names


def _refuse_mixture(rows: Sequence[dict[str, Any]]) -> None:
    """Refuse what no one would put into one portfolio."""
    from ingest.sources.synthetic import EXCHANGE as SYNTHETIC

    real = [row["name"] for row in rows if row["exchange"] != SYNTHETIC]
    if 0 < len(real) < len(rows):
        invented = some([row["name"] for row in rows if row["exchange"] == SYNTHETIC])
        raise UsageError(
            f"{invented} is not real, {some(real)} is: what came of both would be neither",
            hint=f"--exchange {SYNTHETIC} takes the one kind, --exchange or --symbols the other",
        )
    sessions = sorted({row["session_id"] for row in rows})
    if len(sessions) > 1:
        raise UsageError(
            f"the instruments keep different hours ({', '.join(sessions)}): their bars do not close together",
            hint="take each kind by itself, with --exchange, --market or --symbols",
        )
    of_symbol: dict[str, list[str]] = {}
    for row in rows:
        of_symbol.setdefault(row["symbol"], []).append(row["name"])
    for symbol, names in of_symbol.items():
        if len(names) > 1:
            raise UsageError(
                f"{symbol} is {len(names)} instruments: {some(names)}", hint="--exchange and --market say which is meant"
            )
