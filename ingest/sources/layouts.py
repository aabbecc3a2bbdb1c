"""Files without a header: a table of known layouts, told by what their columns hold.

Every role demands a proof of its column's values. A layout is out as soon as one column contradicts its role; a file is read
only when the layouts that are left agree on every price and volume. Another layout is one more line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingest.batch import PRICE_COLUMNS
from ingest.sources.times import MISSING, infer_timeframe, read_times
from titan.errors import SourceError

Numbers = npt.NDArray[np.float64]


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


def prove_layout(columns: Sequence[pa.Array], where: str) -> tuple[dict[str, int], str]:
    """Position of each role, and whose layout it is.

    Raises SourceError where no known layout holds, or several do that read the values differently.
    """
    data = _Data(columns, where)
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


def _extras(data: _Data, position: dict[str, int]) -> bytes:
    return repr([position.get(role) for role in ("quote_volume", "trade_count")]).encode()


class _Data:
    """The columns as numbers, NaN where a text is none."""

    def __init__(self, columns: Sequence[pa.Array], where: str) -> None:
        self._columns, self._where = columns, where
        self._numbers: dict[int, Numbers] = {}

    def numbers(self, at: int) -> Numbers:
        """The values of a column."""
        if at not in self._numbers:
            column = pa.compute.utf8_trim_whitespace(self._columns[at])
            try:
                values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
            except pa.ArrowInvalid:
                values = np.array([_number(text) for text in column.to_pylist()])
            self._numbers[at] = values
        return self._numbers[at]

    def times(self, at: int) -> npt.NDArray[np.int64]:
        """The instants of a column, MISSING where a text is none."""
        return read_times(self._columns[at].to_pandas().astype("str"), self._where).values

    def all_match(self, at: int, pattern: str) -> bool:
        """Whether nearly all texts of a column are of a form."""
        texts = pa.compute.utf8_trim_whitespace(self._columns[at])
        return _nearly_all(pa.compute.match_substring_regex(texts, f"^({pattern})$").to_numpy(zero_copy_only=False))

    def traded(self, position: dict[str, int]) -> tuple[Numbers, npt.NDArray[np.bool_]]:
        """The volume, and where there is some."""
        volume = self.numbers(position["volume"])
        return volume, volume > 0


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _nearly_all(holds: npt.NDArray[np.bool_]) -> bool:
    """In 19 of 20 rows: a bad row is for the gate to find, not for a layout to fail by."""
    return bool(np.mean(holds) >= 0.95) if len(holds) else True


def _is_time(data: _Data, position: dict[str, int], at: int) -> bool:
    times = data.times(at)
    known = times != MISSING
    steps = infer_timeframe(times, np.zeros(len(times), dtype="i2"))
    return _nearly_all(known) and (len(np.unique(times[known])) <= 2 or steps is not None)


def _is_highest(data: _Data, position: dict[str, int], at: int) -> bool:
    others = [data.numbers(position[name]) for name in PRICE_COLUMNS]
    return _nearly_all(data.numbers(at) >= np.maximum.reduce(others))


def _is_lowest(data: _Data, position: dict[str, int], at: int) -> bool:
    others = [data.numbers(position[name]) for name in PRICE_COLUMNS]
    return _nearly_all(data.numbers(at) <= np.minimum.reduce(others))


def _moves_like_prices(data: _Data, position: dict[str, int], at: int) -> bool | None:
    """Whether a column goes up and down as the close does, like an adjusted close; None where the close stands still."""
    with np.errstate(divide="ignore", invalid="ignore"):
        of_close = np.diff(np.log(data.numbers(position["close"])))
        of_column = np.diff(np.log(data.numbers(at)))
    moves = np.isfinite(of_close) & (np.abs(of_close) > 1e-6)
    if moves.sum() < 5:
        return None
    apart = np.abs(of_column - of_close)[moves]
    return bool(np.median(np.where(np.isfinite(apart), apart, np.inf)) <= 0.2 * np.median(np.abs(of_close[moves])))


def _is_volume(data: _Data, position: dict[str, int], at: int) -> bool:
    is_alone = len(position) <= 6
    return _nearly_all(~(data.numbers(at) < 0)) and (is_alone or _moves_like_prices(data, position, at) is not True)


def _is_adjusted_close(data: _Data, position: dict[str, int], at: int) -> bool:
    return _moves_like_prices(data, position, at) is not False


def _is_close_time(data: _Data, position: dict[str, int], at: int) -> bool:
    length = data.times(at) - data.times(position["opened_at"])
    ordinary = float(np.median(length))
    return ordinary > 0 and _nearly_all(np.abs(length - ordinary) <= 0.2 * ordinary)


def _is_per_unit(data: _Data, position: dict[str, int], values: Numbers) -> bool:
    """Whether values lie between low and high, where something was traded; a hundredth is left for rounding."""
    _, has_traded = data.traded(position)
    low, high = data.numbers(position["low"]) * 0.99, data.numbers(position["high"]) * 1.01
    return _nearly_all(((values >= low) & (values <= high))[has_traded])


def _is_quote_volume(data: _Data, position: dict[str, int], at: int) -> bool:
    volume, has_traded = data.traded(position)
    with np.errstate(divide="ignore", invalid="ignore"):
        price = data.numbers(at) / volume
    return _is_per_unit(data, position, price) and _nearly_all((data.numbers(at) == 0)[~has_traded])


def _is_vwap(data: _Data, position: dict[str, int], at: int) -> bool:
    return _is_per_unit(data, position, data.numbers(at))


def _is_count(data: _Data, position: dict[str, int], at: int) -> bool:
    count = data.numbers(at)
    _, has_traded = data.traded(position)
    return _nearly_all((count >= 0) & (count == np.floor(count))) and _nearly_all((count > 0) == has_traded)


def _is_open_interest(data: _Data, position: dict[str, int], at: int) -> bool:
    return _nearly_all(data.numbers(at) == 0)  # told from a count of trades by that alone


def _is_date(data: _Data, position: dict[str, int], at: int) -> bool:
    return data.all_match(at, r"\d{4}[.-]\d{1,2}[.-]\d{1,2}|\d{1,2}/\d{1,2}/\d{2,4}|\d{8}")


def _is_clock(data: _Data, position: dict[str, int], at: int) -> bool:
    return data.all_match(at, r"\d{1,2}:\d{2}(:\d{2})?")


_PROOFS: dict[str, Callable[[_Data, dict[str, int], int], bool]] = {
    "opened_at": _is_time,
    "date": _is_date,
    "clock": _is_clock,
    "high": _is_highest,
    "low": _is_lowest,
    "volume": _is_volume,
    "closed_at": _is_close_time,
    "quote_volume": _is_quote_volume,
    "trade_count": _is_count,
    "adjusted_close": _is_adjusted_close,
    "vwap": _is_vwap,
    "open_interest": _is_open_interest,
}
