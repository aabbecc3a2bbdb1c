"""The gateway's connections: the reader's role, nothing but reading, one statement at a time."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from titan.core.database import arguments, statement
from titan.core.settings import Settings
from titan.gateway.problems import ProblemError

STATEMENT_TIMEOUT = 10  # seconds
WAIT = 5.0  # seconds for a connection
READER = (
    f"-c role=titan_reader -c default_transaction_read_only=on -c statement_timeout={STATEMENT_TIMEOUT}s "
    "-c timezone=UTC -c jit=off"
)


@asynccontextmanager
async def _asking_about(connection: psycopg.AsyncConnection[Any], moment: datetime | None) -> AsyncIterator[None]:
    """Let the marts that tell of now tell of a moment, until the block ends."""
    if moment is None:
        yield
    else:
        async with connection.transaction():
            await connection.execute("select set_config('titan.as_of', %s, true)", (moment.isoformat(),))
            yield


@lru_cache(500)
def _text(name: str, columns: tuple[str, ...], *, is_framed: bool) -> str:
    """A statement, of columns that whoever asks may choose."""
    parts = {"columns": sql.SQL(", ").join(map(sql.Identifier, columns))} if columns else {}
    text = statement("titan.gateway.sql", name, **parts)
    return (statement("titan.gateway.sql", "answer", query=text) if is_framed else text).as_string(None)


class Pool:
    """Connections of the reader. A server that is away is asked for again by each request; none waits longer than WAIT."""

    def __init__(self, settings: Settings, size: int) -> None:
        self.settings = settings
        self.away_since: float | None = None
        self._pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
            kwargs={**arguments(settings), "options": READER, "autocommit": True, "application_name": "titan serve"},
            min_size=min(2, size), max_size=size, timeout=WAIT, open=False, reconnect_timeout=2, name="titan",
        )  # fmt: skip

    async def open(self) -> None:
        """Begin to connect; whether that succeeds is each request's to find out."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Let go of all connections."""
        await self._pool.close(timeout=2)

    async def listener(self) -> psycopg.AsyncConnection[Any]:
        """A connection of its own, to listen on."""
        options = {**arguments(self.settings), "options": READER, "application_name": "titan serve, stream"}
        return await psycopg.AsyncConnection.connect(**options, autocommit=True)

    async def rows(
        self,
        name: str,
        parameters: Mapping[str, Any],
        as_of: datetime | None = None,
        *,
        columns: tuple[str, ...] = (),
        is_framed: bool = False,
    ) -> tuple[list[Any], list[Any]]:
        """The columns and rows of a statement of titan/gateway/sql, which answer.sql may frame; marts that tell of now tell
        of `as_of` instead.

        Raises ProblemError where the server is away, has no warehouse or takes too long. A statement that a connection's end
        befell is tried once more: it only reads. So is one whose view was redefined since it was prepared.
        """
        text = _text(name, columns, is_framed=is_framed)
        for is_last in (False, True):
            try:
                async with self._pool.connection() as connection, _asking_about(connection, as_of):
                    cursor = connection.cursor(row_factory=tuple_row)
                    await cursor.execute(text, parameters, prepare=False if is_last else None, binary=True)
                    found = list(cursor.description or ()), await cursor.fetchall()
            except psycopg.errors.QueryCanceled as error:
                raise ProblemError(
                    504,
                    "Too much at once",
                    f"it took longer than {STATEMENT_TIMEOUT} s",
                    hint="ask for less: a shorter range, fewer symbols",
                ) from error
            except psycopg.errors.FeatureNotSupported:  # cached plan must not change result type
                if is_last:
                    raise
            except (psycopg.OperationalError, PoolTimeout) as error:
                if is_last or isinstance(error, PoolTimeout):
                    raise self._away(error) from error
                await self._pool.check()
            except psycopg.DataError as error:  # a byte or a number that no column can have
                raise ProblemError(422, "Bad parameter", str(error).splitlines()[0]) from error
            except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
                raise ProblemError(
                    503, "No warehouse yet", str(error).splitlines()[0], hint="titan db start, then titan refresh",
                    headers={"Retry-After": "30"},
                ) from error  # fmt: skip
            else:
                self.away_since = None
                return found
        raise AssertionError

    def _away(self, error: Exception) -> ProblemError:
        self.away_since = self.away_since or time.time()
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.away_since))
        return ProblemError(
            503, "The database is away", f"no connection to {self.settings.url} since {since}: {type(error).__name__}",
            hint="try again: it is asked again by itself; titan db status", headers={"Retry-After": "5"}, since=since,
        )  # fmt: skip
