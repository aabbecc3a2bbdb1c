"""What goes wrong with markets and their data feeds, planted by seed and rate into the candles of the synthetic market.

A fault is planted into one series at a time, in the order of FAULTS: what happens to the market itself, then what is
missing, then what its feed adds. The same seed and rates plant the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from titan.core.batch import PRICE_COLUMNS, Candles
from titan.core.errors import UsageError

STRETCH = 10  # candles, of a gap or a flat line
SPIKE = 3.0  # times the price
SPLITS = (2.0, 3.0, 4.0, 10.0, 0.1)  # shares for one; the last is a reverse split
SECOND = 1_000_000  # microseconds

Mask = npt.NDArray[np.bool_]
Planted = tuple[Candles, int]


@dataclass(frozen=True)
class Fault:
    """A kind of fault: whether its rate is one of candles or of symbols, and what plants it.

    `plant(candles, share, random)` takes a series in the order of time and gives it back with what was planted, and how many
    candles that concerns. Of a fault of symbols the share is 1 and the series is one of those chosen.
    """

    name: str
    is_of_symbols: bool
    plant: Callable[[Candles, float, np.random.Generator], Planted]


def parse_faults(texts: Iterable[str]) -> dict[str, float]:
    """Rates by the name of the fault, from `name=rate`. Raises UsageError for what is no fault and no share."""
    rates: dict[str, float] = {}
    for text in texts:
        name, _, value = (part.strip() for part in text.partition("="))
        if name not in FAULTS:
            raise UsageError(f"--fault {text}: no such fault", hint=f"there are {', '.join(FAULTS)}")
        if name in rates:
            raise UsageError(f"--fault {name} is given twice")
        try:
            rate = float(value)
        except ValueError:
            rate = -1.0
        if not 0 <= rate <= 1:
            raise UsageError(f"--fault {text}: the rate is a share from 0 to 1", hint=f"for instance --fault {name}=0.01")
        rates[name] = rate
    return rates


def plant(candles: Candles, rates: Mapping[str, float], seed: int) -> tuple[Candles, dict[str, int]]:
    """Candles of several series, each in the order of time, with faults in them; and how many candles each fault concerns.

    The rows of a series stay together, in the order in which its feed delivers them.
    """
    wanted = [(number, fault) for number, fault in enumerate(FAULTS.values()) if rates.get(fault.name)]
    counts = {fault.name: 0 for _, fault in wanted}
    if not wanted:
        return candles, counts
    series = np.split(candles, np.flatnonzero(np.diff(candles["series"])) + 1)
    for at, rows in enumerate(series):
        for number, fault in wanted:
            random, rate = np.random.default_rng([seed, at, number]), rates[fault.name]
            if fault.is_of_symbols and random.random() >= rate:
                continue
            rows, count = fault.plant(rows, 1.0 if fault.is_of_symbols else rate, random)
            counts[fault.name] += count
        series[at] = rows
    return np.concatenate(series), counts


# --- the market -----------------------------------------------------------------------------------------------------------


def _split(candles: Candles, _share: float, random: np.random.Generator) -> Planted:
    """Prices from some candle on are a fraction, volumes a multiple, and nobody says so."""
    if len(candles) < 3:
        return candles, 0
    shares = float(random.choice(SPLITS))
    after = candles[len(candles) // 4 + int(random.integers(len(candles) // 2 + 1)) :]
    for column in PRICE_COLUMNS:
        after[column] /= shares
    after["volume"] *= shares
    return candles, len(after)


def _flat(candles: Candles, share: float, random: np.random.Generator) -> Planted:
    """Stretches without trading, at the price before."""
    mask = _stretches(len(candles), share, random)
    places = np.arange(len(candles))
    before = np.maximum.accumulate(np.where(mask, 0, places))  # the last candle with trading
    for column in PRICE_COLUMNS:
        candles[column] = np.where(mask, candles["close"][before], candles[column])
    for column in ("volume", "quote_volume", "trade_count"):
        candles[column][mask] = 0
    return candles, int(mask.sum())


def _spike(candles: Candles, share: float, random: np.random.Generator) -> Planted:
    """A bad tick: the high is SPIKE times itself, and the close is the high."""
    mask = _scattered(len(candles), share, random)
    peak = candles["high"] * SPIKE
    for column in ("high", "close"):
        candles[column] = np.where(mask, peak, candles[column])
    return candles, int(mask.sum())


# --- what is missing ------------------------------------------------------------------------------------------------------


def _halt(candles: Candles, _share: float, random: np.random.Generator) -> Planted:
    """No candles for 2 to 5 % of the history, once."""
    length = max(1, int(len(candles) * random.uniform(0.02, 0.05)))
    if len(candles) < length + 2:
        return candles, 0
    begin = 1 + int(random.integers(len(candles) - length - 1))
    return np.delete(candles, slice(begin, begin + length)), length


def _gap(candles: Candles, share: float, random: np.random.Generator) -> Planted:
    """Stretches of candles are missing."""
    mask = _stretches(len(candles), share, random)
    return candles[~mask], int(mask.sum())


# --- what the feed adds ---------------------------------------------------------------------------------------------------


def _unfinished(candles: Candles, _share: float, random: np.random.Generator) -> Planted:
    """One more than the market has, of the period that is not over."""
    if len(candles) < 2:
        return candles, 0
    last = candles[-1:].copy()
    last["opened_at"] = candles["opened_at"].max() + np.diff(np.sort(np.unique(candles["opened_at"]))).min()
    for column in PRICE_COLUMNS:
        last[column] = last["close"]
    last["volume"] *= random.random()
    return np.concatenate([candles, last]), 1


def _skew(candles: Candles, share: float, random: np.random.Generator) -> Planted:
    """A candle opens up to a minute late, by its exchange's clock."""
    mask = _scattered(len(candles), share, random)
    candles["opened_at"][mask] += random.integers(1, 60, int(mask.sum())) * SECOND
    return candles, int(mask.sum())


