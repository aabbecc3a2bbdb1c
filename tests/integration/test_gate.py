"""The gate: planted faults under their names, no good row lost, no clean one accused; whole batches measured and stopped."""

from __future__ import annotations

import gzip
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from expectations import MEASURES, PREDICATES, data_docs
from expectations.results import of_batch
from expectations.settings import READABLE
from ingest.promotion import Promoted
from ingest.sources.files import FileOptions
from tests.warehouse import BARS_ALONE, Row, Warehouse, instant, make_batch
from titan.core.errors import GateError, TitanError, UsageError
from titan.ops.loads import LoadReport, load_files

LEFT_ALONE = BARS_ALONE

START = instant("2024-01-01")
CANDLES = "select opened_at, open, high, low, close, volume, quote_volume, trade_count from raw.ohlcv"

# --- planted faults -------------------------------------------------------------------------------------------------------

Record = dict[str, str]


def _set(**values: str) -> Callable[[Record], Record]:
    return lambda record: {**record, **values}


def _off_grid(record: Record) -> Record:
    return {**record, "open_time": str(int(record["open_time"]) + 17_000)}


def _swapped(record: Record) -> Record:
    return {**record, "high": record["low"], "low": str(float(record["high"]) * 1.01)}


FAULTS: dict[str, Callable[[Record], Record]] = {
    "price_is_a_number": _set(open="12,5 EUR".replace(",", ".")),
    "volume_is_a_number": _set(volume=""),
    "quote_volume_is_a_number": _set(quote_volume="n/a"),
    "trade_count_is_a_number": _set(count="1.5"),
    "time_is_readable": _set(open_time="yesterday"),
    "price_is_finite": _set(close="nan"),
    "volume_is_finite": _set(volume="inf"),
    "quote_volume_is_finite": _set(quote_volume="-inf"),
    "price_is_not_negative": _set(low="-1"),
    "volume_is_not_negative": _set(volume="-0.5"),
    "quote_volume_is_not_negative": _set(quote_volume="-3"),
    "trade_count_is_not_negative": _set(count="-7"),
    "high_is_not_below_low": _swapped,
    "open_is_within_range": lambda record: {**record, "open": str(float(record["high"]) * 2)},
    "close_is_within_range": lambda record: {**record, "close": str(float(record["low"]) / 2)},
    "opens_on_grid": _off_grid,
    "is_not_in_the_future": _set(open_time="4071254400000"),  # Monday 2099-01-05
}


def test_every_predicate_has_a_planted_fault() -> None:
    assert {predicate.name for predicate in PREDICATES} <= set(FAULTS)


def _read(path: Path) -> tuple[str, list[Record]]:
    header, *lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    names = header.split(",")
    return header, [dict(zip(names, line.split(","), strict=True)) for line in lines]


PLANTED_IN = [
    "daily/binance_spot_ETHUSDT_1d.csv.gz",
    "intraday/binance_spot_BTCUSDT_4h.csv.gz",
    "daily/binance_spot_SOLUSDT_1w.csv.gz",
]


