"""A place in a pool, and the agent that sits on it: one after the other, one task at a time."""

import asyncio
import contextvars
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from agents.agent import Agent, Context, Task
from agents.configuration import Limits, Probing
from agents.errors import AgentLost, AgentsError, TaskFailed, TaskTimeout
from agents.events import Emit, ProbeDone, TaskEnded
from agents.record import Probe, Record
from operations.redaction import redact

_FAILURES = frozenset({"AgentLost", "TaskFailed", "TaskTimeout"})  # that an agent answers for


class SeatState(StrEnum):
    """What a seat does at the moment."""

    WAITING = "waiting"  # until its agent may be started
    STARTING = "starting"
    FREE = "free"
    LEASED = "leased"
    STOPPING = "stopping"  # a cancelled task has not stopped yet
    SUSPECT = "suspect"  # free, but its agent missed a probe
    ENDING = "ending"


class Seat:
    """Works on tasks, takes probes, and knows when its agent has to go.

    ``changed`` is called whenever it may have become free, or may be no longer.
    """

    def __init__(
        self,
        pool: str,
        number: int,
        probing: Probing,
        emit: Emit,
        changed: Callable[["Seat"], None],
    ) -> None:
        self.number = number
        self.agent: Agent | None = None
        self.record = Record()
        self.resting_until: float | None = None  # seconds of the event loop
        self.trouble: str | None = None  # why its last agent went, or did not come
        self.leased = False
        self.retired = False  # nobody sits here once its lease has ended
        self._pool = pool
        self._probing = probing
        self._emit = emit
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[AgentLost | None] = self._loop.create_future()
        self._starting = False
        self._renewing = False
        self._work: asyncio.Task[Any] | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._stubborn: set[asyncio.Task[Any]] = set()
        self._missed = 0  # probes in a row
        self._answered = 0  # probes in a row

    @property
    def state(self) -> SeatState:
        """What it does at the moment."""
        if self.agent is None:
            return SeatState.STARTING if self._starting else SeatState.WAITING
        if self._over.done():
            return SeatState.ENDING
        if self.leased:
            return SeatState.LEASED
        if self._work is not None:
            return SeatState.STOPPING
        return SeatState.SUSPECT if self._missed else SeatState.FREE

    @property
    def over(self) -> "asyncio.Future[AgentLost | None]":
        """Done when the agent, or the wait for one, has to end: with an error, or as asked."""
        return self._over

    # The life of its agent.

    def begin(self) -> None:
        """Note that an agent is being started."""
        self._starting = True
        self._changed(self)

    def vacate(self) -> None:
        """Have nobody sit here, and be ready for the next one."""
        if self._patience is not None:
            self._patience.cancel()
        self.agent = self._work = self._patience = None
        self._missed = self._answered = 0
        self._starting = self._renewing = False
        self._over = self._loop.create_future()
        self._changed(self)

    def seat(self, agent: Agent) -> None:
        """Have ``agent`` sit here; it has started."""
        self.agent = agent
        self.trouble = None
        self._changed(self)

    def lose(self, lost: AgentLost) -> None:
        """Give the agent up at once, whatever it does."""
        if not self._over.done():
            self._over.set_result(lost)
            self._changed(self)

    def retire(self) -> None:
        """Have the seat end with its lease."""
        self.retired = True
        self._settle()

    def renew(self) -> None:
        """Have another agent sit here once the lease has ended."""
        self._renewing = True
        self._settle()

    def _settle(self) -> None:
        """End the agent's time here if that was asked for and it works for nobody."""
        asked = self.retired or self._renewing
        if asked and not self.leased and self._work is None and not self._over.done():
            self._over.set_result(None)
        self._changed(self)

    # Leases and tasks.

    def take(self) -> None:
        """Lend it."""
        self.leased = True
        self._changed(self)

    def give_back(self) -> None:
        """Take it back from whoever it was lent to."""
        self.leased = False
        self._settle()

    async def perform(self, task: Task, context: Context) -> Any:
        """Have the agent do ``task``, within its limits.

        Cancelled, it returns at once; the seat is free again when the agent has stopped.

        Raises:
            TaskRejected, TaskFailed, TaskTimeout, AgentLost: as they say.
        """
        agent = self.agent
        if agent is None or self._over.done() or self._work is not None:
            raise AgentLost("it is gone", started=False)
        context.most_events = agent.limits.events
        began = self._loop.time()
        # A native task, cancelled once: behind it may be user code. It sees no context variable of
        # whoever asks: a graph would take itself for a part of the graph that asks.
        self._work = work = self._loop.create_task(
            agent.invoke(task, context), context=contextvars.Context()
        )
        work.add_done_callback(self._stopped)
        error: str | None = None
        try:
            return await self._result(work, agent.limits, context)
        except BaseException as failure:
            error = type(failure).__name__
            raise
        finally:
            if not work.done():
                self._stop(work, agent.limits.cancel_grace)
            took = self._loop.time() - began
            self.record.worked(took, failed=error in _FAILURES)
            self._changed(self)
            self._emit(
                TaskEnded(
                    self._pool,
                    self.number,
                    task.capability,
                    took,
                    error,
                    context.cut,
                    context.run_id,
                    *_place(context),
                )
            )

    async def _result(self, work: "asyncio.Task[Any]", limits: Limits, context: Context) -> Any:
        over = self._over  # of this agent: there may be another one when it is over
        either: set[asyncio.Future[Any]] = {work, over}
        await asyncio.wait(either, timeout=limits.task_timeout, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            if not over.done():
                raise TaskTimeout(limits.task_timeout)
            lost = over.result() or AgentLost("it was ended")
            raise AgentLost(lost.reason, lost.stderr, started=context.started)
        if work.cancelled():
            raise AgentLost("its work was cancelled", started=context.started)
        failure = work.exception()
        if isinstance(failure, AgentLost):
            raise AgentLost(failure.reason, failure.stderr, started=context.started) from failure
        if isinstance(failure, AgentsError):
            raise failure
        if failure is not None:
            raise TaskFailed(f"{type(failure).__name__}: {failure}") from failure
        if context.error is not None:
            raise context.error
        return work.result()

    def _stop(self, work: "asyncio.Task[Any]", grace: float) -> None:
        work.cancel()
        self._stubborn.add(work)
        if self._work is not work:  # its agent is gone
            return
        lost = AgentLost(f"its task did not stop within {grace:g} s of being cancelled")
        self._patience = self._loop.call_later(grace, self.lose, lost)

    def _stopped(self, work: "asyncio.Task[Any]") -> None:
        self._stubborn.discard(work)
        failure = None if work.cancelled() else work.exception()
        if self._work is not work:  # of an agent that is gone
            return
        self._work = None
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if isinstance(failure, AgentLost):
            self.lose(failure)
        self._settle()

    # Probes.

    async def probe(self) -> None:
        """Have the agent probed."""
        if self.agent is not None:
            await self.agent.probe()

    def probed(self, began: float, took: float, error: str | None) -> None:
        """Count a probe: one missed makes the seat suspect, several in a row lose it."""
        error = None if error is None else redact(error)
        self.record.probes.append(Probe(began, took, error))
        self._emit(ProbeDone(self._pool, self.number, took, error))
        if error is None:
            self._answered += 1
            if self._answered >= self._probing.recoveries:
                self._missed = 0
        else:
            self._answered = 0
            self._missed += 1
            if self._missed >= self._probing.failures:
                self.lose(AgentLost(f"it missed {self._missed} probes in a row: {error}"))
        self._changed(self)


def _place(context: Context) -> tuple[int | None, int | None]:
    """Return the span of a task, and the one that it is a part of."""
    around = None if context.origin is None else context.origin.span
    if context.span is None or around is None:
        return None, None
    return context.span.span_id, around.span_id