def _duplicate(candles: Candles, share: float, random: np.random.Generator) -> Planted:
    """A candle comes twice."""
    mask = _scattered(len(candles), share, random)
    return np.repeat(candles, np.where(mask, 2, 1)), int(mask.sum())


def _revision(candles: Candles, share: float, random: np.random.Generator) -> Planted:
    """What it was at first comes before it: half its volume, and the price of its opening."""
    mask = _scattered(len(candles), share, random)
    places = np.flatnonzero(mask)
    first = candles[places].copy()
    first["close"] = first["open"]
    for column in ("volume", "quote_volume"):
        first[column] /= 2
    return np.insert(candles, places, first), len(places)


FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault("split", True, _split),
        Fault("flat", False, _flat),
        Fault("spike", False, _spike),
        Fault("halt", True, _halt),
        Fault("gap", False, _gap),
        Fault("unfinished", True, _unfinished),
        Fault("skew", False, _skew),
        Fault("revision", False, _revision),
        Fault("duplicate", False, _duplicate),
    )
}


def _scattered(count: int, share: float, random: np.random.Generator) -> Mask:
    """So many places, one by one; neither the first nor the last one is concerned."""
    mask: Mask = np.zeros(count, dtype=bool)
    places = np.arange(1, max(count - 1, 1))
    mask[random.choice(places, min(len(places), round(count * share)), replace=False)] = True
    return mask


def _stretches(count: int, share: float, random: np.random.Generator) -> Mask:
    """So many places, in stretches; neither the first nor the last one is concerned."""
    mask: Mask = np.zeros(count, dtype=bool)
    wanted = min(round(count * share), max(count - 2, 0))
    blocks: Any = random.permutation(max(count - 2, 0) // STRETCH + 1)
    for block in blocks:
        missing = wanted - int(mask.sum())
        if missing <= 0:
            break
        begin = 1 + int(block) * STRETCH
        mask[begin : min(begin + min(STRETCH, missing), count - 1)] = True
    return mask
