"""The port: what an agent is to the pool that keeps it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from agents.configuration import Limits
from agents.errors import AgentLost, TaskFailed
from agents.network.message import Origin
from operations.json_text import TOO_LARGE
from operations.telemetry.traceparent import Span

Lost = Callable[[AgentLost], None]
Take = Callable[[Any], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One piece of work. Its input is JSON, and so is what comes of it."""

    task_id: str
    capability: str
    input: Any
    idempotent: bool = False  # whether it may be done a second time


@dataclass(slots=True, kw_only=True)
class Context:
    """What surrounds a task while an agent works on it."""

    thread_id: str | None = None
    run_id: str | None = None
    origin: Origin | None = None  # of the messages that led to it
    span: Span | None = None  # of the task; what the agent tells of its work belongs in it
    take: Take = field(default=lambda _: None)  # gets each event
    most_events: int = 0  # 0: no cap

    started: bool = False  # set by the agent when the task may have its first effect
    published: int = 0
    error: BaseException | None = None  # of an event; ``take`` gets no more then

    def publish(self, event: Any, *, large: bool = False) -> None:
        """Pass on one event of the task; those beyond the cap are only counted.

        One with a ``large`` integer, which has lost its digits, fails the task.
        """
        self.published += 1
        if self.error is not None or (self.most_events and self.published > self.most_events):
            return
        if large:
            self.error = TaskFailed(f"its event cannot be taken: {TOO_LARGE}")
            return
        try:
            self.take(event)
        except BaseException as error:  # noqa: BLE001 - it is user code; whoever asks fails with it
            self.error = error

    @property
    def trace(self) -> dict[str, str]:
        """The W3C trace context for what works on the task; nothing if it is in no trace."""
        return {} if self.span is None else self.span.headers()

    @property
    def cut(self) -> int:
        """How many events were beyond the cap."""
        return max(0, self.published - self.most_events) if self.most_events else 0


class Agent(Protocol):
    """An executor that lives longer than one task, and works on one task at a time.

    It is started once and closed once; after that another one takes its seat.
    """

    @property
    def capabilities(self) -> frozenset[str]:
        """What it can be asked to do; known once it has started."""
        ...

    @property
    def limits(self) -> Limits:
        """What one task may take."""
        ...

    async def start(self, lost: Lost) -> None:
        """Return once it can take a task; call ``lost`` if it ends by itself after that.

        Raises:
            StartFailed: it cannot.
        """
        ...

    async def invoke(self, task: Task, context: Context) -> Any:
        """Do ``task`` and return its result, publishing events to ``context`` meanwhile.

        Cancelled, it returns when the work has stopped.

        Raises:
            TaskRejected: nothing was done.
            TaskFailed: the agent said no; it can take the next task.
            AgentLost: the agent can take no more tasks.
        """
        ...

    async def probe(self) -> None:
        """Return if it can be counted on; a task that is under way is not disturbed.

        Raises:
            Exception: it cannot.
        """
        ...

    async def aclose(self) -> None:
        """End it and all that it started, whatever state it is in."""
        ...
