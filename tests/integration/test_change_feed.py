"""What the feed promises beside equality: readers are never broken, definitions are noticed, cost follows the change."""

from __future__ import annotations

import threading
from datetime import timedelta

import psycopg
import pytest

from ingest.deletion import delete
from tests.warehouse import BARS_ALONE, FEATURES_ALONE, Row, Warehouse, instant, make_batch
from titan.core.database import connect

LEFT_ALONE = BARS_ALONE
START = instant("2024-01-01")


def hours(count: int, first: int = 0, symbol: str = "BTC/USDT") -> list[Row]:
    return [Row(START + timedelta(hours=first + at), 100 + first + at, symbol) for at in range(count)]


def relation_ids(warehouse: Warehouse) -> list[tuple[object, ...]]:
    return warehouse.query(
        """
        select relnamespace::regnamespace::text, relname, pg_class.oid, relfilenode from pg_class
        where relnamespace::regnamespace::text in ('bars', 'features', 'marts') and relkind in ('r', 'v') order by 1, 2
        """
    )


def test_an_incremental_build_writes_in_place_and_creates_nothing(warehouse: Warehouse) -> None:
    warehouse.load(make_batch(hours(30)))
    warehouse.refresh()
    before = relation_ids(warehouse)
    classes = warehouse.value("select count(*) from pg_class")
    warehouse.load(make_batch(hours(5, 30)))
    warehouse.refresh()
    assert relation_ids(warehouse) == before
    assert warehouse.value("select count(*) from pg_class") == classes
    assert warehouse.value("select count(*) from bars.candle") == 35


def test_a_build_without_changes_writes_no_row(warehouse: Warehouse) -> None:
    warehouse.left_alone = []  # of all models
    warehouse.load(make_batch(hours(30)))
    warehouse.refresh()
    before = warehouse.query("select xmin::text from features.bar_features order by 1")
    warehouse.load(make_batch(hours(30)))
    warehouse.refresh()
    assert warehouse.query("select xmin::text from features.bar_features order by 1") == before
    assert warehouse.value("select count(*) from ops.dirty") == 0


def test_an_appended_bar_rewrites_only_what_follows_it(warehouse: Warehouse) -> None:
    warehouse.left_alone = FEATURES_ALONE
    warehouse.load(make_batch(hours(200)))
    warehouse.refresh()
    before = dict(warehouse.query("select closed_at, xmin::text from features.bar_features where timeframe = '1h'"))
    warehouse.load(make_batch(hours(1, 200)))
    warehouse.refresh()
    after = dict(warehouse.query("select closed_at, xmin::text from features.bar_features where timeframe = '1h'"))
    assert {at for at, xmin in after.items() if before.get(at) != xmin} == {START + timedelta(hours=201)}


def test_a_readers_view_survives_a_full_refresh(warehouse: Warehouse) -> None:
    warehouse.left_alone = FEATURES_ALONE
    warehouse.load(make_batch(hours(30)))
    warehouse.refresh()
    warehouse.query(
        "create schema reader; create view reader.mine as select closed_at, log_return from features.bar_features"
    )
    warehouse.query("create view reader.on_top as select max(closed_at) as latest from reader.mine")
    ids = warehouse.query("select 'reader.mine'::regclass::oid, 'reader.on_top'::regclass::oid")
    warehouse.refresh(is_full=True)
    warehouse.load(make_batch(hours(1, 30)))
    warehouse.refresh()
    assert warehouse.query("select 'reader.mine'::regclass::oid, 'reader.on_top'::regclass::oid") == ids
    assert warehouse.value("select latest from reader.on_top") == START + timedelta(hours=31)
    retired = "select count(*) from pg_class where relname like '%retired%'"
    assert warehouse.value(retired) == 0


