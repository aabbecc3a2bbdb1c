"""Who changed what people decide: ops.audit listed, and proven to be whole."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from titan.core.database import Connection, records
from titan.core.errors import UsageError
from titan.core.settings import Settings, home


@dataclass
class Verified:
    """What was found of ops.audit: how many entries, the last one (its number and hash), and what is wrong with it."""

    entries: int = 0
    head: str = ""
    faults: list[str] = field(default_factory=list)


def entries(
    connection: Connection,
    relation: str | None = None,
    login: str | None = None,
    since: datetime | None = None,
    limit: int = 50,
) -> list[dict[str, Any]]:
    """One row per entry, newest first: of a table, of a login, since an instant, if they are given."""
    query = """
        select seq, entered_at, login, nullif(role, login) as role, action, relation, row_count, run_id, changes
        from ops.audit
        where
            relation = coalesce(%(relation)s::text, relation)
            and login = coalesce(%(login)s::text, login)
            and entered_at >= coalesce(%(since)s::timestamptz, '-infinity')
        order by seq desc limit %(limit)s
    """
    with connection.transaction():
        return records(connection, query, {"relation": relation, "login": login, "since": since, "limit": limit})


def verify(connection: Connection, head: str | None = None) -> Verified:
    """Prove that no entry is missing or altered, and that each table is what its entries come to.

    Of a chain nobody can tell by itself that its end was cut off. So the last entry is remembered on this machine, and has
    to be there the next time; `head`, as an earlier verification told it, is looked for as well.
    """
    memory = _memory()
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read")
        rows: Any = connection.execute("select seq, fault from ops.verify_audit()").fetchall()
        last: Any = connection.execute(
            "select count(*), max(seq), (array_agg(hash order by seq desc))[1] from ops.audit"
        ).fetchone()
        done = Verified(int(last[0]), f"{last[1]}:{last[2]}" if last[0] else "")
        done.faults = [fault if seq is None else f"entry {seq}: {fault}" for seq, fault in rows]
        for whose, known in (("as given", head), (f"as {memory} remembers it", _remembered(memory))):
            if known and (fault := _missing(connection, known)):
                done.faults.append(f"{fault}, {whose}")
    if not done.faults:
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.write_text(json.dumps({"head": done.head}) + "\n")
    return done


def _missing(connection: Connection, head: str) -> str | None:
    seq, _, expected = head.partition(":")
    if not seq.isdigit() or not expected:
        raise UsageError(f"{head!r} is no entry", hint="number:hash, as titan audit verify told it")
    row: Any = connection.execute("select hash from ops.audit where seq = %s", (int(seq),)).fetchone()
    if row is None:
        return f"entry {seq} is not there"
    return None if row[0] == expected else f"entry {seq} is another one"


def _memory() -> Path:
    """Where the last entry is remembered, for each database."""
    settings = Settings.from_environment()
    return home() / "audit" / f"{settings.host}-{settings.port}-{settings.database}.json".replace("/", "_")


def _remembered(memory: Path) -> str | None:
    try:
        return str(json.loads(memory.read_text())["head"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{memory} cannot be read", hint="delete it, if you know why") from error
