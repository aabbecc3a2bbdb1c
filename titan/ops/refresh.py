"""Bring every model up to date: the database refreshes what is behind, dbt is asked only where a definition is owed.

Imports neither dbt nor anything as heavy before it is needed: a refresh is a matter of milliseconds.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from titan.core.database import Connection
from titan.core.errors import BuildError, DatabaseUnavailableError
from titan.core.log import Progress, event
from titan.core.settings import REPOSITORY
from titan.core.trace import span
from titan.ops.project import project_files
from titan.server.migrate import assert_current

log = logging.getLogger("titan.refresh")

_ROUNDS = 3  # of a full refresh, between which somebody may edit what SQL is made of
_LONGEST_WAIT = 60.0  # seconds, for who refreshes the same continuous aggregate


@dataclass(frozen=True)
class Step:
    """One model: what a refresh of it did (rewrite, rebuild or failed), why, and how long it took.

    left_behind: views of others that still read the table that was replaced, until they are redefined.
    """

    node: str
    action: str
    reason: str
    seconds: float
    left_behind: tuple[str, ...] = ()


@dataclass
class Refreshed:
    """What a walk over the models did, in order; for which models dbt was asked first, and why; how many it declared."""

    steps: list[Step] = field(default_factory=list)
    owed: dict[str, str] = field(default_factory=dict)
    declared: int = 0
    seconds: float = 0

    @property
    def failed(self) -> list[Step]:
        """The models that could not be refreshed."""
        return [step for step in self.steps if step.action == "failed"]

    def told(self) -> str:
        """How many models the database refreshed and dbt declared, in a few words."""
        done = len({step.node for step in self.steps if step.action != "failed"})
        told = [f"{done} model{'' if done == 1 else 's'} refreshed" if done else ""]
        told.append(f"{self.declared} declared by dbt" if self.declared else "")
        told.append(f"{len(self.failed)} failed" if self.failed else "")
        return ", ".join(part for part in told if part) or "nothing to refresh"

    def failure(self) -> BuildError | None:
        """What failed, by name, with the reason of the first; None where nothing did."""
        if not self.failed:
            return None
        names = ", ".join(step.node for step in self.failed[:3])
        more = f" and {len(self.failed) - 3} more" if len(self.failed) > 3 else ""
        return BuildError(
            f"{names}{more} failed: {self.failed[0].reason}",
            hint="what reads them waits; the rest is up to date. titan refresh tries again; select * from ops.pending tells",
        )


Build = Callable[[Sequence[str]], Any]


def refresh(
    connection: Connection,
    progress: Progress = lambda text: None,
    *,
    is_full: bool = False,
    is_patient: bool = False,
    left_out: Sequence[str] = (),
    build: Build | None = None,
    project: Path = REPOSITORY,
) -> Refreshed:
    """Refresh what is behind, in order, each model in a transaction of its own; `connection` is in autocommit.

    A model that fails leaves alone what reads it; all others go on. is_full makes every model anew. is_patient leaves out
    what failed until it is due again (ops.pending.retry_at), left_out the nodes that it names. `build` runs dbt over the
    models that it is given, all if none; by default in this process.

    Raises MigrationError where the database lacks migrations, BuildError where dbt cannot declare what is owed, and
    DatabaseUnavailableError where the server goes away.
    """
    chosen = build or build_by_dbt(progress, project)
    with span("refresh", "what is behind") as traced:
        done = _refresh(connection, progress, is_full, is_patient, left_out, chosen, project)
        traced.is_kept = bool(done.steps or done.owed)
        traced.add(models=len(done.steps), declared=done.declared)
        if done.failed:
            traced.fail(f"{done.failed[0].node}: {done.failed[0].reason}")
    event(
        log,
        "refreshed",
        logging.INFO if done.steps or done.owed else logging.DEBUG,
        models=len(done.steps),
        failed=[step.node for step in done.failed],
        built=list(done.owed),
        seconds=round(done.seconds, 3),
    )
    return done


def _refresh(
    connection: Connection,
    progress: Progress,
    is_full: bool,
    is_patient: bool,
    left_out: Sequence[str],
    build: Build,
    project: Path,
) -> Refreshed:
    begun = time.monotonic()
    assert_current(connection)
    walk = _Walk(connection, progress, left_out, _not_due(connection) if is_patient else [])
    owed: dict[str, str] = {}
    declared = 0
    try:
        for _ in range(_ROUNDS):
            walk.over_what_is_behind()  # first: what generates SQL is then up to date
            wanted = _owed(connection, project)
            if wanted.reasons and not set(wanted.reasons) <= set(walk.left_out) | set(walk.waiting):
                owed |= wanted.reasons
                declared += _declare(connection, wanted, walk.left_out, build, progress)
                walk.over_what_is_behind()
            if not is_full or walk.over_everything():
                break
        else:
            raise BuildError("definitions change faster than they are built", hint="titan refresh --full, when that is over")
        if walk.steps or owed:
            connection.execute("select ops.prune_changes()")
    except psycopg.OperationalError as error:
        raise DatabaseUnavailableError(f"the database went away: {error}", hint="is the server up?") from error
    return Refreshed(walk.steps, owed, declared, time.monotonic() - begun)


def needs_refresh(connection: Connection) -> bool:
    """Whether some model is behind, or none was ever declared."""
    row: Any = connection.execute("select exists (select from ops.pending) or not exists (select from ops.model)").fetchone()
    return bool(row[0])


def _not_due(connection: Connection) -> list[str]:
    rows = connection.execute("select node from ops.refresh_failure where retry_at > clock_timestamp()").fetchall()
    return [str(row[0]) for row in rows]


class _Walk:
    """Over the models in order. One that fails, owes a build or is `waiting` keeps those that read it out of the pass; those
    that are `left_out` are passed over, and what reads them is not.
    """

    def __init__(self, connection: Connection, progress: Progress, left_out: Sequence[str], waiting: Sequence[str]) -> None:
        self._connection = connection
        self._progress = progress
        self.left_out = list(left_out)
        self.waiting = list(waiting)
        self.steps: list[Step] = []
        self._made_anew: set[str] = set()

    def over_what_is_behind(self) -> None:
        """Each model once: what is published meanwhile is for the next walk."""
        passed: list[str] = []
        blocked = self.waiting + [step.node for step in self.steps if step.action == "failed"]
        while True:
            row: Any = self._connection.execute(
                "select ops.next_behind(ops.readers_of(%s) || %s::text[])", (blocked, passed + self.left_out)
            ).fetchone()
            if row[0] is None:
                return
            node = str(row[0])
            passed.append(node)
            if self._take(node, is_full=False) in ("failed", "build owed"):
                blocked.append(node)

    def over_everything(self) -> bool:
        """Every model made anew, once; what reads one that fails stays as it is. False where a model owes a build first."""
        failed = {step.node for step in self.steps if step.action == "failed"}
        blocked = failed | set(self.waiting) | set(self.left_out)
        rows: Any = self._connection.execute("select node, parents from ops.model order by depth, node").fetchall()
        for node, parents in rows:
            if node in blocked or node in self._made_anew:
                continue
            action = "failed" if blocked & set(parents) - set(self.left_out) else self._take(node, is_full=True)
            if action == "build owed":
                return False
            if action == "failed":
                blocked.add(node)
            self._made_anew.add(node)
        return True

    def _take(self, node: str, *, is_full: bool) -> str:
        self._progress(f"refreshing {node}")
        step = refresh_model(self._connection, node, is_full=is_full)
        if step.action not in ("nothing", "build owed"):  # nothing: somebody else was faster
            self.steps.append(step)
        return step.action


def refresh_model(connection: Connection, node: str, *, is_full: bool = False) -> Step:
    """Refresh one model, and first the continuous aggregates that it leaves bars to; a failure is recorded."""
    with span("model", node) as traced:
        step = _refresh_model(connection, node, is_full)
        traced.is_kept = step.action not in ("nothing", "build owed")
        traced.add(action=step.action, reason=step.reason)
        if step.action == "failed":
            traced.fail(step.reason)
    return step


def _refresh_model(connection: Connection, node: str, is_full: bool) -> Step:
    begun = time.monotonic()
    try:
        upto, left_behind = None, None
        if connection.execute("select 1 from ops.aggregate where consumer = %s limit 1", (node,)).fetchone():
            for upto, statement in connection.execute(  # noqa: B007
                "select upto, statement from ops.aggregate_statements(%s, %s)", (node, is_full)
            ).fetchall():
                if statement:
                    _refresh_aggregate(connection, str(statement))
        row: Any = connection.execute("select * from ops.refresh(%s, %s, %s)", (node, is_full, upto)).fetchone()
        action, reason, left_behind = row
    except psycopg.OperationalError as error:
        if connection.closed:
            raise
        action, reason = "failed", _failed(connection, node, error)
    except psycopg.Error as error:
        action, reason = "failed", _failed(connection, node, error)
    if left_behind:
        event(log, "views left behind", logging.WARNING, node=node, views=left_behind)
    return Step(node, str(action), str(reason), time.monotonic() - begun, tuple(left_behind or ()))


def _refresh_aggregate(connection: Connection, statement: str) -> None:
    """TimescaleDB refuses to refresh an aggregate that another walker, or dbt, refreshes: this one waits for its end."""
    deadline = time.monotonic() + _LONGEST_WAIT
    while True:
        try:
            connection.execute(statement.encode())
        except psycopg.errors.LockNotAvailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _failed(connection: Connection, node: str, error: psycopg.Error) -> str:
    message = (error.diag.message_primary or str(error)).strip()
    connection.execute("select ops.record_failure(%s, %s, %s)", (node, error.sqlstate or "", message))
    event(log, "model failed", logging.WARNING, node=node, sqlstate=error.sqlstate, reason=message)
    return message


@dataclass(frozen=True)
class _Owed:
    """Which models dbt has to declare, and why, by node; all of them if `is_everything`; and the files as they are now."""

    reasons: dict[str, str]
    is_everything: bool
    files: dict[str, str]


def _owed(connection: Connection, project: Path) -> _Owed:
    files = project_files(project)
    declared = {
        str(node): None if reason is None else str(reason)
        for node, reason in connection.execute("select node, ops.owed_build(model) from ops.model").fetchall()
    }
    if not declared:
        return _Owed({"every model": "none was declared here yet"}, True, files)
    row: Any = connection.execute("select files from ops.project").fetchone()
    if row is None:
        return _Owed({"every model": "dbt was called by hand, or failed, since"}, True, files)
    reasons = {node: reason for node, reason in declared.items() if reason is not None}
    changed = sorted(path for path in files.keys() | row[0].keys() if files.get(path) != row[0].get(path))
    models = {node.split(".")[1]: node for node in declared}
    for path in changed:
        if not path.startswith("dbt_project/models/") or Path(path).stem not in models or path not in files:
            return _Owed({"every model": f"{path} is not what they were declared from"}, True, files)
        reasons[models[Path(path).stem]] = f"{path} is not what it was declared from"
    return _Owed(reasons, False, files)


def _declare(connection: Connection, owed: _Owed, left_out: Sequence[str], build: Build, progress: Progress) -> int:
    """Let dbt declare what is owed, and whatever is made of the rows of that; returns how many models it was."""
    names: list[str] = []
    if not owed.is_everything:
        rows = connection.execute("select unnest(ops.generated_from(%s))", (list(owed.reasons),)).fetchall()
        names = [str(node).split(".")[1] for (node,) in rows if node not in left_out]
    for node, reason in owed.reasons.items():
        event(log, "build owed", node=node, reason=reason)
        progress(f"dbt builds {node}: {reason}")
    build(names)
    record_project(connection, owed.files)
    row: Any = connection.execute("select count(*) from ops.model").fetchone()
    return len(names) or int(row[0])


def record_project(connection: Connection, files: dict[str, str]) -> None:
    """Remember that every model is declared as these files say."""
    connection.execute(
        """
        insert into ops.project (files) values (%s)
        on conflict (is_only_row) do update set files = excluded.files, built_at = clock_timestamp()
        """,
        (json.dumps(files),),
    )


def build_by_dbt(progress: Progress, project: Path = REPOSITORY) -> Build:
    """dbt's run over models, in this process; what it builds is told to `progress`."""

    def build(names: Sequence[str]) -> None:
        from titan.ops.dbt import invoke

        result = invoke("run", ["--select", *names] if names else [], on_start=progress, project=project)
        if error := result.failure():
            raise error

    return build
