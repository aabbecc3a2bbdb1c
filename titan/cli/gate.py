"""`titan gate`: what was found of the batches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from titan.cli import output
from titan.cli.options import Json, connect

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What the gate found of the batches.")


@app.command("list")
def gate_list(
    stopped: Annotated[bool, typer.Option("--stopped", help="Only batches that were stopped whole.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 20,
    as_json: Json = False,
) -> None:
    """List batches with their verdict and the expectations that they do not meet.

    Example: titan gate list --stopped
    """
    from expectations.results import latest

    with connect() as connection:
        rows = latest(connection, verdict="stopped" if stopped else None, limit=limit)
    output.listing(rows, as_json, "no batch" + (" was stopped" if stopped else " has passed the gate yet"))


@app.command("show")
def gate_show(batch: Annotated[int, typer.Argument(help="Its number.")], as_json: Json = False) -> None:
    """Show every expectation of a batch: severity, threshold, the worst value, and the series that fail.

    Example: titan gate show 12
    """
    from expectations.results import of_batch

    with connect() as connection:
        rows = of_batch(connection, batch)
    if not as_json:
        for row in rows:
            row["series"] = ", ".join(f"{one['symbol']} {one['value']:.6g}" for one in row["series"])
    output.listing(rows, as_json, "")


@app.command("docs")
def gate_docs(
    batch: Annotated[list[int] | None, typer.Option(help="Of this batch; may be repeated.")] = None,
    last: Annotated[int, typer.Option(min=1, help="Of the last so many, if none is named.")] = 20,
    out: Annotated[Path | None, typer.Option(help="Directory to write to; beside the database's data if not given.")] = None,
) -> None:
    """Write Great Expectations' data docs of batches, and print where the first page is.

    Example: titan gate docs --batch 12
    """
    from expectations import data_docs

    with connect() as connection, output.progress("writing data docs"):
        page = data_docs.write(connection, out or data_docs.default_directory() / "last", batch_ids=batch or [], last=last)
    print(page)
