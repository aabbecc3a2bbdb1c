"""Answers: one statement each, of one instant, kept in memory until what they were made of changes."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson
from fastapi import Request, Response
from psycopg.postgres import types

from titan.gateway.database import Pool
from titan.gateway.problems import ProblemError

JSON, CSV, ARROW = "application/json", "text/csv", "application/vnd.apache.arrow.stream"
LONGEST = 60.0  # seconds that an answer is given again for, whatever did not change
ROOM = 64 * 2**20  # bytes of answers that are kept

_ARROW_TYPES = {
    "float8": "double", "int4": "int64", "int8": "int64", "text": "string", "bool": "bool_", "timestamptz": "time",
    "interval": "duration",
}  # fmt: skip


@dataclass
class Answer:
    """What was asked for, of one instant: rows under their columns. `data_version` stands for all that they were made of."""

    data_version: str
    as_of: datetime
    columns: list[tuple[str, str]]  # name, type
    rows: list[tuple[Any, ...]]

    def without(self, *names: str) -> Answer:
        """The same without some columns."""
        kept = [at for at, (name, _) in enumerate(self.columns) if name not in names]
        return Answer(
            self.data_version,
            self.as_of,
            [self.columns[at] for at in kept],
            [tuple(row[at] for at in kept) for row in self.rows],
        )

    def records(self) -> list[dict[str, Any]]:
        """Each row by the names of its columns."""
        names = [name for name, _ in self.columns]
        return [dict(zip(names, row, strict=True)) for row in self.rows]


@dataclass(frozen=True)
class Visit:
    """A request that may be answered: its form, what tells it from others, and what answers are made of now."""

    request: Request
    data_version: str
    form: str
    key: str

    @classmethod
    def of(cls, request: Request, data_version: str) -> Visit:
        """Whatever order its parameters have. Raises ProblemError for a form that there is not."""
        form = _form(request.headers.get("accept", "*/*"))
        query = "&".join(f"{name}={value}" for name, value in sorted(request.query_params.multi_items()))
        return cls(request, data_version, form, f"{request.url.path}?{query} {form}")

    def etag(self, data_version: str, made_at: datetime | None = None) -> str:
        """The tag of an answer: what it was made of, what was asked; of one that tells the hour, its minute as well."""
        asked = hashlib.sha256(self.key.encode()).hexdigest()[:12]
        minute = f"-{made_at:%Y%m%d%H%M}" if made_at else ""
        return f'"{data_version}-{asked}{minute}"'

    def has(self, tag: str) -> bool:
        """Whether the client has that answer."""
        sent = self.request.headers.get("if-none-match", "")
        return tag in [one.strip().removeprefix("W/") for one in sent.split(",")]


@dataclass
class Kept:
    """An answer as it was sent."""

    data_version: str
    body: bytes
    media_type: str
    headers: dict[str, str]
    made_at: float = field(default_factory=time.monotonic)


class Answers:
    """The gateway's memory: what was asked and answered, the oldest of it forgotten first."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._size = 0
        self._under_way: dict[str, tuple[asyncio.Lock, int]] = {}  # and how many have it or wait for it
        self.hits = self.misses = 0

    async def ask(
        self,
        name: str,
        parameters: Mapping[str, Any],
        as_of: datetime | None = None,
        columns: tuple[str, ...] = (),
    ) -> Answer:
        """The answer of a statement of titan/gateway/sql, framed by answer.sql: version, moment, place, then its columns."""
        found, rows = await self.pool.rows(name, parameters, as_of, columns=columns, is_framed=True)
        named = [(one.name, _kind(one.type_code)) for one in found]
        told = [row[3:] for row in rows if row[2] is not None]
        return Answer(rows[0][0], rows[0][1], named[3:], told)

    def find(self, visit: Visit) -> Kept | None:
        """What was answered to the same request, while it holds."""
        found = self._kept.get(visit.key)
        if found and found.data_version == visit.data_version and time.monotonic() - found.made_at < LONGEST:
            self._kept.move_to_end(visit.key)
            self.hits += 1
            return found
        return None

    @asynccontextmanager
    async def alone(self, key: str) -> AsyncIterator[None]:
        """One request computes, the same ones beside it wait for what it finds."""
        lock, waiting = self._under_way.get(key, (asyncio.Lock(), 0))
        self._under_way[key] = lock, waiting + 1
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._under_way.pop(key)
            if waiting > 1:
                self._under_way[key] = lock, waiting - 1

    def keep(self, key: str, kept: Kept) -> None:
        """Remember an answer, and forget the oldest ones for it."""
        if key in self._kept:
            self._size -= len(self._kept.pop(key).body)
        self._kept[key] = kept
        self._size += len(kept.body)
        while self._size > ROOM and len(self._kept) > 1:
            self._size -= len(self._kept.popitem(last=False)[1].body)


