"""The compiled loops as texts under tests/golden: a change of a macro is read as the change of what runs.

`make test ARGS="tests/integration/test_golden.py --write-golden"` writes them anew.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.warehouse import Warehouse

GOLDEN = Path(__file__).parents[1] / "golden"

_FUNCTIONS = r"""
select
    nspname || '.' || regexp_replace(proname, '_[0-9a-f]{12}$', ''),
    pg_get_function_arguments(pg_proc.oid), pg_get_function_result(pg_proc.oid), prosrc
from pg_proc
inner join pg_namespace on pronamespace = pg_namespace.oid
where nspname in ('features', 'backtest') and proname ~ '_[0-9a-f]{12}$'
"""


def texts(warehouse: Warehouse) -> dict[str, str]:
    """Every function that a model is compiled to, by the name of its file."""
    return {
        f"{name}.sql": f"-- {name}(\n--     {arguments.replace(', ', chr(10) + '--     ')}\n-- ) returns {returned}\n"
        + re.sub(r"[ \t]+\n", "\n", body).strip("\n")
        + "\n"
        for name, arguments, returned, body in warehouse.query(_FUNCTIONS)
    }


def test_what_is_compiled_is_what_was_read(untouched: Warehouse, pytestconfig: pytest.Config) -> None:
    compiled = texts(untouched)
    if pytestconfig.getoption("write_golden"):
        GOLDEN.mkdir(exist_ok=True)
        for path in GOLDEN.glob("*.sql"):
            path.unlink()
        for name, text in compiled.items():
            (GOLDEN / name).write_text(text)
    assert {path.name: path.read_text() for path in GOLDEN.glob("*.sql")} == compiled, (
        "make test ARGS='tests/integration/test_golden.py --write-golden' writes the texts; read what changed in them"
    )
