"""Every stored bar against its recomputation from raw candles: what a build or an aggregate left wrong is named."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql

from titan.core.database import Connection, records, statement
from titan.core.errors import BuildError, UsageError
from titan.core.log import Progress
from titan.core.trace import span
from titan.ops import dbt

# In the order in which each is computed from the one before. The SQL is that of a full build on plain PostgreSQL, whatever
# the engine: continuous aggregates are reconciled with what they should be.
_MODELS = ("candle", "candle_of_bar", "rollup_stored", "rollup", "daily", "daily_of_bar", "multi_day")
_COMPARED = (
    "opened_at", "open", "high", "low", "close", "volume", "quote_volume", "trade_count", "bar_count", "missing_count",
    "is_partial",
)  # fmt: skip
_STORED = ("rollup", "daily", "multi_day")


@dataclass(frozen=True)
class Reconciled:
    """How many bars of each instrument were compared and differ, and each that does: what is stored, what it should be."""

    compared_of: dict[int, int]
    differing_of: Counter[int]
    differing: list[dict[str, Any]]

    @property
    def compared(self) -> int:
        return sum(self.compared_of.values())


@span("reconcile")
def reconcile(
    connection: Connection,
    *,
    symbol: str | None = None,
    exchange: str | None = None,
    timeframe: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    progress: Progress = lambda text: None,
) -> Reconciled:
    """Recompute the bars that lie whole in [since, until] and compare them with the stored ones. Changes none of them.

    What comes of all bars there are is a row of ops.reconciliation; of all bars of an instrument, its row of
    ops.series_reconciliation.

    Bars that opened before a horizon of config.retention cannot be computed again and are left out.

    Raises UsageError where no instrument is meant, and BuildError where the models cannot be compiled.
    """
    instruments = _instruments(connection, symbol, exchange)
    progress("compiling the models")
    texts = _compile()
    with connection.transaction(force_rollback=True):
        connection.execute("set local work_mem = '256MB'")
        connection.execute("set local search_path = pg_temp, public")
        ohlcv = (
            sql.SQL(
                "(select * from raw.ohlcv where instrument_id = any ({}) "
                "and closed_at between {}::timestamptz and {}::timestamptz)"
            )
            .format(sql.Literal(instruments), sql.Literal(since or "-infinity"), sql.Literal(until or "infinity"))
            .as_string(connection)
        )
        for name in _MODELS:
            progress(f"computing {name} again")
            text = texts[name].replace(_relation(connection, "raw", "ohlcv"), ohlcv)
            for earlier in _MODELS[: _MODELS.index(name)]:
                text = text.replace(_relation(connection, "bars", earlier), f"again_{earlier}")
            kind = "view" if name in ("candle_of_bar", "daily_of_bar", "rollup") else "table"
            connection.execute(f"create temporary {kind} again_{name} as {text}".encode())
            if kind == "table":
                connection.execute(f"create index on again_{name} (instrument_id, timeframe, closed_at)".encode())
                connection.execute(f"analyze again_{name}".encode())
        progress("comparing")
        done = _compare(connection, instruments, timeframe, since, until)
    if not any((timeframe, since, until)):
        _record_series(connection, done)
        if not any((symbol, exchange)):
            _record(connection, done)
    return done


def _record_series(connection: Connection, done: Reconciled) -> None:
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            "insert into ops.series_reconciliation (instrument_id, compared, differing) values (%s, %s, %s) "
            "on conflict (instrument_id) do update set "
            "reconciled_at = clock_timestamp(), compared = excluded.compared, differing = excluded.differing",
            [(instrument, count, done.differing_of[instrument]) for instrument, count in done.compared_of.items()],
        )


def _record(connection: Connection, done: Reconciled) -> None:
    name = "{exchange} {symbol} {timeframe} closing {closed_at:%Y-%m-%d %H:%M}"
    example = name.format(**done.differing[0]) if done.differing else None
    with connection.transaction():
        connection.execute(
            "insert into ops.reconciliation (compared, differing, example) values (%s, %s, %s)",
            (done.compared, len(done.differing), example),
        )


def _instruments(connection: Connection, symbol: str | None, exchange: str | None) -> list[int]:
    rows: list[Any] = connection.execute(
        """
        select instrument_id from raw.instrument
        where
            base_timeframe is not null
            and symbol = coalesce(upper(%s), symbol)
            and exchange = coalesce(lower(%s), exchange)
        """,
        (symbol, exchange),
    ).fetchall()
    connection.commit()
    if not rows:
        raise UsageError("there are no candles of that instrument", hint="titan status lists the series")
    return [int(row[0]) for row in rows]


def _compile() -> dict[str, str]:
    compiled = dbt.invoke("compile", ["--select", *_MODELS, "--vars", "{engine: postgres}"])
    texts = {node.name: node.sql for node in compiled.nodes}
    if missing := set(_MODELS) - texts.keys():
        raise BuildError(f"dbt did not compile {', '.join(sorted(missing))}", hint="dbt compile says why")
    return texts


def _relation(connection: Connection, schema: str, name: str) -> str:
    return sql.Identifier(connection.info.dbname, schema, name).as_string(connection)


def _bars(prefix: str) -> sql.Composable:
    """SQL: the bars of the tables with this prefix, with what is compared of each."""
    columns = sql.SQL(", ").join(map(sql.Identifier, _COMPARED))
    return sql.SQL(" union all ").join(
        sql.SQL("select {relation} as relation, instrument_id, timeframe, closed_at, {columns} from {table}").format(
            relation=sql.Literal(f"bars.{name}"), columns=columns, table=sql.SQL(prefix + name)
        )
        for name in _STORED
    )


def _row(side: str) -> sql.Composable:
    return sql.SQL("({})").format(sql.SQL(", ").join(sql.Identifier(side, name) for name in _COMPARED))


def _object(side: str) -> sql.Composable:
    pairs = (sql.SQL("{}, {}").format(sql.Literal(name), sql.Identifier(side, name)) for name in _COMPARED)
    return sql.SQL("jsonb_build_object({})").format(sql.SQL(", ").join(pairs))


_IN_RANGE = """
    instrument_id = any (%(instruments)s)
    and timeframe = coalesce(%(timeframe)s, timeframe)
    and opened_at >= %(since)s
    and closed_at <= %(until)s
"""


def _compare(
    connection: Connection, instruments: list[int], timeframe: str | None, since: datetime | None, until: datetime | None
) -> Reconciled:
    in_range = sql.SQL(_IN_RANGE)
    query = statement(
        "titan.ops.sql",
        "differing",
        stored_bars=_bars("bars."),
        bars_again=_bars("again_"),
        in_range=in_range,
        stored_object=_object("stored"),
        object_again=_object("again"),
        stored_row=_row("stored"),
        row_again=_row("again"),
    )
    count = sql.SQL("select instrument_id, count(*) from ({}) as bar where {} group by 1").format(_bars("again_"), in_range)
    parameters = {
        "instruments": instruments,
        "timeframe": timeframe,
        "since": since or "-infinity",
        "until": until or "infinity",
    }
    compared: Any = connection.execute(count, parameters).fetchall()
    rows = records(connection, query, parameters)
    for row in rows:
        names = [name for name in _COMPARED if row["stored"][name] != row["recomputed"][name]]
        for side in ("stored", "recomputed"):
            row[side] = {name: row[side][name] for name in names}
    return Reconciled(
        dict.fromkeys(instruments, 0) | dict(compared), Counter(row.pop("instrument_id") for row in rows), rows
    )
