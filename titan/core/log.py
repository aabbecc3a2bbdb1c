"""Logs: what happens, under the id of the run. JSON lines on stderr where nobody watches; a terminal shows results instead.

`titan --log`, or `TITAN_LOG`, chooses json or text, whatever stderr is.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from titan.core.correlation import run_id
from titan.core.errors import UsageError

log = logging.getLogger("titan")
log.setLevel(logging.INFO)  # who listens decides where it goes: a command's stderr, a flow's page

Progress = Callable[[str], None]  # what is told how far a command has come, in a few words


def event(logger: logging.Logger, name: str, level: int = logging.INFO, **fields: Any) -> None:
    """Log that something happened: fields of their own in JSON, name=value where a log is read as text (Prefect's page)."""
    told = " ".join(f"{field}={value}" for field, value in fields.items() if value not in (None, "", [], {}))
    logger.log(level, "%s %s", name, told, extra={"event": name, **fields})


FORMATS = ("text", "json")
_chosen: str | None = None


def is_json() -> bool:
    """Whether stderr gets JSON lines: as was chosen; else where it is no terminal, and does not go where stdout goes.

    Who sends both into one file reads what is printed for people, and wants no log between its lines.
    """
    chosen = _chosen or os.environ.get("TITAN_LOG", "")
    return chosen == "json" or (chosen != "text" and not sys.stderr.isatty() and not _is_one_file())


def _is_one_file() -> bool:
    try:
        return os.path.sameopenfile(sys.stdout.fileno(), sys.stderr.fileno())
    except (OSError, ValueError):  # no file at all: closed, or a test's own
        return False


def configure(chosen: str | None = None) -> None:
    """Set the log up for a command, as text or json if chosen; a flow's logs go where Prefect sends them.

    Raises UsageError when TITAN_RUN_ID is no id, or the format is none.
    """
    global _chosen
    if chosen not in (None, *FORMATS):
        raise UsageError(f"--log is text or json, not {chosen!r}")
    _chosen = chosen
    log.handlers.clear()
    run_id()
    log.propagate = False
    if not is_json():
        log.addHandler(logging.NullHandler())
        return
    handler = logging.StreamHandler(sys.stderr)
    formatter = JsonFormatter(
        "{asctime}{levelname}{event}",
        "%Y-%m-%dT%H:%M:%SZ",
        style="{",
        rename_fields={"asctime": "time", "levelname": "level"},
        json_ensure_ascii=False,
    )
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    handler.addFilter(_stamp)
    log.addHandler(handler)


def _stamp(record: logging.LogRecord) -> bool:
    record.run_id = str(run_id())
    record.event = getattr(record, "event", None) or record.getMessage()
    record.levelname = record.levelname.lower()
    return True