def test_a_view_that_cannot_read_the_new_table_keeps_the_old_one_until_it_is_redefined(warehouse: Warehouse) -> None:
    warehouse.query(
        "create table bars.sample as select 1 as kept, 2 as gone; alter table bars.sample add primary key (kept)"
    )
    warehouse.query("create view bars.reader as select kept, gone from bars.sample")
    warehouse.query("create table bars.sample__new as select 7 as kept")
    assert warehouse.value("select ops.swap_table('bars', 'sample', 'sample__new')") == ["bars.reader"]
    assert warehouse.query("select * from bars.reader") == [(1, 2)]
    assert warehouse.query("select * from bars.sample") == [(7,)]
    warehouse.query("select ops.replace_view('bars.reader', 'select kept from bars.sample')")
    assert warehouse.query("select * from bars.reader") == [(7,)]
    assert warehouse.query("select tablename from pg_tables where tablename like 'sample%'") == [("sample",)]


def test_a_redefined_view_takes_the_views_on_top_along(warehouse: Warehouse) -> None:
    warehouse.query("create view bars.lower_view as select 1 as a, 2 as b")
    warehouse.query("create view bars.upper_view as select b from bars.lower_view")
    warehouse.query("create view bars.top_view as select b from bars.upper_view")
    warehouse.query("select ops.replace_view('bars.lower_view', 'select 5::bigint as b, 6 as c')")
    assert warehouse.query("select * from bars.top_view") == [(5,)]
    with pytest.raises(psycopg.errors.RaiseException, match=r"view bars.upper_view reads columns that the new"):
        warehouse.query("select ops.replace_view('bars.lower_view', 'select 6 as c')")
    assert warehouse.query("select * from bars.top_view") == [(5,)]


def test_a_changed_definition_rebuilds_the_model_and_what_depends_on_it(warehouse: Warehouse) -> None:
    warehouse.left_alone = FEATURES_ALONE
    warehouse.load(make_batch(hours(30)))
    warehouse.refresh()
    warehouse.query("update ops.model set built_hash = 'another' where node = 'bars.gap'")
    before = dict(
        warehouse.query("select relname, relfilenode from pg_class where relname in ('candle', 'gap', 'bar_features')")
    )
    warehouse.refresh()
    after = dict(
        warehouse.query("select relname, relfilenode from pg_class where relname in ('candle', 'gap', 'bar_features')")
    )
    assert {name for name in after if after[name] != before[name]} == {"gap", "bar_features"}


def test_a_selected_build_skips_no_change(warehouse: Warehouse) -> None:
    warehouse.left_alone = FEATURES_ALONE
    warehouse.load(make_batch(hours(30)))
    warehouse.refresh()
    warehouse.load(make_batch(hours(5, 30)))
    warehouse.refresh_models("candle")
    warehouse.load(make_batch(hours(5, 35)))
    warehouse.refresh_models("bar_features")  # its parents have not seen the last five
    assert warehouse.value("select count(*) from features.bar_features where timeframe = '1h'") == 35
    warehouse.refresh()
    assert warehouse.value("select count(*) from features.bar_features where timeframe = '1h'") == 40
    warehouse.assert_incremental_equals_full()


def test_sequence_numbers_become_visible_in_order(warehouse: Warehouse) -> None:
    with connect() as first:
        first.execute("insert into ops.change (node) values ('a')")
        done = threading.Event()

        def publish() -> None:
            with connect() as second:
                second.execute("insert into ops.change (node) values ('b')")
                second.commit()
            done.set()

        thread = threading.Thread(target=publish)
        thread.start()
        assert not done.wait(0.5)  # or b would be visible before a, whose number is smaller
        first.commit()
        assert done.wait(5)
        thread.join()
    assert [node for (node,) in warehouse.query("select node from ops.change where node in ('a', 'b') order by seq")] == [
        "a",
        "b",
    ]


def test_read_changes_are_pruned_and_unread_ones_stay(warehouse: Warehouse) -> None:
    warehouse.left_alone = []  # of all models
    warehouse.load(make_batch(hours(30)))
    for model in ("observed", "dim_instrument", "candle"):
        warehouse.refresh_models(model)
    assert warehouse.value("select count(*) from ops.change where node = 'bars.candle'") > 0
    warehouse.refresh()
    assert warehouse.value("select count(*) from ops.change") == 0


