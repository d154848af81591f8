"""What the loop reports. Each is one fact; ``emit`` must take it without waiting.

Those of which there is one for each run are not frozen: that takes three times as long to make.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from orchestration.loop.ports import Recovered
from orchestration.loop.run import Ending, Failure, Run, RunStatus


@dataclass(slots=True)
class RunAccepted:
    """A run is durable and waits; who submitted it is ``principal``, a cron if there is none."""

    run_id: str
    thread_id: str
    assistant_id: str
    graph_id: str
    priority: int
    source: Literal["api", "mcp", "cron"]
    principal: str | None


@dataclass(frozen=True, slots=True)
class RunsRecovered:
    """A start took up runs that had not ended: so many that waited, and so many that worked.

    Those that worked did so when the service died (``crashed``), or could not be put back at its
    end.
    """

    waiting: int
    working: int
    crashed: bool


@dataclass(frozen=True, slots=True)
class RunRejected:
    """A submission was refused; ``reason`` is the name of the error's class.

    Without a graph it was refused before anybody looked for what it was.
    """

    graph_id: str | None
    reason: str


@dataclass(slots=True)
class RunStarted:
    """An attempt began, after so many seconds of waiting.

    ``trace`` is the W3C context (``traceparent``, ``tracestate``) of who asked for the run.
    """

    run_id: str
    graph_id: str
    attempt: int
    waited: float
    thread_id: str
    priority: int
    trace: Mapping[str, str] | None


@dataclass(slots=True)
class RunEnded:
    """A run has its terminal status, after so many seconds of work in this attempt.

    Of one that was cancelled before its first attempt, that is number 0. ``waited`` and ``trace``
    are what was told as the attempt began, if one did.
    """

    run_id: str
    thread_id: str
    graph_id: str
    status: RunStatus
    attempt: int
    took: float
    error: str | None = None
    waited: float | None = None
    trace: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class RunRequeued:
    """A run stopped for a drain and will go on later."""

    run_id: str
    graph_id: str


@dataclass(frozen=True, slots=True)
class RunCrashed:
    """What executed a run has died, for this many times by now; it goes on if that is not often."""

    run_id: str
    graph_id: str
    crashes: int
    reason: str


@dataclass(frozen=True, slots=True)
class StopRequested:
    """A working run was told to stop."""

    run_id: str
    ending: Ending


@dataclass(frozen=True, slots=True)
class ZombieLeft:
    """A run ignored its cancellation; its slot is free, its code may still be working."""

    run_id: str
    graph_id: str


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """The end of an attempt could not be written: the run was no more its worker's, or gone."""

    run_id: str
    graph_id: str


@dataclass(frozen=True, slots=True)
class StateUnknown:
    """The state that a run left could not be read; its thread shows what it showed before."""

    run_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class WriteFailed:
    """The store could not write; the write is tried again after so many seconds, if at all."""

    run_id: str
    reason: str
    retry_in: float | None


Event = (
    RunAccepted
    | RunsRecovered
    | RunRejected
    | RunStarted
    | RunEnded
    | RunRequeued
    | RunCrashed
    | StopRequested
    | ZombieLeft
    | LeaseLost
    | StateUnknown
    | WriteFailed
)
Emit = Callable[[Event], None]
T = TypeVar("T")


def accepted_event(run: Run) -> RunAccepted:
    """Return what is reported of a run that is durable."""
    user = run.principal["user"] if run.principal else {}
    return RunAccepted(
        run.run_id,
        run.thread_id,
        run.assistant_id,
        run.graph_id,
        run.priority,
        run.source if run.firing is None else "cron",
        user.get("identity"),
    )


def recovery(found: Recovered, failure: Failure) -> Iterator[Event]:
    """Yield what is reported of a start; the dead letters have ended with ``failure``."""
    for run in found.dead:
        ids = run.run_id, run.thread_id, run.graph_id
        yield RunEnded(*ids, RunStatus.ERROR, run.attempt, 0.0, failure.error)
    if total := len(found.runs) + len(found.dead):
        yield RunsRecovered(total - found.working, found.working, found.crashed)


def harmless(emit: Callable[[T], None]) -> Callable[[T], None]:
    """Return ``emit`` such that it never raises: to report a run must not cost the run."""

    def guarded(event: T) -> None:
        try:  # noqa: SIM105 - suppress takes longer than what it guards
            emit(event)
        except Exception:  # noqa: BLE001, S110
            pass

    return guarded