@pytest.mark.parametrize("name", PLANTED_IN)
def test_faults_planted_in_real_files_are_caught_under_their_names(
    warehouse: Warehouse, tmp_path: Path, shared: Path, name: str
) -> None:
    header, records = _read(shared / "data" / name)
    clean = load(warehouse, shared / "data" / name)
    assert (dict(clean.quarantined), clean.inserted, clean.verdict) == ({}, len(records), "passed")
    expected = warehouse.query(CANDLES)
    warehouse.query("truncate raw.ohlcv, raw.observed")

    dice = random.Random(name)
    places = dice.sample(range(len(records)), min(len(records) // 12, 10 * len(FAULTS)))
    planted = {place: list(FAULTS)[at % len(FAULTS)] for at, place in enumerate(places)}
    opened = [record["open_time"] for record in records]
    for place, fault in planted.items():
        records[place] = FAULTS[fault](records[place])
    path = tmp_path / Path(name).name.removesuffix(".gz")
    path.write_text("\n".join([header, *(",".join(record.values()) for record in records)]) + "\n")
    result = load(warehouse, path)

    assert result.quarantined == Counter(planted.values())
    kept = dict(warehouse.query("select row_number, reason from raw.quarantine"))
    assert kept == {place + 2: fault for place, fault in planted.items()}
    lost = {int(opened[place]) for place in planted}
    survivors = {row for row in expected if row[0].timestamp() * 1000 not in lost}
    assert set(warehouse.query(CANDLES)) == survivors
    counted = {
        row["expectation"]: row["observed"] for row in of_batch(warehouse.connection, result.batch_id) if not row["is_met"]
    }
    names = Counter(fault if fault in _predicates() else READABLE for fault in planted.values())
    assert {name: counted[name] for name in names} == names


def _predicates() -> set[str]:
    return {predicate.name for predicate in PREDICATES}


CLEAN = [
    "minute/binance_KITEUSDT_1m.csv.gz",
    "intraday/binance_futures_FTTUSDT_1h.csv.gz",
    "daily/binance_futures_1d_all_symbols.csv.gz",
    "daily/cmc_kaggle/coin_Tether.csv.gz",
    "daily/yahoo_BTC-USD.csv.gz",
    "equity/backtestingpy_GOOG.csv.gz",
    "equity/pandas_ta_SPY_1d.csv.gz",
]


@pytest.mark.parametrize("name", CLEAN)
def test_clean_real_data_is_not_accused(warehouse: Warehouse, shared: Path, name: str) -> None:
    result = load(warehouse, shared / "data" / name)
    assert dict(result.quarantined) == {}
    assert result.inserted > 0
    assert {finding.expectation for finding in result.warnings} <= {"largest_log_return", "zero_volume_share"}


def load(warehouse: Warehouse, path: Path, **options: Any) -> Promoted:
    report = _load(warehouse, path, **options)
    assert report.failed == []
    return report.promoted[0]


def _load(warehouse: Warehouse, path: Path, **options: Any) -> LoadReport:
    return load_files(warehouse.connection, [path], FileOptions(**options))


# --- whole batches --------------------------------------------------------------------------------------------------------


def hours(count: int, *, bad: int = 0, symbol: str = "BTC/USDT", start: datetime = START) -> list[Row]:
    """Good candles, the first `bad` of them with a negative volume."""
    return [
        Row(start + timedelta(hours=at), 100.0, symbol, volume=-1.0 if at < bad else 1.0) for at in range(count)
    ]  # fmt: skip


def test_a_batch_with_too_many_bad_rows_is_stopped_whole_and_said(warehouse: Warehouse) -> None:
    with pytest.raises(
        GateError, match=r"none of its 80 good rows was loaded: bad_row_share.*20 volume_is_not_negative, e\.g\. row 1: "
    ) as caught:
        warehouse.load(make_batch(hours(100, bad=20)))
    assert warehouse.value("select count(*) from raw.ohlcv") == 0
    assert warehouse.value("select count(*) from raw.observed") == 0
    assert warehouse.query("select reason, count(*) from raw.quarantine group by 1") == [("volume_is_not_negative", 20)]
    assert warehouse.query("select batch_id, is_stopped, rows_inserted, rows_quarantined from raw.load_batch") == [
        (caught.value.batch_id, True, 0, 20)
    ]
    assert warehouse.query("select batch_id, verdict from ops.gate_result") == [(caught.value.batch_id, "stopped")]

    warehouse.query("update config.expectation set threshold = 0.2 where expectation = 'bad_row_share'")
    result = warehouse.load(make_batch(hours(100, bad=20)))
    assert (result.inserted, result.already_quarantined, result.verdict) == (80, 20, "warned")


def test_a_stop_names_a_value_of_its_own_cause(warehouse: Warehouse) -> None:
    """Not of what else is odd in the batch: here one candle at night and one bad row, and it stops at a price of zero."""
    warehouse.query("update config.expectation set severity = 'critical' where expectation = 'zero_price_count'")
    morning = instant("2024-01-02T14:30")
    rows = [Row(morning + timedelta(minutes=30 * at), 100.0) for at in range(13)]
    rows += [Row(morning + timedelta(hours=14), 100.0), Row(morning + timedelta(days=1), 0.0)]
    rows += [Row(morning + timedelta(days=1, minutes=30), 100.0, volume=-1.0)]
    with pytest.raises(GateError, match="zero_price_count: BTC/USDT 1") as stop:
        warehouse.load(make_batch(rows, timeframe="30m", session="EQUITY"))
    assert "e.g." not in str(stop.value)
    assert "titan gate show" in str(stop.value.hint)
    assert "--" not in str(stop.value.hint)


def test_a_few_bad_rows_of_a_small_batch_do_not_stop_it(warehouse: Warehouse) -> None:
    assert warehouse.load(make_batch(hours(4, bad=1))).inserted == 3


def test_a_batch_of_only_bad_rows_is_stopped_however_small(warehouse: Warehouse) -> None:
    with pytest.raises(GateError, match="none of its 0 good rows"):
        warehouse.load(make_batch(hours(1, bad=1)))
    assert warehouse.value("select count(*) from raw.quarantine") == 1
    assert warehouse.value("select count(*) from raw.instrument") == 0


def test_a_critical_predicate_stops_the_batch_at_its_first_bad_row(warehouse: Warehouse) -> None:
    warehouse.query(
        """
        insert into config.expectation (expectation, exchange, severity)
        values ('volume_is_not_negative', 'test', 'critical')
        """
    )
    with pytest.raises(GateError, match="volume_is_not_negative: BTC/USDT 1"):
        warehouse.load(make_batch(hours(100, bad=1)))
    assert warehouse.load(make_batch(hours(100, bad=1), exchange="other")).inserted == 99


def test_the_most_specific_row_of_config_counts(warehouse: Warehouse) -> None:
    batch = make_batch(hours(100, bad=20))
    for exchange, suite, threshold, is_stopped in (
        ("*", "daily", 0.5, True),
        ("*", "intraday", 0.5, False),
        ("test", "*", 0.1, True),
        ("test", "intraday", 0.5, False),
        ("elsewhere", "intraday", 0, False),
    ):
        warehouse.query(
            "insert into config.expectation values ('bad_row_share', %s, %s, 'critical', %s)", exchange, suite, threshold
        )
        if is_stopped:
            with pytest.raises(GateError):
                warehouse.load(batch)
        else:
            warehouse.load(batch)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("('volume_is_positive', '*', '*', 'warning', null)", "volume_is_positive.*no such predicate or measure"),
        ("('completeness', 'test', '*', 'warning', null)", "a measure needs a threshold"),
        ("('opens_on_grid', '*', '*', 'warning', 3)", "its threshold has to be null"),
        ("('opens_on_grid', '*', '*', 'info', null)", "never let in, so its severity cannot be info"),
    ],
)
def test_config_that_cannot_be_meant_is_refused_by_name(warehouse: Warehouse, row: str, said: str) -> None:
    warehouse.query(f"insert into config.expectation values {row}")
    with pytest.raises(UsageError, match=said):
        warehouse.load(make_batch(hours(3)))
    assert warehouse.value("select count(*) from raw.load_batch") == 0


