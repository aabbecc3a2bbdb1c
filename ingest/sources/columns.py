"""Which column is which: by the header names found in the wild, and where these leave a choice by what the columns hold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ingest.sources.proofs import Data, is_clock, is_date, is_quote_volume
from ingest.sources.times import MISSING
from titan.core.batch import PRICE_COLUMNS
from titan.core.errors import SourceError

# In order of preference: where several columns could serve, the first name found wins.
_NAMES: dict[str, tuple[str, ...]] = {
    "opened_at": (
        "opentime", "timeopen", "openedat", "opentimestamp", "start", "starttime", "startepochs", "startepoch", "timestamp",
        "timestampms", "timestamputc", "unix", "unixtimestamp", "unixtime", "epoch", "time", "timeutc", "timeet", "ts", "t",
        "datetime", "date", "dateutc", "gmttime", "localtime", "day", "index", "",
    ),
    "closed_at": ("closetime", "timeclose", "closedat", "closetimestamp", "end", "endtime", "endtimems"),
    "open": ("open", "o", "openprice", "priceopen"),
    "high": ("high", "h", "highprice", "pricehigh", "max"),
    "low": ("low", "l", "lowprice", "pricelow", "min"),
    "close": ("close", "c", "closeprice", "priceclose", "last", "closelast", "price"),
    "volume": ("volume", "v", "vol", "basevolume", "volumefrom", "volumebase", "volccy", "tickvol", "tickvolume"),
    "quote_volume": ("quotevolume", "quoteassetvolume", "volumeto", "volumequote", "volccyquote", "turnover", "qv"),
    "trade_count": ("count", "trades", "tradecount", "numberoftrades", "numtrades", "tradescount", "n"),
    "symbol": ("symbol", "ticker", "pair", "instrument"),
    "exchange": ("exchange", "venue"),
    "timeframe": ("interval", "timeframe", "per", "period", "resolution", "granularity"),
    "is_finished": ("confirm", "confirmed", "isclosed", "isfinal", "iscomplete"),
}  # fmt: skip
# What a column may be; a date and the clock of a day may stand in two.
ROLES = (*_NAMES, "date", "clock")
_REQUIRED = (*PRICE_COLUMNS, "volume")
_NUMBERS = (*_REQUIRED, "quote_volume", "trade_count")


@dataclass(frozen=True)
class Dialect:
    """A source known by columns that no other has: what its columns are, and whether it stamps bars at their close."""

    source: str
    needs: frozenset[str]
    roles: dict[str, str] = field(default_factory=dict)
    stamp: str | None = None


DIALECTS = (
    Dialect(
        "BitMEX's buckets",
        frozenset({"homenotional", "foreignnotional", "lastsize"}),
        {"volume": "homenotional", "quote_volume": "foreignnotional"},
        stamp="close",
    ),
    Dialect("TradeStation's bars", frozenset({"date", "time", "open", "high", "low", "close", "up", "down"}), stamp="close"),
    Dialect("TradeStation's bars", frozenset({"date", "time", "open", "high", "low", "close", "vol", "oi"}), stamp="close"),
)


@dataclass(frozen=True)
class Columns:
    """Position of each known column, and the names of those that are left out.

    `stamp` is open or close where the source is known; `of_volume` is the asset that the name of the only volume says.
    """

    position: dict[str, int]
    ignored: tuple[str, ...]
    is_aggregator: bool = False  # CoinMarketCap's layouts: one coin, priced in US dollars
    stamp: str | None = None
    of_volume: str | None = None
    notes: tuple[str, ...] = ()


def assign_columns(header: Sequence[str], data: Data, *, may_lack_volume: bool = False) -> Columns:
    """Assign roles to the columns; raises SourceError naming what is missing and what was found.

    `data` gets the style that the numbers of these columns prove.
    """
    folded = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in header]
    dialect = next((one for one in DIALECTS if one.needs <= set(folded)), None)
    names = dict(_NAMES)
    for role, name in (dialect.roles if dialect else {}).items():
        names[role] = (name, *(other for other in names[role] if other != name))
    position: dict[str, int] = {}
    for role in names:
        if role != "opened_at" and (found := _candidates(names[role], folded, position)):
            position[role] = found[0]
    notes = [f"the columns of {dialect.source}"] if dialect else []
    _add_up_and_down(header, folded, data, position)
    named = [at for at, name in enumerate(folded) if re.fullmatch(r"volume[a-z]{2,6}", name) and at not in position.values()]
    position |= dict(zip([role for role in ("volume", "quote_volume") if role not in position], named, strict=False))
    position |= _times(_candidates(names["opened_at"], folded, position), data)
    _refuse_gaps(header, position, data.where, may_lack_volume=may_lack_volume)
    _refuse_doubles(header, folded, position, data.where)
    numbers = [position[role] for role in _NUMBERS if role in position]
    data.prove_style(numbers)
    notes += [*data.style.notes, *_settle_volumes(_candidates(names["volume"], folded, {}), folded, header, data, position)]
    if "closed_at" in position and "opened_at" in position:
        del position["closed_at"]  # the open decides; the close says nothing more
    if "is_finished" in position and not data.all_match(position["is_finished"], r"(?i)[01]|true|false"):
        del position["is_finished"]
    of_volume = folded[position["volume"]][len("volume") :] if position.get("volume") in named else None
    ignored = tuple(name.strip() for at, name in enumerate(header) if at not in position.values() and name.strip())
    stamp = dialect.stamp if dialect else None
    return Columns(position, ignored, bool({"marketcap", "sno"} & set(folded)), stamp, of_volume, tuple(notes))


def _candidates(names: Sequence[str], folded: Sequence[str], position: dict[str, int]) -> list[int]:
    return [folded.index(name) for name in names if name in folded and folded.index(name) not in position.values()]


def _times(candidates: Sequence[int], data: Data) -> dict[str, int]:
    """The column of times: the first that holds some, or a date and a time of day in two. A number of rows is no time."""
    dates = [at for at in candidates if is_date(data, {}, at)]
    clocks = [at for at in candidates if at not in dates and is_clock(data, {}, at)] if dates else []
    others = [at for at in candidates if at not in (*dates, *clocks) and not _counts_rows(data, at)]
    full = [at for at in others if _holds_times(data, at)]
    if dates and clocks and not full:
        return {"date": dates[0], "clock": clocks[0]}
    found = full or dates or others
    return {"opened_at": found[0]} if found else {}


_FIRST_ROWS = 2_000


def _holds_times(data: Data, at: int) -> bool:
    try:
        times = data.times(at, _FIRST_ROWS)
    except SourceError:  # it holds dates, that may be read in two ways
        return True
    return not len(times) or bool(np.mean(times != MISSING) >= 0.5)


def _counts_rows(data: Data, at: int) -> bool:
    """Whether these are small numbers that do not lie minutes apart, as times do."""
    numbers = data.first_numbers(at, _FIRST_ROWS)
    if not len(numbers) or not np.all(np.isfinite(numbers) & (np.abs(numbers) < 1e8) & (numbers == np.floor(numbers))):
        return False
    steps = np.diff(np.unique(numbers)).astype("i8")
    return len(steps) > 0 and bool(np.gcd.reduce(steps) % 60 != 0)


def _add_up_and_down(header: Sequence[str], folded: list[str], data: Data, position: dict[str, int]) -> None:
    """TradeStation's volume is that of ticks up and that of ticks down."""
    if "volume" in position or not {"up", "down"} <= set(folded):
        return
    up, down = (data.numbers(folded.index(name)) for name in ("up", "down"))
    position["volume"] = data.append([f"{total:.17g}" for total in up + down])


