"""Data docs: what the gate found of batches, as Great Expectations' own pages, made from ops.gate_result when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from expectations.verdict import Profile
from titan.core.database import Connection, records
from titan.core.errors import TitanError, UsageError
from titan.core.settings import home


def default_directory() -> Path:
    """Where they go unless somebody says otherwise: beside the embedded server's data."""
    return home() / "data_docs"


def write(connection: Connection, directory: Path, *, batch_ids: Sequence[int] = (), last: int = 20) -> Path:
    """Write the pages of the given batches, or of the last ones, in place of those that are there.

    Returns the page to open: that of the batch if it is one, or else the index.

    Batches are judged again, from their stored profile and with the thresholds that held then. Raises UsageError when one
    has no result, TitanError when the directory cannot be written to.
    """
    rows = _results(connection, batch_ids, last)
    if missing := set(batch_ids) - {row["batch_id"] for row in rows}:
        raise UsageError(
            f"batch {', '.join(str(one) for one in sorted(missing))} has no gate result",
            hint="titan gate list shows those that have",
        )
    if not rows:
        raise UsageError("no batch has passed the gate yet", hint="titan load file, exchange or synthetic")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return _render(rows, directory)
    except OSError as error:
        raise TitanError(f"data docs cannot be written to {directory}: {error.strerror}", hint="--out DIR") from error


def _results(connection: Connection, batch_ids: Sequence[int], last: int) -> list[dict[str, Any]]:
    with connection.transaction():
        return records(
            connection,
            """
            select batch_id, gate_result.suite, results, profile, judged_at, load_batch.origin
            from ops.gate_result inner join raw.load_batch using (batch_id)
            where %(ids)s::bigint[] is null or batch_id = any (%(ids)s)
            order by batch_id desc limit %(last)s
            """,
            {"ids": list(batch_ids) or None, "last": max(last, len(batch_ids))},
        )


def _render(rows: list[dict[str, Any]], directory: Path) -> Path:
    from great_expectations import RunIdentifier, ValidationDefinition

    from expectations.settings import Setting
    from expectations.suites import RESULT_FORMAT, as_frame, batch_definition, make_suite, new_context

    context = new_context()
    context.add_data_docs_site(
        "titan",
        {
            "class_name": "SiteBuilder",
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(directory.resolve())},
        },
    )
    for row in rows:
        settings = [Setting(one["expectation"], one["severity"], one["threshold"]) for one in row["results"]]
        name = f"batch {row['batch_id']}"
        suite = make_suite(f"{row['suite']} {name}", settings)
        definition = context.validation_definitions.add(
            ValidationDefinition(
                name=name,
                data=batch_definition(context, f"{name} {row['origin'].replace('/', '-')[-80:]}"),
                suite=context.suites.add(suite),
            )
        )
        definition.run(
            batch_parameters={"dataframe": as_frame(_escaped(row["profile"]), settings)},
            result_format=RESULT_FORMAT,
            run_id=RunIdentifier(run_name=name, run_time=row["judged_at"]),
        )
    context.build_data_docs(site_names=["titan"])
    pages = list(directory.glob(f"validations/*/batch {rows[0]['batch_id']}/*/*.html"))
    if not pages:  # Great Expectations prints what went wrong and goes on
        raise TitanError(
            f"data docs cannot be written to {directory}", hint="--out DIR, an empty directory or one of data docs"
        )
    return pages[0] if len(rows) == 1 else directory / "index.html"


def _escaped(profile: Profile) -> Profile:
    """Symbols come from files, and Great Expectations puts them into its pages as they are."""
    return [{**one, "symbol": escape(one["symbol"])} for one in profile]
