"""What a feature is at the edges: gaps, zero prices, windows by brute force, short series, configuration that is wrong."""

from __future__ import annotations

import json
import math
import random
import statistics
from datetime import timedelta
from fractions import Fraction
from typing import Any

import numpy
import pytest

from ingest.deletion import delete
from tests.warehouse import FEATURES_ALONE, Row, Warehouse, instant, make_batch

LEFT_ALONE = FEATURES_ALONE

START = instant("2024-01-01")


def rows_of(warehouse: Warehouse, symbol: str, timeframe: str = "1h", view: str = "fct_features") -> list[dict[str, Any]]:
    cursor = warehouse.connection.execute(
        f"select features.* from features.{view} as features inner join bars.dim_instrument using (instrument_id) "
        "where symbol = %s and timeframe = %s order by closed_at".encode(),
        (symbol, timeframe),
    )
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def test_returns_at_the_edges(warehouse: Warehouse) -> None:
    """None on the first bar, from or to a price of zero, across an outage or time not asked for; one across a quiet hour."""
    closes = {0: 100.0, 1: 50.0, 3: 25.0, 13: 50.0, 14: 40.0, 15: 0.0, 16: 10.0, 17: 20.0}
    batch = [Row(START + timedelta(hours=at), close, "X/USD") for at, close in closes.items()]
    warehouse.load(make_batch(batch, observed=(START, START + timedelta(hours=18))))
    warehouse.load(make_batch([Row(START + timedelta(hours=20), 30.0, "X/USD")]))  # two hours that nobody asked about
    warehouse.refresh()
    found = rows_of(warehouse, "X/USD")
    assert [(row["gap_before"], row["simple_return"], row["log_return"], row["bars_since_outage"]) for row in found] == [
        (None, None, None, None),
        (None, -0.5, pytest.approx(-math.log(2)), None),
        ("no_trade", -0.5, pytest.approx(-math.log(2)), None),
        ("outage", None, None, 0),
        (None, pytest.approx(-0.2), pytest.approx(math.log(0.8)), 1),
        (None, -1.0, None, 2),
        (None, None, None, 3),
        (None, 1.0, pytest.approx(math.log(2)), 4),
        ("not_fetched", None, None, 0),
    ]
    assert [row["series_position"] for row in found] == list(range(1, 10))


def test_flat_windows_are_known_to_be_flat_and_near_flat_ones_keep_their_digits(warehouse: Warehouse) -> None:
    """A mean that is an ulp off, over a deviation of an ulp, would be a CCI of 66.67; the other side are exact fractions."""
    generator = random.Random(7)
    series = {
        "FLAT/USD": [1.70, 1.71, 1.72, 1.73, 1.74, *[1.7639] * 40],
        "HUGE/USD": [3e12, 1e12 + 0.3, *[1e12 + 0.1] * 43],
        "ULP/USD": [2.0, *[1.7639] * 22, math.nextafter(1.7639, 2), *[1.7639] * 45],
        "NEAR/USD": [61_000.0, *[round(50_000 + generator.gauss(0, 0.1), 2) for _ in range(80)]],
    }
    rows = [
        Row(START + timedelta(hours=at), close, symbol) for symbol, all_ in series.items() for at, close in enumerate(all_)
    ]
    warehouse.load(make_batch(rows))
    warehouse.refresh()
    flat_count = 0
    for symbol in series:
        found = rows_of(warehouse, symbol)
        bars = warehouse.query(
            "select high, low, close from bars.fct_bars join bars.dim_instrument using (instrument_id) "
            "where symbol = %s and timeframe = '1h' order by closed_at",
            symbol,
        )
        for at in range(19, len(bars)):
            window = bars[at - 19 : at + 1]
            closes = [Fraction(close) for _, _, close in window]
            middle = sum(closes) / 20
            variance = sum((close - middle) ** 2 for close in closes) / 20
            typical = [Fraction((high + low + close) / 3) for high, low, close in window]
            centre = sum(typical) / 20
            distance = sum(abs(one - centre) for one in typical) / 20
            is_equal = distance <= Fraction(1, 10**15) * closes[-1]
            cci = 0 if is_equal else float((typical[-1] - centre) / (Fraction(15, 1000) * distance))
            assert found[at]["cci_20"] == pytest.approx(cci, rel=1e-9, abs=1e-9), (symbol, at)
            if variance:
                percent_b = float(Fraction(1, 2) + (closes[-1] - middle) / (4 * Fraction(math.sqrt(variance))))
                is_an_ulp = variance < (Fraction(1, 10**8) * middle) ** 2  # the stored middle is rounded to that
                assert is_an_ulp or found[at]["bollinger_percent_b_20_2"] == pytest.approx(percent_b, rel=1e-9, abs=1e-9)
            else:
                flat_count += 1
                assert found[at]["bollinger_percent_b_20_2"] is None, (symbol, at)
                assert found[at]["bollinger_deviation_20_2"] == 0
    assert flat_count > 60


