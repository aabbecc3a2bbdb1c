"""dbt in this process: no second start-up, its results as data.

Importing dbt takes seconds of CPU, so it is imported where it runs: commands that do not build do not pay for it.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from titan.core.correlation import in_environment
from titan.core.errors import BuildError
from titan.core.log import event
from titan.core.settings import REPOSITORY, Settings
from titan.core.trace import span, traceparent
from titan.ops.project import files_read

log = logging.getLogger("titan.dbt")

# The relations of a schema are listed when a model asks for one. To list all schemas ahead, and what reads what in them, is
# a third of an invocation that builds little.
_NOT_ASKED_AHEAD = ["--no-populate-cache"]
_INLINE = "sql_operation.titan.inline_query"  # what dbt calls the node of `compile --inline`


@dataclass(frozen=True)
class NodeResult:
    """One model or test: what became of it and how long it took."""

    name: str
    kind: str
    status: str
    seconds: float
    message: str
    failures: int
    sql: str

    @property
    def reason(self) -> str:
        """The message in a line, as the database or the project put it."""
        return reason(self.message)


@dataclass
class Invocation:
    """The results of one dbt command, in the order in which the nodes finished."""

    nodes: list[NodeResult] = field(default_factory=list)

    @property
    def failed(self) -> list[NodeResult]:
        """The models that could not be built and the tests that did not pass."""
        return [node for node in self.nodes if node.status in ("error", "fail", "runtime error")]

    def of_kind(self, *kinds: str) -> list[NodeResult]:
        """The nodes of the given kinds: model, test, unit_test."""
        return [node for node in self.nodes if node.kind in kinds]

    def failure(self) -> BuildError | None:
        """What failed, by name, with the reason of the first; None where nothing did."""
        if not self.failed:
            return None
        first = self.failed[0]
        names = ", ".join(node.name for node in self.failed[:3])
        more = f" and {len(self.failed) - 3} more" if len(self.failed) > 3 else ""
        command = "run" if first.kind == "model" else "test"
        return BuildError(
            f"{names}{more} failed: {first.reason}",
            hint=f"dbt {command} --select {first.name} tries it alone, and writes its statements to logs/dbt.log",
        )


def invoke(
    command: str,
    arguments: Sequence[str] = (),
    *,
    on_start: Callable[[str], None] = lambda name: None,
    project: Path = REPOSITORY,
) -> Invocation:
    """Run `dbt <command>` on the project. Raises BuildError when dbt cannot run at all; failed nodes are in the result.

    The second invocation of a process does not read a project again that is what it was.
    """
    from dbt.cli.main import dbtRunner
    from dbt_common.invocation import get_invocation_id

    def heard(event: Any) -> None:
        if event.info.name == "LogStartLine":
            on_start(str(event.data.description))

    begun = time.monotonic()
    with span("dbt", command) as traced:
        read = manifest(project)
        runner = dbtRunner(manifest=read, callbacks=[heard])
        traced.is_kept = command in ("run", "test", "build")  # these write their nodes as parts of it (record_build)
        try:
            with in_environment(traceparent()), _flags_as_they_were():
                outcome = runner.invoke([command, *_options(project), *_NOT_ASKED_AHEAD, *arguments])
        finally:  # dbt leaves it there when it fails, and then stumbles over the next
            read.nodes.pop(_INLINE, None)
    if outcome.exception is not None:
        raise BuildError(f"dbt {command}: {reason(str(outcome.exception))}") from outcome.exception
    results = getattr(outcome.result, "results", None)
    if results is None:
        return Invocation()
    invocation = Invocation([_node(result) for result in results if result.node.resource_type != "operation"])
    hooks = [result for result in results if result.node.resource_type == "operation" and result.status == "error"]
    if hooks:
        raise BuildError(f"dbt {command}: {reason(str(hooks[0].message))}")
    event(
        log,
        "dbt ended",
        command=command,
        invocation_id=get_invocation_id(),
        nodes=len(invocation.nodes),
        failed=[node.name for node in invocation.failed],
        seconds=round(time.monotonic() - begun, 3),
    )
    return invocation


@contextmanager
def _flags_as_they_were() -> Iterator[None]:
    """Every start of dbt's adapter appends its flags to a list of the process, and walks the stack for each in it.

    Without this, invocations take longer one after the other, by seconds after some hundred (dbt-adapters 1.24).
    """
    from dbt.adapters.base.impl import DEFAULT_BASE_BEHAVIOR_FLAGS

    known = len(DEFAULT_BASE_BEHAVIOR_FLAGS)
    try:
        yield
    finally:
        del DEFAULT_BASE_BEHAVIOR_FLAGS[known:]


def _options(project: Path) -> list[str]:
    """The project, and nothing on the console or in logs/dbt.log: results are told by us."""
    return ["--log-level", "none", "--project-dir", str(project), "--profiles-dir", str(project)]


def reason(message: str) -> str:
    """What dbt says of a failure, in a line: without its own heading, the server's call stack, and where dbt put the SQL."""
    lines = [line.strip() for line in message.strip().splitlines()]
    if len(lines) > 1 and re.fullmatch(r"(\w+ )+Error( in .*)?", lines[0]):
        del lines[0]
    kept = itertools.takewhile(lambda line: not line.startswith(("CONTEXT:", "compiled code at", "> ")), lines)
    told = " ".join(line for line in kept if line and line != "^" and not re.match(r"LINE \d+: ", line))
    return re.sub(r"\.? (DETAIL|HINT): +", ". ", told)


def manifest(project: Path = REPOSITORY) -> Any:
    """The project as dbt has read it: once, for as long as its files, the target and the database stay the same.

    Variables are left out: the only one is `engine`, and while it reads, dbt takes the engine for a plain one, as who gives
    that variable does (titan reconcile). Raises BuildError where dbt cannot read the project.
    """
    target = (os.environ.get("DBT_TARGET", ""), Settings.from_environment().url)
    return _manifest(project, target, tuple(files_read(project).items()))


# A process of ours needs one; the suite goes back and forth between databases and copies of the project.
@lru_cache(maxsize=3)
def _manifest(project: Path, target: tuple[str, str], files: tuple[tuple[str, str], ...]) -> Any:
    return parse(project)


def parse(project: Path = REPOSITORY) -> Any:
    """The project, read by dbt just now, for who changes what was read. Raises BuildError."""
    from dbt.cli.main import dbtRunner

    with in_environment(), _flags_as_they_were():
        outcome = dbtRunner().invoke(["parse", *_options(project)])
    if outcome.exception is not None:
        raise BuildError(f"dbt parse: {reason(str(outcome.exception))}") from outcome.exception
    return outcome.result


def _node(result: Any) -> NodeResult:
    return NodeResult(
        name=result.node.name,
        kind=str(result.node.resource_type),
        status=str(result.status),
        seconds=float(result.execution_time),
        message=str(result.message or ""),
        failures=int(result.failures or 0),
        sql=str(getattr(result.node, "compiled_code", None) or "").strip(),
    )
