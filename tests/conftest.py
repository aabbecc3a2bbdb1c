"""The lanes: an embedded server of the suite's own, or the one that TITAN_TEST_URL names; one database a test."""

from __future__ import annotations

import gc
import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from dbt.plugins.manager import PluginManager
from dbt_common.behavior_flags import BehaviorFlagRendered
from dbt_common.events.base_types import BaseEvent, EventLevel
from dbt_common.events.event_manager import EventManager
from xdist.scheduler import LoadScopeScheduling

from ingest.sources import exchange as source
from tests.clocks import stay_within_the_hour
from tests.local_exchange import SINCE, LocalExchange, local_exchange
from tests.quick_titan import quickly
from tests.servers import temporary_server
from tests.warehouse import (
    DATABASE,
    QUICK_SIGNALS,
    SHARED,
    SMALL,
    SMALL_TIMEFRAMES,
    TEMPLATE,
    Warehouse,
    create_database,
    use_database,
    use_server,
)
from titan.ops import dbt
from titan.server.migrate import migrate


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-golden", action="store_true", help="write tests/golden anew")


# Modules whose tests share what takes seconds to make: each goes to one worker, or two would make the same.
TOGETHER = {
    "tests/properties/test_load_sequences.py": "small",
    "tests/properties/test_memories.py": "small",
    "tests/properties/test_readers.py": "small",
    "tests/integration/test_walk.py": "evidence",
    **{
        f"tests/integration/test_{name}.py": name
        for name in ("adjustments", "backtest", "evidence", "execution", "gateway", "reconcile", "what_is_served")
    },
}


