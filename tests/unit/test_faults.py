"""Faults of the synthetic market: each looks like what it is called, as often as it was asked for, and like nothing else."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ingest.sources.faults import FAULTS, SPIKE, STRETCH, parse_faults, plant
from ingest.sources.synthetic import synthetic_batch
from titan.cli.load import load_synthetic_command
from titan.core.errors import UsageError
from titan.core.settings import REPOSITORY

HOUR = 3_600_000_000
SYMBOLS, BARS = 6, 1_000


def market(**faults: float) -> tuple[pd.DataFrame, dict[str, int]]:
    batch = synthetic_batch(symbol_count=SYMBOLS, bar_count=BARS, timeframe="1h", faults=faults)
    return pd.DataFrame(batch.candles), batch.details.get("faults", {})


CLEAN, _ = market()


def changed(found: pd.DataFrame, column: str = "close") -> Any:
    return (found[column] != CLEAN[column]).to_numpy()


def missing(found: pd.DataFrame) -> pd.DataFrame:
    keys = found.set_index(["series", "opened_at"]).index
    return CLEAN[~CLEAN.set_index(["series", "opened_at"]).index.isin(keys)]


def test_without_faults_nothing_differs_and_rows_count_from_one() -> None:
    assert CLEAN["row_number"].tolist() == list(range(1, SYMBOLS * BARS + 1))
    assert market(gap=0, split=0)[0].equals(CLEAN)


@pytest.mark.parametrize("name", FAULTS)
def test_the_same_seed_plants_the_same_and_another_one_does_not(name: str) -> None:
    rates = {name: 0.5 if FAULTS[name].is_of_symbols else 0.02}
    (one, counts), (again, _) = market(**rates), market(**rates)
    assert one.equals(again)
    assert sum(counts.values()) > 0
    other, _ = plant(synthetic_batch(symbol_count=SYMBOLS, bar_count=BARS, timeframe="1h").candles, rates, seed=8)
    assert not pd.DataFrame(other).equals(one)
    # The first candle of a series stays what it is, so that every series keeps its place.
    assert one.groupby("series")["opened_at"].min().equals(CLEAN.groupby("series")["opened_at"].min())


def test_candles_that_are_missing() -> None:
    found, counts = market(gap=0.03)
    gone = missing(found)
    assert len(gone) == counts["gap"] == SYMBOLS * BARS * 0.03
    assert gone.groupby("series").size().tolist() == [30] * SYMBOLS
    runs = (gone["opened_at"].diff() != HOUR).sum()
    assert runs <= len(gone) / STRETCH
    halted, counts = market(halt=1)
    gone = missing(halted)
    assert len(gone) == counts["halt"]
    assert (gone.groupby("series")["opened_at"].agg(np.ptp) == (gone.groupby("series").size() - 1) * HOUR).all()
    assert gone.groupby("series").size().between(BARS * 0.02 - 1, BARS * 0.05).all()


def test_prices_that_stand_still() -> None:
    found, counts = market(flat=0.02)
    flat = found["volume"] == 0
    assert flat.sum() == counts["flat"] == SYMBOLS * BARS * 0.02
    assert (found.loc[flat, ["open", "high", "low"]].sub(found.loc[flat, "close"], axis=0) == 0).all().all()
    assert (found["close"].diff()[flat] == 0).all()
    assert found[~flat].equals(CLEAN[~flat].astype(found.dtypes))


def test_a_bad_tick() -> None:
    found, counts = market(spike=0.005)
    hit = changed(found)
    assert hit.sum() == counts["spike"] == SYMBOLS * BARS * 0.005
    assert (found.loc[hit, "close"] == CLEAN.loc[hit, "high"] * SPIKE).all()
    assert (found["high"] >= found["close"]).all()


def test_an_unknown_split() -> None:
    found, counts = market(split=1)
    ratio = CLEAN["close"] / found["close"]
    assert counts["split"] == (ratio.round(9) != 1).sum()
    for _, one in ratio.groupby(CLEAN["series"]):
        assert one.iloc[: BARS // 4].round(9).eq(1).all()
        assert one.round(9).nunique() == 2
        assert one.iloc[-1].round(9) in (2, 3, 4, 10, 0.1)
    assert np.allclose(found["close"] * found["volume"], CLEAN["close"] * CLEAN["volume"])


def test_what_comes_twice_or_again() -> None:
    doubled, counts = market(duplicate=0.01)
    plain = doubled.drop(columns="row_number")
    assert plain.duplicated().sum() == counts["duplicate"] == SYMBOLS * BARS * 0.01
    assert plain.drop_duplicates().reset_index(drop=True).equals(CLEAN.drop(columns="row_number"))
    revised, counts = market(revision=0.01)
    keys = ["series", "opened_at"]
    assert revised.duplicated(keys).sum() == counts["revision"] == SYMBOLS * BARS * 0.01
    # The last one is right.
    last = revised.drop_duplicates(keys, keep="last").drop(columns="row_number").reset_index(drop=True)
    assert last.equals(CLEAN.drop(columns="row_number"))


def test_times_that_are_wrong() -> None:
    skewed, counts = market(skew=0.01)
    late = skewed["opened_at"] - CLEAN["opened_at"]
    assert (late != 0).sum() == counts["skew"] == SYMBOLS * BARS * 0.01
    assert late[late != 0].between(1_000_000, 59_000_000).all()
    unfinished, counts = market(unfinished=1, gap=0.01)
    ends = unfinished.groupby("series")["opened_at"].max()
    assert counts["unfinished"] == SYMBOLS
    assert (ends == CLEAN["opened_at"].max() + HOUR).all()


@pytest.mark.parametrize("bars", [1, 2, 3, 12])
def test_short_histories_bear_every_fault(bars: int) -> None:
    batch = synthetic_batch(symbol_count=2, bar_count=bars, faults=dict.fromkeys(FAULTS, 1.0))
    assert len(batch.candles) >= 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("gaps=0.1", "no such fault"),
        ("gap", "a share from 0 to 1"),
        ("gap=", "a share from 0 to 1"),
        ("gap=1.5", "a share from 0 to 1"),
        ("gap=nan", "a share from 0 to 1"),
    ],
)
def test_what_is_no_fault_is_refused(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as refused:
        parse_faults([text])
    assert refused.value.hint
    with pytest.raises(UsageError, match="twice"):
        parse_faults(["gap=0.1", "gap=0.2"])


def test_the_help_and_the_documentation_name_every_fault() -> None:
    told = inspect.getdoc(load_synthetic_command) or ""
    table = (REPOSITORY / "docs" / "gate.md").read_text().partition("## Faults on purpose")[2].partition("## ")[0]
    assert [name for name in FAULTS if name not in told or f"`{name}`" not in table] == []


def test_a_rate_of_symbols_is_their_share() -> None:
    batch = synthetic_batch(symbol_count=200, bar_count=3, faults={"unfinished": 0.25})
    assert 30 <= batch.details["faults"]["unfinished"] <= 70
