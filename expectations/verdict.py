"""What the gate found of a batch, as data: nothing here needs Great Expectations to be imported."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from expectations.settings import Severity

# A row of the profile: a series with its counts and measures.
Profile = list[dict[str, Any]]

VERDICTS = ("passed", "warned", "stopped")


@dataclass(frozen=True)
class Finding:
    """One expectation of a batch: whether it is met, the worst value, and series that fail, at most twenty."""

    expectation: str
    severity: Severity
    threshold: float
    is_met: bool
    observed: float | None = None
    series: list[dict[str, Any]] = field(default_factory=list)

    def __str__(self) -> str:
        values = {one["value"] for one in self.series}
        if len(self.series) > 1 and len(values) == 1:  # of the batch, as the share of bad rows, rather than of a series
            named = f"{values.pop():.6g}"
        else:
            named = ", ".join(f"{one['symbol'] or '(no symbol)'} {one['value']:.6g}" for one in self.series[:3])
            named += f" and {len(self.series) - 3} more" if len(self.series) > 3 else ""
        return f"{self.expectation}: {named} (threshold {self.threshold:.6g})"


@dataclass(frozen=True)
class Verdict:
    """Every finding of a batch, and the profile that was judged."""

    suite: str
    findings: list[Finding]
    profile: Profile

    @property
    def stopping(self) -> list[Finding]:
        """Critical expectations that are not met: none of the batch gets in."""
        return [finding for finding in self.findings if not finding.is_met and finding.severity == "critical"]

    @property
    def warnings(self) -> list[Finding]:
        """Expectations that are not met and do not stop the batch."""
        return [finding for finding in self.findings if not finding.is_met and finding.severity == "warning"]

    @property
    def name(self) -> str:
        """passed, warned or stopped."""
        return "stopped" if self.stopping else "warned" if self.warnings else "passed"
