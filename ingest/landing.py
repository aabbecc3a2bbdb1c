"""Parsed candles to a temporary table by binary COPY, packed by numpy: no Python object per value."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from titan.core.batch import Candles
from titan.core.database import Connection

LANDING = """
create temporary table if not exists landing (
    row_number bigint not null,
    series smallint not null,
    opened_at timestamptz not null,
    open double precision not null,
    high double precision not null,
    low double precision not null,
    close double precision not null,
    volume double precision not null,
    quote_volume double precision,
    trade_count bigint
) on commit delete rows
"""

COPY_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
COPY_TRAILER = b"\xff\xff"
POSTGRES_EPOCH = 946_684_800_000_000  # 2000-01-01, in microseconds since 1970-01-01
ROWS_PER_WRITE = 65_536

_FIELDS = (
    ("row_number", ">i8"),
    ("series", ">i2"),
    ("opened_at", ">i8"),
    ("open", ">f8"),
    ("high", ">f8"),
    ("low", ">f8"),
    ("close", ">f8"),
    ("volume", ">f8"),
    ("quote_volume", ">f8"),
    ("trade_count", ">i8"),
)


def land(connection: Connection, candles: Candles) -> None:
    """Copy the candles into the session's `landing` table, in the order of their key: so the index grows at its end."""
    connection.execute(LANDING)
    connection.execute("delete from landing")  # of a batch before in the same transaction
    ordered = candles if _is_ordered(candles) else candles[np.lexsort((candles["opened_at"], candles["series"]))]
    with connection.cursor() as cursor, cursor.copy("copy landing from stdin (format binary)") as copy:
        copy.write(COPY_HEADER)
        for block in _blocks(ordered):
            copy.write(block)
        copy.write(COPY_TRAILER)


def _is_ordered(candles: Candles) -> bool:
    series, opened_at = np.diff(candles["series"]), np.diff(candles["opened_at"])
    return bool(np.all((series > 0) | ((series == 0) & (opened_at >= 0))))


def _blocks(candles: Candles) -> Iterator[bytes]:
    """The rows as COPY wants them. Rows of one pattern of nulls have one width and are packed together."""
    for start in range(0, len(candles), ROWS_PER_WRITE):
        part = candles[start : start + ROWS_PER_WRITE]
        for has_quote_volume in (True, False):
            for has_trade_count in (True, False):
                rows = part[(part["has_quote_volume"] == has_quote_volume) & (part["has_trade_count"] == has_trade_count)]
                if len(rows):
                    nulls = {"quote_volume": not has_quote_volume, "trade_count": not has_trade_count}
                    yield _pack(rows, nulls)


def _pack(rows: Candles, nulls: dict[str, bool]) -> bytes:
    layout: list[tuple[str, str]] = [("field_count", ">i2")]
    for name, kind in _FIELDS:
        layout.append((f"{name}_length", ">i4"))
        if not nulls.get(name, False):
            layout.append((name, kind))
    packed = np.empty(len(rows), dtype=layout)
    packed["field_count"] = len(_FIELDS)
    for name, kind in _FIELDS:
        if nulls.get(name, False):
            packed[f"{name}_length"] = -1
            continue
        packed[f"{name}_length"] = np.dtype(kind).itemsize
        packed[name] = rows[name] - POSTGRES_EPOCH if name == "opened_at" else rows[name]
    return packed.tobytes()
