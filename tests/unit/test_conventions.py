"""The project's own rules, read off dbt's manifest: described, keyed, tested, named, of a declared memory."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from expectations import PREDICATES
from tests.warehouse import Warehouse
from titan.core.settings import REPOSITORY
from titan.core.timeframes import TIMEFRAMES
from titan.lab import metrics
from titan.lab.program import compile_inline

MEMORIES = {"bucket", "recursive", "interval", "cross_section", "whole"}
TABLES = {"incremental", "rollup"}
PLAIN_NAMES = {
    "adjustment", "adjustment_event", "adjustment_factor", "bar_features", "bars_per_year", "candle", "candle_of_bar",
    "completeness", "daily", "daily_of_bar", "equity_sum", "fill", "gap", "instrument_metric", "multi_day", "observed",
    "portfolio_metric", "portfolio_return", "rollup", "rollup_stored",
}  # fmt: skip

# Every row of a keyed table once for each timeframe or period: their keys follow from it, and reading all of them would take
# as long as a build.
SPREAD = {"candle_of_bar", "daily_of_bar", "fct_ema"}


@pytest.fixture(scope="session")
def models(manifest: Any) -> dict[str, Any]:
    return {node.name: node for node in manifest.nodes.values() if node.resource_type == "model"}


def attached_tests(manifest: Any, model: Any) -> list[Any]:
    return [node for node in manifest.nodes.values() if getattr(node, "attached_node", None) == model.unique_id]


def test_every_model_says_what_one_row_is(models: dict[str, Any]) -> None:
    assert [name for name, model in models.items() if not model.description.startswith("One row per ")] == []


def test_every_column_of_every_model_is_described(models: dict[str, Any], warehouse: Warehouse) -> None:
    generated = {feature for (feature,) in warehouse.query("select feature from features.dim_feature")}
    for name, model in models.items():
        built = warehouse.query(
            """
            select attname from pg_attribute
            where attrelid = %s::regclass and attnum > 0 and not attisdropped order by attnum
            """,
            f"{model.schema}.{model.alias}",
        )
        columns = [column for (column,) in built]
        if model.schema == "features":  # what config.indicator makes is described in dim_feature
            columns = [
                column
                for column in columns
                if column in model.columns
                or (column not in generated and not column.startswith(("is_warm_", "has_outage_")))
            ]
        assert columns == list(model.columns), name
        assert all(column.description.endswith(".") for column in model.columns.values()), name


def test_every_model_is_keyed_and_the_key_is_tested(models: dict[str, Any], manifest: Any) -> None:
    for name, model in models.items():
        if name in SPREAD:
            continue
        keys = [
            test.test_metadata.kwargs["columns"]
            for test in attached_tests(manifest, model)
            if test.test_metadata.name == "primary_key"
        ]
        assert len(keys) == 1, name
        if model.config.materialized in TABLES:
            assert keys[0] == model.config.extra["key"], name


def test_every_table_declares_its_memory(models: dict[str, Any]) -> None:
    for name, model in models.items():
        assert model.config.materialized in TABLES | {"view"}, name
        if model.config.materialized in TABLES:
            assert model.config.extra.get("memory") in MEMORIES, name


def test_names_follow_the_rules(models: dict[str, Any]) -> None:
    for name, model in models.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name), name
        folder = model.path.split("/")[0]
        assert model.schema == folder, name
        if folder != "marts":
            assert name.startswith(("dim_", "fct_")) or name in PLAIN_NAMES, name
        for column in model.columns.values():
            if column.name.startswith(("is_", "has_", "prints_")):
                assert "hether" in column.description, f"{name}.{column.name}"


def test_every_mart_enforces_its_contract_and_has_a_unit_test(models: dict[str, Any], manifest: Any) -> None:
    tested = {unit.model for unit in manifest.unit_tests.values()}
    for name, model in models.items():
        if model.schema == "marts":
            assert model.config.contract.enforced, name
            assert name in tested, name


def test_every_model_has_an_owner_and_every_consumer_says_what_it_reads(models: dict[str, Any], manifest: Any) -> None:
    """What the gateway's statements and the dashboards' panels read is what their exposures depend on."""
    groups = {group.name for group in manifest.groups.values()}
    assert [name for name, model in models.items() if model.group not in groups] == []
    exposures = {one.name: set(one.depends_on.nodes) for one in manifest.exposures.values()}
    built = {f"{model.schema}.{model.alias}": model.unique_id for model in models.values()}
    texts = {"gateway": "".join(path.read_text() for path in (REPOSITORY / "titan/gateway/sql").glob("*.sql"))}
    for path in (REPOSITORY / "dbt_project" / "dashboards").glob("*.json"):
        texts[f"grafana_{path.stem}"] = path.read_text()
    read = {
        name: {built[one] for one in re.findall(r"(?:from|join) (\w+\.\w+)", text) if one in built}
        for name, text in texts.items()
    }
    assert read == exposures


def test_models_are_short(models: dict[str, Any]) -> None:
    assert {name: model.raw_code.count("\n") for name, model in models.items() if model.raw_code.count("\n") > 120} == {}


def test_only_the_first_models_read_raw(models: dict[str, Any]) -> None:
    readers = {name for name, model in models.items() if any(".raw." in parent for parent in model.depends_on.nodes)}
    assert readers - {"data_health"} == {  # which tells what was turned away
        "adjustment", "adjustment_event", "candle", "dim_instrument", "observed", "symbol",
    }  # fmt: skip


def test_the_timeframes_of_the_loader_are_those_of_the_database(warehouse: Warehouse) -> None:
    rows = warehouse.query("select timeframe, base_unit, quantity from config.timeframe")
    assert {name: (unit, quantity) for name, unit, quantity in rows if name in TIMEFRAMES} == {
        timeframe.name: (timeframe.base_unit, timeframe.quantity) for timeframe in TIMEFRAMES.values()
    }


def test_predicates_have_names_and_meanings_of_their_own() -> None:
    assert len({predicate.name for predicate in PREDICATES}) == len(PREDICATES)
    assert all(predicate.meaning and predicate.sql for predicate in PREDICATES)


def test_metrics_are_named_alike_in_python_dbt_and_the_tables(models: dict[str, Any], untouched: Warehouse) -> None:
    """In the tables of the lab in that order; the models of a strategy's metrics have all of them."""
    in_dbt = json.loads(compile_inline("tojson([metrics('returns'), metrics('trades')])"))
    assert in_dbt == [list(metrics.OF_RETURNS), list(metrics.OF_TRADES)]
    for table, names in (
        ("metric", metrics.METRICS),
        ("portfolio_metric", metrics.PORTFOLIO_METRICS),
        ("walk_metric", metrics.METRICS),
    ):
        columns = [
            column
            for (column,) in untouched.query(
                "select column_name::text from information_schema.columns where table_schema = 'lab' and table_name = %s "
                "order by ordinal_position",
                table,
            )
        ]
        others = {"run_id", "walk_id", "trial", "instrument_id", "account", "bars", "is_ruined", "result_hash"}
        assert [name for name in columns if name not in others and not name.endswith("_at")] == list(names), table
    for model in ("instrument_metric", "portfolio_metric"):
        assert set(metrics.OF_RETURNS) <= set(models[model].columns), model
    assert set(metrics.METRICS) <= set(models["fct_strategy_metric"].columns)
    left_out = {"skewness", "kurtosis"}  # moments are no reason to prefer a strategy
    assert set(metrics.METRICS) - set(models["strategy_leaderboard"].columns) == left_out