class _InTurn(LoadScopeScheduling):  # type: ignore[misc]
    """Tests are handed out one by one, those of a module that stays together as one."""

    def _split_scope(self, nodeid: str) -> str:
        return TOGETHER.get(nodeid.partition("::")[0], nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _InTurn:
    return _InTurn(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The properties first: they take longest, and the other worker does the rest meanwhile."""
    items.sort(key=lambda item: "properties" not in item.nodeid)


@pytest.fixture(scope="session", autouse=True)
def dbt_directories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """dbt's output, away from the user's own, and without the files that nobody reads here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBT_WRITE_JSON", "false")
        patch.setenv("DBT_LOG_LEVEL_FILE", "none")
        for variable in ("DBT_TARGET_PATH", "DBT_LOG_PATH"):
            patch.setenv(variable, str(tmp_path_factory.mktemp(variable.lower())))
        patch.setattr(EventManager, "fire_event", _unless_debug(EventManager.fire_event))
        # Below a worker's frames, which have no file, it takes long to find out which module calls; nobody reads the answer.
        patch.setattr(BehaviorFlagRendered, "_default_source", staticmethod(lambda: "dbt"))
        # dbt looks through every installed package for plugins, each time, and finds the same.
        patch.setattr(PluginManager, "get_prefixed_modules", cache(PluginManager.get_prefixed_modules))
        yield


def _unless_debug(fire_event: Callable[..., None]) -> Callable[..., None]:
    """dbt's way to tell an event, for those that somebody hears: debug ones go to a file that is not written here.

    They would be made into messages nevertheless, which takes a sixth of the time of tests that build.
    """

    def fire(manager: EventManager, event: BaseEvent, level: EventLevel | None = None, *args: Any, **options: Any) -> None:
        if (level or event.level_tag()) not in (EventLevel.DEBUG, EventLevel.TEST):
            fire_event(manager, event, level, *args, **options)

    return fire


@pytest.fixture(scope="session")
def great_expectations() -> None:
    """Great Expectations, which warns of its own dependencies while it is imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import expectations.suites  # noqa: F401


@pytest.fixture(scope="session")
def server(great_expectations: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A server to test on; the environment points at it until the suite ends."""
    if url := os.environ.get("TITAN_TEST_URL"):
        before = dict(os.environ)
        use_server(url)
        os.environ["TITAN_HOME"] = str(tmp_path_factory.mktemp("home"))
        yield
        os.environ.clear()
        os.environ.update(before)
    else:
        with temporary_server():
            yield


@pytest.fixture(scope="session")
def manifest(server: None) -> Any:
    """dbt's manifest, as invocations of this process share it, and a template database that is migrated and built, empty."""
    use_database(DATABASE)
    create_database(DATABASE)
    migrate()
    read = dbt.manifest()
    with closing(Warehouse()) as warehouse:
        warehouse.refresh()
        warehouse.query("truncate ops.build")
        warehouse.query("select ops.prune(now() + interval '2 years')")  # the months of what it did
    create_database(TEMPLATE, DATABASE)
    gc.collect()
    gc.freeze()  # the manifest is large and stays: nobody has to walk through it again
    return read


@pytest.fixture(scope="session")
def small(manifest: Any) -> str:
    """The name of a template of the few SMALL_TIMEFRAMES, migrated and built, for histories with many builds."""
    use_database(DATABASE)  # the manifest knows the name of its database
    create_database(DATABASE, TEMPLATE)
    with closing(Warehouse()) as warehouse:
        warehouse.query("delete from config.timeframe where timeframe <> all (%s)", SMALL_TIMEFRAMES)
        # Half hours of the night are loaded as well.
        warehouse.query("delete from config.expectation where expectation = 'outside_session_share'")
        # Signals that come often in a short history, traded in every way that there is.
        warehouse.query("delete from config.signal")
        warehouse.query("insert into config.indicator values ('rsi_2', 'rsi', '{\"period\": 2}')")
        for period in (2, 3):
            warehouse.query(
                "insert into config.indicator values (%s, 'ema', %s)", f"ema_{period}", json.dumps({"period": period})
            )
        for signal in QUICK_SIGNALS:
            warehouse.query(
                "insert into config.signal (signal, type, timeframe, params, direction, execution) "
                "values (%s, %s, %s, %s, %s, %s)",
                *signal,
            )
        warehouse.refresh()
        warehouse.query("truncate ops.build")
        warehouse.query("select ops.prune(now() + interval '2 years')")  # the months of what it did
    create_database(SMALL, DATABASE)
    return SMALL


@pytest.fixture
def warehouse(manifest: Any, request: pytest.FixtureRequest) -> Iterator[Warehouse]:
    """An empty warehouse, migrated and built. It leaves alone the schemas that the test's module says."""
    use_database(DATABASE)
    create_database(DATABASE, TEMPLATE)
    warehouse = Warehouse()
    warehouse.left_alone = getattr(request.module, "LEFT_ALONE", [])
    yield warehouse
    warehouse.close()


@pytest.fixture(scope="session")
def untouched(manifest: Any) -> Iterator[Warehouse]:
    """An empty warehouse, migrated and built, for tests that leave it as it is: reading, and statements that are refused."""
    name = f"{DATABASE}_untouched"
    create_database(name, TEMPLATE)
    use_database(name)
    warehouse = Warehouse()
    assert warehouse.connection
    use_database(DATABASE)
    yield warehouse
    warehouse.close()


@pytest.fixture
def quick_builds(manifest: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """dbt tests one model alone: for tests of runs, not of models."""
    if request.node.get_closest_marker("builds_everything"):
        return
    monkeypatch.setattr(dbt, "invoke", quickly(dbt.invoke))


@pytest.fixture
def shared() -> Path:
    """The folder of real market data; tests that need it are skipped by name where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared with real market data here")
    return SHARED


@pytest.fixture
def exchange(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalExchange]:
    """Binance on loopback, with five daily candles of BTC/USDT since SINCE; nobody waits between attempts.

    The hour does not end within a test: what is asked and what is compared would be of different hours.
    """
    stay_within_the_hour()
    with local_exchange() as exchange:
        exchange.add("BTCUSDT", SINCE, "1d", [100 + at for at in range(5)])
        monkeypatch.setenv("TITAN_CCXT_BINANCE", exchange.ccxt_options())
        monkeypatch.setattr(source, "wait", lambda seconds: None)
        yield exchange
