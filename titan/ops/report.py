"""A run as Markdown: for a flow's artifact, a ticket, a mail."""

from __future__ import annotations

from collections import Counter
from typing import Any

from titan.core.correlation import run_id
from titan.ops.pipeline import STEPS, Progressed

SHOWN_SQL = 4_000


def markdown(progressed: Progressed) -> str:
    """What a run did: its steps, its batches, what failed with its SQL, and the market as it stands now."""
    parts = [
        f"# {progressed.request.command}: {progressed.outcome}",
        f"Run `{run_id()}`",
        _table([_step(step.name, progressed) for step in STEPS]),
    ]
    for name, error in progressed.errors.items():
        parts.append(f"**{name}**: {_inline(error)}")
    parts += [f"{remark}" for remark in progressed.report.remarks]
    if progressed.gate:
        parts += ["## Gate", _table(progressed.gate)]
    if progressed.data_docs:
        parts.append(f"Data docs of what was stopped: `{progressed.data_docs}`")
    if progressed.report.failed:
        failed = [{"origin": origin, "error": error} for origin, error in progressed.report.failed]
        parts += ["## Not loaded", _table(failed)]
    for failed_step in progressed.refreshed.failed if progressed.refreshed else []:
        parts += [f"## model `{failed_step.node}`: failed", _inline(failed_step.reason)]
    for node in progressed.tested.failed if progressed.tested else []:
        parts += [f"## {node.kind} `{node.name}`: {node.status}", _inline(node.message)]
        if node.sql:
            parts.append(f"```sql\n{node.sql[:SHOWN_SQL]}\n```")
    if progressed.summary:
        parts += ["## Market", _table(progressed.summary)]
    return "\n\n".join(parts) + "\n"


def _step(name: str, progressed: Progressed) -> dict[str, Any]:
    seconds = progressed.seconds.get(name)
    outcome = "not due" if seconds is None else "failed" if name in progressed.errors else "done"
    return {
        "step": name,
        "outcome": outcome,
        "seconds": "" if seconds is None else f"{seconds:.1f}",
        **_count(name, progressed),
    }


def _count(name: str, progressed: Progressed) -> dict[str, str]:
    """What a step came to, in a few words."""
    report, told = progressed.report, ""
    if name == "load" and report.promoted:
        new, revised = (sum(getattr(batch, count) for batch in report.promoted) for count in ("inserted", "revised"))
        told = (
            f"{len(report.promoted)} batches, {new:,} new candles, {revised:,} revised, {report.quarantined:,} quarantined"
        )
    elif name == "gate" and progressed.gate:
        told = gate_counts(progressed)
    elif name == "refresh" and progressed.refreshed:
        told = progressed.refreshed.told()
    elif name == "test" and progressed.tested:
        told = f"{len(progressed.tested.nodes) - len(progressed.tested.failed)} of {len(progressed.tested.nodes)} tests"
    return {"result": told}


def gate_counts(progressed: Progressed) -> str:
    """How many batches passed, were warned of, were stopped."""
    verdicts = Counter(row["verdict"] for row in progressed.gate)
    return f"{counted(len(progressed.gate), 'batch')}: " + ", ".join(
        f"{count} {verdict}" for verdict, count in verdicts.items()
    )


def counted(count: int, noun: str) -> str:
    """1 batch, 2 batches."""
    return f"{count:,} {noun}{'' if count == 1 else 'es'}"


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
    lines += ["| " + " | ".join(_inline(value) for value in row.values()) + " |" for row in rows]
    return "\n".join(lines)


def _inline(value: Any) -> str:
    """A value in one line, without what Markdown would take for a column or a tag."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.6g}"
    text = value.strftime("%Y-%m-%d %H:%M") if hasattr(value, "strftime") else str(value)
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
