"""What a column must hold to be what it is taken for: a highest price, a volume in quote currency, a count of trades."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingest.sources.numbers import PLAIN, read_numbers, read_plain, style_of
from ingest.sources.times import MISSING, infer_timeframe, read_times
from titan.core.batch import PRICE_COLUMNS

Numbers = npt.NDArray[np.float64]


class Data:
    """The columns as numbers and times; each column of numbers is read once."""

    def __init__(self, columns: list[pa.Array], where: str) -> None:
        self.columns, self.where = columns, where
        self.style = PLAIN
        self._read: dict[int, tuple[Numbers, npt.NDArray[np.bool_]]] = {}

    def prove_style(self, positions: Sequence[int]) -> None:
        """Find the style in which the numbers of these columns are written."""
        plain = {at: values for at in positions if (values := read_plain(self.columns[at])) is not None}
        odd = [self.columns[at] for at in positions if at not in plain]
        if odd:
            self.style = style_of(odd, [self.columns[at] for at in plain], self.where)
        self._read = {at: read_numbers(self.columns[at], plain=values) for at, values in plain.items()}

    def first_numbers(self, at: int, most: int) -> Numbers:
        """The values of the first rows of a column, NaN where a text is none."""
        values, is_bad = read_numbers(self.columns[at][:most], self.style)
        return np.where(is_bad, np.nan, values)

    def read(self, at: int) -> tuple[Numbers, npt.NDArray[np.bool_]]:
        """The values of a column, and which texts are none."""
        if at not in self._read:
            self._read[at] = read_numbers(self.columns[at], self.style)
        return self._read[at]

    def numbers(self, at: int) -> Numbers:
        """The values of a column, NaN where a text is none."""
        values, is_bad = self.read(at)
        return np.where(is_bad, np.nan, values) if is_bad.any() else values

    def append(self, texts: Sequence[str]) -> int:
        """Add a column that is made of others; returns its position."""
        self.columns.append(pa.array(texts, pa.string()))
        return len(self.columns) - 1

    def times(self, at: int, most: int | None = None) -> npt.NDArray[np.int64]:
        """The instants of a column, or of its first rows, MISSING where a text is none."""
        return read_times(self.columns[at][:most].to_pandas().astype("str"), self.where).values

    def all_match(self, at: int, pattern: str) -> bool:
        """Whether nearly all texts of a column are of a form."""
        texts = pa.compute.utf8_trim_whitespace(self.columns[at])
        return nearly_all(pa.compute.match_substring_regex(texts, f"^({pattern})$").to_numpy(zero_copy_only=False))

    def traded(self, position: dict[str, int]) -> tuple[Numbers, npt.NDArray[np.bool_]]:
        """The volume, and where there is some."""
        volume = self.numbers(position["volume"])
        return volume, volume > 0


def nearly_all(holds: npt.NDArray[np.bool_]) -> bool:
    """In 19 of 20 rows: a bad row is for the gate to find, not for a layout to fail by."""
    return bool(np.mean(holds) >= 0.95) if len(holds) else True


def is_time(data: Data, position: dict[str, int], at: int) -> bool:
    times = data.times(at)
    known = times != MISSING
    steps = infer_timeframe(times, np.zeros(len(times), dtype="i2"))
    return nearly_all(known) and (len(np.unique(times[known])) <= 2 or steps is not None)


def is_highest(data: Data, position: dict[str, int], at: int) -> bool:
    others = [data.numbers(position[name]) for name in PRICE_COLUMNS]
    return nearly_all(data.numbers(at) >= np.maximum.reduce(others))


def is_lowest(data: Data, position: dict[str, int], at: int) -> bool:
    others = [data.numbers(position[name]) for name in PRICE_COLUMNS]
    return nearly_all(data.numbers(at) <= np.minimum.reduce(others))


def moves_like_prices(data: Data, position: dict[str, int], at: int) -> bool | None:
    """Whether a column goes up and down as the close does, like an adjusted close; None where the close stands still."""
    with np.errstate(divide="ignore", invalid="ignore"):
        of_close = np.diff(np.log(data.numbers(position["close"])))
        of_column = np.diff(np.log(data.numbers(at)))
    moves = np.isfinite(of_close) & (np.abs(of_close) > 1e-6)
    if moves.sum() < 5:
        return None
    apart = np.abs(of_column - of_close)[moves]
    return bool(np.median(np.where(np.isfinite(apart), apart, np.inf)) <= 0.2 * np.median(np.abs(of_close[moves])))


def is_volume(data: Data, position: dict[str, int], at: int) -> bool:
    is_alone = len(position) <= 6
    return nearly_all(~(data.numbers(at) < 0)) and (is_alone or moves_like_prices(data, position, at) is not True)


def is_adjusted_close(data: Data, position: dict[str, int], at: int) -> bool:
    return moves_like_prices(data, position, at) is not False


def is_close_time(data: Data, position: dict[str, int], at: int) -> bool:
    length = data.times(at) - data.times(position["opened_at"])
    ordinary = float(np.median(length))
    return ordinary > 0 and nearly_all(np.abs(length - ordinary) <= 0.2 * ordinary)


def is_per_unit(data: Data, position: dict[str, int], values: Numbers) -> bool:
    """Whether values lie between low and high, where something was traded; a hundredth is left for rounding."""
    _, has_traded = data.traded(position)
    low, high = data.numbers(position["low"]) * 0.99, data.numbers(position["high"]) * 1.01
    return nearly_all(((values >= low) & (values <= high))[has_traded])


def is_quote_volume(data: Data, position: dict[str, int], at: int) -> bool:
    volume, has_traded = data.traded(position)
    with np.errstate(divide="ignore", invalid="ignore"):
        price = data.numbers(at) / volume
    return is_per_unit(data, position, price) and nearly_all((data.numbers(at) == 0)[~has_traded])


def is_vwap(data: Data, position: dict[str, int], at: int) -> bool:
    return is_per_unit(data, position, data.numbers(at))


def is_count(data: Data, position: dict[str, int], at: int) -> bool:
    count = data.numbers(at)
    _, has_traded = data.traded(position)
    return nearly_all((count >= 0) & (count == np.floor(count))) and nearly_all((count > 0) == has_traded)


def is_open_interest(data: Data, position: dict[str, int], at: int) -> bool:
    return nearly_all(data.numbers(at) == 0)  # told from a count of trades by that alone


def is_date(data: Data, position: dict[str, int], at: int) -> bool:
    return data.all_match(at, r"\d{4}[./-]\d{1,2}[./-]\d{1,2}|\d{1,2}\.\d{1,2}\.\d{2,4}|\d{1,2}/\d{1,2}/\d{2,4}|\d{8}")


def is_clock(data: Data, position: dict[str, int], at: int) -> bool:
    return data.all_match(at, r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?[AaPp][Mm])?|([01]?\d|2[0-3])[0-5]\d([0-5]\d)?")
