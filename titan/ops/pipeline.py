"""The whole way: load → gate → refresh → test → summary, each step recorded, tried again after what may pass.

The command line runs the steps as they are, a flow wraps each in a task; both call `run`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

import psycopg
import tenacity

from expectations import data_docs, results
from ingest.quarantine import count_by_reason
from ingest.sources.exchange import ExchangeUnreachableError, RateLimitedError
from ingest.sources.files import FileOptions
from ingest.sources.synthetic import EXCHANGE as SYNTHETIC
from titan.core.correlation import run_id
from titan.core.database import Connection, connect
from titan.core.errors import BuildError, DatabaseUnavailableError, ExitCode, GateError, TitanError
from titan.core.log import Progress, event
from titan.core.settings import Settings
from titan.core.trace import span
from titan.ops import status, traces
from titan.ops.alerts import judge, tell_once, tellers
from titan.ops.exchanges import load_exchange
from titan.ops.loads import LoadReport, load_files, load_synthetic
from titan.ops.refresh import Refreshed, refresh
from titan.ops.run_lock import RunLock, held
from titan.ops.subscriptions import load_subscriptions

log = logging.getLogger("titan.pipeline")

RETRY_DELAYS = (2, 10)  # seconds before the second and the third attempt at a step

# What dbt and libpq say when the server went away in the middle of a statement.
_LOST = (
    "server closed the connection",
    "terminating connection",
    "connection to server",
    "connection already closed",
    "could not connect",
    "the database system is",
)


@dataclass(frozen=True)
class Request:
    """What a run loads: files, or the series of config.subscription, or else an exchange's symbols since an instant."""

    command: Literal["run", "pipeline", "poll"] = "run"
    paths: tuple[Path, ...] = ()
    is_subscribed: bool = False
    exchange: str = "binance"
    symbols: tuple[str, ...] = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
    timeframe: str = "1D"
    since: date = date(2020, 1, 1)
    has_tests: bool = True
    wait_seconds: float = 0


@dataclass
class Progressed:
    """How far a run has come: what each step found, how long it took, and what went wrong."""

    request: Request
    report: LoadReport = field(default_factory=LoadReport)
    gate: list[dict[str, Any]] = field(default_factory=list)
    data_docs: Path | None = None
    refreshed: Refreshed | None = None
    tested: Any = None  # titan.ops.dbt.Invocation; importing dbt takes a second
    summary: list[dict[str, Any]] = field(default_factory=list)
    first_query: list[dict[str, Any]] = field(default_factory=list)
    quarantine: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    errors: dict[str, TitanError | psycopg.Error] = field(default_factory=dict)

    @property
    def code(self) -> ExitCode:
        """The exit code: failed if a step did, done in part if rows or files were turned away."""
        has_failed = any(not isinstance(error, GateError) for error in self.errors.values())
        if has_failed or (self.report.failed and not self.report.promoted):
            return ExitCode.FAILED
        has_losses = self.report.quarantined or self.report.failed
        return ExitCode.PARTIAL if has_losses else ExitCode.OK

    @property
    def is_fresh(self) -> bool:
        """Whether the models are up to date, all of them."""
        return self.refreshed is not None and not self.refreshed.failed

    @property
    def outcome(self) -> str:
        """The word for it in ops.run."""
        return {ExitCode.OK: "done", ExitCode.PARTIAL: "done in part"}.get(self.code, "failed")


@dataclass(frozen=True)
class Step:
    """One step: its name, what it does, and whether it is needed at all as things stand."""

    name: str
    action: Callable[[Progressed, Progress], None]
    is_due: Callable[[Progressed], bool] = lambda progressed: True


class Listener:
    """Hears of the steps; this one passes over everything."""

    def prepared(self, settings: Settings) -> None:
        """The database is up."""

    def progress(self, step: Step) -> Any:
        """A context manager that yields where a step reports its progress to."""
        return _Silent()

    def begun(self, step: Step) -> None:
        """A step begins, for the first time."""

    def ended(self, step: Step, progressed: Progressed) -> None:
        """A step has ended, well or not."""


class _Silent:
    def __enter__(self) -> Progress:
        return lambda text: None

    def __exit__(self, *details: object) -> None:
        pass


Attempt = Callable[[Step, Callable[[], None]], None]


def may_pass(error: BaseException) -> bool:
    """Whether trying again may help: the server or the exchange was away. A mistake stays one.

    So does an exchange that asks to be left alone: its own waits are over, and asking again at once makes them longer.
    """
    return not isinstance(error, RateLimitedError) and isinstance(
        error, DatabaseUnavailableError | ExchangeUnreachableError | psycopg.OperationalError
    )


