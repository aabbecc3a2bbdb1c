"""Files of splits and dividends: CSV in three layouts, and Yahoo's chart format."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from ingest.sources import yahoo
from ingest.sources.containers import open_pieces
from titan.core.errors import SourceError

LAYOUTS = (
    "ex_date,kind,value (kind split or dividend; value is the ratio or the cash amount; price_factor and known_at may "
    "follow), date,dividends,stock splits, or date,price_factor,split_factor without a header"
)


@dataclass(frozen=True)
class Adjustment:
    """One corporate action; of `ratio`, `amount` and `price_factor` exactly one is given (see raw.adjustment)."""

    ex_date: date
    kind: str
    ratio: float | None = None
    amount: float | None = None
    price_factor: float | None = None
    known_at: datetime | None = None
    symbol: str | None = None


def read_adjustments(path: Path) -> list[Adjustment]:
    """The splits and dividends of a file. Cash of one ex-date is added up.

    Raises SourceError, with the line, for a file that cannot be read whole: none of it is taken then.
    """
    content = open_pieces(path)[0].read()
    if content.lstrip()[:1] == b"{":
        return added_up(list(_of_chart(path, content)))
    try:
        lines = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        rows = [(line, [cell.strip() for cell in row]) for line, row in enumerate(lines, 1) if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path}: {error}", hint="it should be a CSV file, packed or not") from error
    if not rows:
        raise SourceError(f"{path} is empty", hint=f"a file of adjustments has the columns {LAYOUTS}")
    header = [name.lower().replace(" ", "_") for name in rows[0][1]]
    if header[0].isdigit():
        found = list(_factors(path, rows))
    elif {"kind", "value"} <= set(header) or {"kind", "price_factor"} <= set(header):
        found = list(_events(path, header, rows[1:]))
    elif "dividends" in header or "stock_splits" in header:
        found = list(_actions(path, header, rows[1:]))
    else:
        raise SourceError(
            f"{path}: its columns {', '.join(rows[0][1])} are not those of splits and dividends",
            hint=f"a file of adjustments has the columns {LAYOUTS}",
        )
    return added_up(found)


def _of_chart(path: Path, content: bytes) -> Iterator[Adjustment]:
    """What Yahoo's chart tells beside candles."""
    try:
        data = json.loads(content, parse_float=str, parse_int=str)
    except ValueError as error:
        raise SourceError(f"{path}: not readable as JSON ({error})") from error
    if not yahoo.is_chart(data):
        raise SourceError(
            f"{path}: no chart of Yahoo's in this JSON", hint=f"a file of adjustments has the columns {LAYOUTS}"
        )
    for symbol, action in yahoo.actions(str(path), data):
        if isinstance(action, yahoo.Split):
            yield Adjustment(action.ex_date, "split", ratio=float(action.ratio), symbol=symbol)
        else:
            yield Adjustment(action.ex_date, "dividend", amount=float(action.amount), symbol=symbol)


def _events(path: Path, header: list[str], rows: list[tuple[int, list[str]]]) -> Iterator[Adjustment]:
    """One action a line: ex_date, kind, value."""
    for line, row in rows:
        cells = dict(zip(header, row, strict=False))
        ex_date = _date(path, line, cells.get("ex_date") or cells.get("date", ""))
        kind = cells["kind"].lower()
        symbol = cells.get("symbol") or None
        known_at = _moment(path, line, cells["known_at"]) if cells.get("known_at") else None
        if kind == "split":
            yield Adjustment(ex_date, kind, ratio=_positive(path, line, cells["value"]), known_at=known_at, symbol=symbol)
        elif kind == "dividend" and cells.get("price_factor"):
            factor = _positive(path, line, cells["price_factor"])
            if factor >= 1:
                raise _fault(path, line, f"price_factor {factor:g} of a dividend is not below 1")
            yield Adjustment(ex_date, kind, price_factor=factor, known_at=known_at, symbol=symbol)
        elif kind == "dividend":
            yield Adjustment(
                ex_date, kind, amount=_positive(path, line, cells.get("value", "")), known_at=known_at, symbol=symbol
            )
        else:
            raise _fault(path, line, f"kind {cells['kind']!r} is neither split nor dividend")


