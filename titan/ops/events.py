"""What became new, told: to whoever listens now, and by a relay to Redis, which is told everything in its order."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import psycopg
from psycopg import sql

from ingest.sources.limits import Backoff
from titan.core.database import Connection, connect
from titan.core.errors import DatabaseUnavailableError, TitanError, UsageError
from titan.core.log import event

log = logging.getLogger("titan.events")

ALERTS, TRACES = "alerts", "traces"
AT_ONCE = 1_000  # events that are passed on before that is recorded
TICK = 1.0  # seconds after which a relay looks whether something came that nobody notified it of
LONGEST_WAIT = 60.0  # seconds between attempts at a Redis or a server that is away

Message = dict[str, Any]


class SinkUnavailableError(TitanError):
    """Where events are passed on to is away; they are kept meanwhile."""


class Sink(Protocol):
    """Where a relay passes events on to."""

    def send(self, topic: str, messages: Sequence[Message]) -> None:
        """Keep the messages of a topic, in their order. Raises SinkUnavailableError when it cannot."""


def topics(connection: Connection, wanted: Sequence[str] = ()) -> list[str]:
    """The topics that there are, or those wanted. Raises UsageError for one that there is not."""
    with connection.transaction():
        rows = connection.execute("select distinct topic from config.topic order by 1").fetchall()
    known = [*(str(topic) for (topic,) in rows), ALERTS]
    if unknown := [topic for topic in wanted if topic not in known]:
        raise UsageError(f"there is no topic {unknown[0]!r}", hint=f"there are {', '.join(known)}; config.topic has them")
    return list(wanted) or known


def listen(connection: Connection, wanted: Sequence[str], check: Callable[[], None] = lambda: None) -> Iterator[Message]:
    """What becomes new from now on, as it is committed; nothing is kept for who does not listen.

    The connection has to be in autocommit. `check` is called every second; what it raises ends the listening.
    """
    for topic in wanted:
        connection.execute(sql.SQL("listen {}").format(sql.Identifier(f"titan_{topic}")))
    while True:
        for notice in connection.notifies(timeout=TICK):
            yield json.loads(notice.payload)
            check()
        check()


class Relay:
    """Passes events on, each at least once and in the order of a topic: what is not recorded as passed on comes again.

    `sleep` waits so many seconds, and raises when the relay is to end.
    """

    def __init__(self, name: str, wanted: Sequence[str], sink: Sink, sleep: Callable[[float], None]) -> None:
        self._name, self._wanted, self._sink, self._sleep = name, wanted, sink, sleep
        self._connection: Connection | None = None

    def run(self, tell: Callable[[str, int], None] = lambda topic, count: None) -> None:
        """Go on until `sleep` raises; a sink or a server that is away is waited for."""
        backoff = Backoff(1, LONGEST_WAIT)
        try:
            while True:
                try:
                    passed = self.pass_on(tell)
                except (SinkUnavailableError, DatabaseUnavailableError, psycopg.OperationalError) as error:
                    self.close()
                    wait = backoff.next()
                    told = str(error).strip().splitlines()[0]
                    event(log, "relay waits", logging.WARNING, relay=self._name, seconds=round(wait, 1), error=told)
                    self._sleep(wait)
                    continue
                backoff.reset()
                if not passed:
                    self._sleep(TICK)
        finally:
            self.close()

    def pass_on(self, tell: Callable[[str, int], None] = lambda topic, count: None) -> int:
        """Pass on what is there, at most some of each topic; returns how many events that were."""
        if self._connection is None or self._connection.closed:
            self._connection = connect(autocommit=True)
        self._register(self._connection)  # again, should somebody have forgotten it: it runs
        return sum(self._pass_on(self._connection, topic, tell) for topic in self._wanted)

    def _register(self, connection: Connection) -> None:
        """From now on changes are kept until they are passed on; what was before is in the tables. Spans begin an hour ago.

        A database that was restored elsewhere counts its transactions, which spans are passed on by, from less.
        """
        for topic in self._wanted:
            newest = sql.SQL(_NEWEST.get(topic, _NEWEST_EVENT))
            connection.execute(
                sql.SQL(
                    "insert into ops.relay as standing (relay, topic, seq) values (%s, %s, {}) on conflict (relay, topic) "
                    "do update set seq = excluded.seq where standing.topic = 'traces' "
                    "and standing.seq >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
                ).format(newest),
                (self._name, topic),
            )

    def _pass_on(self, connection: Connection, topic: str, tell: Callable[[str, int], None]) -> int:
        rows: list[Any] = connection.execute(
            _KEPT.get(topic, _KEPT_EVENTS).encode(), {"relay": self._name, "topic": topic, "most": AT_ONCE}
        ).fetchall()
        if not rows:
            return 0
        self._sink.send(topic, [message for _, message in rows])
        connection.execute(
            "update ops.relay set seq = %s, told_at = clock_timestamp() where relay = %s and topic = %s",
            (rows[-1][0], self._name, topic),
        )
        tell(topic, len(rows))
        return len(rows)

    def close(self) -> None:
        """Let go of its connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None