def _refuse_gaps(header: Sequence[str], position: dict[str, int], where: str, *, may_lack_volume: bool) -> None:
    missing = [role for role in _REQUIRED if role not in position]
    if not {"opened_at", "closed_at", "date"} & set(position):
        missing.insert(0, "a time")
    if may_lack_volume and "volume" in missing:
        missing.remove("volume")
    if not missing:
        return
    found = ", ".join(name.strip() or "(unnamed)" for name in header)
    hint = "rename the columns to timestamp, open, high, low, close, volume"
    if missing == ["volume"]:
        hint = "--no-volume loads it with a volume of zero, as for currencies and indices"
    raise SourceError(f"{where}: no column for {', '.join(missing)}; it has: {found}", hint=hint)


def _refuse_doubles(header: Sequence[str], folded: Sequence[str], position: dict[str, int], where: str) -> None:
    for at in position.values():
        if at < len(folded) and folded[at] and folded.count(folded[at]) > 1:
            raise SourceError(f"{where}: two columns are called {header[at].strip()!r}", hint="rename or remove one of them")


def _settle_volumes(
    candidates: Sequence[int], folded: Sequence[str], header: Sequence[str], data: Data, position: dict[str, int]
) -> list[str]:
    """The volume in base currency is the one that a volume in quote currency, divided by it, makes a price of the bars."""
    if "volume" not in position:
        return []
    names = [name.strip() for name in header] + ["up and down"]
    if "tickvol" in folded or "tickvolume" in folded:
        ticks = next(at for at, name in enumerate(folded) if name in ("tickvol", "tickvolume"))
        if ticks != position["volume"] and not np.any(data.numbers(position["volume"]) != 0):
            position["volume"] = ticks
        return ["the volume counts ticks"] if ticks == position["volume"] else []
    if "quote_volume" not in position:
        return []
    base, quote = position["volume"], position["quote_volume"]
    for at in dict.fromkeys([base, *candidates]):
        if at != quote and is_quote_volume(data, {**position, "volume": at}, quote):
            position["volume"] = at
            return [f"the volume is {names[at]!r}"] if at != base else []
    if is_quote_volume(data, {**position, "volume": quote}, base):
        if "" in (folded[base].removeprefix("volume"), folded[quote].removeprefix("volume")):
            raise SourceError(
                f"{data.where}: {names[base]!r} is {names[quote]!r} times the price: they are the other way round",
                hint="rename one to volume and the other to quote_volume",
            )
        position["volume"], position["quote_volume"] = quote, base
        return [f"the volume is {names[quote]!r}"]
    if len(data.numbers(base)):
        return [f"{names[quote]!r} divided by {names[base]!r} is no price of the bars"]
    return []