def test_windows_are_those_of_brute_force(warehouse: Warehouse) -> None:
    """Returns over many bars, deviations, scores, quartiles and volatility of the values that there are, every bar."""
    generator = random.Random(5)
    rows, close = [], 100.0
    for at in range(1_200):
        if 300 <= at < 312 or (at % 41 == 0 and at > 600):  # an outage of twelve hours, and single quiet ones
            continue
        still = 700 <= at < 1_000 and at % 3 > 0  # many equal returns, longer than the longest window
        close = 1e-3 if at == 500 else close if still else max(close, 1.0) * math.exp(generator.gauss(0, 0.01))
        rows.append(Row(START + timedelta(hours=at), close, "X/USD", generator.random()))
    warehouse.load(make_batch(rows, observed=(START, START + timedelta(hours=1_200))))
    warehouse.refresh()
    found = rows_of(warehouse, "X/USD")
    bars = warehouse.query("select open, high, low, close from bars.fct_bars where timeframe = '1h' order by closed_at")
    returns: list[float] = []
    ranges: list[tuple[float, float, float]] = []
    since_outage = None
    for at, (row, (opened, high, low, close)) in enumerate(zip(found, bars, strict=True)):
        is_outage = row["gap_before"] in ("outage", "not_fetched")
        since_outage = 0 if is_outage else None if since_outage is None else since_outage + 1
        assert row["bars_since_outage"] == since_outage
        log_return = math.log(close / bars[at - 1][3]) if at and not is_outage else None
        if log_return is not None:
            returns.append(log_return)
        up, down, over = math.log(high / opened), math.log(low / opened), math.log(close / opened)
        ranges.append((
            (up - down) ** 2 / (4 * math.log(2)),
            (up - down) ** 2 / 2 - (2 * math.log(2) - 1) * over**2,
            up * (up - over) + down * (down - over),
        ))  # fmt: skip
        expected: dict[str, float | None] = {"log_return": log_return}
        for lag in (7, 30):
            is_across = at < lag or (since_outage is not None and since_outage < lag)
            expected[f"simple_return_{lag}"] = None if is_across else close / bars[at - lag][3] - 1
            expected[f"log_return_{lag}"] = None if is_across else math.log(close / bars[at - lag][3])
        expected["realised_30"] = statistics.stdev(returns[-30:]) if len(returns) >= 30 else None
        year = returns[-365:]
        deviation = statistics.stdev(year) if len(returns) >= 365 else 0.0
        expected["return_zscore_252_365"] = (
            (log_return - statistics.fmean(year)) / deviation if deviation and log_return is not None else None
        )
        lower, upper = numpy.percentile(returns[-252:], [25, 75]) if len(returns) >= 252 else (None, None)
        expected["return_q25_252"], expected["return_q75_252"] = lower, upper
        for place, name in enumerate(("parkinson_30", "garman_klass_30", "rogers_satchell_30")):
            mean = statistics.fmean(values[place] for values in ranges[-30:])
            expected[name] = math.sqrt(max(mean, 0)) if at >= 29 else None
            expected[f"{name}_annualised"] = math.sqrt(max(mean, 0) * 8760) if at >= 29 else None
        for name, value in expected.items():
            assert row[name] == (None if value is None else pytest.approx(float(value), rel=1e-9, abs=1e-13)), (at, name)
        if lower is not None and log_return is not None:
            fence = 1.5 * (row["return_q75_252"] - row["return_q25_252"])
            assert row["is_outlier_iqr_252"] == (
                log_return < row["return_q25_252"] - fence or log_return > row["return_q75_252"] + fence
            )
    assert sum(bool(row["is_outlier_iqr_252"]) for row in found) > 5
    assert sum(bool(row["is_outlier_zscore_252_365"]) for row in found) > 0
    assert {row["is_warm_outliers"] for row in found[-150:]} >= {True}
    # The window of a warm RSI reaches back across the outage until so many bars have come since.
    held = [row["series_position"] for row in found if row["has_outage_rsi"]]
    assert held == list(range(301, 301 + len(held)))
    assert len(held) == 22 + 142 - 1