# --- measures -------------------------------------------------------------------------------------------------------------


def measured(warehouse: Warehouse, result: Promoted, symbol: str = "BTC/USDT") -> dict[str, Any]:
    profile = warehouse.value("select profile from ops.gate_result where batch_id = %s", result.batch_id)
    return next(one for one in profile if one["symbol"] == symbol)


def test_completeness_is_that_of_what_was_asked_for(warehouse: Warehouse) -> None:
    asked = (START, START + timedelta(hours=100))
    rows = hours(100)
    result = warehouse.load(make_batch(rows[10:60], exchange="binance", observed=asked))
    one = measured(warehouse, result)
    # Nothing is known before the first candle: the series may have begun there. At the end 40 are missing.
    assert (one["expected_count"], one["completeness"], one["periods_behind"]) == (90, 50 / 90, 40)
    assert {finding.expectation for finding in result.warnings} == {"completeness", "periods_behind"}

    later = (asked[1], asked[1] + timedelta(hours=10))
    result = warehouse.load(make_batch(hours(4, start=later[1] - timedelta(hours=4)), exchange="binance", observed=later))
    assert measured(warehouse, result)["completeness"] == 0.4  # asked before: what is missing at the beginning counts


def test_an_empty_answer_is_judged_too(warehouse: Warehouse) -> None:
    warehouse.load(make_batch(hours(3), exchange="binance", observed=(START, START + timedelta(hours=3))))
    nothing = make_batch(hours(1), exchange="binance", observed=(START + timedelta(hours=3), START + timedelta(hours=9)))
    nothing.candles = nothing.candles[:0]
    result = warehouse.load(nothing)
    assert measured(warehouse, result)["completeness"] == 0
    assert result.verdict == "warned"


