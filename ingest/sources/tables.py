"""CSV and Parquet files to one shape: columns of text, a number for every row, the original record on demand."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from ingest.batch import Rejected
from titan.errors import SourceError

_BLANK_WITH_SPACES = re.compile(rb"^[ \t]+$", re.MULTILINE)


@dataclass
class Table:
    """The rows of a file as text. `row_numbers` are lines of a CSV file or rows of a Parquet file, counting from 1.

    `header` is None where the first line holds values already.
    """

    header: list[str] | None
    columns: list[pa.Array]
    row_numbers: npt.NDArray[np.int64]
    record_of: Callable[[int], str]
    rows_read: int
    rejected: list[Rejected] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_table(path: Path) -> Table:
    """Read a file, gzipped or not. Raises SourceError when it is missing, empty, truncated or no table."""
    content = _content(path)
    if not content.strip():
        raise SourceError(f"{path}: the file is empty")
    if content[:4] == b"PAR1" or ".parquet" in path.suffixes:
        return _parquet(path, content)
    return _csv(path, content)


def _content(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}", hint="is the path right?") from error
    if raw[:2] != b"\x1f\x8b":
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SourceError(
            f"{path}: the gzip file is truncated or damaged ({error}); nothing of it was loaded",
            hint="fetch or copy it again",
        ) from error


def _parquet(path: Path, content: bytes) -> Table:
    try:
        table = pa_parquet.read_table(pa.BufferReader(content))
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{path}: not a readable Parquet file ({error})") from error
    columns = [_as_text(path, name, table.column(name).combine_chunks()) for name in table.column_names]

    def record_of(row_number: int) -> str:
        row = table.slice(row_number - 1, 1).to_pylist()[0]
        return json.dumps(row, default=str, ensure_ascii=False)

    return Table(list(table.column_names), columns, np.arange(1, table.num_rows + 1), record_of, table.num_rows)


def _as_text(path: Path, name: str, column: pa.Array) -> pa.Array:
    """Text that reads back to the same value: shortest round-trip for floats, ISO for times."""
    if pa.types.is_timestamp(column.type):
        # With an explicit offset where the file has one, without where it has none.
        try:
            column = column.cast(pa.timestamp("us", tz=column.type.tz))
        except pa.ArrowInvalid as error:
            raise SourceError(f"{path}: column {name!r} has times finer than a microsecond") from error
        text = pa.compute.strftime(column.cast(pa.timestamp("us")), format="%Y-%m-%dT%H:%M:%S")
        return pa.compute.binary_join_element_wise(text, "Z", "") if column.type.tz else text
    try:
        return pa.compute.fill_null(column.cast(pa.string()), "")
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise SourceError(
            f"{path}: column {name!r} has type {column.type}, which holds no candle values",
            hint="the columns must be times, numbers or text",
        ) from error


def _csv(path: Path, content: bytes) -> Table:
    content = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n").lstrip(b"\n")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: not a text file in UTF-8, and not Parquet") from error
    if "\0" in text:
        raise SourceError(f"{path}: not a text file: it has NUL bytes")
    first_line = text.split("\n", 1)[0]
    delimiter = max(",;\t|", key=first_line.count)
    first_row = next(csv.reader([first_line], delimiter=delimiter))
    has_header = _is_header(first_row)
    lines = _Lines(content)
    if '"' in text or lines.has_blank_with_spaces:
        return _quoted_csv(text, first_row, has_header, delimiter)
    invalid: list[pa_csv.InvalidRow] = []

    def on_invalid(row: pa_csv.InvalidRow) -> str:
        invalid.append(row)
        return "skip"

    names = [str(at) for at in range(len(first_row))]
    try:
        table = pa_csv.read_csv(
            io.BytesIO(content),
            read_options=pa_csv.ReadOptions(use_threads=False, column_names=names, skip_rows=int(has_header)),
            parse_options=pa_csv.ParseOptions(delimiter=delimiter, invalid_row_handler=on_invalid),
            convert_options=pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
        )
    except pa.ArrowInvalid as error:
        raise SourceError(f"{path}: {error}") from error
    row_numbers = lines.numbers_without_blank()[int(has_header) :]
    invalid_numbers = [int(row_numbers[row.number - 1 - int(has_header)]) for row in invalid]
    rejected = [
        Rejected(
            number,
            "has_all_fields",
            f"{row.actual_columns} fields, {row.expected_columns} expected",
            lines[number],
        )
        for number, row in zip(invalid_numbers, invalid, strict=True)
    ]
    return Table(
        first_row if has_header else None,
        [table.column(name).combine_chunks() for name in names],
        row_numbers[~np.isin(row_numbers, invalid_numbers)],
        lines.__getitem__,
        len(row_numbers),
        rejected,
    )


def _quoted_csv(text: str, first_row: list[str], has_header: bool, delimiter: str) -> Table:
    """The same by Python's own reader: slower, but it tells on which lines a quoted record stands."""
    lines = text.split("\n")
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=delimiter)
    records: dict[int, str] = {}
    rows: list[list[str]] = []
    numbers: list[int] = []
    rejected: list[Rejected] = []
    first_line = 1
    for fields in _records(reader):
        number, last_line = first_line, reader.line_num
        first_line = last_line + 1
        if (has_header and number == 1) or not any(field.strip() for field in fields):
            continue
        records[number] = "\n".join(lines[number - 1 : last_line]).rstrip("\n")
        if len(fields) == len(first_row):
            rows.append(fields)
            numbers.append(number)
        else:
            if last_line > number:
                raise SourceError(
                    f"line {number}: a quoted field runs on to line {last_line}, and the record has {len(fields)} fields "
                    f"instead of {len(first_row)}",
                    hint="is a quote never closed?",
                )
            value = f"{len(fields)} fields, {len(first_row)} expected"
            rejected.append(Rejected(number, "has_all_fields", value, records[number]))
    columns = [pa.array([row[at] for row in rows], pa.string()) for at in range(len(first_row))]
    header = first_row if has_header else None
    return Table(header, columns, np.array(numbers, dtype=np.int64), records.__getitem__, len(records), rejected)


def _records(reader: Iterator[list[str]]) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise SourceError(f"this is no CSV: {error}", hint="is a quote never closed?") from error


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