def test_a_session_scores_over_its_own_year(warehouse: Warehouse) -> None:
    generator = random.Random(7)
    rows, close = [], 100.0
    for at in range(420):
        day = START + timedelta(days=at, hours=5)
        if day.weekday() < 5:
            close *= math.exp(generator.gauss(0, 0.01))
            rows.append(Row(day - timedelta(hours=1) if 69 < at < 307 else day, close, "STOCK"))
    warehouse.load(make_batch(rows, timeframe="1D", session="EQUITY"))
    warehouse.refresh()
    found = rows_of(warehouse, "STOCK", "1D")
    first = next(at for at, row in enumerate(found) if row["return_zscore_252_365"] is not None)
    returns = [row["log_return"] for row in found[: first + 1] if row["log_return"] is not None]
    assert len(returns) == 252
    assert found[first]["return_zscore_252_365"] == pytest.approx(
        (returns[-1] - statistics.fmean(returns)) / statistics.stdev(returns)
    )
    assert found[first]["bars_per_year"] == 252


def test_degenerate_series(warehouse: Warehouse) -> None:
    """Nothing divides by zero, nothing underflows, nothing is NaN: equal prices, zeros, one bar, tiny and huge prices."""
    moment = [START + timedelta(minutes=at) for at in range(13_000)]
    series = {
        "FLAT/USD": [Row(at, 7.0, "FLAT/USD") for at in moment[:800]],
        "ZERO/USD": [Row(at, 0.0, "ZERO/USD") for at in moment[:800]],
        "ONE/USD": [Row(moment[0], 3.0, "ONE/USD")],
        "SHORT/USD": [Row(at, 3.0 + place % 3, "SHORT/USD") for place, at in enumerate(moment[:40])],
        "TINY/USD": [Row(at, 1e-8 * (1 + place % 7), "TINY/USD") for place, at in enumerate(moment[:800])],
        "HUGE/USD": [Row(at, 1e8 * (1 + place % 7), "HUGE/USD") for place, at in enumerate(moment[:800])],
        # As a coin after its delisting: every mean of gains or ranges halves on and on.
        "DEAD/USD": [Row(at, 5.0 + place % 5 if place < 300 else 2.0, "DEAD/USD") for place, at in enumerate(moment)],
        "GONE/USD": [Row(at, 5.0 + place % 5 if place < 300 else 0.0, "GONE/USD") for place, at in enumerate(moment)],
    }
    for rows in series.values():
        flat = make_batch(rows, timeframe="1m")
        is_still = (numpy.arange(len(rows)) >= 300) | (rows[0].symbol == "FLAT/USD")
        flat.candles["high"] = numpy.where(is_still, flat.candles["close"], flat.candles["high"])
        flat.candles["low"] = numpy.where(is_still, flat.candles["close"], flat.candles["low"])
        warehouse.load(flat)
    warehouse.refresh()
    tests = warehouse.run("--select", "features_are_finite", "every_bar_has_features", command="test")
    assert [node.name for node in tests.failed] == []
    last = {symbol: rows_of(warehouse, symbol, "1m")[-1] for symbol in series}
    still = {
        "rsi_14": 0.0, "bollinger_deviation_20_2": 0.0, "bollinger_percent_b_20_2": None, "stochastic_k_14_3": 0.0,
        "macd_12_26_9": 0.0, "realised_30": 0.0, "return_zscore_252_365": None, "atr_14": 0.0,
    }  # fmt: skip
    for name, value in still.items():
        assert last["FLAT/USD"][name] == value, name
    assert last["FLAT/USD"]["parkinson_30"] == 0.0
    assert last["ZERO/USD"]["parkinson_30"] is None
    assert last["ZERO/USD"]["log_return"] is None
    assert (last["ONE/USD"]["series_position"], last["ONE/USD"]["rsi_14"]) == (1, None)
    assert last["SHORT/USD"]["sma_50"] is None
    assert last["SHORT/USD"]["sma_20"] == pytest.approx(statistics.fmean(3.0 + place % 3 for place in range(20, 40)))
    assert last["TINY/USD"]["rsi_14"] == pytest.approx(last["HUGE/USD"]["rsi_14"], rel=1e-9)
    assert last["TINY/USD"]["bollinger_percent_b_20_2"] == pytest.approx(
        last["HUGE/USD"]["bollinger_percent_b_20_2"], rel=1e-9
    )
    assert (last["DEAD/USD"]["rsi_14"], last["DEAD/USD"]["atr_14"]) == (0.0, 0.0)
    assert last["DEAD/USD"]["ema_200"] == pytest.approx(2.0, rel=1e-12)
    assert (last["GONE/USD"]["ema_9"], last["GONE/USD"]["plus_di_14"]) == (0.0, 0.0)


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("rsi", {"period": 0}, "'period' is 0, outside 2 to 10000"),
    ("rsi", {"period": 1}, "'period' is 1, outside 2 to 10000"),
    ("sma", {"period": 1_000_000}, "'period' is 1000000, outside 2 to 10000"),
    ("sma", {"period": 2.5}, "'period' is 2.5, not a whole number"),
    ("sma", {"period": "14"}, "'period' is \"14\", not a number"),
    ("sma", {"period": None}, "'period' is missing"),
    ("sma", {"period": True}, "'period' is true, not a number"),
    ("sma", {}, "'period' is missing"),
    ("sma", {"period": 5, "length": 3}, "has no parameter 'length'; it takes period"),
    ("macd", {"fast": 26, "slow": 12, "signal": 9}, "'slow' is 12, outside 27"),
    ("no_such_kernel", {"period": 5}, "there is no kernel 'no_such_kernel'; there are adx, atr,"),
    ("sma", {"period": 20}, "its column sma_20 is that of row"),
]