def test_a_quiet_market_is_not_called_incomplete_or_late(warehouse: Warehouse) -> None:
    asked = (START, START + timedelta(hours=10))
    one = measured(warehouse, warehouse.load(make_batch(hours(5), exchange="coinbase", observed=asked)))
    assert (one["completeness"], one["periods_behind"]) == (None, None)
    long = (START, START + timedelta(hours=30))
    result = warehouse.load(make_batch(hours(5), exchange="coinbase", observed=long))
    assert measured(warehouse, result)["periods_behind"] == 25  # longer than config.exchange.outage_after
    assert [finding.expectation for finding in result.warnings] == ["periods_behind"]


def test_days_of_a_session_are_its_trading_days(warehouse: Warehouse) -> None:
    days = [datetime(2024, 1, 1, 5, tzinfo=UTC) + timedelta(days=at) for at in range(70)]
    traded = [Row(day, 10.0, "SPY") for day in days if day.weekday() < 5]
    one = measured(warehouse, warehouse.load(make_batch(traded[:10], timeframe="1D", session="EQUITY")), "SPY")
    assert (one["expected_count"], one["completeness"]) == (9, 1)  # New Year's Day is none
    long = [Row(day, 10.0, "QQQ") for day in (days[0] + timedelta(days=at) for at in range(70)) if day.weekday() < 4]
    result = warehouse.load(
        make_batch([*long, Row(datetime(2024, 4, 30, 4, tzinfo=UTC), 10.0, "QQQ")], timeframe="1D", session="EQUITY")
    )
    one = measured(warehouse, result, "QQQ")
    assert (one["expected_count"], one["completeness"]) == (83, 41 / 83)


def test_months_and_weeks_are_counted(warehouse: Warehouse) -> None:
    months = [Row(datetime(2024, month, 1, tzinfo=START.tzinfo), 10.0) for month in (1, 2, 3, 5)]
    assert measured(warehouse, warehouse.load(make_batch(months, timeframe="1MO")))["completeness"] == 0.8
    new_york = [Row(datetime(2024, month, 1, 5 - (month > 3), tzinfo=UTC), 10.0, "SPY") for month in (1, 3, 4)]
    equity = warehouse.load(make_batch(new_york, timeframe="1MO", session="EQUITY"))
    assert measured(warehouse, equity, "SPY")["expected_count"] == 4
    weeks = [Row(instant("2024-01-01") + timedelta(weeks=at), 10.0, "ETH/USDT") for at in (0, 1, 3)]
    one = measured(warehouse, warehouse.load(make_batch(weeks, timeframe="1W_ISO")), "ETH/USDT")
    assert one["completeness"] == 0.75


def test_jumps_are_measured_from_the_standing_candle_on(warehouse: Warehouse) -> None:
    warehouse.load(make_batch(hours(3)))
    result = warehouse.load(make_batch([Row(START + timedelta(hours=3), 100_000.0)]))
    assert measured(warehouse, result)["largest_log_return"] == pytest.approx(6.907755, abs=1e-6)
    assert str(result.warnings[0]) == "largest_log_return: BTC/USDT 6.90776 (threshold 0.5)"
    extremes = [Row(START + timedelta(hours=4 + at), price) for at, price in enumerate((1e-300, 1e300, 0.0, 5.0))]
    assert measured(warehouse, warehouse.load(make_batch(extremes)))["largest_log_return"] == pytest.approx(
        1381.55, abs=0.01
    )


