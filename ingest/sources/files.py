"""Files to batches: tables in the layouts that occur, inferring what their names and columns tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from ingest.sources import coverage
from ingest.sources.columns import ROLES, Columns, assign_columns
from ingest.sources.containers import Piece
from ingest.sources.layouts import prove_layout
from ingest.sources.names import NameTells, given_name, is_name, parse_market, read_name, split_symbol, stem_of
from ingest.sources.numbers import read_counts
from ingest.sources.proofs import Data
from ingest.sources.tables import Table, read_table
from ingest.sources.times import (
    MISSING,
    Times,
    has_step,
    infer_timeframe,
    is_known_timezone,
    looks_like_closes,
    opens_of_closes,
    read_times,
    to_local,
    to_utc,
)
from titan.core.batch import (
    PRICE_COLUMNS,
    Batch,
    Candles,
    Market,
    Rejected,
    Stretches,
    candle_of,
    empty_candles,
    instant,
    plain,
)
from titan.core.clock import Session
from titan.core.errors import SourceError, UsageError
from titan.core.timeframes import Timeframe, find_timeframe, parse_timeframe

UNNAMED_EXCHANGE = "file"
FIRST_TIME, LAST_TIME = -62_135_596_800_000_000, 253_402_300_799_999_999  # the years 1 to 9999, in microseconds
MOST_SYMBOLS = np.iinfo(np.int16).max  # of one file; the landing numbers them in two bytes
_DAY = 86_400_000_000


@dataclass(frozen=True)
class FileOptions:
    """What the user says of the files; None for what is to be inferred."""

    exchange: str | None = None
    market: str | None = None
    symbol: str | None = None
    timeframe: str | None = None
    timezone: str | None = None
    stamp: str | None = None
    session: str | None = None
    may_revise: bool = False
    no_volume: bool = False
    covers: str | None = None


@dataclass(frozen=True)
class SessionQuestion:
    """Which session does this instrument trade in? The one named, else its own, else the guess, else the exchange's."""

    exchange: str
    market_type: str
    symbol: str
    named: str | None
    guess: str | None


SessionOf = Callable[[SessionQuestion], Session]


@dataclass(frozen=True)
class _Read:
    """What was read of a table, before the sessions of its symbols place its times."""

    label: str
    stem: str
    table: Table
    columns: Columns
    data: Data
    exchange: str
    market_type: str
    timeframe: Timeframe
    times: Times
    time_column: int
    series: npt.NDArray[np.int16]
    symbols: list[str]
    unnamed: npt.NDArray[np.bool_]
    is_unfinished: npt.NDArray[np.bool_]


def read_file(piece: Piece, options: FileOptions, session_of: SessionOf) -> list[Batch]:
    """Read one table into a batch, or one for each trading session of its symbols.

    Raises SourceError when the file cannot be read as candles, UsageError when something has to be said that neither the
    name nor the columns tell.
    """
    read = _read(piece, options)
    sessions = [
        session_of(
            SessionQuestion(read.exchange or UNNAMED_EXCHANGE, read.market_type, symbol, options.session, _guess(read, at))
        )
        for at, symbol in enumerate(read.symbols)
    ]
    return [
        _batch(
            read,
            options,
            session,
            [at for at, one in enumerate(sessions) if one == session],
            is_first=session == sessions[0],
        )
        for session in dict.fromkeys(sessions)
    ]


def _read(piece: Piece, options: FileOptions) -> _Read:
    label = piece.label
    table = read_table(piece)
    if not table.rows_read:
        raise SourceError(f"{label}: a header and no rows below it")
    if options.exchange is not None:
        given_name(options.exchange, "--exchange")
    columns, data = _columns(table, label, options)
    told = _told(piece, table, columns, options)
    exchange = (options.exchange or told.exchange or ("coinmarketcap" if columns.is_aggregator else "")).lower()
    series, symbols, unnamed = _symbols(label, table, columns, options, told, exchange)
    columns = _with_volume_of_quote(label, columns, symbols, options)
    if "volume" not in columns.position:
        table.notes.append("the file has no volume: it is zero")
    texts, time_column = _time_texts(table, columns)
    times = read_times(texts, label)
    timeframe = _timeframe(label, times, series, options, told)
    if times.is_dates and timeframe.is_intraday:
        raise SourceError(f"{label}: {timeframe.name} candles need a time of day, and the file has dates only")
    _refuse_other_weeks(label, times, timeframe)
    is_unfinished = np.zeros(len(series), dtype=bool)
    if "is_finished" in columns.position:
        finished = _strings(table.columns[columns.position["is_finished"]]).str.strip().str.lower()
        is_unfinished = finished.isin(["0", "false"]).to_numpy()
    market_type = _market_type(options.market or told.market_type or "spot")
    return _Read(
        label,
        stem_of(piece.path.name),
        table,
        columns,
        data,
        exchange,
        market_type,
        timeframe,
        times,
        time_column,
        series,
        symbols,
        unnamed,
        is_unfinished,
    )


