"""Backups: what is restored is what was there, bit for bit, goes on like it, or is refused by the table's name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.commands import titan
from tests.warehouse import DATABASE, Row, Warehouse, create_database, instant, make_batch, use_database
from titan.core.database import Connection
from titan.core.errors import ExitCode, UsageError
from titan.core.log import Progress
from titan.server import backup as backups
from titan.server.backup import MANIFEST, BackupError, backup, read, restore

HOUR = timedelta(hours=1)
START = instant("2024-01-01")
RESTORED = f"{DATABASE}_restored"


def load(warehouse: Warehouse, first: int, count: int) -> None:
    rows = [
        Row(START + at * HOUR, 0.1 + at % 7 / 3, symbol)
        for symbol in ("BTC/USDT", "ETH/USDT")
        for at in range(first, first + count)
    ]
    warehouse.load(make_batch(rows, observed=(START, START + (first + count) * HOUR)))


@pytest.fixture
def restored(warehouse: Warehouse) -> Iterator[Warehouse]:
    """A warehouse on the database that is restored, once it is."""
    create_database(RESTORED)
    other = Warehouse()
    yield other
    other.close()
    use_database(DATABASE)


@pytest.mark.parametrize("least", [0, 2**60], ids=["copied", "dumped"])
def test_what_is_restored_is_the_same_and_goes_on_like_it(
    warehouse: Warehouse, restored: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least: int
) -> None:
    monkeypatch.setattr(backups, "LEAST", least)
    warehouse.query("create type bars.pair as (a integer, b integer)")  # another number in another database
    warehouse.query("create table bars.own as select array[(1, 2)::bars.pair] as pairs")
    warehouse.query("create table bars.textual as select relacl from pg_class where relacl is not null")
    load(warehouse, 0, 120)
    warehouse.refresh()
    load(warehouse, 120, 5)  # not refreshed yet
    before, folder = warehouse.contents(), tmp_path / "backup"
    made = backup(folder)
    assert made.tables["raw.ohlcv"][0] == 250
    has_hypertables = warehouse.value("select exists (select from pg_extension where extname = 'timescaledb')")
    assert ({"features.bar_features", "bars.own"} <= made.copied.keys()) == (least == 0 and not has_hypertables)
    assert "bars.textual" not in made.copied
    assert not list(tmp_path.glob("*.part"))
    assert restore(folder, RESTORED) == made == read(folder)
    use_database(RESTORED)
    assert restored.contents() == before
    assert restored.query("select * from ops.verify_audit()") == []
    done = restored.refresh()
    assert done.owed == {}
    assert done.steps
    load(restored, 125, 3)
    restored.refresh()
    use_database(DATABASE)
    warehouse.refresh()
    load(warehouse, 125, 3)
    warehouse.refresh()
    assert restored.contents() == warehouse.contents()
    use_database(RESTORED)
    restored.assert_incremental_equals_full()


def test_a_backup_is_of_one_instant_whoever_loads_meanwhile(
    warehouse: Warehouse, restored: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load is committed after the instant is fixed and before pg_dump begins, another one while tables are hashed."""
    monkeypatch.setattr(backups, "LEAST", 0)
    load(warehouse, 0, 50)
    program, describe = backups._program, backups.describe

    def then_load(name: str, server: int) -> str:
        load(warehouse, 50, 1)
        return program(name, server)

    def load_first(connection: Connection, progress: Progress) -> backups.Backup:
        load(warehouse, 51, 1)
        return describe(connection, progress)

    monkeypatch.setattr(backups, "_program", then_load)
    monkeypatch.setattr(backups, "describe", load_first)
    made = backup(tmp_path / "backup")
    monkeypatch.undo()
    restore(tmp_path / "backup", RESTORED)
    use_database(RESTORED)
    assert made.tables["raw.ohlcv"][0] == restored.value("select count(*) from raw.ohlcv") == 100
    assert warehouse.value("select count(*) from raw.ohlcv") == 104