def test_zero_volume_is_a_share(warehouse: Warehouse) -> None:
    rows = [Row(START + timedelta(hours=at), 10.0, volume=float(at % 4 == 0)) for at in range(8)]
    result = warehouse.load(make_batch(rows))
    assert measured(warehouse, result)["zero_volume_share"] == 0.75
    assert [finding.expectation for finding in result.warnings] == ["zero_volume_share"]


def test_prices_of_zero_are_counted_and_said(warehouse: Warehouse) -> None:
    rows = [Row(START + timedelta(hours=at), price) for at, price in enumerate((10.0, 0.0, 10.0, 0.0))]
    result = warehouse.load(make_batch([*rows, Row(START, 10.0, "ETH/USDT")]))
    assert measured(warehouse, result)["zero_price_count"] == 2
    assert [str(finding) for finding in result.warnings] == ["zero_price_count: BTC/USDT 2 (threshold 0)"]


def test_a_measure_without_a_row_is_not_judged(warehouse: Warehouse) -> None:
    warehouse.query("delete from config.expectation")
    assert warehouse.load(make_batch(hours(100, bad=50))).inserted == 50


def test_every_expectation_of_a_batch_is_a_row(warehouse: Warehouse) -> None:
    result = warehouse.load(make_batch(hours(50, bad=2)))
    rows = warehouse.query(
        "select expectation, is_met, observed, series from ops.expectation_result where batch_id = %s", result.batch_id
    )
    names = {READABLE, *_predicates(), *(measure.name for measure in MEASURES)}
    assert {row[0] for row in rows} == names
    assert [row for row in rows if not row[1]] == [
        ("volume_is_not_negative", False, 2, [{"symbol": "BTC/USDT", "value": 2}])
    ]  # fmt: skip


# --- data docs ------------------------------------------------------------------------------------------------------------


def test_data_docs_show_what_failed(warehouse: Warehouse, tmp_path: Path) -> None:
    good = warehouse.load(make_batch(hours(30)))
    with pytest.raises(GateError) as caught:
        warehouse.load(make_batch(hours(30, bad=9, symbol="ETH/USDT")))
    page = data_docs.write(warehouse.connection, tmp_path / "docs", batch_ids=[caught.value.batch_id])
    text = page.read_text()
    for shown in ("bad_row_share", "ETH/USDT", "0.3", "Rows of which the volume is negative.", "critical"):
        assert shown in text
    index = data_docs.write(warehouse.connection, tmp_path / "all")
    assert index.name == "index.html"
    assert {path.parent.parent.name for path in (tmp_path / "all").glob("validations/*/*/*/*.html")} == {
        f"batch {good.batch_id}", f"batch {caught.value.batch_id}",
    }  # fmt: skip


def test_data_docs_show_symbols_as_text(warehouse: Warehouse, tmp_path: Path) -> None:
    result = warehouse.load(make_batch(hours(30, bad=1, symbol="<SCRIPT>X</SCRIPT>")))
    text = data_docs.write(warehouse.connection, tmp_path, batch_ids=[result.batch_id]).read_text()
    assert "<SCRIPT>X" not in text
    assert "&lt;SCRIPT&gt;X" in text


def test_data_docs_of_what_is_not_there_are_refused(warehouse: Warehouse, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no batch has passed the gate yet"):
        data_docs.write(warehouse.connection, tmp_path)
    warehouse.load(make_batch(hours(3)))
    with pytest.raises(UsageError, match="batch 99 has no gate result"):
        data_docs.write(warehouse.connection, tmp_path, batch_ids=[99])
    (tmp_path / "file").write_text("")
    with pytest.raises(TitanError, match="cannot be written"):
        data_docs.write(warehouse.connection, tmp_path / "file")
