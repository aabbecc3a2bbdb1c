"""A refresh by the database: what it does by itself, what it leaves to dbt, and what faults leave behind."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from tests.commands import TITAN, titan
from tests.warehouse import DATABASE, Row, Warehouse, create_database, instant, make_batch, use_database
from titan.cli import output
from titan.core.database import connect
from titan.core.errors import BuildError, MigrationError
from titan.core.settings import REPOSITORY
from titan.ops import dbt
from titan.ops import refresh as walking
from titan.ops.refresh import needs_refresh, refresh
from titan.server.migrate import available

START = instant("2024-01-01")
WAITING = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%ops.refresh(%'"


def hours(count: int, first: int = 0, symbol: str = "BTC/USDT") -> list[Row]:
    return [Row(START + timedelta(hours=first + at), 100 + (first + at) % 17, symbol) for at in range(count)]


def pending(warehouse: Warehouse) -> dict[str, tuple[object, ...]]:
    rows = warehouse.query("select node, ranges, owed_build, failures, message from ops.pending")
    return {str(row[0]): row[1:] for row in rows}


def nodes(warehouse: Warehouse, action: str) -> set[str]:
    """What a refresh does that action to."""
    return {step.node for step in warehouse.try_refresh().steps if step.action == action}


def test_what_is_behind_is_told_and_refreshed_in_order(warehouse: Warehouse) -> None:
    assert pending(warehouse) == {}
    assert not needs_refresh(warehouse.connection)
    warehouse.load(make_batch(hours(30)))
    assert {"bars.observed", "bars.dim_instrument", "bars.candle"} <= pending(warehouse).keys()
    done = warehouse.refresh()
    assert (done.owed, done.declared) == ({}, 0)
    depth = dict(warehouse.query("select node, depth from ops.model"))
    assert [depth[step.node] for step in done.steps] == sorted(depth[step.node] for step in done.steps)
    assert pending(warehouse) == {}
    assert warehouse.refresh().steps == []
    warehouse.assert_incremental_equals_full()


def test_a_model_that_fails_keeps_its_readers_and_nobody_else(warehouse: Warehouse) -> None:
    warehouse.load(make_batch([*hours(10), *hours(10, 20)]))
    warehouse.query("alter table bars.gap add constraint broken check (false) not valid")
    first = warehouse.try_refresh()
    assert [(step.node, step.action) for step in first.failed] == [("bars.gap", "failed")]
    assert 'violates check constraint "broken"' in first.failed[0].reason
    assert "bars.multi_day" in {step.node for step in first.steps}
    assert warehouse.value("select count(*) from bars.fct_bars") > 0
    behind = pending(warehouse)
    assert behind["bars.gap"][2] == 1
    assert "features.bar_features" in behind  # it reads the gaps, and waits
    assert warehouse.value("select count(*) from features.bar_features") == 0
    error = first.failure()
    assert error is not None
    assert str(error).startswith("bars.gap failed: ")

    # Who watches waits a second, then two, then four.
    waits = "select extract(epoch from retry_at - failed_at)::integer from ops.refresh_failure where node = 'bars.gap'"
    told = [warehouse.value(waits)]
    for _ in range(3):
        assert refresh(warehouse.connection, is_patient=True).steps == []
        warehouse.try_refresh()
        told.append(warehouse.value(waits))
    assert told == [1, 2, 4, 8]

    warehouse.query("alter table bars.gap drop constraint broken")
    warehouse.refresh()
    assert pending(warehouse) == {}
    warehouse.assert_incremental_equals_full()


def test_a_walker_killed_within_a_model_leaves_it_to_the_next_one(warehouse: Warehouse) -> None:
    warehouse.load(make_batch(hours(60)))
    for node in ("bars.candle", "bars.gap", "features.bar_features"):
        with connect() as other:
            other.execute("select ops.lock_node(%s)", (node,))
            walker = subprocess.Popen([TITAN, "refresh"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            waits = "from pg_stat_activity where wait_event_type = 'Lock' and query like '%ops.refresh(%'"
            deadline = time.monotonic() + 60
            while not warehouse.value(f"select count(*) {waits}"):
                assert time.monotonic() < deadline
                assert walker.poll() is None
                time.sleep(0.05)
            walker.send_signal(signal.SIGKILL)
            walker.wait()
            # Or the server, which has not noticed yet, would go on as soon as the lock is free, and be done with the model.
            while warehouse.query(f"select pg_terminate_backend(pid) {waits}"):
                time.sleep(0.05)
        assert node in pending(warehouse)
        warehouse.load(make_batch(hours(3, 60)))
    warehouse.refresh()
    assert pending(warehouse) == {}
    warehouse.assert_incremental_equals_full()


def test_walkers_and_dbt_beside_each_other_end_like_one(warehouse: Warehouse) -> None:
    warehouse.load(make_batch(hours(200)))

    def walk() -> None:
        with closing(connect(autocommit=True)) as connection:
            for _ in range(5):
                assert not refresh(connection).failed

    walkers = [threading.Thread(target=walk) for _ in range(2)]
    for thread in walkers:
        thread.start()
    for at in range(4):
        warehouse.load(make_batch(hours(5, 200 + 5 * at)))
    warehouse.build()
    for thread in walkers:
        thread.join()
    warehouse.refresh()
    assert pending(warehouse) == {}
    assert warehouse.value("select count(*) from bars.candle") == 220
    warehouse.assert_incremental_equals_full()


def test_who_refreshes_the_same_aggregate_is_waited_for(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    # What TimescaleDB answers to a second refresh of one (55P03) is what a lock answers that is not waited for.
    statement = "select from bars.dim_session for update nowait"
    with closing(connect()) as other, closing(connect(autocommit=True)) as connection:
        other.execute("select from bars.dim_session for update")
        ending = threading.Timer(0.3, other.rollback)
        ending.start()
        walking._refresh_aggregate(connection, statement)
        ending.join()
        other.execute("select from bars.dim_session for update")
        monkeypatch.setattr(walking, "_LONGEST_WAIT", 0.2)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            walking._refresh_aggregate(connection, statement)


def test_a_view_that_a_rebuilt_table_leaves_behind_is_said(warehouse: Warehouse, capsys: pytest.CaptureFixture[str]) -> None:
    warehouse.load(make_batch([*hours(10), *hours(10, 20)]))
    warehouse.refresh()
    warehouse.query("alter table bars.gap add column noted integer default 7")
    warehouse.query("create view public.mine as select noted from bars.gap")
    done = warehouse.refresh(is_full=True)
    assert {step.node: step.left_behind for step in done.steps if step.left_behind} == {"bars.gap": ("public.mine",)}
    assert warehouse.value("select min(noted) from public.mine") == 7
    output.show_refresh(done)
    assert "  public.mine still shows the previous table of bars.gap: " in capsys.readouterr().out


# --- what only dbt can answer ----------------------------------------------------------------------------------------------


@pytest.fixture
def project(manifest: object, tmp_path: Path) -> Iterator[Warehouse]:
    """A warehouse that was declared from a copy of the project, which a test may edit."""
    for name in ("dbt_project.yml", "profiles.yml"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    shutil.copytree(REPOSITORY / "dbt_project", tmp_path / "dbt_project")
    use_database(DATABASE)
    create_database(DATABASE, f"{DATABASE}_template")
    warehouse = Warehouse(tmp_path)
    yield warehouse
    warehouse.close()


def test_an_edited_file_is_named_and_its_model_alone_is_declared(project: Warehouse, tmp_path: Path) -> None:
    project.load(make_batch(hours(30)))
    project.refresh()
    path = tmp_path / "dbt_project/models/bars/gap.sql"
    path.write_text(path.read_text().replace("lag(closed_at) over in_order", "lag(closed_at, 1) over in_order"))
    done = project.refresh()
    assert done.owed == {"bars.gap": "dbt_project/models/bars/gap.sql is not what it was declared from"}
    assert done.declared == 1
    # dbt built it anew, which is news for what reads it; the rest has not been touched.
    assert "features.bar_features" in {step.node for step in done.steps}
    assert not {"bars.candle", "bars.multi_day", "bars.gap"} & {step.node for step in done.steps}
    assert project.refresh().owed == {}
    path.write_text("{{ config(memory='recursive', key=['instrument_id', 'timeframe', 'closed_at']) }} select nothing")
    with pytest.raises(BuildError, match="gap failed: "):
        project.refresh()
    assert project.value("select count(*) from features.bar_features") > 0


def test_an_edited_macro_and_a_dbt_run_by_hand_ask_dbt_about_everything(project: Warehouse, tmp_path: Path) -> None:
    path = tmp_path / "dbt_project/macros/time/bar_columns.sql"
    path.write_text(path.read_text() + "\n")
    done = project.refresh()
    assert done.owed == {"every model": "dbt_project/macros/time/bar_columns.sql is not what they were declared from"}
    assert (done.declared, done.steps) == (51, [])
    assert project.refresh().owed == {}
    model = tmp_path / "dbt_project/models/bars/dim_session.sql"
    model.write_text(model.read_text().replace("name,", "name || '' as name,"))
    project.build("--select", "dim_session")  # by hand: nobody has noted which files it saw
    assert project.refresh().owed == {"every model": "dbt was called by hand, or failed, since"}
    assert project.refresh().owed == {}


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (
            "update config.indicator set is_enabled = false where indicator = 'obv'",
            {"bar_features", "dim_feature", "fct_indicators", "fct_features", "features", "feature_outlier"},
        ),
        ("update config.signal set params = params || '{\"oversold\": 25}' where type = 'rsi_mean_revert'", {"fct_signals"}),
        ("update config.timeframe set compute_features = false where timeframe = '4h'", set()),  # it refuses signals of it
    ],
)
def test_whatever_compiles_to_something_else_is_owed(warehouse: Warehouse, edit: str, expected: set[str]) -> None:
    """The other side: every model compiled by dbt before and after an edit of configuration."""

    def compiled() -> dict[str, str]:
        result = dbt.invoke("compile", ["--select", "resource_type:model"])
        return {node.name: node.sql for node in result.of_kind("model")}

    warehouse.query("update config.signal set is_enabled = false where timeframe = '4h'")
    warehouse.refresh()
    before = compiled()
    warehouse.query(edit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Warehouse, "_declare", lambda *_: None)  # so that what is owed stays so
        owed = set(warehouse.refresh().owed)
    assert "signals.fct_signals" in owed | set(warehouse.value("select ops.generated_from(%s)", list(owed)))
    closure = {node.split(".")[1] for node in warehouse.value("select ops.generated_from(%s)", list(owed))}
    for name in ("dim_indicator", "dim_feature"):  # dbt compiles what follows with their new rows
        warehouse.run("--select", name)
    after = compiled()
    changed = {name for name in after if after[name] != before[name]}
    assert expected <= changed <= closure


def test_another_engine_and_what_does_not_stand_are_owed(warehouse: Warehouse) -> None:
    warehouse.query("update ops.model set engine = 'another' where node = 'bars.candle_of_bar'")
    warehouse.query("drop view marts.signal_feed")
    owed = warehouse.refresh().owed
    assert owed.pop("marts.signal_feed") == "it does not stand"
    ((node, reason),) = owed.items()
    assert (node, reason.startswith("it was declared for another, and the server is ")) == ("bars.candle_of_bar", True)
    assert warehouse.refresh().owed == {}


def test_an_edit_that_dbt_did_not_know_of_when_it_compiled_is_owed(warehouse: Warehouse) -> None:
    definition = (
        "select jsonb_build_object('node', node, 'kind', kind, 'sql', sql, 'parents', parents, 'generated_by', generated_by)"
        " from ops.model where node = 'features.fct_ema'"
    )
    warehouse.query("insert into ops.change (node) values ('features.dim_feature')")
    seen = warehouse.value("select max(seq) from ops.change")
    warehouse.query("insert into ops.change (node) values ('features.dim_feature')")  # while it compiled
    built = "select action from ops.build((%s), false, %s)"
    assert warehouse.value(built % (definition, seen)) == "nothing"
    assert pending(warehouse)["features.fct_ema"][:2] == (1, "features.dim_feature changed, and it is made of its rows")
    assert warehouse.value(built % (definition, seen + 1)) == "nothing"
    assert "features.fct_ema" not in pending(warehouse)


def test_dbt_says_which_changes_it_knew_of_of_models_that_are_made_of_rows(warehouse: Warehouse) -> None:
    warehouse.query(
        """
        alter function ops.build(jsonb, boolean, bigint, bigint) rename to build_really;
        create table ops.told as select null::text as node, null::bigint as generated_upto where false;
        create function ops.build(
            definition jsonb, is_full boolean, generated_upto bigint, upto bigint,
            out action text, out reason text, out left_behind text[]
        ) language plpgsql as $$
        begin
            insert into ops.told values (definition ->> 'node', generated_upto);
            select built.* into action, reason, left_behind
            from ops.build_really(definition, is_full, generated_upto, upto) as built;
        end $$
        """
    )
    warehouse.query("insert into ops.change (node) values ('raw.nobody')")
    newest = warehouse.value("select max(seq) from ops.change")
    warehouse.build("--select", "fct_ema", "fct_signals", "gap")
    told = dict(warehouse.query("select node, generated_upto from ops.told"))
    assert told == {"features.fct_ema": newest, "signals.fct_signals": newest, "bars.gap": None}


def test_a_database_under_another_name_goes_on_without_dbt(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    warehouse.load(make_batch(hours(30)))
    warehouse.refresh()
    warehouse.close()
    renamed = f"{DATABASE}_renamed"
    create_database(renamed, DATABASE)
    use_database(renamed)
    monkeypatch.setattr(dbt, "invoke", None)
    copy = Warehouse()
    copy.load(make_batch(hours(30, 30)))
    done = copy.refresh()
    assert {"bars.candle", "features.bar_features", "backtest.fill"} <= {step.node for step in done.steps}
    copy.assert_incremental_equals_full()
    copy.close()
    use_database(DATABASE)


def test_a_migration_that_is_owed_is_said(warehouse: Warehouse) -> None:
    newest = available()[-1]
    warehouse.query("delete from ops.migration where version = %s", newest.version)
    with pytest.raises(MigrationError, match=f"lacks the migrations {newest.version:04d}_{newest.name}"):
        warehouse.refresh()


def test_a_reader_may_not_refresh(warehouse: Warehouse) -> None:
    with connect() as connection:
        connection.execute("set role titan_reader")
        assert connection.execute("select count(*) from ops.pending").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select * from ops.refresh('bars.gap', true)")


def test_what_no_model_is_refused(warehouse: Warehouse) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="there is no model"):
        warehouse.query("select * from ops.refresh('bars.nothing')")


def test_the_table_of_a_model_that_is_gone_is_named_until_it_is_dropped_or_back(warehouse: Warehouse) -> None:
    warehouse.query("create table bars.rollup_1d (close double precision)")
    warehouse.query("insert into ops.progress (consumer, parent, seq) values ('bars.rollup_1d', 'raw.ohlcv', 0)")
    warehouse.query("select ops.forget_models(array(select node from ops.model where node <> 'marts.symbol'))")
    left = json.loads(titan("status", "--json").stdout)["left_behind"]
    assert [row["left_behind"] for row in left] == ["bars.rollup_1d", "marts.symbol"]
    assert "left_behind\tsince\n" in titan("status").stdout
    warehouse.query("drop table bars.rollup_1d")
    left = json.loads(titan("status", "--json").stdout)["left_behind"]
    assert [row["left_behind"] for row in left] == ["marts.symbol"]
    warehouse.build("--select", "symbol")
    assert warehouse.query("select relation from ops.left_behind") == []
    assert "left_behind" not in titan("status").stdout
