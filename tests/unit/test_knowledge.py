"""What was known then, while loads go on."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from titan.gateway.answers import Answer
from titan.gateway.knowledge import ATTEMPTS, ask_as_of
from titan.gateway.problems import ProblemError

MOMENT = datetime(2024, 6, 1, tzinfo=UTC)
KNOWN = {
    "instrument_id": 1, "symbol": "A", "batch_id": 7, "known_until": MOMENT, "first_known_at": MOMENT, "changed_at": None,
    "is_adjusted": False, "edited": None,
}  # fmt: skip


class Loading:
    """Answers of a warehouse into which so many batches are loaded, each between two statements."""

    def __init__(self, batches: int) -> None:
        self.version, self.left = 0, batches

    async def ask(
        self, name: str, parameters: dict[str, Any], as_of: datetime | None = None, columns: tuple[str, ...] = ()
    ) -> Answer:
        if name == "known":
            return Answer(str(self.version), MOMENT, [(column, "text") for column in KNOWN], [tuple(KNOWN.values())])
        if self.left:
            self.version, self.left = self.version + 1, self.left - 1
        return Answer(str(self.version), MOMENT, [("is_whole", "bool")], [(not self.left,)])


def asked(batches: int) -> Answer:
    return asyncio.run(ask_as_of(Loading(batches), MOMENT, [1], "summary", {}))  # type: ignore[arg-type]


def test_an_answer_is_of_the_version_that_was_looked_up() -> None:
    assert asked(0).rows == [(True,)]
    assert asked(ATTEMPTS - 1).rows == [(True,)]
    with pytest.raises(ProblemError, match="between two statements"):
        asked(ATTEMPTS)
