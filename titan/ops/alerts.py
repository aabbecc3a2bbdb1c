"""What somebody should look at: judged by the rules of config.alert_rule, told to people through Apprise."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import threading
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Protocol, Self

from titan.core.database import Connection, records
from titan.core.errors import UsageError
from titan.core.log import event
from titan.core.settings import Settings, home
from titan.ops.events import ALERTS, Message, Relay, Sink, SinkUnavailableError
from titan.ops.traces import OpenTelemetry, is_exported

log = logging.getLogger("titan.alerts")

MOST_LINES = 20  # of a message; more alerts than that are counted
BETWEEN = 10.0  # seconds between messages, whatever happens: what comes meanwhile is one message
SIGNS = {"critical": "🔴", "warning": "🟠", "info": "🔵"}


def judge(connection: Connection, now: datetime | None = None) -> int:
    """Judge every rule as of an instant, the present by default; returns how many alerts that made.

    On the machine of the embedded server the room on its disk is measured first. Raises psycopg.Error when the server fails.
    """
    with connection.transaction():
        if Settings.from_environment().is_embedded and home().exists():
            disk = shutil.disk_usage(home())
            connection.execute(
                """
                insert into ops.disk (place, free_bytes, total_bytes) values (%s, %s, %s)
                on conflict (place) do update
                set free_bytes = excluded.free_bytes, total_bytes = excluded.total_bytes, measured_at = clock_timestamp()
                """,
                (str(home()), disk.free, disk.total),
            )
        row: Any = connection.execute("select ops.judge(coalesce(%s, clock_timestamp()))", (now,)).fetchone()
    return int(row[0])


def incidents(connection: Connection, *, is_all: bool = False) -> list[dict[str, Any]]:
    """One row per incident that lasts, worst first; with those that were resolved, newest first, if all are wanted."""
    query = """
        select
            incident_id as incident, severity, rule, subject, message, seen_at as since, times_told as told,
            acknowledged_by, resolved_at
        from ops.incident
        where resolved_at is null or %(is_all)s
        order by
            resolved_at is not null, array_position(array['critical', 'warning', 'info'], severity),
            resolved_at desc, seen_at desc
        limit 200
    """
    with connection.transaction():
        return records(connection, query, {"is_all": is_all})


def rules(connection: Connection) -> list[dict[str, Any]]:
    """One row per rule: how severe, how it is told, and how often it found something in thirty days."""
    query = """
        select
            rule, severity, is_active, told_after, repeated_after, escalated_after,
            (
                select count(*) from ops.incident
                where incident.rule = alert_rule.rule and seen_at > clock_timestamp() - interval '30 days'
            ) as incidents,
            description
        from config.alert_rule order by rule
    """
    with connection.transaction():
        return records(connection, query)


def acknowledge(connection: Connection, incident_id: int, note: str | None) -> dict[str, Any]:
    """Let an incident not be told again: somebody, the login, sees to it. Raises UsageError for one that does not last."""
    with connection.transaction():
        done = records(
            connection,
            """
            update ops.incident
            set acknowledged_at = clock_timestamp(), acknowledged_by = session_user, note = coalesce(%(note)s, note)
            where incident_id = %(incident)s and resolved_at is null
            returning incident_id as incident, rule, subject, acknowledged_by
            """,
            {"incident": incident_id, "note": note},
        )
    if not done:
        raise UsageError(f"no incident {incident_id} lasts", hint="titan alert list has those that do")
    return done[0]


def silence(connection: Connection, rule: str | None, subject: str | None, lasts: timedelta, reason: str) -> dict[str, Any]:
    """Tell nothing of a rule, and of subjects like a pattern with *, for a while. Raises UsageError for an unknown rule."""
    if lasts <= timedelta(0):
        raise UsageError("--for has to be some time", hint="for example 2h, 30m or 1d")
    with connection.transaction():
        if rule is not None:
            known = [str(name) for (name,) in connection.execute("select rule from config.alert_rule order by 1")]
            if rule not in known:
                raise UsageError(f"there is no rule {rule!r}", hint=f"there are {', '.join(known)}")
        escaped = subject.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") if subject else None
        (made,) = records(
            connection,
            """
            insert into config.alert_silence (rule, subject, until_at, reason)
            values (%(rule)s, %(subject)s, clock_timestamp() + %(lasts)s, %(reason)s)
            returning rule, subject, until_at, made_by
            """,
            {"rule": rule, "subject": escaped.replace("*", "%") if escaped else None, "lasts": lasts, "reason": reason},
        )
    return made


def addresses() -> list[str]:
    """Where people are told: Apprise's URLs in TITAN_ALERT_URLS, divided by blanks."""
    return os.environ.get("TITAN_ALERT_URLS", "").split()