def attempt_here(step: Step, once: Callable[[], None]) -> None:
    """Attempt a step in this process, again after a while where that may help."""
    tenacity.Retrying(
        retry=tenacity.retry_if_exception(may_pass),
        stop=tenacity.stop_after_attempt(1 + len(RETRY_DELAYS)),
        wait=tenacity.wait_chain(*(tenacity.wait_fixed(seconds) for seconds in RETRY_DELAYS)),
        reraise=True,
    )(once)


def prepare() -> Settings:
    """Start the embedded server, if that is the one, and bring the schemas up to date."""
    from titan.server.embedded import EmbeddedServer
    from titan.server.migrate import migrate

    settings = Settings.from_environment()
    if settings.is_embedded:
        EmbeddedServer(settings).start()
    migrate(settings)
    return settings


def run(request: Request, *, attempt: Attempt = attempt_here, listener: Listener | None = None) -> Progressed:
    """Run every step that is due; what went wrong is in the result.

    Raises BusyError when another run is under way, DatabaseUnavailableError when there is no database at all.
    """
    listener = listener or Listener()
    listener.prepared(prepare())
    progressed = Progressed(request)
    with held(request.command, request.wait_seconds) as lock:
        with span(request.command) as traced:
            for step in STEPS:
                if step.is_due(progressed):
                    _take(step, progressed, lock, attempt, listener)
            message = "; ".join(f"{name}: {error}" for name, error in progressed.errors.items()) or None
            traced.add(outcome=progressed.outcome)
            if progressed.outcome == "failed":
                traced.fail(message or progressed.outcome)
        try:
            lock.execute(
                """
                update ops.run set finished_at = clock_timestamp(), outcome = %(outcome)s, message = %(message)s
                where run_id = %(run_id)s
                """,
                outcome=progressed.outcome,
                message=message,
                run_id=run_id(),
            )
        except (TitanError, psycopg.Error) as error:
            progressed.errors.setdefault("summary", error)
    _judge()
    event(log, "run ended", command=request.command, outcome=progressed.outcome, errors=message)
    return progressed


def _judge() -> None:
    """What somebody should look at now, this run among it, is found and told. That it cannot be makes no run a failure."""
    try:
        with connect(autocommit=True) as connection:
            traces.write(connection)
            traces.keep_house(connection)
            judge(connection)
        tell_once(tellers())
    except (TitanError, psycopg.Error) as error:
        event(log, "alerts not told", logging.WARNING, error=str(error).splitlines()[0])


def _take(step: Step, progressed: Progressed, lock: RunLock, attempt: Attempt, listener: Listener) -> None:
    """Attempt a step until it succeeds or there is no use; a failure is kept, and the steps after it decide."""
    listener.begun(step)
    begun = time.monotonic()
    try:
        with listener.progress(step) as progress:
            attempt(step, lambda: _once(step, progressed, lock, progress))
    except (TitanError, psycopg.Error) as error:
        progressed.errors[step.name] = error
    progressed.seconds[step.name] = time.monotonic() - begun
    listener.ended(step, progressed)


def _once(step: Step, progressed: Progressed, lock: RunLock, progress: Progress) -> None:
    """One attempt, recorded in ops.step: under the lock, or not at all. A flow that is run again goes on counting."""
    (number,) = lock.execute(
        """
        insert into ops.step (run_id, step, attempt)
        select %(run_id)s, %(step)s, count(*) + 1 from ops.step where run_id = %(run_id)s and step = %(step)s
        returning attempt
        """,
        run_id=run_id(),
        step=step.name,
    )
    event(log, "step begun", step=step.name, attempt=number)
    begun = time.monotonic()
    try:
        with span(step.name, progressed.request.command, attempt=number):
            step.action(progressed, progress)
    except (TitanError, psycopg.Error) as error:
        event(
            log, "step failed", logging.WARNING, step=step.name, attempt=number, error=str(error), may_pass=may_pass(error)
        )
        _end(lock, step, number, "failed", str(error))
        raise
    _end(lock, step, number, "done", None)
    event(log, "step done", step=step.name, attempt=number, seconds=round(time.monotonic() - begun, 3))


