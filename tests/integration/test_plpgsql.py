"""plpgsql_check over every function of the database: what the server itself would say at the first call of each branch."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from tests.warehouse import Row, Warehouse, instant, make_batch
from titan.lab import backtest
from titan.lab.pool import pool
from titan.lab.program import compile_program
from titan.lab.spec import RunSpec, combinations

# What it warns of and nobody has to mend.
HARMLESS = (
    'auto variable "at" shadows a previously defined variable',  # loops of a walk, one in the other's block
    "target type is different type than source type",  # a literal, or the text of a setting
    "control reached end of function without RETURN",  # of ops.take_over, whose loop ends by what it executes
)

# Each function, once for each table that it is a trigger of. What it says of stored SQL is left out: that it is executed is
# what it is for, and who may write it is the loader's role alone.
_FOUND = """
select proc.oid::regprocedure::text, found.level, found.lineno, found.message
from pg_proc as proc
inner join pg_language on prolang = pg_language.oid and lanname = 'plpgsql'
inner join pg_namespace on pronamespace = pg_namespace.oid
left join (select distinct tgfoid, tgrelid, tgoldtable, tgnewtable from pg_trigger where not tgisinternal) as fired
    on tgfoid = proc.oid
cross join lateral plpgsql_check_function_tb(
    proc.oid, coalesce(tgrelid, 0), fatal_errors => false, extra_warnings => true, performance_warnings => false,
    oldtable => tgoldtable, newtable => tgnewtable
) as found
where
    nspname = any (%s)
    and (prorettype <> 'trigger'::regtype or tgrelid is not null)
    and found.message <> all (%s)
order by 1, 3
"""
SCHEMAS = ["raw", "config", "ops", "bars", "features", "signals", "backtest", "marts", "lab", "locks"]


@pytest.fixture
def checked(warehouse: Warehouse) -> Warehouse:
    """A warehouse with the extension plpgsql_check, which Debian packages and the embedded server has not."""
    if not warehouse.query("select name from pg_available_extensions where name = 'plpgsql_check'"):
        pytest.skip("this server has no plpgsql_check")
    warehouse.query("create extension plpgsql_check")
    return warehouse


def found(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    return warehouse.query(_FOUND, SCHEMAS, list(HARMLESS))


def test_no_function_of_ours_has_a_fault(checked: Warehouse) -> None:
    functions = checked.value(
        "select count(*) from pg_proc inner join pg_language on prolang = pg_language.oid and lanname = 'plpgsql' "
        "where pronamespace::regnamespace::text = any (%s)",
        SCHEMAS,
    )
    assert functions > 30
    assert found(checked) == []


def test_no_function_of_a_run_has_a_fault(checked: Warehouse) -> None:
    checked.load(make_batch([Row(instant(f"2024-01-{day:02}"), 100 + day % 5) for day in range(1, 31)], timeframe="1D"))
    checked.refresh()
    spec = RunSpec("ema_crossover", "1D", {"fast": [2], "slow": [3]}, direction="both", execution={"stop_loss": 0.01})
    trials = combinations(spec)
    program = compile_program(spec, trials)
    with closing(checked.connection) as connection, connection.transaction():
        ranges = [backtest.Range(instrument, "1D", None, None) for instrument in pool(connection, spec)[0]]
        backtest.compute(connection, spec, trials, ranges, program, until="equity of the best")
        functions = [name for name, *_ in checked.query("select proname from pg_proc where proname like 'work\\_%%'")]
        assert len(functions) == 5
        # A run declares what any run may need: what it does not read is none of its faults. It begins every series anew and
        # reads no state of before, lab.nothing.
        errors = [row[3] for row in found(checked) if row[1] == "error"]
        assert errors == ['relation "lab.nothing" does not exist']


def test_a_planted_fault_is_found(checked: Warehouse) -> None:
    checked.query(
        "create function ops.planted() returns integer language plpgsql as "
        "$$ begin if false then return (select missing from config.timeframe limit 1); end if; return 1; end $$"
    )
    assert [(row[0], row[3]) for row in found(checked)] == [("ops.planted()", 'column "missing" does not exist')]
