"""Files to batches: CSV and Parquet in the layouts that occur, inferring what their names and columns tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from ingest.batch import PRICE_COLUMNS, Batch, Candles, Market, Rejected, candle_of, empty_candles, plain
from ingest.sources.columns import ROLES, Columns, assign_columns
from ingest.sources.layouts import prove_layout
from ingest.sources.names import NameTells, given_name, is_name, parse_market, read_name, split_symbol, stem_of
from ingest.sources.tables import Table, read_table
from ingest.sources.times import (
    MISSING,
    Times,
    infer_timeframe,
    is_known_timezone,
    looks_like_closes,
    opens_of_closes,
    read_times,
    to_utc,
)
from ingest.timeframes import Timeframe, parse_timeframe
from titan.errors import SourceError, UsageError

UNNAMED_EXCHANGE = "file"
FIRST_TIME, LAST_TIME = -62_135_596_800_000_000, 253_402_300_799_999_999  # the years 1 to 9999, in microseconds
MOST_SYMBOLS = np.iinfo(np.int16).max  # of one file; the landing numbers them in two bytes
SUFFIXES = (".csv", ".txt", ".parquet", ".gz")


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


@dataclass(frozen=True)
class SessionQuestion:
    """Which session do these instruments trade in? The one named, else the one they have, else the guess, else the
    exchange's."""

    exchange: str
    market_type: str
    symbols: list[str]
    named: str | None
    guess: str | None


# Answers with the session's id and timezone.
SessionOf = Callable[[SessionQuestion], tuple[str, str]]


