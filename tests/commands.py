"""The command line, called in this process: what a person or a pipe would get, without paying each time for its imports."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from titan.cli import main as cli
from titan.core import correlation

TITAN = str(Path(sys.executable).with_name("titan"))
QUICK_TITAN = (sys.executable, "-m", "tests.quick_titan")


def titan(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The exit code and the output of `titan` with these arguments; stdout and stderr are no terminals."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["titan", *arguments])
        patch.setattr(correlation, "_current", None)
        for name, value in environment.items():
            patch.setenv(name, value)
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