def _batch(read: _Read, options: FileOptions, session: Session, members: Sequence[int], *, is_first: bool) -> Batch:
    """The candles of the symbols that trade in one session."""
    table, columns = read.table, read.columns
    opened_at, notes = _opened_at(read, options, session)
    is_member = np.isin(read.series, members) if len(members) < len(read.symbols) else np.ones(len(read.series), dtype=bool)
    candles = empty_candles(len(read.series))
    candles["row_number"] = table.row_numbers
    candles["series"] = np.searchsorted(members, read.series) if len(members) > 1 else 0
    candles["opened_at"] = opened_at
    symbols = [read.symbols[at] for at in members]
    faults = _Faults(table, read.symbols, read.series, is_member & ~read.is_unfinished)
    faults.add(read.unnamed, "has_a_symbol", columns.position.get("symbol"))
    is_no_date = (opened_at == MISSING) | (opened_at < FIRST_TIME) | (opened_at > LAST_TIME)
    faults.add(is_no_date, "time_is_readable", read.time_column, "opened_at")
    _fill_numbers(candles, read.data, columns, faults)

    market = Market(read.exchange or UNNAMED_EXCHANGE, read.market_type, read.timeframe.name, session.session_id)
    details = {
        "exchange": market.exchange,
        "market": market.market_type,
        "symbols": len(symbols) if len(symbols) > 3 else ", ".join(symbols),
        "timeframe": market.timeframe,
        "session": session.session_id,
        "columns": "; ".join([*table.notes, *columns.notes]),
        "times": "; ".join([*read.times.notes, *notes]),
        "ignored_columns": ", ".join(columns.ignored),
    }
    if not read.exchange:
        details["exchange"] = f"{UNNAMED_EXCHANGE} (the name tells none; --exchange says it)"
    rejected = [*(table.rejected if is_first else []), *faults.rejected(candles)]
    candles = candles[is_member & ~faults.is_faulty & ~read.is_unfinished]
    as_of = datetime.now(UTC)
    return Batch(
        source="file",
        origin=read.label,
        market=market,
        symbols=symbols,
        candles=candles,
        rows_read=int(is_member.sum()) + (len(table.rejected) if is_first else 0),
        record_of=table.record_of,
        as_of=as_of,
        rejected=rejected,
        answered=_answered(read, options, session, candles["opened_at"], as_of, details) * len(symbols),
        details={name: value for name, value in details.items() if value},
        is_series_of_its_own=not options.may_revise,
        unfinished=int((is_member & read.is_unfinished).sum()),
    )


def _columns(table: Table, label: str, options: FileOptions) -> tuple[Columns, Data]:
    """Which column is which: by the header, or where there is none by what the columns hold."""
    data = Data(table.columns, label)
    if table.header is not None:
        return assign_columns(table.header, data, may_lack_volume=options.no_volume), data
    position, source = prove_layout(data)
    table.notes.append(f"no header: the columns hold what {source} do")
    position = {role: at for role, at in position.items() if role in ROLES}
    position.pop("closed_at", None)
    return Columns(position, ()), data


def _with_volume_of_quote(label: str, columns: Columns, symbols: list[str], options: FileOptions) -> Columns:
    """A volume that is named after the quote currency of all symbols is none in base currency."""
    quotes = {symbol.partition("/")[2].partition(":")[0].lower() for symbol in symbols}
    if "quote_volume" in columns.position or quotes != {columns.of_volume}:
        return columns
    if not options.no_volume:
        raise SourceError(
            f"{label}: its only volume is in {columns.of_volume.upper() if columns.of_volume else ''}, the quote currency",
            hint="--no-volume loads it with a volume of zero beside it",
        )
    position = {**columns.position, "quote_volume": columns.position["volume"]}
    del position["volume"]
    return replace(columns, position=position)