def test_a_wrong_row_of_configuration_is_named(warehouse: Warehouse) -> None:
    for kernel, params, reason in WRONG:
        warehouse.query("insert into config.indicator values ('wrong_one', %s, %s)", kernel, json.dumps(params))
        failed = {node.name: node.message for node in warehouse.run("--select", "dim_indicator", "bar_features").failed}
        assert list(failed) == ["bar_features"], reason
        assert "config.indicator, row '" in failed["bar_features"]
        assert "'wrong_one'" in failed["bar_features"]
        assert reason in failed["bar_features"]
        assert "Correct the row, or set is_enabled to false" in failed["bar_features"]
        warehouse.query("delete from config.indicator where indicator = 'wrong_one'")
    warehouse.refresh()


def test_params_are_json_objects_at_the_door(untouched: Warehouse) -> None:
    for params in ("{'period': 5}", "[5]", "5"):
        with pytest.raises(Exception, match=r"json|check"):
            untouched.query("insert into config.indicator values ('wrong', 'sma', %s)", params)


def test_a_refused_build_leaves_what_stands_and_a_correction_goes_on(warehouse: Warehouse) -> None:
    warehouse.load(make_batch([Row(START + timedelta(hours=at), 100 + at % 7, "X/USD") for at in range(60)]))
    warehouse.query("delete from config.signal")  # they read indicators that go
    warehouse.refresh()
    before = rows_of(warehouse, "X/USD")
    warehouse.query("insert into config.indicator values ('mine', 'rsi', '{\"period\": 0}')")
    assert {node.name for node in warehouse.run().failed} == {"bar_features", "dim_feature"}
    assert rows_of(warehouse, "X/USD") == before
    warehouse.query("update config.indicator set params = '{\"period\": 5}' where indicator = 'mine'")
    warehouse.query("update config.indicator set is_enabled = false where indicator = 'rsi_14'")
    warehouse.refresh()
    after = rows_of(warehouse, "X/USD")
    assert [row["rsi_5"] is None for row in after[:7]] == [True] * 5 + [False] * 2
    assert "rsi_14" not in after[-1]
    assert {name: value for name, value in after[-1].items() if name in before[-1] and "warm_rsi" not in name} == {
        name: value for name, value in before[-1].items() if name in after[-1] and "warm_rsi" not in name
    }
    # The mart keeps its contract: a column whose indicator is disabled is null.
    assert warehouse.value("select count(*) from marts.features where rsi_14 is not null") == 0
    warehouse.assert_incremental_equals_full()


