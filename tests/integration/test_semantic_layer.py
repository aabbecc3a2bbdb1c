"""The semantic layer as its users have it: MetricFlow checks it, and what it answers is what plain SQL does."""

from __future__ import annotations

import csv
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.local_gateway import HOURLY, rows
from tests.warehouse import DATABASE, Warehouse, make_batch, separate_warehouse, use_database
from titan.core.settings import REPOSITORY

BIN = Path(sys.executable).parent
QUERIES = {
    "market_by_month": (
        ["metric_time__month", "bar__exchange", "bar__symbol"],
        """
        select
            date_trunc('month', closed_at - interval '1 microsecond')::date::text, exchange, symbol,
            (array_agg(close order by closed_at desc))[1], max(high), min(low), sum(volume)
        from marts.ohlcv where timeframe = '1D' group by 1, 2, 3
        """,
    ),
    "returns_by_year": (
        ["metric_time__year", "feature__symbol"],
        """
        select
            date_trunc('year', closed_at - interval '1 microsecond')::date::text, symbol,
            exp(sum(log_return)) - 1, avg(realised_30_annualised)
        from marts.features where timeframe = '1D' group by 1, 2
        """,
    ),
    "signals_by_result": (
        ["result__signal", "result__timeframe"],
        """
        select signal, timeframe, avg(sharpe), sum(trades)::float, sum(round(win_rate * trades)) / nullif(sum(trades), 0)
        from marts.strategy_leaderboard where scope = 'instrument' group by 1, 2
        """,
    ),
    "drawdowns_by_year": (
        ["metric_time__year", "account__signal"],
        """
        select
            date_trunc('year', closed_at - interval '1 microsecond')::date::text, signal,
            min(realistic_drawdown), avg((realistic_holding <> 0)::integer)::float
        from backtest.fct_strategy_equity group by 1, 2
        """,
    ),
}


@pytest.fixture(scope="module")
def filled(manifest: Any) -> Iterator[Warehouse]:
    """Two symbols from the end of a year on, and a signal that trades."""
    warehouse = separate_warehouse("semantic")
    warehouse.query(HOURLY)
    warehouse.load(make_batch(rows({"BTC/USDT": 100, "ETH/USDT": 10}, 1800), exchange="one"))
    warehouse.refresh()
    yield warehouse
    warehouse.close()


@pytest.fixture
def asked(filled: Warehouse) -> Warehouse:
    use_database(f"{DATABASE}_semantic")
    return filled


@pytest.fixture(scope="module")
def project(filled: Warehouse, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project in a folder of its own: MetricFlow reads what dbt parsed into target/, whatever DBT_TARGET_PATH says."""
    use_database(f"{DATABASE}_semantic")
    folder = tmp_path_factory.mktemp("project")
    for name in ("dbt_project", "dbt_project.yml", "profiles.yml", "titan"):
        (folder / name).symlink_to(REPOSITORY / name)
    called(folder, "dbt", "parse")
    return folder


def called(project: Path, program: str, *arguments: str) -> str:
    command = [BIN / program, *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DBT_")}
    result = subprocess.run(command, capture_output=True, text=True, cwd=project, timeout=120, env=environment)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout


@pytest.mark.usefixtures("asked")
def test_it_is_valid_against_the_warehouse(project: Path) -> None:
    told = called(project, "mf", "validate-configs")
    assert told.count("ERRORS: 0, FUTURE_ERRORS: 0, WARNINGS: 0") >= 6
    listed = called(project, "mf", "list", "metrics")
    wanted = "price volume total_return volatility drawdown sharpe hit_rate exposure"
    assert all(name in listed for name in wanted.split())


@pytest.mark.parametrize("name", QUERIES)
def test_a_saved_query_answers_what_sql_does(asked: Warehouse, name: str, project: Path, tmp_path: Path) -> None:
    keys, query = QUERIES[name]
    called(project, "mf", "query", "--saved-query", name, "--csv", str(tmp_path / "told.csv"))
    with (tmp_path / "told.csv").open() as file:
        head, *told = csv.reader(file)
    assert head[: len(keys)] == keys
    wanted = sorted(asked.query(query), key=str)
    found = sorted((tuple(cell[:10] if key.startswith("metric_time") else cell
                          for key, cell in zip(keys, row, strict=False)) + tuple(row[len(keys) :])
                    for row in told), key=str)  # fmt: skip
    assert len(found) == len(wanted) > 1
    for has, should in zip(found, wanted, strict=True):
        assert has[: len(keys)] == should[: len(keys)]
        for value, right in zip(has[len(keys) :], should[len(keys) :], strict=True):
            assert (value == "") == (right is None), (has, should)
            assert right is None or math.isclose(float(value), float(right), rel_tol=1e-9), (has, should)