def _end(lock: RunLock, step: Step, attempt: int, outcome: str, message: str | None) -> None:
    lock.execute(
        """
        update ops.step set finished_at = clock_timestamp(), outcome = %(outcome)s, message = %(message)s
        where run_id = %(run_id)s and step = %(step)s and attempt = %(attempt)s
        """,
        outcome=outcome,
        message=message,
        run_id=run_id(),
        step=step.name,
        attempt=attempt,
    )


# --- the steps ------------------------------------------------------------------------------------------------------------


def _load(progressed: Progressed, progress: Progress) -> None:
    request = progressed.request
    with connect() as connection:
        if request.paths:
            progressed.report = load_files(connection, request.paths, FileOptions(), progress)
            if SYNTHETIC in status.exchanges(connection):
                progressed.report.remarks.append(
                    "the synthetic market is here as well; titan delete --synthetic takes it out"
                )
        elif request.is_subscribed:
            progressed.report = load_subscriptions(connection, progress)
        else:
            progressed.report = _load_market(connection, request, progress)


def _load_market(connection: Connection, request: Request, progress: Progress) -> LoadReport:
    """Real candles or made-up ones, never both: what the database holds decides, then whether the exchange answers."""
    held_exchanges = status.exchanges(connection)
    if held_exchanges == {SYNTHETIC}:
        remark = (
            "the database holds the synthetic market, so it stays synthetic "
            "(titan delete --synthetic takes it out; or point PGDATABASE or TITAN_HOME elsewhere, to load real candles)"
        )
        return _load_made_up(connection, remark)
    since = datetime(request.since.year, request.since.month, request.since.day, tzinfo=UTC)
    try:
        return load_exchange(connection, request.exchange, request.symbols, request.timeframe, since, progress)
    except ExchangeUnreachableError as error:
        if held_exchanges:
            return LoadReport(remarks=[f"{error}; going on with the candles that are here"])
        return _load_made_up(connection, f"{error}: using the synthetic market instead")


def _load_made_up(connection: Connection, remark: str) -> LoadReport:
    report = load_synthetic(connection, seed=7, symbol_count=10, bar_count=10_000, timeframe="1h")
    report.remarks.append(remark)
    return report


def _gate(progressed: Progressed, progress: Progress) -> None:
    """Say what the gate found of the batches of this run; pages of those that it stopped."""
    with connect() as connection:
        progressed.gate = results.of_batches(connection, progressed.report.batch_ids)
        stopped = [row["batch_id"] for row in progressed.gate if row["verdict"] == "stopped"]
        if not stopped:
            return
        progress("writing data docs")
        try:
            progressed.data_docs = data_docs.write(
                connection, data_docs.default_directory() / str(run_id()), batch_ids=stopped
            )
        except TitanError as error:  # what the gate found stands without its pages
            progressed.report.remarks.append(str(error))
    raise GateError(
        f"the gate stopped {len(stopped)} of {len(progressed.gate)} batches",
        hint=f"data docs: {progressed.data_docs}" if progressed.data_docs else "titan gate list --stopped",
        batch_id=stopped[0],
    )


def _refresh(progressed: Progressed, progress: Progress) -> None:
    try:
        with connect(autocommit=True) as connection:
            progressed.refreshed = refresh(connection, progress)
    except BuildError as error:
        raise _lost_or(error) from error
    if failure := progressed.refreshed.failure():
        raise _lost_or(failure)


def _test(progressed: Progressed, progress: Progress) -> None:
    from titan.ops.dbt import invoke

    try:
        progressed.tested = invoke("test", on_start=progress)
    except BuildError as error:
        raise _lost_or(error) from error
    if failure := progressed.tested.failure():
        raise _lost_or(failure)


def _lost_or(error: BuildError) -> TitanError:
    """The same error, unless it says that the server went away: then it is worth another attempt."""
    if any(text in str(error) for text in _LOST):
        return DatabaseUnavailableError(f"the database went away: {error}", hint="is the server up?")
    return error


def _summary(progressed: Progressed, progress: Progress) -> None:
    with connect() as connection:
        progressed.summary = status.summary(connection)
        progressed.first_query = status.first_query(connection)
        progressed.quarantine = count_by_reason(connection)


def _has_loaded(progressed: Progressed) -> bool:
    return "load" not in progressed.errors and not (progressed.report.failed and not progressed.report.promoted)


STEPS = (
    Step("load", _load),
    Step("gate", _gate, lambda progressed: "load" not in progressed.errors),
    Step("refresh", _refresh, _has_loaded),
    Step("test", _test, lambda progressed: progressed.request.has_tests and progressed.is_fresh),
    Step("summary", _summary, lambda progressed: progressed.is_fresh),
)
