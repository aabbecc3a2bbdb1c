"""Texts to numbers: plain ones, and the other ways of writing them where they cannot be mistaken."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from titan.core.errors import SourceError

_CURRENCY = r"[$€£¥₿\x{00a0}\x{202f}]"
_SCALED = r"^([+-]?[0-9.]+)([KMBT])$"
_EXPONENTS = {"K": 3, "M": 6, "B": 9, "T": 12}
# With a comma between thousands, and with a comma before the fraction; what may be either proves neither.
_POINT = re.compile(r"[+-]?(\d{1,3}(,\d{3})+\.\d*|\d{1,3}(,\d{3}){2,})")
_COMMA = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+,\d+|\d{1,3}(\.\d{3}){2,}|\d{4,},\d+|\d*,(\d{1,2}|\d{4,})|0+,\d+)")
_EITHER = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
_FRACTION = re.compile(r"[+-]?\d*\.(\d{1,2}|\d{4,})")
_HINT = "write numbers as 1234.5"


@dataclass(frozen=True)
class Style:
    """How the numbers of a file are written. A comma divides `thousands`, begins the `fraction`, or does `neither`."""

    comma: str = "neither"
    notes: tuple[str, ...] = ()


PLAIN = Style()


def style_of(odd: Sequence[pa.Array], plain: Sequence[pa.Array], where: str) -> Style:
    """The style that the columns prove that are not written plainly, beside those that are. Raises SourceError for one that
    can be read in two ways.
    """
    odd = [_trimmed(column) for column in odd]
    notes: list[str] = []
    currencies = {found[0] for column in odd for text in _distinct(column) if (found := re.search(r"[$€£¥₿]", text))}
    if len(currencies) > 1:
        raise SourceError(f"{where}: prices in {' and '.join(sorted(currencies))}", hint="split the file by currency")
    notes += [f"{next(iter(currencies))} is left off"] if currencies else []
    scaled = [text for column in odd for text in _distinct(column) if re.fullmatch(_SCALED, text)]
    notes += [f"{scaled[0]!r} is a number that its source has rounded"] if scaled else []
    bare = [_bare(column) for column in odd]
    points = [text for column in bare for text in _distinct(column) if _POINT.fullmatch(text)]
    commas = [text for column in bare for text in _many(column, _COMMA)]
    either = [text for column in bare for text in _many(column, _EITHER)]
    if points and commas:
        raise SourceError(f"{where}: numbers written in two ways: {points[0]!r} and {commas[0]!r}", hint=_HINT)
    fraction = next((text for column in bare for text in _distinct(column) if _FRACTION.fullmatch(text)), None)
    if commas:
        dotted = [text for column in plain for text in _dotted(column)]
        if other := fraction or next(iter(dotted), None):
            raise SourceError(f"{where}: numbers written in two ways: {commas[0]!r} and {other!r}", hint=_HINT)
        return Style("fraction", (*notes, f"a comma begins the fraction, as in {commas[0]!r}"))
    if points or (fraction and either):
        return Style("thousands", (*notes, f"a comma divides thousands, as in {(points or either)[0]!r}"))
    if either:
        raise SourceError(f"{where}: {either[0]!r} is a thousand and some, or one and a fraction", hint=_HINT)
    return Style(notes=tuple(notes))


def read_plain(column: pa.Array) -> npt.NDArray[np.float64] | None:
    """The numbers of a column that is written plainly, else None."""
    return _cast(_trimmed(column))


def read_numbers(
    column: pa.Array, style: Style = PLAIN, plain: npt.NDArray[np.float64] | None = None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Correctly rounded doubles, and which texts are none. NaN and infinities are numbers here; predicates judge them.

    12.3K is twelve thousand three hundred. A text that is not zero and too small for a double is none: it would silently
    become zero. `plain` is what `read_plain` found already.
    """
    texts = _trimmed(column)
    values = _cast(texts) if plain is None else plain
    if values is None:
        texts = _restyled(texts, style)
        values = _cast(texts)
    is_bad = np.zeros(len(column), dtype=bool)
    if values is None:
        values = np.zeros(len(column))
        for at, text in enumerate(texts.to_pylist()):
            try:
                values[at] = float("" if "_" in text else text)
            except ValueError:
                is_bad[at] = True
    for at in np.flatnonzero((values == 0) & ~is_bad).tolist():
        is_bad[at] = any(digit in "123456789" for digit in str(texts[at]).lower().split("e")[0])
    return values, is_bad


def read_counts(column: pa.Array, style: Style = PLAIN) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Whole numbers, exactly, and which texts are none; `12.0` is one, as pandas writes it."""
    trimmed = _trimmed(column)
    try:
        return trimmed.cast(pa.int64()).to_numpy(zero_copy_only=False), np.zeros(len(column), dtype=bool)
    except pa.ArrowInvalid:
        values, is_bad = read_numbers(column, style)
        is_bad |= ~(np.abs(values) < 2**53) | (values != np.floor(values))
        return np.where(is_bad, 0, values).astype("i8"), is_bad


def _trimmed(column: pa.Array) -> pa.Array:
    return pa.compute.utf8_trim_whitespace(column)


def _cast(texts: pa.Array) -> npt.NDArray[np.float64] | None:
    try:
        values: npt.NDArray[np.float64] = texts.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return None
    return values


def _bare(texts: pa.Array) -> pa.Array:
    """Without signs of a currency, the spaces that some put between thousands, and the letter of a scale."""
    return pa.compute.replace_substring_regex(pa.compute.replace_substring_regex(texts, _CURRENCY, ""), r"[KMBT]$", "")


def _distinct(texts: pa.Array) -> list[str]:
    return [text for text in pa.compute.unique(texts).to_pylist() if text]


def _many(texts: pa.Array, pattern: re.Pattern[str]) -> list[str]:
    """The texts of a form, if they are no exception in their column: a bad row proves nothing of the others."""
    is_found = pa.compute.match_substring_regex(texts, f"^({pattern.pattern})$")
    is_found = is_found.to_numpy(zero_copy_only=False).astype(bool)
    return texts.filter(pa.array(is_found)).to_pylist()[:1] if len(texts) and np.mean(is_found) >= _NO_EXCEPTION else []


_NO_EXCEPTION = 0.2


def _dotted(texts: pa.Array) -> list[str]:
    found = pa.compute.match_substring(texts, ".")
    return [str(text) for text in texts.filter(found).to_pylist()[:1]]


def _restyled(texts: pa.Array, style: Style) -> pa.Array:
    """The texts as a program would write them; what does not fit the style stays as it is, and is no number."""
    texts = pa.compute.replace_substring_regex(texts, _CURRENCY, "")
    if style.comma == "thousands":
        is_grouped = pa.compute.match_substring_regex(texts, r"^[+-]?\d{1,3}(,\d{3})+(\.\d*)?[KMBT]?$")
        texts = pa.compute.if_else(is_grouped, pa.compute.replace_substring(texts, ",", ""), texts)
    if style.comma == "fraction":
        is_grouped = pa.compute.match_substring_regex(texts, r"^[+-]?(\d{1,3}(\.\d{3})+|\d*)(,\d+)?[KMBT]?$")
        plain = pa.compute.replace_substring(pa.compute.replace_substring(texts, ".", ""), ",", ".")
        texts = pa.compute.if_else(is_grouped, plain, pa.compute.replace_substring(texts, ".", ","))
    for letter, exponent in _EXPONENTS.items():
        texts = pa.compute.replace_substring_regex(texts, _SCALED.replace("[KMBT]", letter), rf"\1e{exponent}")
    return texts
