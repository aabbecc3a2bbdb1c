"""`python -m tests.quick_titan …` is `titan …`, but dbt tests one model alone: for tests of runs in their own process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from titan.ops import dbt


def quickly(invoke: Callable[..., dbt.Invocation]) -> Callable[..., dbt.Invocation]:
    """`dbt.invoke` whose tests are those of the candles."""

    def invoke_quickly(command: str, arguments: Sequence[str] = (), **options: Any) -> dbt.Invocation:
        selection = ["--select", "candle"] if command == "test" else []
        return invoke(command, [*arguments, *selection], **options)

    return invoke_quickly


if __name__ == "__main__":
    from titan.cli.main import main

    dbt.invoke = quickly(dbt.invoke)
    main()
