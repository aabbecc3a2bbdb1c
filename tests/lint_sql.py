"""sqlfluff over all SQL that is not a migration: the dbt project, and the statements that Python sends.

Its dbt templater compiles models against a migrated database: one is started for it.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from sqlfluff.core import FluffConfig, Linter

from tests.servers import temporary_server
from titan.core.settings import REPOSITORY
from titan.server.migrate import migrate

STATEMENTS = ("titan/server/sql", "titan/ops/sql", "titan/lab/sql", "titan/gateway/sql", "ingest/sql", "expectations/sql")

# In a statement the columns have the names that an insert gives them, keywords are names like others, and a star is what
# Python reads by its names; in a model each of these is a fault.
_NOT_HERE = "aliasing.expression,references.keywords,ambiguous.column_count,ambiguous.order_by,layout.select_targets,"
_NOT_HERE += "structure.subquery,structure.unused_join"

_PART = re.compile(r"(?P<before>\b(?:(?<!distinct )from|join|update|into|table|using) |\.)?\{(?P<name>[a-z]\w*)\}")


def as_sql(text: str) -> str:
    """A statement of psycopg's with what stands for its parameters and parts, mostly as long, so that places stay the same.

    %(name)s becomes a string; so does {name}, or an identifier where a relation or a column has to stand, or a query where
    it is alone in brackets.
    """

    def part(match: re.Match[str]) -> str:
        before, name = match["before"], match["name"]
        return f"{before}_{name}_" if before else f"'{name}'"

    text = re.sub(r"(?<=[ (])\(\{\w+\}\)", "(select 1)", text)
    return _PART.sub(part, re.sub(r"%\(([a-z]\w*)\)s", r"'(\1)'", text))


def statements() -> Iterator[Path]:
    """The files of the statements that Python sends."""
    for folder in STATEMENTS:
        yield from sorted((REPOSITORY / folder).glob("*.sql"))


def lint_statements() -> int:
    """Print what sqlfluff finds in the statements that Python sends; returns how much that is."""
    linter = Linter(
        config=FluffConfig.from_path(
            str(REPOSITORY), overrides={"templater": "raw", "exclude_rules": f"structure.column_order,{_NOT_HERE}"}
        )
    )
    found = 0
    for path in statements():
        for violation in linter.lint_string(as_sql(path.read_text()), fname=str(path)).get_violations():
            name = os.path.relpath(path, REPOSITORY)
            print(f"{name}:{violation.line_no}:{violation.line_pos}: {violation.rule_code()} {violation.desc()}")
            found += 1
    return found


def lint_project() -> int:
    """sqlfluff's exit code over the dbt project."""
    with temporary_server():
        migrate()
        command = [str(Path(sys.executable).with_name("sqlfluff")), "lint", "--nocolor", "--disable-progress-bar"]
        command += ["--processes", str(os.cpu_count() or 1), "dbt_project/models", "dbt_project/tests"]
        return subprocess.run(command, check=False).returncode


def main() -> int:
    """Lint; returns the exit code."""
    found = lint_statements()
    return lint_project() or min(found, 1)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
