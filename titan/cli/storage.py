"""`titan storage`: how much is kept, and how."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from titan.cli import output
from titan.cli.options import Json, connect

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="How much is kept, and how: columnstore and retention.")


@app.command("show")
def storage_show(
    everything: Annotated[bool, typer.Option("--all", help="Also tables of less than a megabyte.")] = False,
    as_json: Json = False,
) -> None:
    """Show the tables, largest first: size, what a year adds if it goes on as in the last week, and for how long rows stay.

    Sizes are written down once an hour by titan watch, titan run and titan poll; a year is told after the first day of that.
    For how long records are kept is config.kept.

    Example: titan storage show --all
    """
    from titan.ops import storage as store

    with connect() as connection:
        rows = store.show(connection, is_everything=everything)
    if as_json or not rows or not output.out.is_terminal:
        output.listing(rows, as_json, "no table has a megabyte yet")
        return
    spare = ("row_estimate", "grown_bytes", "grown_in", "columnstore_after", "chunks", "columnar_chunks", "kept")
    output.table(rows, spare=spare)
    year = sum(row["bytes_a_year"] or 0 for row in rows)
    told = f"; a year adds {year / 1e9:,.1f} GB, as the last week went" if year else ""
    output.out.print(f"{sum(row['bytes'] for row in rows) / 1e9:,.2f} GB{told}", markup=False)


@app.command("apply")
def storage_apply(as_json: Json = False) -> None:
    """Convert old chunks to the columnstore (config.storage) and drop old candles (config.retention), as the rows there ask.

    Bars made of dropped candles stay, and are never computed again. Without rows nothing happens.

    Example: psql "$(titan db url)" -c "insert into config.retention (candles_for) values ('2 years')" && titan storage apply
    """
    from titan.ops import storage as store

    with connect() as connection, output.progress("storage") as progress:
        done = store.apply(connection, datetime.now(UTC), progress)
    if as_json:
        print(json.dumps(vars(done), default=str))
        return
    for relation, count in done.converted.items():
        output.out.print(f"{relation}: {count:,} chunks converted to the columnstore", markup=False)
    if done.horizon_at:
        output.out.print(f"{done.dropped:,} candles dropped; they are kept from {done.horizon_at:%Y-%m-%d} on", markup=False)
    if not done.converted and not done.horizon_at:
        output.out.print("nothing to do: config.storage and config.retention ask for nothing", markup=False)
