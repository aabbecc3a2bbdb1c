"""The flows `pipeline` and `poll`. The steps and their order are titan.ops.pipeline's; here they become tasks.

A flow's run id is that of everything it does: load batches, builds, gate results and logs carry it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "titan")
os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")  # what is said before and after the run
if not os.environ.get("PREFECT_API_URL"):
    os.environ.pop("PREFECT_API_URL", None)  # set to nothing, half of Prefect takes it for a server's address
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")  # a busy machine takes longer than its 20

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.context import get_run_context
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled, Completed, Failed

from titan.core import correlation
from titan.core.errors import BusyError, ExitCode, TitanError
from titan.ops import report
from titan.ops.pipeline import RETRY_DELAYS, Progressed, Request, Step, may_pass, run

SKIPPED, PARTIAL = "Skipped", "Partial"


@flow(name="pipeline", description="Load, gate, build, test, summary: the whole way.")
def pipeline(
    paths: list[str] | None = None,
    is_subscribed: bool = True,
    exchange: str = "binance",
    symbols: list[str] | None = None,
    timeframe: str = "1D",
    since: date = date(2020, 1, 1),
    wait_seconds: float = 300,
) -> State[Any]:
    """Load files, or the series of config.subscription, or an exchange's symbols; then build, test and sum up.

    It waits for another run to end, so that a poll does not cost it its turn.
    """
    request = Request(
        "pipeline",
        paths=tuple(Path(path) for path in paths or []),
        is_subscribed=is_subscribed,
        exchange=exchange,
        symbols=tuple(symbols or Request.symbols),
        timeframe=timeframe,
        since=since,
        wait_seconds=wait_seconds,
    )
    return _run(request)


@flow(name="poll", description="Load what is new of the series of config.subscription, and build.")
def poll() -> State[Any]:
    """Keep the series of config.subscription up to date; gives way to a run that is under way."""
    return _run(Request("poll", is_subscribed=True, has_tests=False))


def check_server() -> None:
    """Raise TitanError when the server that PREFECT_API_URL names does not answer; without one, Prefect starts its own."""
    url = PREFECT_API_URL.value()
    if url and (error := get_client(sync_client=True).api_healthcheck()) is not None:
        raise TitanError(
            f"the Prefect server at {url} does not answer: {error}",
            hint="start it, unset PREFECT_API_URL to do with a temporary one, or run without --prefect",
        )


def _run(request: Request) -> State[Any]:
    with correlation.run(_flow_run_id()):
        try:
            progressed = run(request, attempt=_as_task)
        except BusyError as error:
            return Cancelled(name=SKIPPED, message=str(error))
        except TitanError as error:
            return Failed(message=str(error))
        create_markdown_artifact(
            key=f"titan-{request.command}", markdown=report.markdown(progressed), description=progressed.outcome
        )
        return _state(progressed)


def _flow_run_id() -> UUID:
    context: Any = get_run_context()
    return UUID(str(context.flow_run.id))


def _as_task(step: Step, once: Callable[[], None]) -> None:
    task(
        name=step.name,
        retries=len(RETRY_DELAYS),
        retry_delay_seconds=list(RETRY_DELAYS),
        retry_condition_fn=_is_worth_retrying,
        cache_policy=NO_CACHE,
    )(once)()


def _is_worth_retrying(_task: Any, _run: Any, state: State[Any]) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, BaseException) and may_pass(error)


def _state(progressed: Progressed) -> State[Any]:
    told = "; ".join(f"{name}: {error}" for name, error in progressed.errors.items())
    failed = "; ".join(f"{origin}: {error}" for origin, error in progressed.report.failed)
    if progressed.code == ExitCode.FAILED:
        return Failed(message=told or failed)
    if progressed.code == ExitCode.PARTIAL:
        return Completed(name=PARTIAL, message=told or failed or f"{progressed.report.quarantined} rows in quarantine")
    return Completed(message="done")
