"""Marts that tell of many series at once, beside the same numbers by other code."""

from __future__ import annotations

import random
from datetime import timedelta
from fractions import Fraction
from statistics import correlation
from typing import Any

import pytest

from tests.warehouse import Row, Warehouse, instant, make_batch, separate_warehouse

FIRST, DAYS = instant("2022-06-01"), 500
LAST = FIRST + timedelta(days=DAYS)


@pytest.fixture(scope="module")
def built(manifest: Any) -> Any:
    """Days of four markets: two that move, one whose price is always the same, one that began lately."""
    warehouse = separate_warehouse("served")
    chance = random.Random(20)
    price = {"AAA/USD": 100.0, "BBB/USD": 3e-7}
    rows = []
    for day in range(DAYS):
        calm = 1 if day < DAYS - 40 else 0.03
        common = chance.gauss(0, 0.02 * calm)
        for symbol in price:
            price[symbol] *= 1 + common + chance.gauss(0, 0.03 * calm)
            rows.append(Row(FIRST + timedelta(days=day), price[symbol], symbol))
        rows.append(Row(FIRST + timedelta(days=day), 7.3, "FLAT/USD"))
        if day >= DAYS - 12:
            rows.append(Row(FIRST + timedelta(days=day), 5.0 + day % 3, "NEW/USD"))
    warehouse.load(make_batch(rows, timeframe="1D", observed=(FIRST, LAST)))
    warehouse.refresh()
    yield warehouse
    warehouse.close()


def column(warehouse: Warehouse, symbol: str, name: str, since: str = "365 days") -> list[float]:
    """A column of the trailing year of days, oldest first, without nulls."""
    rows = warehouse.query(
        f"select {name} from marts.features where symbol = %s and timeframe = '1D' and closed_at > %s - %s::interval "
        f"and {name} is not null order by closed_at",
        symbol, LAST, since,
    )  # fmt: skip
    return [value for (value,) in rows]


def percentile(values: list[float], share: Fraction) -> Fraction:
    """Of type 7, exactly."""
    ordered = sorted(map(Fraction, values))
    at = share * (len(ordered) - 1)
    low = int(at)
    return ordered[low] + (at - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])


def test_a_deep_dive_stands_beside_its_trailing_year(built: Warehouse) -> None:
    told = {
        row[0]: row[1:]
        for row in built.query(
            "select symbol, last_closed_at, last_price, band_width, band_width_p05, band_width_bars, is_squeeze, high_1y, "
            "distance_from_high_1y, change_1, atr_ratio from marts.deep_dive where timeframe = '1D'"
        )
    }
    assert told.keys() == {"AAA/USD", "BBB/USD", "FLAT/USD", "NEW/USD"}
    for symbol in ("AAA/USD", "BBB/USD"):
        at, price, width, low, count, is_squeeze, high, distance, change, atr_ratio = told[symbol]
        widths = column(built, symbol, "bollinger_bandwidth_20_2")
        closes = column(built, symbol, "close")
        assert (at, price, width, count, high) == (LAST, closes[-1], widths[-1], 365, max(close * 1.01 for close in closes))
        assert low == pytest.approx(float(percentile(widths, Fraction(1, 20))), rel=1e-12)
        assert is_squeeze  # the last forty days are quiet
        assert distance == pytest.approx(price / high - 1, rel=1e-12)
        assert change == pytest.approx(closes[-1] / closes[-2] - 1, rel=1e-9)
        assert atr_ratio > 0
    # Bands without a width are no narrower than the others, all without one, either.
    assert told["FLAT/USD"][2:6] == (0, 0, 365, False)
    assert told["NEW/USD"][2:6] == (None, None, 0, None)


def test_correlations_are_those_of_common_bars(built: Warehouse) -> None:
    told = {
        (a, b): rest
        for a, b, *rest in built.query(
            "select symbol_a, symbol_b, correlation_30, pairs_30, correlation_90, pairs_90, correlation_365, pairs_365 "
            "from marts.correlation where timeframe = '1D'"
        )
    }
    assert len(told) == 16
    for symbols in (("AAA/USD", "BBB/USD"), ("BBB/USD", "AAA/USD"), ("AAA/USD", "AAA/USD")):
        for at, bars in enumerate((30, 90, 365)):
            returns = [column(built, symbol, "log_return")[-bars:] for symbol in symbols]
            assert told[symbols][2 * at] == pytest.approx(correlation(*returns), abs=1e-12)
            assert told[symbols][2 * at + 1] == bars
    assert told["AAA/USD", "FLAT/USD"] == [None, 30, None, 90, None, 365]
    assert told["AAA/USD", "NEW/USD"] == [None, 11, None, 11, None, 11]


