"""The dbt project as files: what models are declared by, and whether that is what it was."""

from __future__ import annotations

import hashlib
from pathlib import Path

from titan.core.settings import REPOSITORY

# What the models are declared by, from the repository's root: not what is drawn of them, dbt_project/dashboards.
_FILES = (
    "dbt_project.yml",
    *(f"dbt_project/{folder}/**/*.{kind}" for folder in ("macros", "models", "tests") for kind in ("sql", "yml")),
)

# What else dbt reads: where its target is, and the migrations, which it compares with the database's.
_READ_BESIDE = ("profiles.yml", "titan/server/migrations/*.sql")


def project_files(project: Path = REPOSITORY) -> dict[str, str]:
    """The files that models are declared by, each with a hash of its contents."""
    return _hashes(project, _FILES)


def files_read(project: Path = REPOSITORY) -> dict[str, str]:
    """The files that dbt reads when it parses the project, each with a hash of its contents."""
    return _hashes(project, (*_FILES, *_READ_BESIDE))


def _hashes(project: Path, patterns: tuple[str, ...]) -> dict[str, str]:
    paths = sorted(path for pattern in patterns for path in project.glob(pattern))
    return {str(path.relative_to(project)): hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in paths}
