"""Retention never eats what was made of the candles that go, and the columnstore changes no row."""

from __future__ import annotations

import json
from datetime import timedelta

import psycopg
import pytest

from tests.commands import titan
from tests.warehouse import Row, Warehouse, instant, make_batch
from titan.core.errors import UsageError
from titan.ops import storage
from titan.ops.reconcile import reconcile

START = instant("2024-01-01")
NOW = instant("2024-01-22")
HORIZON = instant("2024-01-15")


def hours(count: int, first: int = 0, symbol: str = "BTC/USDT") -> list[Row]:
    return [Row(START + timedelta(hours=first + at), 100 + (first + at) % 37, symbol, 0.1 * (at + 1)) for at in range(count)]


@pytest.fixture
def retained(warehouse: Warehouse) -> Warehouse:
    """Three weeks of hourly candles, of which the last is kept."""
    warehouse.load(make_batch(hours(24 * 21) + hours(24 * 20, 12, "ETH/USDT")))
    warehouse.load(make_batch([Row(START + timedelta(days=at), 5, "DAY/USD") for at in range(20)], timeframe="1D"))
    warehouse.refresh()
    warehouse.query("insert into config.retention (candles_for) values ('7 days')")
    return warehouse


def bars(warehouse: Warehouse) -> list[tuple[object, ...]]:
    return warehouse.query("select bars::text from bars.fct_bars as bars where timeframe <> '1h' order by 1")


def features(warehouse: Warehouse) -> list[tuple[object, ...]]:
    return warehouse.query("select features::text from features.bar_features as features order by 1")


def refresh_all_of_time(warehouse: Warehouse) -> None:
    """What an operator or a policy may do to the continuous aggregates, where there are any."""
    if storage.engine(warehouse.connection) == "community":
        for (aggregate,) in warehouse.query("select view_name from timescaledb_information.continuous_aggregates"):
            warehouse.query(f"call refresh_continuous_aggregate('bars.{aggregate}', null, null)")


def test_retention_drops_candles_and_no_bar_made_of_them(retained: Warehouse) -> None:
    before = bars(retained), features(retained)
    done = storage.apply(retained.connection, NOW)
    assert (done.dropped, done.horizon_at) == (255 + 255, HORIZON)  # those since the last checkpoint stay: bar 256 of each
    assert retained.value("select count(*) from raw.ohlcv where timeframe = '1D'") == 20
    refresh_all_of_time(retained)
    assert bars(retained) == before[0]
    # As if they had changed.
    retained.query("update ops.aggregate set built_hash = 'another' where timeframe in ('2h', '1D')")
    retained.refresh()
    assert (bars(retained), features(retained)) == before
    retained.refresh(is_full=True)
    assert (bars(retained), features(retained)) == before
    assert reconcile(retained.connection).differing == []


def test_after_retention_incremental_still_equals_full(retained: Warehouse) -> None:
    storage.apply(retained.connection, NOW)
    retained.load(make_batch(hours(30, 24 * 21)))
    retained.load(make_batch([Row(HORIZON + timedelta(hours=5), 500.0)]))
    retained.query("insert into config.timeframe (timeframe, compute_features) values ('3D', true) on conflict do nothing")
    retained.refresh()
    retained.assert_incremental_equals_full()
    retained.query("update config.exchange set outage_after = '1 hour' where exchange = '*'")
    retained.refresh()
    retained.assert_incremental_equals_full()
    assert retained.value("select min(closed_at) from bars.rollup where timeframe = '2h'") == START + timedelta(hours=2)


def test_a_series_without_a_checkpoint_keeps_its_candles_and_holds_up_no_other(retained: Warehouse) -> None:
    retained.load(make_batch(hours(100, symbol="NEW/USDT")))
    retained.refresh()
    before = bars(retained), features(retained)
    assert storage.apply(retained.connection, NOW).dropped == 255 + 255
    kept = "select count(*) from {} join raw.instrument using (instrument_id) where symbol = 'NEW/USDT'"
    assert [retained.value(kept.format(relation)) for relation in ("raw.ohlcv", "bars.candle")] == [100, 100]
    retained.refresh()
    assert (bars(retained), features(retained)) == before
    retained.assert_incremental_equals_full()


def test_a_candle_from_before_the_horizon_goes_to_quarantine(retained: Warehouse) -> None:
    storage.apply(retained.connection, NOW)
    before = bars(retained)
    done = retained.load(make_batch([Row(HORIZON - timedelta(days=2), 999.0), Row(HORIZON + timedelta(days=30), 7.0)]))
    assert (done.inserted, dict(done.quarantined)) == (1, {"is_after_horizon": 1})
    new = retained.load(make_batch(hours(5, symbol="NEW/USDT")))
    assert dict(new.quarantined) == {"is_after_horizon": 5}
    with pytest.raises(
        psycopg.errors.RaiseException, match="split of 2024-01-13 cannot change any more: the bars that closed by"
    ):
        retained.query(
            "insert into raw.adjustment (instrument_id, ex_date, kind, ratio, batch_id) "
            "select instrument_id, '2024-01-13', 'split', 2, 0 from raw.instrument where symbol = 'BTC/USDT'"
        )
    retained.refresh()
    assert set(before) <= set(bars(retained))