def find_files(paths: Iterable[Path]) -> list[Path]:
    """The files named, and those of the directories named, in order of their names."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file() and file.suffix in SUFFIXES)
            if not files:
                raise SourceError(f"{path}: no CSV or Parquet file in this directory")
            found += files
        else:
            found.append(path)
    return found


def read_file(path: Path, options: FileOptions, session_of: SessionOf) -> Batch:
    """Read one file into a batch.

    Raises SourceError when the file cannot be read as candles, UsageError when something has to be said that neither the
    name nor the columns tell.
    """
    table = read_table(path)
    if not table.rows_read:
        raise SourceError(f"{path}: a header and no rows below it")
    columns = _columns(table, str(path))
    told = _told(path, columns, options)
    exchange = (options.exchange or told.exchange or ("coinmarketcap" if columns.is_aggregator else "")).lower()
    if options.exchange is not None:
        given_name(options.exchange, "--exchange")
    series, symbols, unnamed = _symbols(path, table, columns, options, told, exchange)

    role = "closed_at" if "closed_at" in columns.position else "opened_at"
    texts, time_column = _time_texts(table, columns, role)
    times = read_times(texts, str(path))
    timeframe = _timeframe(path, times, series, options, told)
    if times.is_dates and timeframe.is_intraday:
        raise SourceError(f"{path}: {timeframe.name} candles need a time of day, and the file has dates only")

    market_type = _market_type(options.market or told.market_type or "spot")
    guess = _equity_session(symbols, times, timeframe)
    session_id, session_timezone = session_of(
        SessionQuestion(exchange or UNNAMED_EXCHANGE, market_type, symbols, options.session, guess)
    )
    opened_at, notes = _opened_at(times, role, timeframe, options, session_timezone)

    candles = empty_candles(len(texts))
    candles["row_number"] = table.row_numbers
    candles["series"] = series
    candles["opened_at"] = opened_at
    faults = _Faults(table, symbols, series)
    faults.add(unnamed, "has_a_symbol", columns.position.get("symbol"))
    is_no_date = (opened_at == MISSING) | (opened_at < FIRST_TIME) | (opened_at > LAST_TIME)
    faults.add(is_no_date, "time_is_readable", time_column, "opened_at")
    _fill_numbers(candles, table, columns, faults)

    market = Market(
        exchange or UNNAMED_EXCHANGE,
        market_type,
        timeframe.name,
        session_id,
    )
    details = {
        "exchange": market.exchange,
        "market": market.market_type,
        "symbols": len(symbols) if len(symbols) > 3 else ", ".join(symbols),
        "timeframe": market.timeframe,
        "session": session_id,
        "times": "; ".join([*table.notes, *times.notes, *notes]),
        "ignored_columns": ", ".join(columns.ignored),
    }
    if not exchange:
        details["exchange"] = f"{UNNAMED_EXCHANGE} (the name tells none; --exchange says it)"
    return Batch(
        source="file",
        origin=str(path),
        market=market,
        symbols=symbols,
        candles=candles[~faults.is_faulty],
        rows_read=table.rows_read,
        record_of=table.record_of,
        as_of=datetime.now(UTC),
        rejected=[*table.rejected, *faults.rejected(candles)],
        details={name: value for name, value in details.items() if value},
        is_series_of_its_own=not options.may_revise,
    )


def _columns(table: Table, where: str) -> Columns:
    """Which column is which: by the header, or where there is none by what the columns hold."""
    if table.header is not None:
        return assign_columns(table.header, where)
    position, source = prove_layout(table.columns, where)
    table.notes.append(f"no header: the columns hold what {source} do")
    position = {role: at for role, at in position.items() if role in ROLES}
    position.pop("closed_at", None)
    return Columns(position, (), is_aggregator=False)


def _time_texts(table: Table, columns: Columns, role: str) -> tuple[pd.Series[str], int]:
    """The texts of the times, and their column; a date and a time of day in two columns are one instant."""
    if "clock" not in columns.position:
        at = columns.position[role]
        return _strings(table.columns[at]), at
    at = columns.position["date"]
    dates, clocks = _strings(table.columns[at]), _strings(table.columns[columns.position["clock"]])
    return dates.str.strip() + " " + clocks.str.strip(), at


class _Faults:
    """Rows that cannot be typed, each under the first reason found."""

    def __init__(self, table: Table, symbols: list[str], series: npt.NDArray[np.int16]) -> None:
        self.is_faulty = np.zeros(len(table.row_numbers), dtype=bool)
        self._table, self._symbols, self._series = table, symbols, series
        self._reasons: dict[int, tuple[str, str | None]] = {}
        self._unreadable: dict[int, set[str]] = {}

    def add(self, rows: npt.NDArray[np.bool_], reason: str, column: int | None, name: str | None = None) -> None:
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


def _told(path: Path, columns: Columns, options: FileOptions) -> NameTells:
    """What the name tells; of the symbol nothing where the user or a column says it."""
    is_said = bool(options.symbol) or "symbol" in columns.position
    folders = path.resolve().parent.parts
    try:
        return read_name(stem_of(path.name), folders, options.exchange, is_symbol_said=is_said)
    except SourceError as error:
        raise SourceError(f"{path}: {error}", hint=error.hint) from error


def _symbols(
    path: Path, table: Table, columns: Columns, options: FileOptions, told: NameTells, exchange: str
) -> tuple[npt.NDArray[np.int16], list[str], npt.NDArray[np.bool_]]:
    """Series of each row, the symbols, and the rows that name none."""
    count = len(table.row_numbers)
    if options.symbol or "symbol" not in columns.position:
        symbol = given_name(options.symbol, "--symbol").upper() if options.symbol else told.symbol
        if not symbol:
            raise UsageError(
                f"{path}: neither the file's name nor a column tells the symbol",
                hint="add --symbol BASE/QUOTE",
            )
        names = [_quoted(symbol, columns)]
        return np.zeros(count, dtype="i2"), names, np.zeros(count, dtype=bool)
    codes, texts = pd.factorize(_strings(table.columns[columns.position["symbol"]]).str.strip(), sort=True)
    try:
        symbols = [_quoted(split_symbol(text, exchange) if is_name(text) else "", columns) for text in texts]
    except SourceError as error:
        raise SourceError(f"{path}: {error}", hint=error.hint) from error
    unique, first = np.unique(symbols, return_inverse=True)
    if len(unique) > MOST_SYMBOLS:
        raise SourceError(f"{path}: {len(unique):,} symbols; a file may have {MOST_SYMBOLS:,}", hint="split the file")
    return first[codes].astype("i2"), unique.tolist(), np.array([not is_name(text) for text in texts])[codes]


def _quoted(symbol: str, columns: Columns) -> str:
    """An aggregator prices a coin in US dollars and names the coin alone."""
    return f"{symbol}/USD" if columns.is_aggregator and "/" not in symbol else symbol


def _timeframe(path: Path, times: Times, series: npt.NDArray[np.int16], options: FileOptions, told: NameTells) -> Timeframe:
    """The timeframe asked for, or that of the name, or that of the commonest step; they must not contradict each other."""
    found = infer_timeframe(times.values, series)
    named = options.timeframe or told.timeframe
    if named is None:
        if found is None:
            raise UsageError(
                f"{path}: neither the file's name nor its times tell the timeframe",
                hint="add --timeframe, e.g. 1D",
            )
        return found
    timeframe = parse_timeframe(named)
    if found is not None and found.seconds < timeframe.seconds:
        raise UsageError(
            f"{path}: called {timeframe.name}, but its times are mostly {found.name} apart",
            hint=f"add --timeframe {found.name} if the times are right",
        )
    return timeframe


def _market_type(text: str) -> str:
    if found := parse_market(text):
        return found
    raise UsageError(f"unknown market {text!r}", hint="one of spot, perpetual, future, index")


def _equity_session(symbols: list[str], times: Times, timeframe: Timeframe) -> str | None:
    """EQUITY for a ticker without a quote asset whose daily bars never fall on a weekend; None leaves it to the exchange."""
    known = times.values[times.values != MISSING]
    if timeframe.name != "1D" or len(known) < 10 or any("/" in symbol for symbol in symbols):
        return None
    weekday = (known // 86_400_000_000 + 3) % 7
    return "EQUITY" if np.all(weekday < 5) else None


def _opened_at(
    times: Times, role: str, timeframe: Timeframe, options: FileOptions, session_timezone: str
) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Instants at which the candles open, and what had to be assumed to know them."""
    notes: list[str] = []
    values = times.values
    stamp = options.stamp
    if stamp is None:
        stamp = "close" if role == "closed_at" or looks_like_closes(values) else "open"
        if stamp == "close":
            notes.append("times are closes")
    if stamp == "close":
        values = opens_of_closes(values, timeframe)
    known = values != MISSING
    is_days = not timeframe.is_intraday and bool(np.all(values[known] % 86_400_000_000 == 0))
    if options.timezone and not is_known_timezone(options.timezone):
        raise UsageError(f"unknown timezone {options.timezone!r}", hint="an IANA name, such as America/New_York")
    if times.is_local and is_days:
        if session_timezone != "UTC":
            notes.append(f"dates are those of {session_timezone}")
        return to_utc(values, session_timezone), notes
    if times.is_local:
        timezone = options.timezone or "UTC"
        notes.append(f"times without an offset are read as {timezone}" + ("" if options.timezone else " (--timezone)"))
        return to_utc(values, timezone), notes
    return values, notes


