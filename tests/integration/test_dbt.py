"""dbt, called many times in one process."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from dbt.adapters.base.impl import DEFAULT_BASE_BEHAVIOR_FLAGS

from ingest.sources.synthetic import synthetic_batch
from tests.commands import titan
from tests.warehouse import Warehouse
from titan.core.errors import BuildError
from titan.ops import dbt
from titan.server.migrate import available


def test_an_invocation_leaves_the_next_one_no_more_to_do(warehouse: Warehouse) -> None:
    """A poll or a flow builds again and again in one process: what dbt keeps for itself must not grow."""
    known = len(DEFAULT_BASE_BEHAVIOR_FLAGS)
    for _ in range(2):
        warehouse.build("--select", "dim_timeframe")
    assert len(DEFAULT_BASE_BEHAVIOR_FLAGS) == known


def test_a_build_says_which_migrations_its_database_lacks(warehouse: Warehouse) -> None:
    """After an update of the checkout alone; and with an older checkout on a newer database."""
    newest = available()[-1]
    warehouse.query("delete from ops.migration where version = %s", newest.version)
    with pytest.raises(BuildError, match=f"lacks the migrations {newest.version:04d}_{newest.name}: run `titan db start`"):
        warehouse.build("--select", "dim_timeframe")
    warehouse.query("insert into ops.migration values (%s, %s, %s)", newest.version, newest.name, newest.sha256)
    warehouse.query("insert into ops.migration values (9000, 'of_next_year', '')")
    with pytest.raises(BuildError, match="has the migrations 9000_of_next_year, which this checkout does not know"):
        warehouse.build("--select", "dim_timeframe")
    warehouse.query("delete from ops.migration where version = 9000")
    warehouse.build("--select", "dim_timeframe")


def test_what_models_say_of_examples_holds(warehouse: Warehouse) -> None:
    """dbt's unit tests, which `make run` has and nothing else here: one that fails there fails a newcomer."""
    result = warehouse.run("--select", "test_type:unit", command="test")
    assert len(result.of_kind("unit_test")) > 30
    assert [(node.name, node.message) for node in result.failed] == []


COMMENTS = """
select namespace.nspname || '.' || class.relname, coalesce(attribute.attname, ''), comment.description, comment.xmin::text
from pg_description as comment
inner join pg_class as class on comment.objoid = class.oid and comment.classoid = 'pg_class'::regclass
inner join pg_namespace as namespace on class.relnamespace = namespace.oid
left join pg_attribute as attribute on class.oid = attribute.attrelid and comment.objsubid = attribute.attnum and attnum > 0
where namespace.nspname || '.' || class.relname = any (%s)
"""


def test_what_models_are_said_to_be_is_the_comment_of_what_stands(warehouse: Warehouse) -> None:
    """Of tables that no build has touched since, too; where nothing differs nothing is written."""
    said = {}
    for model in (node for node in dbt.manifest().nodes.values() if node.resource_type == "model"):
        columns = {column.name: column.description for column in model.columns.values()}
        said |= {(f"{model.schema}.{model.alias}", name): text for name, text in {"": model.description, **columns}.items()}
    models = [relation for relation, column in said if not column]
    warehouse.build("--select", "dim_timeframe")  # its definition has the name of the database in it, and this one is a copy
    before = {(relation, column): (text, written) for relation, column, text, written in warehouse.query(COMMENTS, models)}
    assert {of: text for of, (text, _) in before.items()} == said
    warehouse.query("comment on column bars.candle.close is 'what it was called in an older checkout'")
    warehouse.query("comment on view marts.ohlcv is null")
    warehouse.build("--select", "dim_timeframe")
    after = {(relation, column): (text, written) for relation, column, text, written in warehouse.query(COMMENTS, models)}
    assert {of: text for of, (text, _) in after.items()} == said
    touched = {relation for (relation, column), was in before.items() if after[relation, column] != was}
    assert touched == {"bars.candle", "marts.ohlcv"}
    assert (
        after["bars.candle", ""][1] != after["marts.ohlcv", ""][1]
    )  # in transactions of their own: nothing to be in a circle with


def test_no_number_depends_on_the_time_zone_of_the_session(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server's default, or PGOPTIONS, may be a zone with summer time; dbt's connections have it."""
    until = datetime(2024, 4, 1, tzinfo=UTC)
    warehouse.load(synthetic_batch(symbol_count=2, bar_count=2500, timeframe="1h", until=until))
    warehouse.refresh()
    assert warehouse.value("select count(*) from signals.fct_signals") > 0
    monkeypatch.setenv("PGOPTIONS", "-c timezone=America/New_York")
    warehouse.assert_incremental_equals_full()


@pytest.mark.usefixtures("quick_builds")
def test_a_build_that_fails_says_what_the_database_said(warehouse: Warehouse) -> None:
    warehouse.query("update config.timeframe set compute_features = not compute_features where timeframe = '1h'")
    warehouse.query(
        """
        create function ops.fill_disk() returns trigger language plpgsql as $$
        begin
            raise exception 'could not extend file "base/1/2": No space left on device'
            using errcode = 'disk_full', hint = 'Check free disk space.';
        end $$;
        create trigger fill_disk before insert on ops.change for each row execute function ops.fill_disk()
        """
    )
    result = titan("build", "--select", "dim_timeframe", TITAN_LOG="text")
    said = 'could not extend file "base/1/2": No space left on device. Check free disk space.'
    assert result.returncode == 1
    assert f"model dim_timeframe: error: {said}" in result.stdout
    assert result.stderr.startswith(f"error: dim_timeframe failed: {said}\n  dbt run --select dim_timeframe")
