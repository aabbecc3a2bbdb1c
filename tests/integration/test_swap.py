"""Tables and views that take over a name beside readers, idle ones among them, and beside each other."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.warehouse import Warehouse
from titan.core.database import Connection, connect

SWAP = "select ops.swap_table('bars', 'sample', 'sample__new')"


@pytest.fixture
def sample(warehouse: Warehouse) -> Warehouse:
    """A table that shows 1, one that shows 2 and is to take its name, and views over it; one reads another table first."""
    for statement in (
        "create table bars.other as select 0 as number",
        "create table bars.sample as select 1 as number",
        "create table bars.sample__new as select 2 as number",
        "create view bars.inner_view as select sample.number from bars.other, bars.sample",
        "create view bars.outer_view as select number from bars.inner_view union select number from bars.sample",
    ):
        warehouse.query(statement)
    return warehouse


class Doing:
    """Statements in a thread and a transaction of their own, which commits; what went wrong is raised by `wait`."""

    def __init__(self, *statements: str) -> None:
        self._statements = statements
        self._error: psycopg.Error | None = None
        self._connection = connect()
        self.pid = self._connection.info.backend_pid
        self._thread = threading.Thread(target=self._do)
        self._thread.start()

    def _do(self) -> None:
        try:
            with self._connection:
                for statement in self._statements:
                    self._connection.execute(statement.encode())
        except psycopg.Error as error:
            self._error = error

    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def wait(self) -> None:
        self._thread.join(60)
        assert self.is_done()
        if self._error:
            raise self._error


@contextmanager
def transaction(*statements: str) -> Iterator[Connection]:
    """A session in the middle of a transaction, which ends with the block. It waits for no lock longer than ten seconds."""
    with connect() as connection:
        connection.execute("set lock_timeout = '10s'")
        for statement in statements:
            connection.execute(statement.encode())
        yield connection


def wait_until_it_waits(warehouse: Warehouse, doing: Doing) -> None:
    """Until it waits for a lock, or pauses between two attempts at one."""
    deadline = time.monotonic() + 60
    asked = "select wait_event_type = 'Lock' or wait_event = 'PgSleep' from pg_stat_activity where pid = %s"
    while not warehouse.value(asked, doing.pid):
        assert time.monotonic() < deadline
        assert not doing.is_done()
        time.sleep(0.01)


def test_an_idle_reader_keeps_nobody_else_waiting(sample: Warehouse) -> None:
    with transaction("select * from bars.outer_view"):
        swap = Doing(SWAP)
        wait_until_it_waits(sample, swap)
        with transaction() as reader:
            for _ in range(10):
                for relation in ("bars.outer_view", "bars.inner_view", "bars.sample"):
                    assert reader.execute(f"select * from {relation}".encode()).fetchall() == [(1,)]
                reader.commit()
        assert not swap.is_done()
    swap.wait()
    assert sample.query("select * from bars.outer_view") == [(2,)]


def test_a_reader_that_has_a_view_gets_what_it_reads(sample: Warehouse) -> None:
    """It waits in the middle of locking: it has the view and not the table. Taking the table first, this was a deadlock."""
    with transaction("lock table bars.other") as blocker:
        reader = Doing("select * from bars.inner_view")
        wait_until_it_waits(sample, reader)
        swap = Doing(SWAP)
        wait_until_it_waits(sample, swap)
        blocker.rollback()
        reader.wait()
    swap.wait()
    assert sample.query("select * from bars.inner_view") == [(2,)]


def test_a_reader_may_lock_in_any_order(sample: Warehouse) -> None:
    """The table, and then a view that the swap has locked already while it waits for the table."""
    with transaction("select * from bars.sample") as reader:
        swap = Doing(SWAP)
        for _ in range(20):
            reader.execute("savepoint before; select * from bars.outer_view; rollback to before")
            time.sleep(0.01)
    swap.wait()
    assert sample.query("select * from bars.outer_view") == [(2,)]


def test_who_reads_a_table_may_swap_another_meanwhile(sample: Warehouse) -> None:
    """Two builds: one swaps what the other reads and waits for it; the other swaps what it made of that and goes on."""
    sample.query("create table bars.made as select 3 as number; create table bars.made__new as select 4 as number")
    with transaction("select * from bars.sample") as other:
        swap = Doing(SWAP)
        wait_until_it_waits(sample, swap)
        other.execute("select ops.swap_table('bars', 'made', 'made__new')")
        other.commit()
    swap.wait()
    assert sample.query("select sample.number, made.number from bars.sample, bars.made") == [(2, 4)]


def test_a_view_is_replaced_like_a_table(sample: Warehouse) -> None:
    with transaction("select * from bars.outer_view") as reader:
        same = Doing("select ops.replace_view('bars.inner_view', 'select number + 10 as number from bars.sample')")
        other = Doing("select ops.replace_view('bars.inner_view', 'select 1::bigint as other, number from bars.sample')")
        for doing in (same, other):
            wait_until_it_waits(sample, doing)
        with transaction() as second:
            assert second.execute("select * from bars.outer_view").fetchall() == [(1,)]
        assert not any(doing.is_done() for doing in (same, other))
        reader.rollback()
        same.wait()
        other.wait()
    assert sample.value("select number from bars.outer_view") in (1, 11)


def test_a_view_that_comes_meanwhile_is_taken_along(sample: Warehouse) -> None:
    with transaction("create view bars.late as select * from bars.sample") as author:
        swap = Doing(SWAP)
        wait_until_it_waits(sample, swap)
        author.commit()
    swap.wait()
    assert sample.query("select * from bars.late") == [(2,)]


def test_who_stays_in_the_way_is_named_in_the_end(sample: Warehouse) -> None:
    with transaction("select * from bars.inner_view") as reader:
        swap = Doing("set titan.patience = '1 second'", SWAP)
        told = rf"bars.sample cannot be replaced: bars.\w+ has been locked by process {reader.info.backend_pid} of \w+"
        with pytest.raises(psycopg.errors.LockNotAvailable, match=told):
            swap.wait()
    assert sample.query("select * from bars.sample, bars.sample__new") == [(1, 2)]


def test_a_replaced_table_that_somebody_reads_is_dropped_later(sample: Warehouse) -> None:
    sample.query("drop view bars.outer_view, bars.inner_view; create view bars.only_view as select number from bars.sample")
    sample.query("alter table bars.sample__new rename number to another")
    assert sample.value(SWAP) == ["bars.only_view"]
    retired = sample.value("select oid::regclass::text from pg_class where relname like 'sample\\_\\_retired%'")
    with transaction(f"select * from {retired}"):
        sample.query("select ops.replace_view('bars.only_view', 'select another as number from bars.sample')")
        assert sample.query("select * from bars.only_view") == [(2,)]
    assert sample.value("select ops.drop_retired()") == [retired]