def _time_texts(table: Table, columns: Columns) -> tuple[pd.Series[str], int]:
    """The texts of the times, and their column; a date and a time of day in two columns are one instant."""
    if "clock" not in columns.position:
        at = columns.position["closed_at" if "closed_at" in columns.position else "opened_at"]
        return _strings(table.columns[at]), at
    at = columns.position["date"]
    dates, clocks = _strings(table.columns[at]).str.strip(), _strings(table.columns[columns.position["clock"]]).str.strip()
    digits = clocks.str.fullmatch(r"\d{3,6}")
    whole = clocks.str.zfill(4).where(clocks.str.len() <= 4, clocks.str.zfill(6))
    clocks = clocks.where(~digits, whole.str.replace(r"^(\d{2})(\d{2})(\d{2})?$", r"\1:\2:\3", regex=True).str.rstrip(":"))
    return dates + " " + clocks, at


def _answered(
    read: _Read,
    options: FileOptions,
    session: Session,
    opened_at: npt.NDArray[np.int64],
    as_of: datetime,
    details: dict[str, Any],
) -> list[Stretches]:
    """What the file covers by what was said or by its name; nothing where it is from its first candle to its last."""
    if options.covers:
        span = coverage.said(options.covers, session.timezone)
        first, last = (np.datetime64(at.replace(tzinfo=None), "us").astype("int64") for at in span)
        outside = opened_at[(opened_at < first) | (opened_at >= last)]
        if len(outside):
            raise UsageError(
                f"{read.label}: --covers {options.covers}, and it has a candle of {instant(outside[0]):%Y-%m-%d %H:%M}"
            )
    else:
        implied = coverage.implied(read.stem, opened_at, read.timeframe, session.timezone)
        if implied is None:
            return []
        span = implied
    if span[1] > as_of and len(opened_at):  # it cannot know of what comes
        span = (span[0], instant(opened_at.max()) + timedelta(seconds=read.timeframe.seconds))
    details["covers"] = f"{span[0]:%Y-%m-%d %H:%M} … {span[1]:%Y-%m-%d %H:%M} UTC" + (
        "" if options.covers else " (its name)"
    )
    return [[span]]


class _Faults:
    """Rows that cannot be typed, each under the first reason found."""

    def __init__(
        self, table: Table, symbols: list[str], series: npt.NDArray[np.int16], concerned: npt.NDArray[np.bool_]
    ) -> None:
        self.is_faulty = np.zeros(len(table.row_numbers), dtype=bool)
        self._table, self._symbols, self._series, self._concerned = table, symbols, series, concerned
        self._reasons: dict[int, tuple[str, str | None]] = {}
        self._unreadable: dict[int, set[str]] = {}

    def add(self, rows: npt.NDArray[np.bool_], reason: str, column: int | None, name: str | None = None) -> None:
        rows = rows & self._concerned
        for at in np.flatnonzero(rows).tolist():
            value = None if column is None else str(self._table.columns[column][at])
            self._reasons.setdefault(at, (reason, value))
            self._unreadable.setdefault(at, set()).update([name] if name else [])
        self.is_faulty |= rows

    def rejected(self, candles: Candles) -> list[Rejected]:
        """The faulty rows, with what could be read of them."""
        found: list[Rejected] = []
        faulty = sorted(self._reasons)
        for at, row in zip(faulty, plain(candles[faulty]), strict=True):
            reason, value = self._reasons[at]
            number = int(self._table.row_numbers[at])
            record, symbol = self._table.record_of(number), self._symbols[self._series[at]]
            found.append(Rejected(number, reason, value, record, symbol, candle_of(row, self._unreadable[at])))
        return found


def _strings(column: pa.Array) -> pd.Series[str]:
    return pd.Series(column.to_pandas(), dtype="str")