def test_a_table_that_differs_is_named(warehouse: Warehouse, restored: Warehouse, tmp_path: Path) -> None:
    load(warehouse, 0, 10)
    backup(tmp_path / "backup")
    path = tmp_path / "backup" / MANIFEST
    told = json.loads(path.read_text())
    told["tables"]["raw.ohlcv"][1] = "0"
    path.write_text(json.dumps(told))
    with pytest.raises(BackupError, match=r"raw.ohlcv is not what it was: 20 rows \(0\) in the backup, 20 rows"):
        restore(tmp_path / "backup", RESTORED)


def test_a_backup_from_before_tables_were_copied_is_restored(
    warehouse: Warehouse, restored: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(warehouse, 0, 10)
    monkeypatch.setattr(backups, "LEAST", 2**60)
    folder = tmp_path / "backup"
    backup(folder)
    told = json.loads((folder / MANIFEST).read_text())
    told["tables"] = backups.describe(warehouse.connection, lambda text: None, "text").tables
    del told["tables"]["ops.backup"]  # the backup entered itself since
    told["tables"]["ops.backup"] = [0, ""]
    del told["hashed"], told["copied"]
    (folder / MANIFEST).write_text(json.dumps(told))
    assert restore(folder, RESTORED).hashed == "text"


def test_a_copy_that_is_cut_off_or_not_there_is_named(
    warehouse: Warehouse, restored: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "LEAST", 0)
    monkeypatch.setattr(backups, "_copyable", lambda connection: {"raw.instrument": ["instrument_id", "exchange"]})
    load(warehouse, 0, 10)
    backup(tmp_path / "backup")
    file = tmp_path / "backup" / "copied" / "raw.instrument"
    file.write_bytes(file.read_bytes()[:-12])
    with pytest.raises(BackupError, match=r"raw.instrument cannot be restored"):
        restore(tmp_path / "backup", RESTORED)
    file.unlink()
    create_database(RESTORED)
    with pytest.raises(BackupError, match=r"raw.instrument cannot be restored: .*No such file"):
        restore(tmp_path / "backup", RESTORED)


def test_a_value_that_differs_in_its_last_bit_is_another_table(warehouse: Warehouse, tmp_path: Path) -> None:
    load(warehouse, 0, 10)
    before = backup(tmp_path / "one").tables
    warehouse.query("update raw.ohlcv set close = float8 '0.1' + 0.2 where close = 0.1 and instrument_id = 1")
    after = backup(tmp_path / "another").tables
    assert {name for name in before if before[name] != after[name]} == {"raw.ohlcv", "ops.backup"}
    assert before["raw.ohlcv"][0] == after["raw.ohlcv"][0]


def test_what_is_no_backup_or_in_the_way_is_said(warehouse: Warehouse, restored: Warehouse, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is there already"):
        backup(tmp_path)
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match="holds no whole backup"):
            restore(folder, RESTORED)
    ended = titan("backup", str(tmp_path / "one"))
    assert (ended.returncode, "tables" in ended.stdout) == (ExitCode.OK, True)
    ended = titan("restore", str(tmp_path / "one"))
    assert (ended.returncode, f"the database {DATABASE} is not empty" in ended.stderr) == (ExitCode.USAGE, True)
    shutil.rmtree(tmp_path / "one" / "data")
    ended = titan("restore", str(tmp_path / "one"), "--database", RESTORED)
    assert (ended.returncode, "pg_restore failed" in ended.stderr) == (ExitCode.FAILED, True)


def test_an_old_backup_is_an_incident(warehouse: Warehouse, tmp_path: Path) -> None:
    backup(tmp_path / "one")
    assert warehouse.value("select ops.judge(clock_timestamp() + interval '7 days')") == 0
    assert warehouse.value("select ops.judge(clock_timestamp() + interval '9 days')") == 1
    assert warehouse.query("select rule, subject from ops.incident") == [("backup_old", "backup")]
    backup(tmp_path / "another")
    assert json.loads(titan("alert", "list", "--json").stdout) == []