def _kind(code: int) -> str:
    """The name of a type; of a list, and what we have no name for, json: as that it is written down."""
    known = types.get(code)
    return known.name if known and known.oid == code else "json"


def _form(accept: str) -> str:
    """Which of the three forms an Accept header asks for, by its order and weights."""
    wanted = []
    for at, part in enumerate(accept.split(",")):
        kind, *rest = (piece.strip().lower() for piece in part.split(";"))
        weights = [piece[2:] for piece in rest if piece.startswith("q=")]
        try:
            weight = float(weights[0]) if weights else 1.0
        except ValueError:
            weight = 0.0
        wanted.append((-weight, at, kind))
    for weight, _, kind in sorted(wanted):
        if weight == 0:
            continue
        if kind in ("*/*", "application/*", JSON):
            return JSON
        if kind in (CSV, "text/*"):
            return CSV
        if kind == ARROW:
            return ARROW
    raise ProblemError(406, "No such form", f"Accept: {accept[:200]}", hint=f"answers come as {JSON}, {CSV} and {ARROW}")


def encode(
    visit: Visit, answer: Answer, *, is_single: bool = False, is_aging: bool = False, next_cursor: str | None = None
) -> Kept:
    """An answer in the form that was asked for."""
    headers = {
        "ETag": visit.etag(answer.data_version, answer.as_of if is_aging else None),
        "Cache-Control": "private, no-cache",
        "Vary": "Accept, Authorization, X-API-Key",
        "X-Data-Version": answer.data_version,
        "X-As-Of": answer.as_of.isoformat(),
    }
    if next_cursor:
        following = visit.request.url.include_query_params(cursor=next_cursor)
        headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    if visit.form == JSON:
        records = answer.records()
        body: dict[str, Any] = {"as_of": answer.as_of, "data_version": answer.data_version}
        body["data"] = records[0] if is_single else records
        if not is_single:
            body["next"] = next_cursor
        return Kept(answer.data_version, orjson.dumps(body, default=_plain), JSON, headers)
    if visit.form == CSV:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([name for name, _ in answer.columns])
        writer.writerows([_cell(value) for value in row] for row in answer.rows)
        return Kept(answer.data_version, text.getvalue().encode(), "text/csv; charset=utf-8", headers)
    return Kept(answer.data_version, _arrow(answer), ARROW, headers)


def _plain(value: Any) -> Any:
    """What orjson has no form for: a length of time, in seconds."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value)


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, dict | list):
        return json.dumps(value)
    return value


def _arrow(answer: Answer) -> bytes:
    """The rows as an Arrow stream: doubles are doubles, moments are microseconds in UTC."""
    import pyarrow as pa

    kinds = {
        "double": pa.float64(), "int64": pa.int64(), "string": pa.string(), "bool_": pa.bool_(),
        "time": pa.timestamp("us", "UTC"), "duration": pa.duration("us"),
    }  # fmt: skip
    arrays, fields = [], []
    for at, (name, kind) in enumerate(answer.columns):
        known = _ARROW_TYPES.get(kind)
        values = [row[at] for row in answer.rows]
        if known is None:
            values = [None if value is None else json.dumps(value, default=str) for value in values]
        fields.append(pa.field(name, kinds[known or "string"]))
        arrays.append(pa.array(values, type=kinds[known or "string"]))
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def send(visit: Visit, kept: Kept) -> Response:
    """An answer, or that it is the one that the client has."""
    if visit.has(kept.headers["ETag"]):
        return Response(status_code=304, headers=kept.headers)
    return Response(kept.body, 200, kept.headers, kept.media_type)


def cursor_of(values: Sequence[Any]) -> str:
    """Where a page ended, as a text that only we read."""
    return urlsafe_b64encode(orjson.dumps(list(values))).decode().rstrip("=")


def from_cursor(text: str, kinds: Sequence[type]) -> list[Any]:
    """Where the page before ended. Raises ProblemError for a text that is no cursor of this endpoint."""
    try:
        values = orjson.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return [
            datetime.fromisoformat(value) if kind is datetime else kind(value)
            for value, kind in zip(values, kinds, strict=True)
        ]
    except (ValueError, TypeError) as error:
        raise ProblemError(
            422, "Bad cursor", f"{text[:100]!r} is none of this endpoint's", hint="take `next` of the page before, as it is"
        ) from error