def test_a_walk_is_taken_up_at_any_bar(warehouse: Warehouse) -> None:
    """The last bars deleted and loaded again, from many places: around checkpoints, within the warm-up, at block ends."""
    generator = random.Random(11)
    rows, close = [], 50.0
    for at in range(2_150):
        close *= math.exp(generator.gauss(0, 0.02))
        if at % 53 > 1:
            rows.append(Row(START + timedelta(hours=at), close, "X/USD", generator.random()))
    batch = make_batch(rows, observed=(START, START + timedelta(hours=2_150)))
    warehouse.load(batch)
    warehouse.refresh()
    whole = warehouse.query("select features::text from features.bar_features as features order by timeframe, closed_at")
    for cut in (2_127, 532, 265, 40, 2):
        delete(warehouse.connection, exchange="test", symbol="X/USD", from_at=START + timedelta(hours=cut))
        warehouse.refresh()
        warehouse.load(batch)
        warehouse.refresh()
        again = warehouse.query("select features::text from features.bar_features as features order by timeframe, closed_at")
        assert again == whole, cut


def test_every_feature_is_told_of(warehouse: Warehouse) -> None:
    told = {feature for (feature,) in warehouse.query("select feature from features.dim_feature")}
    columns = {
        column
        for (column,) in warehouse.query(
            "select attname from pg_attribute where attrelid = 'features.fct_features'::regclass and attnum > 0"
        )
        if not column.startswith(("is_warm_", "has_outage_"))
    }
    assert columns - told == {
        "instrument_id", "timeframe", "opened_at", "closed_at", "close", "gap_before", "bars_per_year", "series_position",
        "bars_since_outage",
    }  # fmt: skip
    assert told <= columns
    assert warehouse.value("select count(*) from features.dim_feature where formula = '' or unit = '' or source = ''") == 0
    stored = {feature for (feature,) in warehouse.query("select feature from features.dim_feature where is_stored")}
    assert stored <= {
        column
        for (column,) in warehouse.query(
            "select attname from pg_attribute where attrelid = 'features.bar_features'::regclass"
        )
    }


def test_the_function_is_replaced_and_not_heaped_up(warehouse: Warehouse) -> None:
    walks = "select proname from pg_proc where pronamespace = 'features'::regnamespace and proname like 'walk%%'"
    warehouse.query("delete from config.signal")  # they read indicators that go
    warehouse.refresh()
    before = warehouse.query(walks)
    warehouse.refresh()
    assert warehouse.query(walks) == before
    warehouse.query("update config.indicator set is_enabled = false where kernel <> 'sma'")
    warehouse.refresh()
    after = warehouse.query(walks)
    assert (len(before), len(after)) == (1, 1)
    assert before != after
    warehouse.query("update config.indicator set is_enabled = false")
    warehouse.load(make_batch([Row(START, 1.0, "X/USD")]))
    warehouse.refresh()
    assert rows_of(warehouse, "X/USD")[0]["series_position"] == 1
