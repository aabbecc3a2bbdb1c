"""CSV, Parquet, Feather and JSON to one shape: columns of text, a number for every row, the original record on demand."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.feather as pa_feather
import pyarrow.parquet as pa_parquet

from ingest.sources import yahoo
from ingest.sources.containers import COLUMNAR, Piece
from titan.core.batch import Rejected
from titan.core.errors import SourceError

_BLANK_WITH_SPACES = re.compile(rb"^[ \t]+$", re.MULTILINE)


@dataclass
class Table:
    """The rows of a file as text. `row_numbers` are lines of a CSV file or rows of another one, counting from 1.

    `header` is None where the first line holds values already.
    """

    header: list[str] | None
    columns: list[pa.Array]
    row_numbers: npt.NDArray[np.int64]
    record_of: Callable[[int], str]
    rows_read: int
    rejected: list[Rejected] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_table(piece: Piece) -> Table:
    """Read one table. Raises SourceError when it is missing, empty, truncated or no table."""
    content = piece.read()
    if not content.strip():
        raise SourceError(f"{piece.label}: the file is empty")
    kind = next((kind for magic, kind in COLUMNAR.items() if content.startswith(magic)), None)
    if kind or piece.path.suffix.lower() in (".parquet", ".feather", ".arrow"):
        return _columnar(piece.label, content, kind or piece.path.suffix.lower()[1:])
    if content.lstrip()[:1] in (b"[", b"{"):
        return _json(piece.label, content)
    return _csv(piece.label, content)


def _columnar(label: str, content: bytes, kind: str) -> Table:
    """Parquet, or Arrow's own format, which Feather is."""
    buffer = pa.BufferReader(content)
    try:
        table = pa_parquet.read_table(buffer) if kind == "parquet" else pa_feather.read_table(buffer)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{label}: not a readable {kind.capitalize()} file ({error})") from error
    columns = [
        _as_text(label, name, column.combine_chunks())
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    header = ["" if re.fullmatch(r"__index_level_\d+__", name) else name for name in table.column_names]  # pandas, unnamed

    def record_of(row_number: int) -> str:
        row = table.slice(row_number - 1, 1).to_pylist()[0]
        return json.dumps(row, default=str, ensure_ascii=False)

    return Table(header, columns, np.arange(1, table.num_rows + 1), record_of, table.num_rows)


def _as_text(label: str, name: str, column: pa.Array) -> pa.Array:
    """Text that reads back to the same value: shortest round-trip for floats, ISO for times."""
    if pa.types.is_timestamp(column.type):
        # With an explicit offset where the file has one, without where it has none.
        try:
            column = column.cast(pa.timestamp("us", tz=column.type.tz))
        except pa.ArrowInvalid as error:
            raise SourceError(f"{label}: column {name!r} has times finer than a microsecond") from error
        text = pa.compute.strftime(column.cast(pa.timestamp("us")), format="%Y-%m-%dT%H:%M:%S")
        return pa.compute.binary_join_element_wise(text, "Z", "") if column.type.tz else text
    try:
        return pa.compute.fill_null(column.cast(pa.string()), "")
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise SourceError(
            f"{label}: column {name!r} has type {column.type}, which holds no candle values",
            hint="the columns must be times, numbers or text",
        ) from error


def _json(label: str, content: bytes) -> Table:
    """A list of lists or of records, by itself or under one name of an object, as exchanges answer and pandas writes."""
    try:
        data = json.loads(content, parse_float=str, parse_int=str, parse_constant=str)  # digits stay as they are written
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{label}: not readable as JSON ({error})") from error
    header, rows = _rows_of_json(data)
    notes: list[str] = []
    if yahoo.is_chart(data):
        header, (rows, notes) = yahoo.HEADER, yahoo.candles(label, data)
    if not rows:
        raise SourceError(
            f"{label}: no rows of candles in this JSON",
            hint="a list of lists or of records, or of one of these under a name",
        )
    width = len(header) if header else len(rows[0])
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows if len(row) == width]
    kept = [at for at, row in enumerate(rows, 1) if len(row) == width]
    rejected = [
        Rejected(at, "has_all_fields", f"{len(row)} fields, {width} expected", json.dumps(row, ensure_ascii=False))
        for at, row in enumerate(rows, 1)
        if len(row) != width
    ]
    columns = [pa.array([row[at] for row in texts], pa.string()) for at in range(width)]

    def record_of(row_number: int) -> str:
        return json.dumps(rows[row_number - 1], ensure_ascii=False)

    return Table(header, columns, np.array(kept, dtype=np.int64), record_of, len(rows), rejected, notes)