# What is kept for a relay, by its topic, and where it begins.
_NEWEST_EVENT = "(select coalesce(max(seq), 0) from ops.change)"
_NEWEST = {
    ALERTS: "(select coalesce(max(seq), 0) from ops.alert)",
    TRACES: """
        coalesce(
            (
                select min(written_in)::text::bigint - 1 from ops.trace
                where started_at > clock_timestamp() - interval '1 hour'
            ),
            pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1
        )
    """,
}
_KEPT_EVENTS = """
    select event.seq, ops.event_message(event) from ops.event as event
    where
        event.topic = %(topic)s
        and event.seq > (select seq from ops.relay where relay = %(relay)s and topic = %(topic)s)
    order by event.seq limit %(most)s
"""
_KEPT = {
    ALERTS: """
        select seq, ops.alert_message(alert) from ops.alert as alert
        where seq > (select seq from ops.relay where relay = %(relay)s and topic = %(topic)s)
        order by seq limit %(most)s
    """,
    # Transactions become visible in any order; what is older than all that are under way is over. Each is passed on whole.
    TRACES: """
        select
            written_in::text::bigint,
            to_jsonb(trace) || jsonb_build_object('started', extract(epoch from started_at))
        from ops.trace as trace
        where
            written_in > (select seq::text::xid8 from ops.relay where relay = %(relay)s and topic = %(topic)s)
            and written_in < pg_snapshot_xmin(pg_current_snapshot())
        order by written_in fetch first %(most)s rows with ties
    """,
}


class RedisStreams:
    """Streams of Redis, stream:<topic>, of about so many messages at most: the oldest ones go.

    Raises UsageError for an address that is none.
    """

    def __init__(self, url: str, length: int) -> None:
        import redis

        self._length = length
        try:
            self._redis = redis.Redis.from_url(url, socket_timeout=10, socket_connect_timeout=10)
        except ValueError as error:
            raise UsageError(f"{url!r} is no address of a Redis: {error}", hint="redis://127.0.0.1:6379/0") from error

    def send(self, topic: str, messages: Sequence[Message]) -> None:
        """Keep the messages of a topic, in their order. Raises SinkUnavailableError when it cannot."""
        import redis

        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for message in messages:
                    pipeline.xadd(f"stream:{topic}", _flat(message), maxlen=self._length, approximate=True)
                pipeline.execute()
        except redis.RedisError as error:
            raise SinkUnavailableError(f"Redis does not take events: {str(error).splitlines()[0]}") from error

    def close(self) -> None:
        """Let go of its connections."""
        self._redis.close()


def _flat(message: Mapping[str, Any]) -> dict[Any, Any]:
    return {name: value if isinstance(value, int | str) else json.dumps(value) for name, value in message.items()}


def relays(connection: Connection) -> list[dict[str, Any]]:
    """One row per relay and topic: how far it has passed on, and how many events it has yet to."""
    query = """
        select relay, topic, told_at, waiting from ops.relay_waiting order by 1, 2
    """
    with connection.transaction(), connection.cursor() as cursor:
        rows = cursor.execute(query).fetchall()
        names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in rows]


def forget(connection: Connection, relay: str) -> None:
    """Keep nothing for a relay any longer. Raises UsageError if there is none of that name."""
    with connection.transaction():
        gone = connection.execute("delete from ops.relay where relay = %s", (relay,)).rowcount
    if not gone:
        raise UsageError(f"there is no relay {relay!r}", hint="titan events relays names those that there are")
