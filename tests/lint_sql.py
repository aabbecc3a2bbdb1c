"""sqlfluff over the dbt project. Its dbt templater compiles models against a migrated database: one is started for it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

from tests.servers import temporary_server
from titan.server.migrate import migrate


def main() -> int:
    """Lint; returns sqlfluff's exit code."""
    with temporary_server():
        migrate()
        return subprocess.run(
            [
                str(Path(sys.executable).with_name("sqlfluff")),
                "lint",
                "--nocolor",
                "dbt_project/models",
                "dbt_project/tests",
            ],
            check=False,
        ).returncode


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