class Messenger:
    """A messenger of people's, as Apprise knows it by its address. Several alerts are one message.

    Raises UsageError for an address that is none; it is not repeated, since it holds a secret.
    """

    def __init__(self, url: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # what it imports itself
            import apprise

            self._place: Any = apprise.Apprise.instantiate(url, suppress_exceptions=True)
        if self._place is None:
            raise UsageError(
                f"TITAN_ALERT_URLS holds an address that Apprise does not know, of the kind {url.partition(':')[0][:20]!r}",
                hint="tgram://TOKEN/CHAT, slack://…, mailtos://…, json://host/path; divided by blanks",
            )
        self.topics: tuple[str, ...] = (ALERTS,)
        # So named, it goes on where it was when the next process begins; the address itself is a secret.
        self.relay = f"{self._place.service_name} {hashlib.sha256(url.encode()).hexdigest()[:8]}"

    def send(self, topic: str, messages: Sequence[Message]) -> None:
        """Tell. Raises SinkUnavailableError when it does not take it."""
        if not self._place.notify(title=_title(messages), body=_body(messages)):
            raise SinkUnavailableError(f"{self.relay} did not take {len(messages)} alerts")


def _title(messages: Sequence[Message]) -> str:
    worst = min((str(one.get("severity", "warning")) for one in messages), key=list(SIGNS).index)
    if len(messages) == 1:
        (one,) = messages
        return f"{SIGNS[worst]} Titan: {one.get('rule') or one['kind']} {one.get('state', 'raised')}: {one['subject']}"
    return f"{SIGNS[worst]} Titan: {len(messages)} alerts"


def _body(messages: Sequence[Message]) -> str:
    if len(messages) == 1:
        return str(messages[0]["message"])
    lines = [
        f"{SIGNS[one.get('severity', 'warning')]} {one.get('rule') or one['kind']} {one.get('state', 'raised')}: "
        f"{one['subject']}: {one['message']}"
        for one in messages[:MOST_LINES]
    ]
    more = len(messages) - MOST_LINES
    return "\n".join([*lines, *([f"and {more} more: titan alert list"] if more > 0 else [])])


class Teller(Sink, Protocol):
    """Who is told, by a relay of that name: people of alerts, OpenTelemetry of spans."""

    relay: str
    topics: tuple[str, ...]


def tellers() -> list[Teller]:
    """Who is to be told, as the environment says. Raises UsageError for an address that is none."""
    told: list[Teller] = [Messenger(url) for url in addresses()]
    return [*told, OpenTelemetry()] if is_exported() else told


class Telling:
    """All are told by threads of their own: one that hangs holds up nobody. A context manager."""

    def __init__(self, told: Sequence[Teller]) -> None:
        self._tellers = told
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        for teller in self._tellers:
            thread = threading.Thread(target=self._run, args=(teller,), name=teller.relay, daemon=True)
            self._threads.append(thread)
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """What was not told by then is told by the next one."""
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=15)

    def _run(self, teller: Teller) -> None:
        def told(topic: str, count: int) -> None:
            event(log, f"{topic} told", messenger=teller.relay, count=count)
            self._sleep(BETWEEN)

        with suppress(_OverError):
            Relay(teller.relay, teller.topics, teller, self._sleep).run(told)

    def _sleep(self, seconds: float) -> None:
        if self._over.wait(seconds):
            raise _OverError


class _OverError(Exception):
    """The thread is to end."""


def tell_once(told: Sequence[Teller]) -> None:
    """Tell what there is to tell. Who does not take it is logged: the next one who tells, tells it."""
    for teller in told:
        relay = Relay(teller.relay, teller.topics, teller, time.sleep)
        try:
            relay.pass_on()
        except SinkUnavailableError as error:
            event(log, "not told", logging.WARNING, messenger=teller.relay, error=str(error))
        finally:
            relay.close()