def _actions(path: Path, header: list[str], rows: list[tuple[int, list[str]]]) -> Iterator[Adjustment]:
    """One date a line, with its dividend and its split; 0 or nothing where there is none."""
    for line, row in rows:
        cells = dict(zip(header, row, strict=False))
        ex_date = _date(path, line, cells.get("date") or row[0])
        symbol = cells.get("symbol") or None
        if _is_something(cells.get("dividends")):
            yield Adjustment(ex_date, "dividend", amount=_positive(path, line, cells["dividends"]), symbol=symbol)
        if _is_something(cells.get("stock_splits")):
            yield Adjustment(ex_date, "split", ratio=_positive(path, line, cells["stock_splits"]), symbol=symbol)


def _is_something(text: str | None) -> bool:
    """Whether there is something but zero, with however many digits that is written; what is no number is refused later."""
    try:
        return bool(text) and float(text or 0) != 0
    except ValueError:
        return True


def _factors(path: Path, rows: list[tuple[int, list[str]]]) -> Iterator[Adjustment]:
    """Cumulative backward factors: a line holds for the dates up to its own, so an action goes ex on the day after."""
    factors = []
    for line, row in rows:
        if len(row) < 3:
            raise _fault(path, line, "it has no price_factor and split_factor")
        factors.append((_date(path, line, row[0]), _positive(path, line, row[1]), _positive(path, line, row[2])))
    factors.sort()
    for (last_date, price, split), (_, next_price, next_split) in pairwise(factors):
        ex_date = last_date + timedelta(days=1)
        if split != next_split:
            yield Adjustment(ex_date, "split", ratio=_simple(next_split / split))
        if price < next_price:
            yield Adjustment(ex_date, "dividend", price_factor=price / next_price)


def _simple(ratio: float) -> float:
    """A split is a ratio of small numbers; the factors of a file are rounded to a few digits."""
    near = Fraction(ratio).limit_denominator(50)
    return float(near) if near and abs(float(near) / ratio - 1) < 1e-4 else ratio


def added_up(found: list[Adjustment]) -> list[Adjustment]:
    """One action of a kind for each symbol and ex-date: cash is added up, of others the last one holds."""
    cash: dict[tuple[str | None, date, str], Adjustment] = {}
    for one in found:
        key = (one.symbol, one.ex_date, one.kind)
        standing = cash.get(key)
        if standing and standing.amount and one.amount:
            one = Adjustment(
                one.ex_date, one.kind, amount=standing.amount + one.amount, known_at=one.known_at, symbol=one.symbol
            )
        cash[key] = one
    return list(cash.values())


def _fault(path: Path, line: int, what: str) -> SourceError:
    return SourceError(
        f"{path}, line {line}: {what}", hint="nothing of the file was taken; correct the line and load it again"
    )


def _positive(path: Path, line: int, text: str) -> float:
    try:
        number = float(text)
    except ValueError as error:
        raise _fault(path, line, f"{text!r} is not a number") from error
    if not 0 < number < float("inf"):
        raise _fault(path, line, f"{text} is not above 0")
    return number


def _date(path: Path, line: int, text: str) -> date:
    for form in ("%Y-%m-%d", "%Y%m%d", "%m/%d/%Y"):
        try:
            return datetime.strptime(text[:10], form).date()  # noqa: DTZ007 a date of the market, without a time
        except ValueError:
            continue
    raise _fault(path, line, f"{text!r} is not a date such as 2020-08-31")


def _moment(path: Path, line: int, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise _fault(path, line, f"{text!r} is not a time such as 2020-08-31T13:00Z") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