def test_nothing_is_pruned_while_a_model_is_being_built(warehouse: Warehouse) -> None:
    warehouse.query("insert into ops.change (node) values ('raw.nobody')")
    with connect() as building:
        building.execute("select ops.lock_node('bars.first_built')")
        assert warehouse.value("select ops.prune_changes()") == 0
        building.rollback()
    assert warehouse.value("select ops.prune_changes()") == 1


def test_a_candle_that_reaches_over_a_local_midnight_belongs_to_no_day(warehouse: Warehouse) -> None:
    warehouse.query(
        "insert into config.session values ('MCX', 'Mumbai commodities', false, 5, 'Asia/Kolkata', '09:00', '23:55')"
    )
    warehouse.load(make_batch(hours(80), session="MCX"))
    warehouse.refresh()
    revised = [Row(row.opened_at, 500.0) for row in hours(3, 44)]
    warehouse.load(make_batch(revised, session="MCX"))
    warehouse.refresh()
    warehouse.assert_incremental_equals_full()
    with pytest.raises(psycopg.errors.CheckViolation):
        warehouse.query("insert into config.session values ('INDIA', 'x', true, 7, 'Asia/Kolkata', '00:00', '00:00')")


def test_configuration_that_would_move_loaded_candles_is_refused(warehouse: Warehouse) -> None:
    warehouse.query("update config.session set timezone = 'America/Chicago' where session_id = 'EQUITY'")
    warehouse.load(make_batch([Row(instant("2024-01-02T06:00"), 5, "SPY")], timeframe="1D", session="EQUITY"))
    with pytest.raises(psycopg.errors.RaiseException, match="EQUITY has instruments with candles"):
        warehouse.query("update config.session set timezone = 'America/New_York' where session_id = 'EQUITY'")
    for statement in ("truncate config.exchange", "delete from config.exchange"):
        with pytest.raises(psycopg.errors.RaiseException, match=r"keeps its row \*"):
            warehouse.query(statement)
    warehouse.refresh()
    warehouse.query("update config.session set close_local = '15:00' where session_id = 'EQUITY'")
    warehouse.refresh()
    assert warehouse.value("select closed_at::text from bars.candle") == "2024-01-02 21:00:00+00"
    warehouse.assert_incremental_equals_full()


def test_deleting_everything_leaves_no_row_and_frees_the_timeframe(warehouse: Warehouse) -> None:
    warehouse.left_alone = FEATURES_ALONE
    warehouse.load(make_batch(hours(30)))
    warehouse.load(make_batch(hours(30, symbol="ETH/USDT")))
    warehouse.refresh()
    done = delete(warehouse.connection, exchange="test", symbol="BTC/USDT")
    assert (done.deleted, done.is_empty) == (30, True)
    warehouse.refresh()
    assert warehouse.value("select count(*) from features.bar_features where timeframe in ('1h', '1D')") == 30 + 1
    assert warehouse.query("select symbol from marts.market_summary") == [("ETH/USDT",)]
    assert warehouse.value("select count(*) from raw.ohlcv_revision") == 30
    warehouse.load(make_batch([Row(START + timedelta(days=at), 5) for at in range(3)], timeframe="1D"))
    warehouse.refresh()
    assert warehouse.query("select base_timeframe from marts.market_summary where symbol = 'BTC/USDT'") == [("1D",)]
    warehouse.assert_incremental_equals_full()


def test_two_builds_at_once_end_like_one(warehouse: Warehouse) -> None:
    warehouse.load(make_batch(hours(30)))
    with connect() as other:
        other.execute("select ops.lock_node('bars.candle')")
        waiting = threading.Thread(target=warehouse.build)
        waiting.start()
        waiting.join(1.5)
        assert waiting.is_alive()
        other.rollback()
    waiting.join(30)
    assert warehouse.value("select count(*) from bars.candle") == 30
