"""Rows in quarantine that become candles after all: corrected, judged again, promoted."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ingest.promotion import promote
from ingest.quarantine import Selection, open_rows, resolve
from titan.core.batch import EPOCH, NULLABLE_COLUMNS, PRICE_COLUMNS, Batch, Market, empty_candles
from titan.core.database import Connection
from titan.core.errors import UsageError

FIELDS = ("opened_at", *PRICE_COLUMNS, "volume", *NULLABLE_COLUMNS)
_REQUIRED = ("opened_at", *PRICE_COLUMNS, "volume")


@dataclass
class Released:
    """What became of the rows to be released: promoted as candles of `batches`, or still bad, with the reason."""

    released: list[int] = field(default_factory=list)
    still_bad: list[tuple[int, str]] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)


def release(connection: Connection, selection: Selection, corrections: dict[str, str]) -> Released:
    """Send the rows through the gate again, with corrected values if any; those that are good now become candles.

    One transaction: a row is promoted and marked as released, or neither. Raises UsageError when an id is not that of an
    open row or a correction cannot be read.
    """
    values = {name: _read(name, text) for name, text in corrections.items()}
    done = Released()
    with connection.transaction():
        groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for row in sorted(open_rows(connection, selection), key=lambda row: row["quarantine_id"]):
            if why := _missing(row, values):
                done.still_bad.append((row["quarantine_id"], why))
                continue
            market = tuple(row[name] or "" for name in ("exchange", "market_type", "timeframe", "session_id"))
            groups.setdefault(market, []).append(row)
        for rows in groups.values():
            batch = _batch(rows, values)
            promoted = promote(connection, batch)
            failed = promoted.turned_away
            done.still_bad += failed.items()
            released = [row["quarantine_id"] for row in rows if row["quarantine_id"] not in failed]
            resolve(connection, released, "released", promoted.batch_id)
            done.released += released
            done.batches.append(promoted.batch_id)
    return done


def _read(name: str, text: str) -> int | float:
    """A corrected value as the landing takes it."""
    if name not in FIELDS:
        raise UsageError(f"--set {name}: a candle has no such value", hint=f"it has {', '.join(FIELDS)}")
    try:
        if name == "opened_at":
            moment = datetime.fromisoformat(text)
            return (moment.replace(tzinfo=moment.tzinfo or UTC) - EPOCH) // timedelta(microseconds=1)
        return _count(text) if name == "trade_count" else float(text)
    except ValueError as error:
        what = "a UTC time such as 2020-01-01T12:00" if name == "opened_at" else "a number"
        raise UsageError(f"--set {name}={text}: this is not {what}") from error


def _count(text: str) -> int:
    if abs(count := int(text)) >= 2**63:
        raise ValueError(text)
    return count


def _missing(row: dict[str, Any], corrections: dict[str, int | float]) -> str | None:
    """Why a row cannot become a candle as it stands, if so: what is unreadable and was not given."""
    if not row["symbol"]:
        return "no symbol is known of it: correct the file and load it again"
    stored = row["candle"] or dict.fromkeys(_REQUIRED)
    if unread := [name for name, value in stored.items() if value is None and name not in corrections]:
        return f"no readable {', '.join(unread)}; give {' '.join(f'--set {name}=…' for name in unread)}"
    return None


def _batch(rows: list[dict[str, Any]], corrections: dict[str, int | float]) -> Batch:
    """Rows of one market as candles again; a row's number is its id in quarantine."""
    symbols = sorted({row["symbol"] or "" for row in rows})
    candles = empty_candles(len(rows))
    for at, row in enumerate(rows):
        stored = row["candle"] or dict.fromkeys(_REQUIRED)
        values = {name: _read(name, str(value)) for name, value in stored.items() if value is not None} | corrections
        candles[at]["row_number"] = row["quarantine_id"]
        candles[at]["series"] = symbols.index(row["symbol"] or "")
        for name, value in values.items():
            candles[at][name] = value
            if name in NULLABLE_COLUMNS:
                candles[at][f"has_{name}"] = True
    records = {row["quarantine_id"]: row["record"] for row in rows}
    first = rows[0]
    return Batch(
        source="release",
        origin=f"quarantine {', '.join(str(row) for row in list(records)[:5])}{' …' if len(records) > 5 else ''}",
        market=Market(first["exchange"], first["market_type"], first["timeframe"], first["session_id"]),
        symbols=symbols,
        candles=candles,
        rows_read=len(rows),
        record_of=records.__getitem__,
        as_of=datetime.now(UTC),
        details={"quarantine_ids": list(records), "corrections": {name: str(value) for name, value in corrections.items()}},
        is_piecemeal=True,
    )
