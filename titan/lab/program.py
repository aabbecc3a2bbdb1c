"""The SQL of a run, compiled by dbt from the macros that stored signals are compiled from."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from titan.core.errors import UsageError
from titan.lab.spec import RunSpec, Value
from titan.ops import dbt

THE_RUN = "~run~"


@dataclass(frozen=True)
class Program:
    """The SQL of a run, step by step, with THE_RUN in the place of its number, and why some trials make no sense."""

    steps: list[tuple[str, str]]
    refused: dict[int, str]

    @property
    def code_hash(self) -> str:
        """SHA-256 of the SQL without comments and blanks: what is tried and how it is computed."""
        text = re.sub(r"--[^\n]*", "", "\n".join(statement for _, statement in self.steps))
        text = re.sub(r'"[^"]+"\.("[^"]+"\.)', r"\1", text)  # the name of the database
        return hashlib.sha256(re.sub(r"\s+", " ", text).encode()).hexdigest()


def compile_program(spec: RunSpec, trials: Mapping[int, dict[str, Value]], *, is_checked: bool = False) -> Program:
    """What computes these trials. Raises UsageError for parameters that make no sense whatever the others are.

    dbt asks the database about timeframes, on a connection of its own, unless they are checked already: within a transaction
    it may come to wait for a rebuild that waits for the transaction.
    """
    asked = {
        "run": THE_RUN,
        "ends": spec.ends,
        "signals": [
            {
                "signal": str(number),
                "type": spec.type,
                "timeframe": spec.timeframe,
                "params": params,
                "direction": spec.direction,
                "execution": dict(spec.execution),
            }
            for number, params in trials.items()
        ],
    }
    found = json.loads(
        compile_inline(f"lab_statements({jinja(asked)}) if execute else lab_references()", is_checked=is_checked)
    )
    refuse(found["error"])
    return Program(
        [(name, statement) for name, statement in found["steps"]],
        {int(number): reason for number, reason in found["refused"].items()},
    )


def jinja(value: Any) -> str:
    """An expression of dbt's Jinja that gives a value of JSON's types."""
    text = json.dumps(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"fromjson('{text}')"


def compile_inline(expression: str, *, is_checked: bool = False) -> str:
    """What an expression of the project's macros renders to. Raises BuildError where it cannot be rendered."""
    flags = ["--no-introspect"] if is_checked else []
    return dbt.invoke("compile", [*flags, "--inline", f"{{{{ {expression} }}}}"]).nodes[0].sql


def refuse(refusal: Mapping[str, Any] | None) -> None:
    """Raise UsageError for what the macro first_refusal found, if it found something."""
    if refusal:
        raise UsageError(f"{refusal['type']} {json.dumps(refusal['params'])}: {refusal['what']}")