def _fill_numbers(candles: Candles, table: Table, columns: Columns, faults: _Faults) -> None:
    for name in (*PRICE_COLUMNS, "volume"):
        values, is_bad = _numbers(table.columns[columns.position[name]])
        candles[name] = values
        faults.add(is_bad, "volume_is_a_number" if name == "volume" else "price_is_a_number", columns.position[name], name)
    for name in ("quote_volume", "trade_count"):
        if name not in columns.position:
            continue
        column = table.columns[columns.position[name]]
        is_absent = pa.compute.equal(pa.compute.utf8_trim_whitespace(column), "").to_numpy(zero_copy_only=False)
        numbers, is_bad = _counts(column) if name == "trade_count" else _numbers(column)
        is_bad &= ~is_absent
        candles[name] = np.where(is_absent, 0, numbers)
        candles[f"has_{name}"] = ~is_absent
        faults.add(is_bad, f"{name}_is_a_number", columns.position[name], name)


def _numbers(column: pa.Array) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Correctly rounded doubles, and which texts are none. NaN and infinities are numbers here; predicates judge them.

    A text that is not zero and too small for a double is none either: it would silently become zero.
    """
    trimmed = pa.compute.utf8_trim_whitespace(column)
    try:
        values = trimmed.cast(pa.float64()).to_numpy(zero_copy_only=False)
        is_bad = np.zeros(len(column), dtype=bool)
    except pa.ArrowInvalid:
        values = np.zeros(len(column))
        is_bad = np.zeros(len(column), dtype=bool)
        for at, text in enumerate(trimmed.to_pylist()):
            try:
                values[at] = float("" if "_" in text else text)
            except ValueError:
                is_bad[at] = True
    for at in np.flatnonzero((values == 0) & ~is_bad).tolist():
        is_bad[at] = any(digit in "123456789" for digit in str(trimmed[at]).lower().split("e")[0])
    return values, is_bad


def _counts(column: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Whole numbers, exactly, and which texts are none; `12.0` is one, as pandas writes it."""
    trimmed = pa.compute.utf8_trim_whitespace(column)
    try:
        return trimmed.cast(pa.int64()).to_numpy(zero_copy_only=False), np.zeros(len(column), dtype=bool)
    except pa.ArrowInvalid:
        values, is_bad = _numbers(column)
        is_bad |= ~(np.abs(values) < 2**53) | (values != np.floor(values))
        return np.where(is_bad, 0, values).astype("i8"), is_bad