def _rows_of_json(data: Any) -> tuple[list[str] | None, list[list[Any]]]:
    """The names of the columns, None where there are none, and the rows; none at all where this is no table."""
    if isinstance(data, list) and data and all(isinstance(row, list) for row in data):
        return None, data
    if isinstance(data, list) and data and all(isinstance(row, dict) for row in data):
        names = list(dict.fromkeys(name for row in data for name in row))
        return names, [[row.get(name) for name in names] for row in data]
    if isinstance(data, dict) and isinstance(data.get("columns"), list) and isinstance(data.get("data"), list):
        rows = [row for row in data["data"] if isinstance(row, list)]
        if isinstance(index := data.get("index"), list) and len(index) == len(rows):
            return ["", *map(str, data["columns"])], [[at, *row] for at, row in zip(index, rows, strict=True)]
        return list(map(str, data["columns"])), rows
    if isinstance(data, dict):
        tables = [(header, rows) for value in data.values() for header, rows in [_rows_of_json(value)] if rows]
        if len(tables) == 1:
            return tables[0]
    return None, []


@dataclass(frozen=True)
class _Head:
    """What stands above the rows: how many lines, how fields are divided, and the names of the columns if there are any.

    `first_row` are the fields of the table's first line; `ticker` is what a header of several lines says of all columns.
    """

    lines: int
    delimiter: str
    first_row: list[str]
    names: list[str] | None
    ticker: str | None
    notes: list[str]


def _csv(label: str, content: bytes) -> Table:
    content = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(f"{label}: not a text file in UTF-8, and not Parquet, Feather or JSON") from error
    if "\0" in text:
        raise SourceError(f"{label}: not a text file: it has NUL bytes")
    head = _head(label, text)
    lines = _Lines(content)
    if '"' in text or lines.has_blank_with_spaces:
        return _named(_quoted_csv(label, text, head), head)
    invalid: list[pa_csv.InvalidRow] = []

    def on_invalid(row: pa_csv.InvalidRow) -> str:
        invalid.append(row)
        return "skip"

    names = [str(at) for at in range(len(head.first_row))]
    row_numbers = lines.numbers_without_blank()
    row_numbers = row_numbers[row_numbers > head.lines]
    if not len(row_numbers):
        return _named(Table(None, [pa.array([], pa.string()) for _ in names], row_numbers, lines.__getitem__, 0), head)
    try:
        table = pa_csv.read_csv(
            io.BytesIO(content[lines.start_of(head.lines + 1) :]),
            read_options=pa_csv.ReadOptions(use_threads=False, column_names=names),
            parse_options=pa_csv.ParseOptions(delimiter=head.delimiter, invalid_row_handler=on_invalid),
            convert_options=pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
        )
    except pa.ArrowInvalid as error:
        raise SourceError(f"{label}: {error}") from error
    invalid_numbers = [int(row_numbers[row.number - 1]) for row in invalid]
    rejected = [
        Rejected(
            number,
            "has_all_fields",
            f"{row.actual_columns} fields, {row.expected_columns} expected",
            lines[number],
        )
        for number, row in zip(invalid_numbers, invalid, strict=True)
    ]
    columns = [table.column(name).combine_chunks() for name in names]
    kept = row_numbers[~np.isin(row_numbers, invalid_numbers)]
    return _named(Table(None, columns, kept, lines.__getitem__, len(row_numbers), rejected), head)


def _head(label: str, text: str) -> _Head:
    """The delimiter, the lines before the table, and its header, of one line or of the three that yfinance writes."""
    lines = text.split("\n", _SAMPLE)[:_SAMPLE]
    delimiter = max(_DELIMITERS, key=lambda one: _regularity(lines, one))
    rows = [_fields(line, delimiter) for line in lines]
    wide = (at for at, row in enumerate(rows) if sum(bool(field.strip()) for field in row) > 1)
    filled = (at for at, row in enumerate(rows) if any(field.strip() for field in row))
    first = next(wide, next(filled, 0))
    notes = [f"line {at + 1} is passed over: {lines[at].strip()[:80]}" for at in range(first) if lines[at].strip()]
    below = [row for row in rows[first : first + 3] if len(row) == len(rows[first])]
    if len(below) == 3 and below[2][0].lower() in ("date", "datetime") and not any(below[2][1:]):
        names, tickers = sorted(below[:2], key=lambda row: -sum(cell.lower() in _PRICES for cell in row))
        distinct = sorted(set(tickers[1:]) - {""})
        if len(distinct) != 1:
            raise SourceError(
                f"{label}: a header of three lines with the columns of several tickers: {', '.join(distinct[:5])}",
                hint="write one file a ticker, or one row a ticker and date with the column symbol",
            )
        notes.append(f"a header of three lines, of {distinct[0]}")
        return _Head(first + 3, delimiter, rows[first], [below[2][0], *names[1:]], distinct[0], notes)
    has_header = _is_header(rows[first])
    return _Head(first + has_header, delimiter, rows[first], rows[first] if has_header else None, None, notes)


