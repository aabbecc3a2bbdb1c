"""The lanes: an embedded server of the suite's own, or the one that TITAN_TEST_URL names; one database a test."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.warehouse import DATABASE, SHARED, TEMPLATE, Warehouse, create_database, use_database, use_server
from titan import dbt
from titan.migrate import migrate
from titan.server import EmbeddedServer
from titan.settings import Settings


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def server() -> Iterator[None]:
    """A server to test on; the environment points at it until the suite ends."""
    before = dict(os.environ)
    for variable in ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE"):
        os.environ.pop(variable, None)
    if url := os.environ.get("TITAN_TEST_URL"):
        use_server(url)
        yield
    else:
        root = Path(tempfile.mkdtemp(prefix="titan-test-"))
        root.chmod(0o755)  # as root, the server runs as another user
        os.environ.update(TITAN_HOME=str(root), PGPORT=str(free_port()), PGPASSFILE=str(root / "pgpass"))
        embedded = EmbeddedServer(Settings.from_environment())
        embedded.start()
        os.environ["PGHOST"] = "127.0.0.1"
        yield
        embedded.stop()
        shutil.rmtree(root)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def manifest(server: None) -> Any:
    """dbt's manifest, read once, and a template database that is migrated and built, empty."""
    create_database(TEMPLATE)
    use_database(TEMPLATE)
    migrate()
    result = dbt.invoke("run")
    assert not result.failed, [(node.name, node.message) for node in result.failed]
    use_database(DATABASE)
    create_database(DATABASE, TEMPLATE)
    return dbt.parse_manifest()


@pytest.fixture
def warehouse(manifest: Any) -> Iterator[Warehouse]:
    """An empty warehouse, migrated and built."""
    use_database(DATABASE)
    create_database(DATABASE, TEMPLATE)
    warehouse = Warehouse(manifest)
    yield warehouse
    warehouse.close()


@pytest.fixture
def shared() -> Path:
    """The folder of real market data; tests that need it are skipped by name where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared with real market data here")
    return SHARED
