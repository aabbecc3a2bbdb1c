"""What was known then (`as_of=`): what the marts have, cut where knowledge ended, if nothing of it is another today."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from titan.gateway.answers import Answer, Answers
from titan.gateway.problems import ProblemError

ATTEMPTS = 5  # while loads go on between the two statements


async def ask_as_of(
    answers: Answers,
    moment: datetime | None,
    instruments: list[int],
    name: str,
    parameters: dict[str, Any],
    columns: tuple[str, ...] = (),
) -> Answer:
    """The answer of a statement as of now, or as of a moment.

    No row of a mart depends on candles that close after it, so a row is what it was then if every candle up to there is.
    Whether that is so is looked up in the candles' batches, of the same version of the data as the answer.

    Raises ProblemError where nothing was known then, and where something of it was revised, added, deleted or configured
    otherwise since: an answer of today would be silently wrong.
    """
    if moment is None:
        return await answers.ask(name, parameters, columns=columns)
    for _ in range(ATTEMPTS):
        known = await answers.ask("known", {"moment": moment, "instruments": instruments})
        until = _known_until(known.records(), moment)
        cut = {"until": min(parameters["until"], until)} if "until" in parameters else {}
        found = await answers.ask(name, parameters | cut, until, columns)
        if found.data_version == known.data_version:
            found.as_of = moment
            return found
    raise ProblemError(
        503,
        "The data change all the time",
        f"{ATTEMPTS} times between two statements",
        hint="try again",
        headers={"Retry-After": "1"},
    )


def _known_until(series: list[dict[str, Any]], moment: datetime) -> datetime:
    """The last close that was known of any of the series. Raises ProblemError."""
    at = moment.isoformat()
    known = [one["known_until"] for one in series if one["known_until"] is not None]
    if not known:
        first = series[0]["first_known_at"] if series else None
        told = f"; the first candles came at {first.isoformat()}" if first else ""
        raise ProblemError(
            404, "Nothing was known then", f"as of {at} there was no candle of it{told}", hint="as_of after that"
        )
    until: datetime = max(known)
    for one in series:
        name, more = one["symbol"], {"batch": one["batch_id"]}
        hint = f"the candles as they stood then are raw.ohlcv_as_of({one['batch_id']})"
        if one["edited"]:
            told = f"{one['edited']} was edited after {at}"
            raise ProblemError(409, "Configured otherwise since", told, hint=f"titan audit list tells how; {hint}", **more)
        if one["changed_at"] and one["changed_at"] <= until:
            told = (
                f"{name}: its candle that closes at {one['changed_at'].isoformat()} was revised, added or deleted after {at}"
            )
            raise ProblemError(409, "Another today", told, hint=hint, **more)
        if one["is_adjusted"]:
            told = f"{name}: a split or dividend came or went after {at}, and its prices with it"
            raise ProblemError(409, "Adjusted since", told, hint=hint, **more)
    return until