# Tried in this order: a comma may stand within numbers.
_DELIMITERS = "\t;|,"
_SAMPLE = 50
_PRICES = ("open", "high", "low", "close")


def _fields(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return [line]


def _regularity(lines: Sequence[str], delimiter: str) -> float:
    """In how many lines a delimiter makes the commonest number of fields; none where that is one."""
    counts = Counter(len(_fields(line, delimiter)) for line in lines if line.strip())
    widest, share = max(counts.items(), key=lambda item: (item[1], item[0]), default=(1, 0))
    return share if widest > 1 else 0


def _named(table: Table, head: _Head) -> Table:
    """The table with its names, and the ticker of its header as a column of its own."""
    table.notes += head.notes
    if head.names is None:
        return table
    table.header = list(head.names)
    if head.ticker is not None:
        table.header.append("ticker")
        table.columns.append(pa.array([head.ticker] * len(table.row_numbers), pa.string()))
    return table


def _quoted_csv(label: str, text: str, head: _Head) -> Table:
    """The same by Python's own reader: slower, but it tells on which lines a quoted record stands."""
    lines = text.split("\n")[head.lines :]
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=head.delimiter)
    width = len(head.first_row)
    records: dict[int, str] = {}
    rows: list[list[str]] = []
    numbers: list[int] = []
    rejected: list[Rejected] = []
    first_line = 1
    for fields in _records(label, reader):
        number, last_line = first_line + head.lines, reader.line_num + head.lines
        first_line = reader.line_num + 1
        if not any(field.strip() for field in fields):
            continue
        records[number] = "\n".join(lines[number - 1 - head.lines : last_line - head.lines]).rstrip("\n")
        if len(fields) == width:
            rows.append(fields)
            numbers.append(number)
        else:
            if last_line > number:
                raise SourceError(
                    f"{label}: line {number}: a quoted field runs on to line {last_line}, and the record has {len(fields)} "
                    f"fields instead of {width}",
                    hint="is a quote never closed?",
                )
            rejected.append(Rejected(number, "has_all_fields", f"{len(fields)} fields, {width} expected", records[number]))
    columns = [pa.array([row[at] for row in rows], pa.string()) for at in range(width)]
    return Table(None, columns, np.array(numbers, dtype=np.int64), records.__getitem__, len(records), rejected)


def _records(label: str, reader: Iterator[list[str]]) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise SourceError(f"{label}: this is no CSV: {error}", hint="is a quote never closed?") from error


class _Lines:
    """The lines of a file by number, without holding them as objects."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        ends = np.flatnonzero(np.frombuffer(content, dtype=np.uint8) == ord("\n"))
        if not content.endswith(b"\n"):
            ends = np.append(ends, len(content))
        self._starts = np.concatenate([[0], ends[:-1] + 1])
        self._ends = ends

    def __getitem__(self, number: int) -> str:
        line = self._content[self._starts[number - 1] : self._ends[number - 1]]
        return line.decode("utf-8")

    def start_of(self, number: int) -> int:
        """The position of a line's first byte."""
        return int(self._starts[number - 1])

    @property
    def has_blank_with_spaces(self) -> bool:
        """Whether some line holds white space alone, which Arrow takes for a field."""
        return _BLANK_WITH_SPACES.search(self._content) is not None

    def numbers_without_blank(self) -> npt.NDArray[np.int64]:
        """Numbers of the lines that hold something; the reader passes over the others."""
        numbers = np.arange(1, len(self._ends) + 1)
        return numbers[self._ends > self._starts]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_header(fields: list[str]) -> bool:
    return sum(_is_number(text) for text in fields) < len(fields) / 2
