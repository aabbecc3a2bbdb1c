"""`titan quarantine`: the rows that were turned away."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from titan.cli import output
from titan.cli.options import Json, connect
from titan.core.errors import ExitCode, UsageError

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The rows that were turned away.")

Ids = Annotated[list[int] | None, typer.Argument(help="Ids of rows, as list shows them.")]
Reason = Annotated[str | None, typer.Option(help="Rows with this reason.")]
Symbol = Annotated[str | None, typer.Option(help="Rows of this symbol.")]
BatchNumber = Annotated[int | None, typer.Option(help="Rows of this load batch.")]
All = Annotated[bool, typer.Option("--all", help="Every open row.")]


@app.command("list")
def quarantine_list(
    reason: Reason = None,
    symbol: Symbol = None,
    batch: BatchNumber = None,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="Those released or dropped, instead of the open ones.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    as_json: Json = False,
) -> None:
    """List rows in quarantine: id, why, where from, and their text.

    Example: titan quarantine list --reason high_is_not_below_low
    """
    from ingest.quarantine import Selection, find

    with connect() as connection:
        rows = find(connection, Selection((), reason, symbol, batch), limit=limit, is_resolved=resolved)
    if not as_json:
        shown = ("quarantine_id", "batch_id", "exchange", "symbol", "timeframe", "reason", "origin", "row_number", "record")
        rows = [
            {name: row[name] for name in shown} | ({"resolution": row["resolution"]} if resolved else {}) for row in rows
        ]
    output.listing(rows, as_json, "nothing in quarantine" if not resolved else "nothing was released or dropped")


@app.command("show")
def quarantine_show(row: Annotated[int, typer.Argument(help="Its id.")], as_json: Json = False) -> None:
    """Show a row whole: its text, what could be read of it, the rule that it fails, and what became of it.

    Example: titan quarantine show 7
    """
    from expectations import PREDICATES
    from ingest.quarantine import Selection, find

    with connect() as connection:
        rows = find(connection, Selection((row,)), is_resolved=None)
    if not rows:
        raise UsageError(f"there is no row {row} in quarantine", hint="titan quarantine list shows the open ones")
    found = rows[0]
    found["meaning"] = {predicate.name: predicate.meaning for predicate in PREDICATES}.get(found["reason"])
    if as_json:
        print(json.dumps(found, default=str))
        return
    for name, value in found.items():
        if value is not None:
            output.out.print(f"{name}\t{json.dumps(value) if isinstance(value, dict) else value}", markup=False)


@app.command("release")
def quarantine_release(
    ids: Ids = None,
    reason: Reason = None,
    symbol: Symbol = None,
    batch: BatchNumber = None,
    everything: All = False,
    corrections: Annotated[
        list[str] | None, typer.Option("--set", help="A corrected value: close=42.5; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Send rows through the gate again, with corrected values if you give any; the good ones become candles.

    A row that is still bad stays where it is, and the command says why and exits with 3, or with 1 if none got in.

    Example: titan quarantine release 7 --set high=42.5
    """
    from ingest.release import release

    pairs = [pair.partition("=") for pair in corrections or []]
    if wrong := [name for name, sign, _ in pairs if not sign]:
        raise UsageError(f"--set {wrong[0]}: there is no = in it", hint="for example --set close=42.5")
    with connect() as connection, output.progress("releasing"):
        done = release(connection, _selection(ids, reason, symbol, batch, everything), {name: to for name, _, to in pairs})
    if as_json:
        print(json.dumps(vars(done)))
    else:
        if done.released:
            batches = ", ".join(str(one) for one in done.batches)
            output.out.print(
                f"{len(done.released):,} released (batch {batches}); titan refresh brings the models up to date"
            )
        for one, why in done.still_bad[:20]:
            output.out.print(f"row {one} is still bad: {why}", style="yellow", markup=False)
        if len(done.still_bad) > 20:
            output.out.print(f"and {len(done.still_bad) - 20:,} more are still bad", style="yellow")
        if not (done.released or done.still_bad):
            output.out.print("no open row matches")
    if done.still_bad:
        raise typer.Exit(ExitCode.PARTIAL if done.released else ExitCode.FAILED)


@app.command("drop")
def quarantine_drop(
    ids: Ids = None,
    reason: Reason = None,
    symbol: Symbol = None,
    batch: BatchNumber = None,
    everything: All = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Decide that rows are bad. They stay in raw.quarantine, marked as dropped; loading them again says nothing of them.

    Example: titan quarantine drop --reason close_is_within_range --symbol SPY --yes
    """
    from ingest.quarantine import drop

    selection = _selection(ids, reason, symbol, batch, everything)
    if not yes:
        typer.confirm("Drop these rows?", abort=True)
    with connect() as connection:
        dropped = drop(connection, selection)
    output.out.print(f"{len(dropped):,} dropped" if dropped else "no open row matches")


def _selection(ids: list[int] | None, reason: str | None, symbol: str | None, batch: int | None, everything: bool) -> Any:
    from ingest.quarantine import Selection

    return Selection(ids or (), reason, symbol, batch, everything)
