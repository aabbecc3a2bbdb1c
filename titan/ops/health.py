"""Probes: whether the server lives, whether the warehouse is ready, and of what the answer is made."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import psycopg

from titan.core.database import Connection, connect
from titan.core.errors import TitanError

Status = Literal["ok", "degraded", "failing"]
Probe = Literal["live", "startup", "ready"]

_WORST: list[Status] = ["ok", "degraded", "failing"]


@dataclass
class Check:
    """One thing that was looked at, and what it is made of: it is as well as the worst part of it."""

    name: str
    status: Status = "ok"
    message: str = ""
    parts: list[Check] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.status = max([self.status, *(part.status for part in self.parts)], key=_WORST.index)

    def as_json(self) -> dict[str, Any]:
        """Nested, as probes are answered."""
        told: dict[str, Any] = {"status": self.status}
        if self.message:
            told["message"] = self.message
        if self.parts:
            told["checks"] = {part.name: part.as_json() for part in self.parts}
        return told


def health(probe: Probe = "ready") -> Check:
    """Look: `live` asks whether the server answers, `startup` whether this checkout can work with it, `ready` whether what
    it has is what it should be. It changes nothing, and needs no more than the reader's role.
    """
    try:
        with connect() as connection:
            connection.execute("set transaction read only")
            checks = [_server(connection)]
            if probe != "live":
                checks.append(_safely("migrations", _migrations, connection))
            if probe == "ready" and checks[-1].status == "ok":
                checks += [_safely(name, look, connection) for name, look in _READY.items()]
    except (TitanError, psycopg.OperationalError) as error:
        checks = [Check("server", "failing", str(error).splitlines()[0])]
    return Check(probe, parts=checks)


def _safely(name: str, look: Callable[[Connection], Iterator[Check] | Check], connection: Connection) -> Check:
    """A look that fails is a check that does, by itself."""
    try:
        with connection.transaction():
            found = look(connection)
            return found if isinstance(found, Check) else Check(name, parts=list(found))
    except (TitanError, psycopg.DatabaseError) as error:
        if isinstance(error, psycopg.OperationalError):
            raise
        return Check(name, "failing", str(error).splitlines()[0])


def _server(connection: Connection) -> Check:
    begun = time.perf_counter()
    row: Any = connection.execute("select current_database(), current_setting('server_version')").fetchone()
    return Check("server", message=f"{row[0]} on PostgreSQL {row[1]}, {(time.perf_counter() - begun) * 1000:.0f} ms")


def _migrations(connection: Connection) -> Check:
    from titan.server.migrate import assert_current

    assert_current(connection)
    row: Any = connection.execute("select max(version) from ops.migration").fetchone()
    return Check("migrations", message=f"{row[0]}, all that there are")


def _models(connection: Connection) -> Iterator[Check]:
    ((count, declared, behind, since, failed, failed_node),) = _rows(
        connection,
        """
        select
            (select count(*) from ops.model), (select count(*) from ops.model where built_hash is not null),
            count(*) filter (where failures is null), min(since) filter (where failures is null),
            count(*) filter (where failures is not null), min(node) filter (where failures is not null)
        from ops.pending
        """,
    )
    if not count:
        yield Check("declared", "failing", "none was built yet: titan refresh")
        return
    yield Check("declared", message=f"{declared} of {count}")
    is_late = _rows(connection, "select %s::timestamptz < clock_timestamp() - interval '15 minutes'", since)[0][0]
    yield Check(
        "behind", "degraded" if is_late else "ok", f"{behind}, since {since:%Y-%m-%d %H:%M}" if since else f"{behind}"
    )
    yield Check("failed", "failing" if failed else "ok", f"{failed}, {failed_node} among them" if failed else "0")


def _programs(connection: Connection) -> Iterator[Check]:
    ((wanted, is_watched, polled),) = _rows(
        connection,
        """
        select
            (select count(*) from config.subscription where is_active),
            exists (
                select from pg_locks as held
                inner join pg_class as relation on held.relation = relation.oid
                where
                    relation.relname = 'watch' and relation.relnamespace::regnamespace::text = 'locks'
                    and held.mode = 'ExclusiveLock' and held.granted
            ),
            (select max(finished_at) from ops.run where command = 'poll' and outcome <> 'failed')
        """,
    )
    ((is_polled,),) = _rows(connection, "select coalesce(%s > clock_timestamp() - interval '1 day', false)", polled)
    if is_watched:
        yield Check("watch", message="it runs")
    elif not wanted:
        yield Check("watch", message="nothing is subscribed to")
    elif is_polled:
        yield Check("watch", message=f"polled at {polled:%Y-%m-%d %H:%M}")
    else:
        yield Check(
            "watch", "degraded", f"{wanted} series are subscribed to, and neither titan watch nor titan poll sees to them"
        )


def _exchanges(connection: Connection) -> Iterator[Check]:
    for exchange, reason in _rows(connection, "select exchange, reason from ops.circuit_breaker order by 1"):
        yield Check(str(exchange), "degraded", str(reason))


def _incidents(connection: Connection) -> Iterator[Check]:
    for severity, count, rules in _rows(
        connection,
        """
        select severity, count(*), string_agg(distinct rule, ', ' order by rule) from ops.incident
        where resolved_at is null and acknowledged_at is null group by severity order by severity
        """,
    ):
        status: Status = "failing" if severity == "critical" else "degraded" if severity == "warning" else "ok"
        yield Check(str(severity), status, f"{count}: {rules}; titan alert list")


_READY: dict[str, Callable[[Connection], Iterator[Check]]] = {
    "models": _models,
    "programs": _programs,
    "exchanges": _exchanges,
    "incidents": _incidents,
}


def _rows(connection: Connection, query: str, *parameters: Any) -> list[Any]:
    return connection.execute(query.encode(), parameters or None).fetchall()
