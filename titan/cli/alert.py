"""`titan alert`: what somebody should look at, and who was told."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

import typer

from titan.cli import output
from titan.cli.options import Json, connect
from titan.core.errors import ExitCode, UsageError

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What somebody should look at, and who was told.")


@app.command("list")
def list_command(
    everything: Annotated[bool, typer.Option("--all", help="Also what is resolved, newest first.")] = False,
    as_json: Json = False,
) -> None:
    """Judge the rules, and list what lasts, worst first.

    Example: titan alert list
    """
    from titan.ops import alerts

    with connect() as connection:
        alerts.judge(connection)
        found = alerts.incidents(connection, is_all=everything)
    output.listing(found, as_json, "nothing is wrong, as far as the rules of config.alert_rule go")


@app.command("rules")
def rules_command(as_json: Json = False) -> None:
    """List the rules: how severe, when they are told, and how often they found something in thirty days.

    Example: titan alert rules
    """
    from titan.ops import alerts

    with connect() as connection:
        output.listing(alerts.rules(connection), as_json)


@app.command("ack")
def acknowledge_command(
    incident: Annotated[int, typer.Argument(help="Its number, as titan alert list has it.")],
    note: Annotated[str | None, typer.Option(help="What is being done.")] = None,
    as_json: Json = False,
) -> None:
    """Say that you see to an incident: it is not told again, and is resolved by itself.

    Example: titan alert ack 12 --note "disk is being cleared"
    """
    from titan.ops import alerts

    with connect() as connection:
        output.listing([alerts.acknowledge(connection, incident, note)], as_json)


@app.command("silence")
def silence_command(
    reason: Annotated[str, typer.Option(help="Why.")],
    lasts: Annotated[str, typer.Option("--for", help="How long: 30m, 2h, 1d.")],
    rule: Annotated[str | None, typer.Option(help="Only this rule.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only subjects like this one, with *.")] = None,
    as_json: Json = False,
) -> None:
    """Tell nothing for a while. What is wrong is found nevertheless, and told afterwards if it lasts.

    Example: titan alert silence --rule exchange_away --subject kraken --for 2h --reason "maintenance until noon"
    """
    from titan.ops import alerts

    parts = re.fullmatch(r"(\d{1,5})([mhd])", lasts.strip())
    if parts is None:
        raise UsageError(f"--for: {lasts!r} is no time", hint="for example 30m, 2h or 1d")
    with connect() as connection:
        length = timedelta(**{_UNITS[parts[2]]: int(parts[1])})
        output.listing([alerts.silence(connection, rule, subject, length, reason)], as_json)


@app.command("test")
def test_command() -> None:
    """Send one message to every address of TITAN_ALERT_URLS, and say which took it.

    Example: TITAN_ALERT_URLS="tgram://TOKEN/CHAT json://hooks.example/titan" titan alert test
    """
    from titan.ops import alerts
    from titan.ops.events import SinkUnavailableError

    urls = alerts.addresses()
    if not urls:
        raise UsageError(
            "nobody is told anything: TITAN_ALERT_URLS is not set", hint="Apprise's addresses, divided by blanks"
        )
    failed = 0
    for messenger in [alerts.Messenger(url) for url in urls]:
        try:
            messenger.send("alerts", [{"kind": "test", "subject": "titan alert test", "message": "This is a test."}])
        except SinkUnavailableError:
            failed += 1
            output.err.print(f"{messenger.relay} did not take it", markup=False)
        else:
            output.out.print(f"{messenger.relay} took it", markup=False)
    if failed:
        raise typer.Exit(ExitCode.FAILED)