def test_a_correlation_is_the_same_either_way_round_and_none_of_rounding(warehouse: Warehouse) -> None:
    """Bars that one of the two lacks; a price that grows alike every day, whose returns differ in the last digit."""
    chance = random.Random(3)
    rows = []
    for day in range(70):
        at = FIRST + timedelta(days=day)
        rows.append(Row(at, 100 * 1.01**day, "STEADY/USD"))
        rows.append(Row(at, 100 + chance.random(), "EVERY/USD"))
        if day % 3:
            rows.append(Row(at, 50 + chance.random(), "SOME/USD"))
    warehouse.load(make_batch(rows, timeframe="1D", observed=(FIRST, FIRST + timedelta(days=70))))
    warehouse.refresh()
    told = {
        (a, b): rest
        for a, b, *rest in warehouse.query(
            "select symbol_a, symbol_b, correlation_30, pairs_30, correlation_90, pairs_90 from marts.correlation "
            "where timeframe = '1D'"
        )
    }
    assert all(told[a, b] == told[b, a] for a, b in told)
    assert 0 < told["EVERY/USD", "SOME/USD"][1] < told["SOME/USD", "SOME/USD"][1]
    assert told["EVERY/USD", "STEADY/USD"] == [None, 30, None, 69]


def test_outliers_are_judged_by_the_year_before(built: Warehouse) -> None:
    rows = built.query(
        "select symbol, feature, last_value, value_count, mean, deviation, zscore, is_outlier_zscore, is_outlier_iqr, q25, "
        "q75, zscore_outlier_count, iqr_outlier_count "
        "from marts.feature_outlier where timeframe = '1D' and symbol <> 'FLAT/USD'"
    )
    assert {row[0] for row in rows} == {"AAA/USD", "BBB/USD"}
    assert len(rows) > 80
    flags = set()
    for symbol, feature, last, count, mean, deviation, zscore, by_zscore, by_iqr, q25, q75, far, beyond in rows:
        values = [Fraction(value) for value in column(built, symbol, feature)]
        assert (last, count) == (float(values.pop()), len(values)), feature
        middle = sum(values) / len(values)
        spread = float(sum((value - middle) ** 2 for value in values) / (len(values) - 1)) ** 0.5
        assert mean == pytest.approx(float(middle), rel=1e-9, abs=1e-9 * spread), feature
        if deviation == 0:  # rounding alone tells them apart
            assert spread < 1e-12 * float(max(map(abs, values)))
            assert (zscore, by_zscore, by_iqr, far, beyond) == (None, None, None, 0, 0)
            continue
        assert deviation == pytest.approx(spread, rel=1e-9), feature
        assert zscore == pytest.approx((last - float(middle)) / spread, rel=1e-6, abs=1e-6), feature
        assert by_zscore == (abs(zscore) > 4)
        quartiles = [percentile([float(value) for value in values], Fraction(share, 4)) for share in (1, 3)]
        assert (q25, q75) == (pytest.approx(float(quartiles[0])), pytest.approx(float(quartiles[1])))
        reach = (quartiles[1] - quartiles[0]) * 3 / 2
        within = [quartiles[0] - reach, quartiles[1] + reach]
        assert by_iqr == (not within[0] <= Fraction(last) <= within[1]), feature
        assert far == sum(abs(float(value - middle)) > 4 * spread for value in values), feature
        assert beyond == sum(not within[0] <= value <= within[1] for value in values), feature
        flags |= {("z", by_zscore), ("iqr", by_iqr)}
    assert flags >= {("z", False), ("iqr", False), ("iqr", True)}


def test_what_never_moves_and_what_is_huge_is_no_error(warehouse: Warehouse) -> None:
    """Squares of the largest numbers have no room in a double; equal ones have no deviation."""
    days = 60
    rows = [Row(FIRST + timedelta(days=day), 1e30 * (1 + day % 2), "HUGE", volume=1e150) for day in range(days)]
    rows += [Row(FIRST + timedelta(days=day), 0.1, "FLAT", volume=0.1) for day in range(days)]
    rows += [Row(FIRST + timedelta(days=day), 1e-30 if day < days - 1 else 1e-20, "TINY") for day in range(days)]
    warehouse.load(make_batch(rows, timeframe="1D"))
    warehouse.refresh()
    assert warehouse.query("select symbol from marts.feature_outlier where feature = 'sma_50'") == []  # ten are too few
    told = warehouse.query(
        "select distinct symbol, deviation, zscore, is_outlier_zscore, is_outlier_iqr, zscore_outlier_count "
        "from marts.feature_outlier "
        "where symbol in ('FLAT', 'TINY') and feature in ('log_return', 'ema_10', 'garman_klass_30')"
    )
    assert {row[1:] for row in told} == {(0, None, None, None, 0)}
    assert {symbol for symbol, *_ in told} == {"FLAT", "TINY"}
    assert warehouse.value("select count(*) from marts.deep_dive where timeframe = '1D' and band_width_bars > 0") == 3
    assert warehouse.value("select count(*) from marts.correlation where timeframe = '1D' and symbol_a = 'TINY'") == 3
