"""`titan storage`: how much is kept, and how."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import typer

from titan.cli import output
from titan.cli.options import Json, connect

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="How much is kept, and how: columnstore and retention.")


@app.command("show")
def storage_show(as_json: Json = False) -> None:
    """Show the large tables: their chunks, those in the columnstore, and their size in bytes.

    Example: titan storage show
    """
    from titan.ops import storage as store

    with connect() as connection:
        output.listing(store.show(connection), as_json, "no tables yet: titan refresh")


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