def _told(piece: Piece, table: Table, columns: Columns, options: FileOptions) -> NameTells:
    """What the columns of one value and the name tell; of the symbol nothing where the user or a column says it."""
    exchange = _constant(piece.label, table, columns, "exchange")
    period = _constant(piece.label, table, columns, "timeframe")
    timeframe = find_timeframe(f"{period}min" if period.isdigit() else period) if period else None
    is_said = bool(options.symbol) or "symbol" in columns.position
    folders = piece.path.resolve().parent.parts
    try:
        told = read_name(stem_of(piece.path.name), folders, options.exchange or exchange, is_symbol_said=is_said)
    except SourceError as error:
        raise SourceError(f"{piece.label}: {error}", hint=error.hint) from error
    told = replace(told, exchange=exchange if exchange and is_name(exchange) else told.exchange)
    return replace(told, timeframe=timeframe.name if timeframe else told.timeframe)


def _constant(label: str, table: Table, columns: Columns, role: str) -> str | None:
    """The one value of a column that says something of the whole file. Raises SourceError where it has several."""
    if role not in columns.position:
        return None
    found = pa.compute.unique(pa.compute.utf8_trim_whitespace(table.columns[columns.position[role]])).to_pylist()
    values = sorted(text for text in found if text)
    if len(values) > 1:
        raise SourceError(f"{label}: several of {role}: {', '.join(values[:3])}", hint=f"split the file by {role}")
    return next(iter(values), None)


def _symbols(
    label: str, table: Table, columns: Columns, options: FileOptions, told: NameTells, exchange: str
) -> tuple[npt.NDArray[np.int16], list[str], npt.NDArray[np.bool_]]:
    """Series of each row, the symbols, and the rows that name none."""
    count = len(table.row_numbers)
    if options.symbol or "symbol" not in columns.position:
        symbol = given_name(options.symbol, "--symbol").upper() if options.symbol else told.symbol
        if not symbol:
            raise UsageError(
                f"{label}: neither the file's name nor a column tells the symbol",
                hint="add --symbol BASE/QUOTE",
            )
        names = [_quoted(symbol, columns)]
        return np.zeros(count, dtype="i2"), names, np.zeros(count, dtype=bool)
    codes, texts = pd.factorize(_strings(table.columns[columns.position["symbol"]]).str.strip(), sort=True)
    try:
        symbols = [_quoted(split_symbol(text, exchange) if is_name(text) else "", columns) for text in texts]
    except SourceError as error:
        raise SourceError(f"{label}: {error}", hint=error.hint) from error
    unique, first = np.unique(symbols, return_inverse=True)
    if len(unique) > MOST_SYMBOLS:
        raise SourceError(f"{label}: {len(unique):,} symbols; a file may have {MOST_SYMBOLS:,}", hint="split the file")
    return first[codes].astype("i2"), unique.tolist(), np.array([not is_name(text) for text in texts])[codes]


def _quoted(symbol: str, columns: Columns) -> str:
    """An aggregator prices a coin in US dollars and names the coin alone."""
    return f"{symbol}/USD" if columns.is_aggregator and "/" not in symbol else symbol


def _timeframe(label: str, times: Times, series: npt.NDArray[np.int16], options: FileOptions, told: NameTells) -> Timeframe:
    """The timeframe asked for, or that of the name, or that of the commonest step; they must not contradict each other."""
    found = infer_timeframe(times.values, series)
    named = options.timeframe or told.timeframe
    if named is None:
        if found is None:
            raise UsageError(
                f"{label}: neither the file's name nor its times tell the timeframe",
                hint="add --timeframe, e.g. 1D",
            )
        return found
    timeframe = parse_timeframe(named)
    if found is None or found == timeframe:
        return timeframe
    is_sparse = bool(options.timeframe) or has_step(
        times.values, series, timeframe
    )  # few minutes have trades in some markets
    if found.seconds < timeframe.seconds or not is_sparse:
        raise UsageError(
            f"{label}: called {timeframe.name}, but its times are mostly {found.name} apart",
            hint=f"add --timeframe {found.name} if the times are right",
        )
    return timeframe


