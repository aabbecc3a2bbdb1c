"""Files without a header are told by what their columns hold, or refused."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from ingest.sources.layouts import prove_layout
from ingest.sources.proofs import Data
from titan.core.errors import SourceError

COUNT = 60
OPENED = [str(1_704_067_200_000 + 3_600_000 * at) for at in range(COUNT)]
CLOSE = 100 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.01, COUNT)))
OPEN = np.concatenate([[100.0], CLOSE[:-1]])
HIGH, LOW = np.maximum(OPEN, CLOSE) + 1, np.minimum(OPEN, CLOSE) - 1
VOLUME = np.round(np.random.default_rng(2).lognormal(3, 1, COUNT), 3)
TRADES = np.arange(COUNT) + 17
VWAP = (HIGH + LOW) / 2


def position_of(*columns: object) -> dict[str, int]:
    return prove_layout(Data([pa.array([str(value) for value in column]) for column in columns], "file"))[0]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("columns", "roles"),
    [
        ((OPENED, OPEN, HIGH, LOW, CLOSE, VOLUME), "opened_at open high low close volume"),
        ((OPENED, OPEN, CLOSE, HIGH, LOW, VOLUME), "opened_at open close high low volume"),
        ((OPENED, LOW, HIGH, OPEN, CLOSE, VOLUME), "opened_at low high open close volume"),
        ((OPENED, OPEN, HIGH, LOW, CLOSE, VOLUME, TRADES), "opened_at open high low close volume trade_count"),
        ((OPENED, OPEN, HIGH, LOW, CLOSE, CLOSE * 0.9, TRADES), "opened_at open high low close adjusted_close volume"),
        ((OPENED, OPEN, HIGH, LOW, CLOSE, TRADES, CLOSE * 0.9), "opened_at open high low close volume adjusted_close"),
        ((OPENED, OPEN, HIGH, LOW, CLOSE, VOLUME, VOLUME * VWAP), "opened_at open high low close volume quote_volume"),
        ((OPENED, OPEN, CLOSE, HIGH, LOW, VOLUME, VOLUME * VWAP), "opened_at open close high low volume quote_volume"),
        ((OPENED, OPEN, HIGH, LOW, CLOSE, VWAP, VOLUME, TRADES), "opened_at open high low close vwap volume trade_count"),
        (
            (OPENED, OPEN, HIGH, LOW, CLOSE, VOLUME, [str(int(at) + 3_599_999) for at in OPENED], VOLUME * VWAP),
            "opened_at open high low close volume closed_at quote_volume",
        ),
        (
            (["2024.01.01"] * COUNT, [f"{at // 60:02}:{at % 60:02}" for at in range(COUNT)], OPEN, HIGH, LOW, CLOSE, TRADES),
            "date clock open high low close volume",
        ),
    ],
)  # fmt: skip
def test_a_layout_is_known_by_its_values(columns: tuple[object, ...], roles: str) -> None:
    assert list(position_of(*columns)) == roles.split()


def test_values_that_fit_two_layouts_are_refused_unless_both_read_them_the_same() -> None:
    flat = [1.7639] * COUNT
    assert position_of(OPENED, flat, flat, flat, flat, VOLUME)["volume"] == 5
    with pytest.raises(SourceError, match="its columns could be Kraken's OHLCVT, Yahoo's days"):
        position_of(OPENED, flat, flat, flat, flat, [5] * COUNT, [7] * COUNT)


def test_columns_of_no_known_layout_are_refused_with_their_first_row() -> None:
    with pytest.raises(SourceError, match=r"hold no known layout, e\.g\. 1704067200000, 100\.0"):
        position_of(OPENED, OPEN, LOW, HIGH, CLOSE, VOLUME)
