"""Files as they lie on disk: plain, gzipped, or in a zip archive; read in bounded memory, or refused by name."""

from __future__ import annotations

import gzip
import os
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from titan.core.errors import SourceError

# Of one table, unpacked; reading takes some five times as much memory.
MOST_BYTES = 2 << 30
# A line of a table is shorter, and that much of nothing but white space is no table.
WINDOW = 1 << 20
# Candles are packed to a quarter, at rest to a fiftieth. What unpacks to more than this many times its size says the same
# again and again, and is looked at from so many bytes on.
MOST_UNPACKED, UNPACKED_AT_EASE = 200, 64 << 20

SUFFIXES = (".csv", ".tsv", ".txt", ".json", ".parquet", ".feather", ".arrow", ".gz", ".zip")
COLUMNAR = {b"PAR1": "parquet", b"ARROW1": "arrow"}

_UNREADABLE = {
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unpack it first",
    b"\xfd7zXZ\x00": "compressed with xz: unpack it first",
    b"BZh": "compressed with bzip2: unpack it first",
    b"7z\xbc\xaf": "a 7z archive: unpack it first",
    b"Rar!": "a rar archive: unpack it first",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save the sheet as CSV",
    b"FEA1": "Feather of version 1: write it again with a pyarrow of this decade",
    b"SQLite format 3": "an SQLite database: export its table as CSV",
    b"\x89HDF": "an HDF5 file: write the table as Parquet or CSV",
    b"%PDF": "a PDF document",
    b"<!DOCTYPE": "a web page, not the file behind it: fetch it again",
    b"<html": "a web page, not the file behind it: fetch it again",
}


@dataclass(frozen=True)
class Piece:
    """One table of a file: the file itself, or a member of an archive. `label` is for people; `path` has the names in it."""

    label: str
    path: Path
    read: Callable[[], bytes]


def shown(path: Path) -> str:
    """A path as text that can be printed and stored: bytes that are no UTF-8 and control characters are escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(repr(one)[1:-1] if unicodedata.category(one) in ("Cc", "Cf", "Zl", "Zp") else one for one in text)


def find_files(paths: Iterable[Path]) -> list[Path]:
    """The files named, and those of the directories named, in order of their names."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
            if not files:
                raise SourceError(f"{shown(path)}: no file of candles in this directory", hint=f"looked for {SUFFIXES}")
            found += files
        else:
            found.append(path)
    return found


def open_pieces(path: Path) -> list[Piece]:
    """The tables of a file. Raises SourceError for what is no file, or is an archive that cannot be read."""
    label = shown(path)
    with _readable(label):
        if not stat.S_ISREG(path.stat().st_mode):
            raise SourceError(f"{label}: not a regular file", hint="write it to a file first: it is read more than once")
        with path.open("rb") as file:
            is_zip = file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    if not is_zip:
        return [Piece(label, path, lambda: _read(label, path))]
    with _readable(label), zipfile.ZipFile(path) as archive:
        names = [member.filename for member in archive.infolist() if not member.is_dir()]
    if "[Content_Types].xml" in names:
        raise SourceError(f"{label}: an Excel workbook", hint="save the sheet as CSV")
    tables = [name for name in names if Path(name).suffix.lower() in SUFFIXES and not name.startswith("__MACOSX/")]
    if not tables:
        raise SourceError(f"{label}: no file of candles in this archive; it holds {', '.join(names[:3]) or 'nothing'}")
    return [_member(label, path, name, is_alone=len(tables) == 1) for name in tables]


def _member(label: str, path: Path, name: str, *, is_alone: bool) -> Piece:
    def read() -> bytes:
        with _readable(label), zipfile.ZipFile(path) as archive, archive.open(name) as file:
            return _bounded(label, file, archive.getinfo(name).compress_size)

    inside = shown(Path(name))
    return Piece(label if is_alone else f"{label}/{inside}", path.parent / name, read)


def _read(label: str, path: Path) -> bytes:
    with _readable(label), path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not is_gzip:
            return _bounded(label, file)
        with gzip.open(file) as unpacked:
            return _bounded(label, cast(IO[bytes], unpacked), path.stat().st_size)


@contextmanager
def _readable(label: str) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SourceError(
            f"{label}: the gzip file is truncated or damaged ({error}); nothing of it was loaded",
            hint="fetch or copy it again",
        ) from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:  # damaged, of an odd method, with a password
        raise SourceError(
            f"{label}: the zip archive cannot be read ({error})", hint="fetch it again, or unpack it"
        ) from error
    except OSError as error:
        raise SourceError(f"{label}: {error.strerror or error}", hint="is the path right?") from error


def _bounded(label: str, file: IO[bytes], packed: int | None = None) -> bytes:
    """The content, given up as soon as it shows that it is no table: what a small archive unpacks to may be enormous."""
    content = bytearray()
    is_text = True
    while window := file.read(WINDOW):
        if not content:
            _refuse_known(label, window)
            is_text = not window.startswith(tuple(COLUMNAR))
        content += window
        if len(content) > MOST_BYTES:
            raise SourceError(f"{label}: more than {MOST_BYTES >> 30} GiB, unpacked", hint="split the file")
        if packed is not None and len(content) > max(UNPACKED_AT_EASE, MOST_UNPACKED * packed):
            raise SourceError(f"{label}: unpacks to more than {MOST_UNPACKED} times its size: these are no candles")
        if is_text and len(window) == WINDOW:
            if not window.strip():
                raise SourceError(f"{label}: a megabyte of nothing but white space: this is no table")
            if b"\n" not in window and b"\r" not in window and not content.lstrip().startswith((b"[", b"{")):
                raise SourceError(f"{label}: a line of more than a megabyte: this is no table")
    return bytes(content)


def _refuse_known(label: str, start: bytes) -> None:
    if start[257:262] == b"ustar":
        raise SourceError(f"{label}: a tar archive: unpack it first")
    for magic, what in _UNREADABLE.items():
        if start.startswith(magic):
            raise SourceError(f"{label}: {what}")
