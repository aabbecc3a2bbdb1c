"""Files without a header: a table of known layouts, told by what their columns hold.

Every role demands a proof of its column's values. A layout is out as soon as one column contradicts its role; a file is read
only when the layouts that are left agree on every price and volume. Another layout is one more line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ingest.sources.proofs import (
    Data,
    is_adjusted_close,
    is_clock,
    is_close_time,
    is_count,
    is_date,
    is_highest,
    is_lowest,
    is_open_interest,
    is_quote_volume,
    is_time,
    is_volume,
    is_vwap,
)
from titan.core.batch import PRICE_COLUMNS
from titan.core.errors import SourceError


@dataclass(frozen=True)
class Layout:
    """What a source writes, column by column; a file may leave off columns after the `shortest` first ones."""

    source: str
    roles: tuple[str, ...]
    shortest: int

    def cut(self, count: int) -> tuple[str, ...] | None:
        """The roles of a file of that many columns, or None."""
        return self.roles[:count] if self.shortest <= count <= len(self.roles) else None


def _layout(source: str, roles: str, shortest: int | None = None) -> Layout:
    names = tuple(roles.split())
    return Layout(source, names, shortest or len(names))


_KLINES = "opened_at open high low close volume closed_at quote_volume trade_count taker_volume taker_quote_volume ignored"

LAYOUTS = (
    _layout("Binance's klines", _KLINES, 6),
    _layout("Bitfinex's candles", "opened_at open close high low volume"),
    _layout("Coinbase's candles", "opened_at low high open close volume"),
    _layout("Kraken's OHLCVT", "opened_at open high low close volume trade_count"),
    _layout("Kraken's candles", "opened_at open high low close vwap volume trade_count"),
    _layout("Bybit's candles", "opened_at open high low close volume quote_volume"),
    _layout("KuCoin's candles", "opened_at open close high low volume quote_volume"),
    _layout("Yahoo's days", "opened_at open high low close adjusted_close volume"),
    _layout("Yahoo's old days", "opened_at open high low close volume adjusted_close"),
    _layout("MetaTrader's bars", "date clock open high low close volume"),
    _layout("days with open interest", "opened_at open high low close volume open_interest"),
)


def prove_layout(data: Data) -> tuple[dict[str, int], str]:
    """Position of each role, and whose layout it is.

    Raises SourceError where no known layout holds, or several do that read the values differently.
    """
    columns, where = data.columns, data.where
    found: dict[tuple[bytes, ...], tuple[dict[str, int], str]] = {}
    for layout in LAYOUTS:
        roles = layout.cut(len(columns))
        if roles is None:
            continue
        position = {role: at for at, role in enumerate(roles)}
        if all(_PROOFS[role](data, position, at) for role, at in position.items() if role in _PROOFS):
            reading = tuple(data.numbers(position[role]).tobytes() for role in (*PRICE_COLUMNS, "volume"))
            found.setdefault((*reading, _extras(data, position)), (position, layout.source))
    if len(found) == 1:
        return next(iter(found.values()))
    first = ", ".join(str(column[0]) for column in columns)
    hint = "add a header that names the columns: timestamp,open,high,low,close,volume"
    if not found:
        raise SourceError(
            f"{where}: no header line, and {len(columns)} fields that hold no known layout, e.g. {first}", hint=hint
        )
    names = ", ".join(source for _, source in found.values())
    raise SourceError(f"{where}: no header line, and its columns could be {names}, e.g. {first}", hint=hint)


def _extras(data: Data, position: dict[str, int]) -> bytes:
    return repr([position.get(role) for role in ("quote_volume", "trade_count")]).encode()


_PROOFS: dict[str, Callable[[Data, dict[str, int], int], bool]] = {
    "opened_at": is_time,
    "date": is_date,
    "clock": is_clock,
    "high": is_highest,
    "low": is_lowest,
    "volume": is_volume,
    "closed_at": is_close_time,
    "quote_volume": is_quote_volume,
    "trade_count": is_count,
    "adjusted_close": is_adjusted_close,
    "vwap": is_vwap,
    "open_interest": is_open_interest,
}
