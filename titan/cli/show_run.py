"""A run as a person watches it: a heading for each step and what came of it."""

from __future__ import annotations

from contextlib import AbstractContextManager

from titan.cli import output
from titan.core.errors import TitanError
from titan.core.log import Progress
from titan.core.settings import Settings
from titan.ops import status
from titan.ops.pipeline import Listener, Progressed, Step
from titan.ops.report import gate_counts

HEADINGS = {"load": "Load", "gate": "Gate", "refresh": "Refresh", "test": "Test", "summary": "Summary"}


class Shown(Listener):
    """Prints every step to stdout."""

    def prepared(self, settings: Settings) -> None:
        """The server in use."""
        self._settings = settings
        _heading("Database")
        output.out.print(settings.url, markup=False)

    def progress(self, step: Step) -> AbstractContextManager[Progress]:
        """A line that is gone when the step is over."""
        return output.progress(step.name, is_logged=False)

    def begun(self, step: Step) -> None:
        """Its heading."""
        _heading(HEADINGS[step.name])

    def ended(self, step: Step, progressed: Progressed) -> None:
        """What came of it, and what went wrong."""
        seconds = progressed.seconds[step.name]
        if step.name == "load":
            output.show_load(progressed.report)
        elif step.name == "gate":
            output.out.print(gate_counts(progressed) if progressed.gate else "no batch to judge")
        elif step.name == "refresh" and progressed.refreshed:
            output.show_refresh(progressed.refreshed)
        elif step.name == "test" and progressed.tested:
            output.show_build(progressed.tested, seconds)
        elif step.name == "summary":
            self._show_summary(progressed)
        if error := progressed.errors.get(step.name):
            output.out.print(f"{step.name} failed: {str(error).strip().splitlines()[0]}", style="red", markup=False)
            if isinstance(error, TitanError) and error.hint:
                output.out.print(f"  {error.hint}", markup=False)

    def _show_summary(self, progressed: Progressed) -> None:
        output.table(progressed.summary, is_report=True)
        if progressed.quarantine:
            output.out.print("\nraw.quarantine (titan quarantine list):")
            output.table(progressed.quarantine, is_report=True)
        if progressed.request.command == "poll":
            return
        output.out.print("\nA first query:")
        output.out.print(f'  psql "{self._settings.url}" -c "{status.FIRST_QUERY}"\n', markup=False)
        output.table(progressed.first_query, is_report=True)
        output.out.print("\nLook at it: titan serve, and http://127.0.0.1:8000", markup=False)
        output.out.print(f"Connect with: {self._settings.url}", markup=False)


def _heading(text: str) -> None:
    output.out.print(f"\n{text}", style="bold")