def test_horizons_of_two_sessions_leave_no_bar_between_them_wrong(retained: Warehouse) -> None:
    halves = [
        Row(START + timedelta(hours=14.5, days=day, minutes=30 * at), 50.0 + at, "STOCK")
        for day in range(19)
        for at in range(13)
    ]
    retained.load(make_batch(halves, timeframe="30m", session="EQUITY"))
    retained.refresh()
    assert storage.apply(retained.connection, NOW + timedelta(hours=6)).horizon_at == HORIZON + timedelta(hours=5)
    retained.load(make_batch([Row(HORIZON + timedelta(hours=3), 500.0)]))  # after the one horizon, before the other
    retained.refresh()
    high = (
        "select high from bars.rollup join raw.instrument using (instrument_id) where symbol = 'BTC/USDT' and closed_at = %s"
    )
    four = HORIZON + timedelta(hours=4)
    assert [row[0] for row in retained.query(high + " and timeframe in ('2h', '4h')", four)] == [505, 505]
    assert reconcile(retained.connection).differing == []


def test_a_bar_open_at_the_horizon_and_a_gap_across_it_keep_their_candles(retained: Warehouse) -> None:
    """Without features no checkpoint keeps any; seven hours divide no day, and the horizon's Monday is a holiday."""
    retained.query("update config.timeframe set compute_features = false where timeframe in ('30m', '1h')")
    retained.query("insert into config.timeframe (timeframe) values ('7h')")
    halves = [
        Row(START + timedelta(hours=14.5, days=day, minutes=30 * at), 50.0 + at, "STOCK")
        for day in range(19)
        for at in range(13)
    ]
    retained.load(make_batch(halves, timeframe="30m", session="EQUITY"))
    retained.refresh()
    kept = """
        select bar::text from bars.rollup as bar
        union all select gap::text from bars.gap where timeframe = '30m' and closed_at > %s
        order by 1
    """
    before = retained.query(kept, HORIZON)
    assert storage.apply(retained.connection, NOW).dropped > 600
    retained.refresh(is_full=True)
    assert retained.query(kept, HORIZON) == before


def test_nothing_is_dropped_that_a_model_has_not_read(retained: Warehouse) -> None:
    retained.load(make_batch(hours(2, 24 * 21)))
    with pytest.raises(UsageError, match="changes to read"):
        storage.apply(retained.connection, NOW)
    assert retained.value("select count(*) from ops.horizon") == 0


def test_the_horizon_never_moves_back(retained: Warehouse) -> None:
    storage.apply(retained.connection, NOW)
    storage.apply(retained.connection, NOW - timedelta(days=3))
    assert retained.value("select max(horizon_at) from ops.horizon") == HORIZON
    with pytest.raises(psycopg.errors.RaiseException, match="never moves back"):
        retained.query("update ops.horizon set horizon_at = '2020-01-01'")


def test_the_columnstore_changes_no_row_or_is_refused(warehouse: Warehouse) -> None:
    warehouse.load(make_batch(hours(24 * 10)))
    warehouse.refresh()
    warehouse.query("insert into config.storage values ('bars.candle', '7 days'), ('raw.ohlcv', '7 days')")
    if storage.engine(warehouse.connection) != "community":
        with pytest.raises(UsageError, match="Community edition"):
            storage.apply(warehouse.connection, NOW)
        return
    before = warehouse.contents()
    done = storage.apply(warehouse.connection, NOW + timedelta(days=200))
    assert set(done.converted) == {"bars.candle", "raw.ohlcv"}
    assert warehouse.contents() == before
    warehouse.load(make_batch([Row(START + timedelta(hours=30), 500.0)]))
    warehouse.refresh()
    assert warehouse.value("select high from bars.rollup where timeframe = '2h' and closed_at = '2024-01-02 08:00Z'") == 505
    warehouse.assert_incremental_equals_full()


def test_storage_says_what_there_is_and_what_was_done(warehouse: Warehouse) -> None:
    warehouse.load(make_batch(hours(30)))
    warehouse.refresh()
    shown = titan("storage", "show", "--all", "--json")
    assert shown.returncode == 0
    rows = {row["relation"]: row for row in json.loads(shown.stdout)}
    assert list(rows) == sorted(rows, key=lambda name: (-rows[name]["bytes"], name))
    assert {"bars.rollup_stored", "raw.ohlcv", "ops.trace", "lab.run"} <= set(rows)
    assert rows["raw.ohlcv"]["rule"].startswith("for good")
    assert rows["bars.dim_calendar"]["bytes"] == warehouse.value("select pg_total_relation_size('bars.dim_calendar')")
    large = titan("storage", "show").stdout
    assert "bars.dim_calendar" in large
    assert "lab.run" not in large
    assert "nothing to do" in titan("storage", "apply").stdout


def test_the_live_view_adds_the_running_bar(warehouse: Warehouse) -> None:
    warehouse.load(make_batch(hours(27)))
    warehouse.refresh()
    running = warehouse.query(
        "select timeframe, closed_at, bar_count from marts.ohlcv_live where not is_finished and timeframe in ('1D', '4h')"
    )
    assert sorted(running) == [
        ("1D", START + timedelta(days=2), 3),
        ("4h", START + timedelta(hours=28), 3),
    ]
