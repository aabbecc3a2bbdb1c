"""titan strategy: what is proposed, approved, live and archived, and who said so."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from titan.cli import output
from titan.cli.backtest import By, who
from titan.cli.options import Json, connect

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Strategies from draft to archive, each decision with who and why."
)

Name = Annotated[str, typer.Argument(help="The strategy.")]
Reason = Annotated[str, typer.Option(help="Why; it stays on record.")]


@app.command("propose")
def strategy_propose(
    walk_id: Annotated[int, typer.Argument(help="The walk-forward whose last choice it is.")],
    strategy: Annotated[str, typer.Option("--name", help="What to call it; its signal will have that name.")],
    reason: Reason,
    by: By = None,
) -> None:
    """Make a draft of the parameters that the last fold of a walk-forward chose.

    Example: titan strategy propose 2 --name sma_majors --reason "stable over eight folds"
    """
    from titan.lab.approval import propose

    with connect() as connection:
        propose(connection, walk_id, strategy, by=who(by), reason=reason)
    output.out.print(f"{strategy} is a draft; titan strategy approve {strategy} decides by its results", markup=False)


@app.command("approve")
def strategy_approve(strategy: Name, reason: Reason, by: By = None) -> None:
    """Approve a draft, if it reaches every row of config.approval_threshold out of sample.

    Example: titan strategy approve sma_majors --reason "committee of May"
    """
    from titan.lab.approval import approve

    with connect() as connection:
        approve(connection, strategy, by=who(by), reason=reason)
    output.out.print(f"{strategy} is approved; titan strategy activate {strategy} makes it live", markup=False)


@app.command("activate")
def strategy_activate(strategy: Name, reason: Reason, by: By = None) -> None:
    """Make an approved strategy live: its signal is in config.signal, and marts.signal_feed says is_live.

    Example: titan strategy activate sma_majors --reason "funded"
    """
    from titan.lab.approval import activate

    with connect() as connection:
        is_new = activate(connection, strategy, by=who(by), reason=reason)
    told = "; its signal is new: titan refresh computes it" if is_new else ""
    output.out.print(f"{strategy} is active{told}", markup=False)


@app.command("archive")
def strategy_archive(strategy: Name, reason: Reason, by: By = None) -> None:
    """Take a strategy out of use. Its signal stays in config.signal, and is live no longer.

    Example: titan strategy archive sma_majors --reason "drawdown beyond what was tested"
    """
    from titan.lab.approval import archive

    with connect() as connection:
        archive(connection, strategy, by=who(by), reason=reason)
    output.out.print(f"{strategy} is archived", markup=False)


@app.command("list")
def strategy_list(
    strategy: Annotated[str | None, typer.Argument(help="The decisions about this one.")] = None, as_json: Json = False
) -> None:
    """List strategies and what they are, or the decisions about one of them.

    Example: titan strategy list sma_majors
    """
    from titan.lab import approval

    with connect() as connection:
        rows: list[dict[str, Any]] = approval.history(connection, strategy) if strategy else approval.strategies(connection)
    output.listing(rows, as_json, "no strategy yet; titan strategy propose --help has an example")
