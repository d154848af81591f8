"""The tasks of a run, and of what is open beside the service. None of them ends the process."""

import asyncio
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import CoroutineType
from typing import Any, Protocol, TypeVar

from langchain_core.runnables.config import var_child_runnable_config

from operations.telemetry.traceparent import Span
from orchestration.graphs.node_threads import NodeExit
from orchestration.loop.run import Run

T = TypeVar("T")


class Work(Protocol):
    """What a task is done for."""

    @property
    def run_id(self) -> str | None:
        """The run, if it is for one."""
        ...

    @property
    def thread_id(self) -> str | None:
        """The thread of that run."""
        ...

    @property
    def span(self) -> Span | None:
        """Its span, if it is done in a trace."""
        ...


_work: ContextVar[Work | None] = ContextVar("work", default=None)
_apart: ContextVar[bool] = ContextVar("apart", default=False)
_saves: ContextVar[set[asyncio.Task[Any]]] = ContextVar("saves")
_seen: ContextVar["_Seen"] = ContextVar("seen")
# The tasks in which LangGraph puts checkpoints and what nodes wrote; a limit on concurrency is
# around all of its tasks.
_SAVING = frozenset({"_checkpointer_put_after_previous", "aput_writes", "gated"})


@dataclass(slots=True)
class _Seen:
    subgraph: bool = False


class GuestTaskExit(RuntimeError):
    """A task of what is open beside the service asked for the end of the process."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"{error!r} was raised, which cannot end the service")


def contain_exits(loop: asyncio.AbstractEventLoop) -> None:
    """Have `sys.exit` in a task of a run fail that task; asyncio would end the server with it.

    So also in one that was made `apart`.
    """
    loop.set_task_factory(_make_task)


@contextmanager
def apart() -> Generator[None]:
    """Have all tasks that are made in here, and by those, end alone."""
    token = _apart.set(True)
    try:
        yield
    finally:
        _apart.reset(token)


def enter_run(work: Work) -> None:
    """Count the present task and those it creates among the tasks of a run."""
    _work.set(work)
    _saves.set(set())
    _seen.set(_Seen())


def note_subgraph() -> None:
    """Note that a graph begins within the graph of a run, wherever in it it is called."""
    if (seen := _seen.get(None)) is not None:
        seen.subgraph = True


def had_subgraph() -> bool:
    """Whether one has begun in the present run."""
    return _seen.get().subgraph


async def saved() -> None:
    """Return once everything is put that LangGraph began to put in this run.

    It waits for that itself, unless it is cancelled while it does: then it leaves that behind.
    """
    while saves := _saves.get():
        await asyncio.wait(saves)


def present_work() -> Work | None:
    """Return what is worked on here: a run, an agent's task, or nothing of the kind."""
    return _work.get()


def is_apart() -> bool:
    """Return whether what is open beside the service works here, such as a route of its own."""
    return _apart.get()


def whereabouts() -> dict[str, Any]:
    """Return what is worked on here, for the log: the run, its attempt and trace, the node."""
    work = _work.get()
    if work is None:
        return {}
    found: dict[str, Any] = {"run_id": work.run_id, "thread_id": work.thread_id}
    if isinstance(work, Run):
        found["attempt"] = work.attempt
    if (span := work.span) is not None:
        found |= span.named()
    config = var_child_runnable_config.get() or {}
    if (node := config.get("metadata", {}).get("langgraph_node")) is not None:
        found["node"] = node
    return found


def _make_task(
    loop: asyncio.AbstractEventLoop,
    code: Coroutine[Any, Any, T] | Generator[Any, None, T],
    **given: Any,
) -> asyncio.Task[T]:
    of_run = _work.get() is not None
    if not (of_run or _apart.get()) or not (
        type(code) is CoroutineType or isinstance(code, Coroutine)
    ):
        return asyncio.Task(code, loop=loop, **given)
    if not of_run:
        return asyncio.Task(_ContainedGuest(code), loop=loop, **given)
    task = asyncio.Task(_Contained(code), loop=loop, **given)
    if getattr(code, "__name__", None) in _SAVING:
        saves = _saves.get()
        saves.add(task)
        task.add_done_callback(saves.discard)
    return task


class _Contained(Coroutine[Any, Any, T]):
    """A coroutine whose exits are errors like any other.

    Not an ``async def`` around it: cancelled before its start, that would never await the inner.
    """

    __slots__ = ("_inner",)
    _exits: tuple[type[BaseException], ...] = (SystemExit, KeyboardInterrupt)
    _error: type[Exception] = NodeExit

    def __init__(self, inner: Coroutine[Any, Any, T]) -> None:
        self._inner = inner

    def send(self, value: Any) -> Any:
        try:
            return self._inner.send(value)
        except self._exits as error:
            raise self._error(error) from error

    def throw(self, *given: Any) -> Any:
        try:
            return self._inner.throw(*given)
        except self._exits as error:
            raise self._error(error) from error
        finally:
            del given  # the error's traceback has this frame: a circle, left to the collector

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)  # anyio cancels by `cr_frame` and the like

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return self._inner.__await__()


class _ContainedGuest(_Contained[T]):
    """One of what is open beside the service; a signal at the start is none of its own."""

    __slots__ = ()
    _exits = (SystemExit,)
    _error = GuestTaskExit
