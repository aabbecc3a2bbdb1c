"""Which column is which, by the header names found in the wild."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from titan.errors import SourceError

# In order of preference: where several columns could serve, the first name found wins.
_NAMES: dict[str, tuple[str, ...]] = {
    "opened_at": (
        "opentime", "timeopen", "openedat", "opentimestamp", "start", "starttime", "startepochs", "startepoch", "timestamp",
        "timestampms", "timestamputc", "unix", "unixtimestamp", "unixtime", "epoch", "time", "timeutc", "timeet", "ts", "t",
        "datetime", "date", "dateutc", "day", "index", "",
    ),
    "closed_at": ("closetime", "timeclose", "closedat", "closetimestamp", "end", "endtime", "endtimems"),
    "open": ("open", "o", "openprice", "priceopen"),
    "high": ("high", "h", "highprice", "pricehigh", "max"),
    "low": ("low", "l", "lowprice", "pricelow", "min"),
    "close": ("close", "c", "closeprice", "priceclose", "last", "closelast"),
    "volume": ("volume", "v", "vol", "basevolume", "volumefrom", "volumebase"),
    "quote_volume": ("quotevolume", "quoteassetvolume", "volumeto", "volumequote", "turnover", "qv"),
    "trade_count": ("count", "trades", "tradecount", "numberoftrades", "numtrades", "tradescount", "n"),
    "symbol": ("symbol", "ticker", "pair", "instrument"),
}  # fmt: skip
# What a column may be; a date and the clock of a day are told apart where a file has no header.
ROLES = (*_NAMES, "date", "clock")
_REQUIRED = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True)
class Columns:
    """Position of each known column, and the names of those that are left out."""

    position: dict[str, int]
    ignored: tuple[str, ...]
    is_aggregator: bool  # CoinMarketCap's layouts: one coin, priced in US dollars


def assign_columns(header: Sequence[str], where: str) -> Columns:
    """Assign roles to the columns; raises SourceError naming what is missing and what was found."""
    folded = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in header]
    position: dict[str, int] = {}
    for role, names in _NAMES.items():
        for name in names:
            if name in folded and folded.index(name) not in position.values():
                position[role] = folded.index(name)
                break
    _assign_named_volumes(folded, position)
    missing = [role for role in _REQUIRED if role not in position]
    if "opened_at" not in position and "closed_at" not in position:
        missing.insert(0, "a time")
    if missing:
        found = ", ".join(name.strip() or "(unnamed)" for name in header)
        raise SourceError(
            f"{where}: no column for {', '.join(missing)}; it has: {found}",
            hint="rename the columns to timestamp, open, high, low, close, volume",
        )
    if "closed_at" in position and "opened_at" in position:
        del position["closed_at"]  # the open decides; the close says nothing more
    ignored = tuple(name.strip() for at, name in enumerate(header) if at not in position.values() and name.strip())
    return Columns(position, ignored, bool({"marketcap", "sno"} & set(folded)))


def _assign_named_volumes(folded: Sequence[str], position: dict[str, int]) -> None:
    """`Volume BTC, Volume USDT`: the first is of the base asset, the second of the quote asset."""
    named = [at for at, name in enumerate(folded) if re.fullmatch(r"volume[a-z]{2,6}", name)]
    for role in ("volume", "quote_volume"):
        free = [at for at in named if at not in position.values()]
        if role not in position and free:
            position[role] = free[0]