def _refuse_other_weeks(label: str, times: Times, timeframe: Timeframe) -> None:
    """Weeks from Sunday are not those from Monday that candles may have."""
    known = times.values[times.values != MISSING]
    is_sunday = (known % _DAY == 0) & ((known // _DAY + 3) % 7 == 6)
    if timeframe.base_unit == "W" and len(known) and np.mean(is_sunday) > 0.9:
        sunday = known[is_sunday][:1].astype("datetime64[us]").astype("datetime64[D]")[0]
        raise SourceError(
            f"{label}: weeks from Sunday, e.g. {sunday}: 1W_ISO begins on Monday",
            hint="load daily candles: bars.rollup makes 1W_US of them, whose weeks begin on Sunday",
        )


def _market_type(text: str) -> str:
    if found := parse_market(text):
        return found
    raise UsageError(f"unknown market {text!r}", hint="one of spot, perpetual, future, index")


def _guess(read: _Read, series: int) -> str | None:
    """EQUITY for a ticker without a quote asset whose daily bars never fall on a weekend; None leaves it to the exchange."""
    known = read.times.values[(read.series == series) & (read.times.values != MISSING)]
    if read.timeframe.name != "1D" or len(known) < 10 or "/" in read.symbols[series]:
        return None
    weekday = (known // _DAY + 3) % 7
    return "EQUITY" if np.all(weekday < 5) else None


def _opened_at(read: _Read, options: FileOptions, session: Session) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Instants at which the candles open, and what had to be assumed to know them."""
    notes: list[str] = []
    values, timeframe = read.times.values, read.timeframe
    stamp = options.stamp or (None if read.times.is_dates else read.columns.stamp)  # a date alone is that of its day
    if stamp is None:
        stamp = "close" if "closed_at" in read.columns.position or looks_like_closes(values) else "open"
    if stamp == "close" and not options.stamp:
        notes.append("times are closes")
    if stamp == "close":
        values = opens_of_closes(values, timeframe)
    known = values != MISSING
    is_days = not timeframe.is_intraday and bool(np.all(values[known] % _DAY == 0))
    if options.timezone and not is_known_timezone(options.timezone):
        raise UsageError(f"unknown timezone {options.timezone!r}", hint="an IANA name, such as America/New_York")
    if is_days and (read.times.is_local or not session.is_24_7):  # midnight in UTC is no hour of a session: it is a date
        if session.timezone != "UTC":
            notes.append(f"dates are those of {session.timezone}")
        return to_utc(values, session.timezone), notes
    if read.times.is_local:
        timezone = options.timezone or "UTC"
        notes.append(f"times without an offset are read as {timezone}" + ("" if options.timezone else " (--timezone)"))
        values = to_utc(values, timezone)
    if not timeframe.is_intraday and not is_days and not session.is_24_7:
        local = to_local(values, session.timezone)
        opening = (session.open_local.hour * 3600 + session.open_local.minute * 60) * 1_000_000
        if np.all(local[known] % _DAY == opening):
            notes.append(f"days are stamped at {session.open_local:%H:%M}, when {session.session_id} opens")
            return to_utc(np.where(known, local - opening, MISSING), session.timezone), notes
    return values, notes


def _fill_numbers(candles: Candles, data: Data, columns: Columns, faults: _Faults) -> None:
    for name in (*PRICE_COLUMNS, "volume"):
        if name not in columns.position:
            continue
        values, is_bad = data.read(columns.position[name])
        if len(values) and is_bad.all():
            text = str(data.columns[columns.position[name]][0])
            raise SourceError(f"{data.where}: {name} is no number in any row, e.g. {text!r}", hint="write it as 1234.5")
        candles[name] = values
        faults.add(is_bad, "volume_is_a_number" if name == "volume" else "price_is_a_number", columns.position[name], name)
    for name in ("quote_volume", "trade_count"):
        if name not in columns.position:
            continue
        column = data.columns[columns.position[name]]
        is_absent = pa.compute.equal(pa.compute.utf8_trim_whitespace(column), "").to_numpy(zero_copy_only=False)
        numbers: npt.NDArray[Any]
        numbers, is_bad = read_counts(column, data.style) if name == "trade_count" else data.read(columns.position[name])
        is_bad = is_bad & ~is_absent
        candles[name] = np.where(is_absent, 0, numbers)
        candles[f"has_{name}"] = ~is_absent
        faults.add(is_bad, f"{name}_is_a_number", columns.position[name], name)
