"""Spans and metrics of ops, as they are written, and passed on to OpenTelemetry where the environment names an endpoint."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from titan.core import trace
from titan.core.database import Connection, connect, records
from titan.core.errors import TitanError, UsageError
from titan.core.log import event
from titan.ops.events import TRACES, Message, SinkUnavailableError

log = logging.getLogger("titan.traces")

RELAY = "OpenTelemetry"


def write(connection: Connection) -> int:
    """Write the spans that have ended to ops.trace; returns how many.

    A watch or a run is worth more than the tale of it: what the server refuses is logged and given up. Raises
    psycopg.OperationalError where the connection is lost; the spans wait then.
    """
    spans = trace.take()
    if not spans:
        return 0
    try:
        with connection.transaction():
            connection.execute("select ops.record_spans(%s)", (_as_json(spans),))
    except psycopg.OperationalError:
        trace.put_back(spans)
        raise
    except psycopg.Error as error:
        event(log, "spans not written", logging.WARNING, spans=len(spans), error=str(error).splitlines()[0])
        return 0
    return len(spans)


def write_rest() -> None:
    """Write what a command leaves at its end, over a connection of its own; a server that is away does not hear of it."""
    try:
        with connect(autocommit=True) as connection:
            write(connection)
    except (TitanError, psycopg.Error) as error:
        event(log, "spans not written", logging.WARNING, spans=trace.waiting(), error=str(error).splitlines()[0])


def _as_json(spans: Sequence[trace.Span]) -> str:
    # A text of PostgreSQL holds no character zero.
    rows: list[dict[str, Any]] = [
        {
            "trace_id": str(one.trace_id),
            "span_id": one.span_id,
            "parent_id": one.parent_id,
            "run_id": str(one.run_id),
            "name": one.name,
            "subject": one.subject and one.subject.replace("\0", ""),
            "started_at": one.started_at.isoformat(),
            "seconds": one.seconds,
            "is_failed": one.is_failed,
            "message": one.message and one.message.replace("\0", ""),
            "details": {name: value for name, value in one.details.items() if value not in (None, "", [], {})},
        }
        for one in spans
    ]
    return json.dumps(rows, default=str)


def tree(connection: Connection, identity: str | None) -> list[dict[str, Any]]:
    """The spans of a trace, or of a run's newest one, in the order in which they began; by default of the newest of all.

    Raises UsageError for what is no id, and for a trace of which nothing is known.
    """
    try:
        wanted = UUID(identity) if identity else None
    except ValueError as error:
        raise UsageError(f"{identity!r} is no id", hint="ops.run, ops.trace and every line of the log have some") from error
    query = """
        select
            spans.span, spans.started_at, spans.seconds, spans.is_failed,
            coalesce(spans.message, spans.details ->> 'reason') as message
        from ops.spans_of(coalesce(
            (select trace_id from ops.trace where trace_id = %(wanted)s limit 1),
            (
                select trace_id from ops.trace where run_id = %(wanted)s or %(wanted)s::uuid is null
                order by started_at desc limit 1
            )
        )) as spans
    """
    with connection.transaction():
        found = records(connection, query, {"wanted": wanted})
    if wanted and not found:
        raise UsageError(f"nothing is known of {identity}", hint="config.kept says for how long traces are kept")
    return found


def keep_house(connection: Connection, now: datetime | None = None) -> None:
    """Measure what ops.metric holds and forget what config.kept says, if it is time to; what fails is logged.

    Raises psycopg.OperationalError where the connection is lost.
    """
    try:
        with connection.transaction():
            connection.execute("select ops.keep_house(coalesce(%s, clock_timestamp()))", (now,))
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        event(log, "house not kept", logging.WARNING, error=str(error).splitlines()[0])


def is_exported() -> bool:
    """Whether the environment names an endpoint of OpenTelemetry's for spans."""
    names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return any(os.environ.get(name) for name in names) and os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true"


class OpenTelemetry:
    """Passes spans on by OTLP over HTTP, as the variables OTEL_EXPORTER_OTLP_… say; relays of the topic traces use it."""

    def __init__(self) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource

        self.relay = RELAY
        self.topics: tuple[str, ...] = (TRACES,)
        self._exporter = OTLPSpanExporter()
        self._resource = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "titan")})

    def send(self, topic: str, messages: Sequence[Message]) -> None:
        """Pass spans on. Raises SinkUnavailableError when the endpoint does not take them."""
        from opentelemetry.sdk.trace.export import SpanExportResult

        result = self._exporter.export([self._span(message) for message in messages])
        if result is not SpanExportResult.SUCCESS:
            raise SinkUnavailableError(f"the endpoint of OpenTelemetry did not take {len(messages)} spans")

    def _span(self, message: Message) -> Any:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

        trace_id = int(str(message["trace_id"]).replace("-", ""), 16)

        def context(span_id: str) -> SpanContext:
            return SpanContext(trace_id, int(span_id, 16), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

        began = round(float(message["started"]) * 1e9)
        details = {f"titan.{name}": _attribute(value) for name, value in message["details"].items()}
        known = {"titan.subject": message["subject"], "titan.run_id": message["run_id"]}
        return ReadableSpan(
            name=message["name"],
            context=context(message["span_id"]),
            parent=context(message["parent_id"]) if message["parent_id"] else None,
            resource=self._resource,
            attributes={**{name: value for name, value in known.items() if value is not None}, **details},
            kind=SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR, message["message"]) if message["is_failed"] else Status(StatusCode.UNSET),
            start_time=began,
            end_time=began + round(float(message["seconds"]) * 1e9),
            instrumentation_scope=InstrumentationScope("titan"),
        )

    def close(self) -> None:
        """Let go of its connections."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


def _attribute(value: Any) -> Any:
    """As OpenTelemetry takes it: a text, a number, whether; everything else as JSON."""
    return value if isinstance(value, str | int | float | bool) else json.dumps(value)
