"""Instruments that are renamed: one of them through its names, and two that went by the same name one after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
from psycopg import sql

from expectations.gate import reject
from ingest.instruments import forget_base_timeframe
from ingest.load_batch import close_batch, open_batch
from titan.core.batch import EPOCH, Batch, Stretches, merged
from titan.core.database import Connection
from titan.core.errors import UsageError
from titan.core.timeframes import TIMEFRAMES

Instant = datetime | None  # None: since ever, or until now


@dataclass(frozen=True)
class Rename:
    """What went by `symbol` goes by `new_symbol` since `renamed_at`; one unit of the old became `ratio` of the new."""

    exchange: str
    market_type: str
    symbol: str
    new_symbol: str
    renamed_at: datetime
    ratio: float = 1.0


@dataclass(frozen=True)
class Renamed:
    """What a rename did: the candles that came to the instrument with its new symbol, and those that went with the old one.

    notices: what of configuration follows the instrument.
    """

    batch_id: int
    instrument_id: int
    came: int
    went: int
    notices: tuple[str, ...]


def by_todays_names(connection: Connection, batch: Batch) -> Batch:
    """The batch with each candle, and what was answered, under the symbol that its instrument has today.

    A candle belongs to the name that its instrument had when it closed. One that closed when its symbol was nobody's yet is
    rejected.
    """
    rows: list[Any] = connection.execute(
        "select symbol, until_at, today from config.names_today(%s, %s, %s)",
        (batch.market.exchange, batch.market.market_type, list(batch.symbols)),
    ).fetchall()
    if not rows:
        return batch
    timeframe, opened_at = TIMEFRAMES[batch.market.timeframe], batch.candles["opened_at"]
    names: dict[str, list[tuple[Instant, str | None]]] = {symbol: [] for symbol in batch.symbols}
    for symbol, until_at, today in rows:
        names[symbol].append((timeframe.last_close(until_at), today))  # where the first candle opens that closes later
    candles, symbols = batch.candles.copy(), list(batch.symbols)
    answered: dict[str, list[tuple[datetime, datetime]]] = {}
    is_nobodys = np.zeros(len(candles), bool)
    for at, symbol in enumerate(batch.symbols):
        begins: Instant = None
        for until, today in [*names[symbol], (None, symbol)]:
            found = batch.candles["series"] == at
            if begins is not None:
                found &= opened_at >= _microseconds(begins)
            if until is not None:
                found &= opened_at < _microseconds(until)
            if today is None:
                is_nobodys |= found
            else:
                symbols += [] if today in symbols else [today]
                candles["series"][found] = symbols.index(today)
                stretches = _within(batch.answered[at], begins, until) if batch.answered else []
                answered[today] = [*answered.get(today, []), *stretches]
            begins = until
    strays = [(int(row["row_number"]), int(row["series"]), "is_after_its_rename") for row in batch.candles[is_nobodys]]
    candles = candles[~is_nobodys]
    return replace(
        batch,
        symbols=symbols,
        candles=candles[np.lexsort((candles["row_number"], candles["opened_at"], candles["series"]))],
        rejected=[*batch.rejected, *reject(batch, strays)],
        answered=[merged(answered.get(symbol, [])) for symbol in symbols] if batch.answered else (),
    )


def _microseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def _within(stretches: Stretches, begins: Instant, until: Instant) -> list[tuple[datetime, datetime]]:
    clipped = [(max(start, begins or start), min(stop, until or stop)) for start, stop in stretches]
    return [(start, stop) for start, stop in clipped if start < stop]


def rename(connection: Connection, wanted: Rename) -> Renamed:
    """Let an instrument go on under its new symbol: it gets what closed under that after the rename, and keeps its history.

    What closed under the old symbol after it becomes an instrument of its own: an exchange may give a name away again.
    Configuration follows the instrument; a ratio is a split. Raises UsageError where what is here contradicts it: then
    nothing has changed.
    """
    with connection.transaction():
        batch_id = _begin(connection, wanted, "is")
        _refuse_contradiction(connection, wanted)
        ours, theirs = (_instrument(connection, wanted, symbol) for symbol in (wanted.symbol, wanted.new_symbol))
        connection.execute(
            """
            insert into config.rename (exchange, market_type, symbol, new_symbol, renamed_at, ratio)
            values (%(exchange)s, %(market_type)s, %(symbol)s, %(new_symbol)s, %(renamed_at)s, %(ratio)s)
            """,
            vars(wanted),
        )
        if ours is None and theirs is None:
            raise UsageError(
                f"{wanted.exchange} has neither {wanted.symbol} nor {wanted.new_symbol} here ({wanted.market_type})",
                hint="load one of them first; titan status lists the instruments",
            )
        came = went = 0
        if ours is not None:
            came, went = _exchange_tails(connection, wanted, ours, theirs, wanted.symbol, wanted.new_symbol)
        instrument_id = int(theirs if ours is None else ours)  # type: ignore[arg-type]
        if wanted.ratio != 1:
            _split(connection, wanted, instrument_id, batch_id)
        notices = _refer_to_new(connection, wanted)
        close_batch(connection, batch_id, rows_read=came + went)
        return Renamed(batch_id, instrument_id, came, went, tuple(notices))


def undo(connection: Connection, exchange: str, market_type: str, symbol: str, new_symbol: str) -> Renamed:
    """Take the last rename of a symbol back: candles after it go back to their symbols. Configuration stays as it is.

    Raises UsageError where there is no such rename, or a later one builds on it.
    """
    with connection.transaction():
        row: Any = connection.execute(
            """
            select renamed_at, ratio from config.rename
            where exchange = %s and market_type = %s and symbol = %s and new_symbol = %s
            order by renamed_at desc limit 1
            """,
            (exchange, market_type, symbol, new_symbol),
        ).fetchone()
        if row is None:
            raise UsageError(
                f"{symbol} of {exchange} was not renamed to {new_symbol} here",
                hint="select * from config.rename has those that there are",
            )
        wanted = Rename(exchange, market_type, symbol, new_symbol, *row)
        batch_id = _begin(connection, wanted, "is not")
        connection.execute(
            """
            delete from config.rename
            where
                exchange = %(exchange)s and market_type = %(market_type)s and symbol = %(symbol)s
                and renamed_at = %(renamed_at)s
            """,
            vars(wanted),
        )
        _refuse_later(connection, wanted)
        ours, theirs = (_instrument(connection, wanted, name) for name in (new_symbol, symbol))
        came = went = 0
        if ours is not None:
            if wanted.ratio != 1:
                connection.execute(
                    "delete from raw.adjustment where instrument_id = %s and kind = 'split' and ex_date = %s",
                    (ours, _ex_date(connection, wanted, ours)),
                )
            came, went = _exchange_tails(connection, wanted, ours, theirs, new_symbol, symbol)
        close_batch(connection, batch_id, rows_read=came + went)
        return Renamed(batch_id, ours or 0, came, went, ())


def _begin(connection: Connection, wanted: Rename, verb: str) -> int:
    # Chunks in the columnstore are written like others, however many rows move. A plain server does not mind.
    connection.execute("set local timescaledb.max_tuples_decompressed_per_dml_transaction = 0")
    details = {"renamed_at": wanted.renamed_at.isoformat(), "ratio": wanted.ratio}
    origin = f"{wanted.exchange} {wanted.symbol} {verb} {wanted.new_symbol}"
    return open_batch(connection, "rename", origin, None, datetime.now(UTC), details)


def _refuse_contradiction(connection: Connection, wanted: Rename) -> None:
    _refuse_later(connection, wanted)
    row: Any = connection.execute(
        """
        select ohlcv.timeframe, ohlcv.closed_at from raw.ohlcv as ohlcv
        inner join raw.instrument as instrument using (instrument_id)
        where
            instrument.exchange = %(exchange)s and instrument.market_type = %(market_type)s
            and instrument.symbol = %(new_symbol)s and ohlcv.closed_at <= %(renamed_at)s
        order by ohlcv.closed_at desc
        limit 1
        """,
        vars(wanted),
    ).fetchone()
    if row:
        raise UsageError(
            f"{wanted.new_symbol} has candles before {wanted.symbol} became it, e.g. its {row[0]} candle closing "
            f"{row[1]:%Y-%m-%d %H:%M}",
            hint="was it renamed earlier, or is it another instrument? titan delete takes candles out",
        )


def _refuse_later(connection: Connection, wanted: Rename) -> None:
    """Raise UsageError where one of the symbols has a rename then or later."""
    row: Any = connection.execute(
        """
        select symbol, new_symbol, renamed_at from config.rename
        where
            exchange = %(exchange)s and market_type = %(market_type)s
            and array[symbol, new_symbol] && array[%(symbol)s, %(new_symbol)s]
            and renamed_at >= %(renamed_at)s
        order by renamed_at
        limit 1
        """,
        vars(wanted),
    ).fetchone()
    if row:
        raise UsageError(
            f"{row[0]} is {row[1]} since {row[2]:%Y-%m-%d %H:%M}: renames of a symbol are told in their order",
            hint="take that one back first: titan rename … --undo",
        )


def _instrument(connection: Connection, wanted: Rename, symbol: str) -> int | None:
    row: Any = connection.execute(
        "select instrument_id from raw.instrument where exchange = %s and market_type = %s and symbol = %s",
        (wanted.exchange, wanted.market_type, symbol),
    ).fetchone()
    return row and int(row[0])


def _exchange_tails(
    connection: Connection, wanted: Rename, ours: int, theirs: int | None, symbol: str, new_symbol: str
) -> tuple[int, int]:
    """Our instrument gets the new symbol and what the other one has after the rename; that one gets ours of both."""
    if theirs is None:
        row: Any = connection.execute(
            "select exists (select from raw.ohlcv where instrument_id = %s and closed_at > %s)", (ours, wanted.renamed_at)
        ).fetchone()
        if not row[0]:
            connection.execute("update raw.instrument set symbol = %s where instrument_id = %s", (new_symbol, ours))
            connection.execute("select from raw.swap_after(%s, null, %s)", (ours, wanted.renamed_at))
            return 0, 0
        row = connection.execute(
            """
            insert into raw.instrument (exchange, market_type, symbol, base_timeframe, session_id)
            select exchange, market_type, %s, base_timeframe, session_id from raw.instrument where instrument_id = %s
            returning instrument_id
            """,
            (new_symbol, ours),
        ).fetchone()
        theirs = int(row[0])
    _refuse_unlike(connection, ours, theirs)
    connection.execute(
        """
        update raw.instrument as own set base_timeframe = other.base_timeframe from raw.instrument as other
        where (own.instrument_id, other.instrument_id) in ((%s, %s), (%s, %s)) and own.base_timeframe is null
        """,
        (ours, theirs, theirs, ours),
    )
    for instrument_id, name in ((theirs, f"{symbol} becomes {new_symbol}"), (ours, new_symbol), (theirs, symbol)):
        connection.execute("update raw.instrument set symbol = %s where instrument_id = %s", (name, instrument_id))
    row = connection.execute(
        "select came, went from raw.swap_after(%s, %s, %s)", (ours, theirs, wanted.renamed_at)
    ).fetchone()
    forget_base_timeframe(connection, [ours, theirs])
    return int(row[0]), int(row[1])


def _refuse_unlike(connection: Connection, ours: int, theirs: int) -> None:
    """Raise UsageError for instruments that are not of one kind, or whose old candles were dropped."""
    rows: list[Any] = connection.execute(
        """
        select symbol, base_timeframe, session_id, horizon_at from raw.instrument
        left join ops.horizon using (instrument_id)
        where instrument_id = any(%s)
        """,
        ([ours, theirs],),
    ).fetchall()
    (one, base, session, _), (other, other_base, other_session, _) = rows
    if base and other_base and base != other_base:
        raise UsageError(
            f"the bars of {one} come from its {base} candles, those of {other} from its {other_base} ones",
            hint="titan delete one of them, and load it as the other one",
        )
    if session != other_session:
        raise UsageError(f"{one} trades in session {session}, {other} in {other_session}")
    if dropped := next((row for row in rows if row[3]), None):
        raise UsageError(
            f"the candles of {dropped[0]} before {dropped[3]:%Y-%m-%d} were dropped, so its bars cannot be made again",
            hint="config.retention asked for it; load the other symbol as an instrument of its own",
        )


def _ex_date(connection: Connection, wanted: Rename, instrument_id: int) -> date:
    """The local day that begins with the rename. Raises UsageError where it begins within one."""
    row: Any = connection.execute(
        """
        select %s at time zone session.timezone, session.timezone from raw.instrument
        inner join config.session as session using (session_id)
        where instrument_id = %s
        """,
        (wanted.renamed_at, instrument_id),
    ).fetchone()
    if row[0].time() != time(0):
        raise UsageError(
            f"with a ratio a rename counts from the beginning of a day, {wanted.renamed_at:%Y-%m-%d %H:%M} UTC is "
            f"{row[0]:%H:%M} in {row[1]}",
            hint="its last candles of the old symbol that day become an instrument of their own",
        )
    day: date = row[0].date()
    return day


def _split(connection: Connection, wanted: Rename, instrument_id: int, batch_id: int) -> None:
    connection.execute(
        """
        insert into raw.adjustment (instrument_id, ex_date, kind, ratio, batch_id) values (%s, %s, 'split', %s, %s)
        on conflict (instrument_id, ex_date, kind) do update set ratio = excluded.ratio, batch_id = excluded.batch_id
        """,
        (instrument_id, _ex_date(connection, wanted, instrument_id), wanted.ratio, batch_id),
    )


def _refer_to_new(connection: Connection, wanted: Rename) -> list[str]:
    """Let configuration that names the old symbol name the new one; returns what did."""
    is_spot = wanted.market_type == "spot"
    notices = []
    for table, key in (("subscription", ["timeframe"]), ("universe", ["universe", "from_date"])):
        names = {
            "table": sql.Identifier("config", table),
            "same": sql.SQL(" and ").join(sql.SQL("own.{0} = other.{0}").format(sql.Identifier(name)) for name in key),
        }
        update = """
            update {table} as own set symbol = %(new_symbol)s
            where
                exchange = %(exchange)s and symbol = %(symbol)s and (symbol not like '%%:%%') = %(is_spot)s
                and not exists (
                    select from {table} as other
                    where other.exchange = own.exchange and other.symbol = %(new_symbol)s and {same}
                )
        """
        delete = """
            delete from {table}
            where exchange = %(exchange)s and symbol = %(symbol)s and (symbol not like '%%:%%') = %(is_spot)s
        """
        values = {**vars(wanted), "is_spot": is_spot}
        followed = connection.execute(sql.SQL(update).format(**names), values).rowcount
        followed += connection.execute(sql.SQL(delete).format(**names), values).rowcount
        notices += [f"{followed} rows of config.{table} name {wanted.new_symbol} now"] if followed else []
    delisted = connection.execute(
        """
        delete from config.delisting
        where exchange = %(exchange)s and market_type = %(market_type)s and symbol = %(symbol)s
        """,
        vars(wanted),
    ).rowcount
    return [*notices, *([f"{wanted.symbol} counts as delisted no longer (config.delisting)"] if delisted else [])]
