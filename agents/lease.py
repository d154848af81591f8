"""A lease: the right to one agent, until it is given back."""

from collections.abc import Callable
from contextvars import Context as Variables
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from uuid_utils import uuid7

from agents.agent import Context, Task
from agents.errors import AgentLost
from agents.network.message import Origin
from agents.seat import Seat
from agents.waiting import Request
from operations.telemetry.traceparent import Span

if TYPE_CHECKING:
    from agents.pool import AgentPool

TRIES = 3  # of a task whose agents are lost, where trying again is safe

OnEvent = Callable[[Any], None]


class Lease:
    """One agent, lent. If it is lost, another of its pool takes its place."""

    def __init__(
        self,
        pool: "AgentPool",
        request: Request,
        seat: Seat,
        run_id: str | None,
        origin: Origin | None,
    ) -> None:
        self._pool = pool
        self._request = request
        self._seat: Seat | None = seat
        self._run_id = run_id
        self._origin = origin
        self._working = False
        self._over = False

    @property
    def pool(self) -> str:
        """The name of the pool that the agent is of."""
        return self._pool.name

    @property
    def capability(self) -> str:
        """What the agent was lent for."""
        return self._request.capability

    async def invoke(
        self, given: Any, *, idempotent: bool = False, on_event: OnEvent | None = None
    ) -> Any:
        """Have the agent do one task with the input ``given``, and return its result.

        ``on_event`` gets what the agent says meanwhile. If the agent is lost, another one does the
        task, three in all, where that is safe: the task is ``idempotent``, or it had not started.

        Raises:
            TaskRejected, TaskFailed, TaskTimeout: the task was not done, or not to its end.
            AgentLost: the agent was lost, and nobody can say how far it came.
            UnknownCapability, TooManyWaiting, LeaseTimeout, PoolClosed: as ``lease`` does.
            RuntimeError: the lease has ended, or does another task.
        """
        if self._working:
            raise RuntimeError("a lease does one task at a time; take another one beside it")
        task = Task(
            task_id=str(uuid7()), capability=self.capability, input=given, idempotent=idempotent
        )
        self._working = True
        try:
            return await self._done(task, on_event)
        finally:
            self._working = False

    def end(self) -> None:
        """Give the agent back, and take no other one."""
        self._over = True
        self._give_back()

    def _give_back(self) -> None:
        seat, self._seat = self._seat, None
        if seat is not None:
            self._pool.release(seat)

    async def _done(self, task: Task, on_event: OnEvent | None) -> Any:
        tries = 1
        seat = await self._seated()
        while True:
            context = Context(
                thread_id=self._request.thread_id,
                run_id=self._run_id,
                origin=self._origin,
                span=self._span(f"{task.task_id}/{tries}"),
            )
            if on_event is not None:
                # As part of whoever asks, although it is called from elsewhere: a stream writer of
                # LangGraph's finds its run in a context variable.
                context.take = partial(_heard, copy_context(), on_event)
            try:
                return await seat.perform(task, context)
            except AgentLost as lost:
                self._give_back()
                if self._over or tries == TRIES or (lost.started and not task.idempotent):
                    raise
                seat = await self._seated()  # here: if none comes, the error tells of the loss
            tries += 1

    def _span(self, name: str) -> Span | None:
        around = None if self._origin is None else self._origin.span
        return None if around is None else around.part(name)

    async def _seated(self) -> Seat:
        """Return the seat, another one if it was lost; who lost one goes before later arrivals."""
        if self._seat is None and not self._over:
            self._seat = await self._pool.acquire(self._request)
            if self._over:  # meanwhile: nobody else would give it back
                self._give_back()
        if self._seat is None:
            raise RuntimeError("the lease has ended; its agent is lent for its block only")
        return self._seat


def _heard(variables: Variables, on_event: OnEvent, event: Any) -> None:
    variables.run(on_event, event)
