"""The runs of a worker process: executed here, followed in the server."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson

from orchestration.graphs.executor import LangGraphExecutor
from orchestration.loop.errors import Drained
from orchestration.loop.run import Drain, Ending, Run, ThreadState
from orchestration.loop.streams import RunStream
from orchestration.loop.threadlog import ThreadLog
from orchestration.processes.server import Server

# What a worker process is told of a run; all else is the server's business.
TOLD = (
    "run_id",
    "thread_id",
    "assistant_id",
    "graph_id",
    "kwargs",
    "metadata",
    "thread_metadata",
    "created_at",
    "priority",
    "ephemeral",
    "attempt",
    "crashes",
    "principal",
    "arrived",
    "started",
)


class ToldStream(RunStream):
    """The events of a run, told to the server if somebody listens there."""

    __slots__ = ("_held", "_listened", "_run_id", "_server")

    def __init__(self, server: Server, run_id: str, *, listened: bool) -> None:
        super().__init__()
        self._server = server
        self._run_id = run_id
        self._listened = listened
        self._held: asyncio.Future[None] | None = None

    @property
    def wanted(self) -> bool:
        """Whether somebody listens, as far as is known here."""
        return self._listened

    @wanted.setter
    def wanted(self, listened: bool) -> None:
        self._listened = listened

    @property
    def full(self) -> bool:
        """Whether the run is to wait before it says more."""
        return self._held is not None or self._server.wire.full

    async def room(self) -> None:
        """Return once the server can take more."""
        if self._held is not None:
            await asyncio.wait({self._held})
        await self._server.wire.room()

    def publish(self, name: str, data: bytes) -> None:
        """Tell of an event."""
        self._server.tell("event", self._run_id, name, data)

    def hold(self) -> None:
        """Have the run wait before it says more."""
        if self._held is None:
            self._held = asyncio.get_running_loop().create_future()

    def resume(self) -> None:
        """Let the run go on."""
        if self._held is not None:
            self._held.set_result(None)
            self._held = None


class ToldLog(ThreadLog):
    """The log of a thread, written in the server."""

    def __init__(self, server: Server, run_id: str) -> None:
        super().__init__()
        self._tell = partial(server.tell, "log", run_id)

    def lifecycle(
        self,
        namespace: tuple[str, ...],
        event: str,
        *,
        graph_name: str | None = None,
        error: str | None = None,
        cause: Mapping[str, Any] | None = None,
    ) -> None:
        """Tell what becomes of a subgraph."""
        self.note(namespace, event, graph_name)
        how = {"graph_name": graph_name, "error": error, "cause": cause}
        self._tell("lifecycle", namespace, event, how)

    def publish(
        self,
        method: str,
        namespace: tuple[str, ...],
        data: bytes,
        *,
        node: str | None = None,
        channel: str | None = None,
    ) -> None:
        """Tell of an event."""
        self._tell("publish", namespace, method, {"data": data, "node": node, "channel": channel})

    def ask(self, interrupt_id: str) -> bool:
        """Tell of a question that was not asked yet."""
        new = super().ask(interrupt_id)
        if new:
            self._tell("ask", (), interrupt_id, {})
        return new


class _Work:
    """A run that is executed, and what it was told meanwhile."""

    def __init__(self, run: Run, stream: ToldStream) -> None:
        self.run = run
        self.stream = stream
        self.task: asyncio.Task[ThreadState] | None = None
        self._drain: Drain | None = None
        self._draining = False

    def drainable(self, drain: Drain) -> None:
        """Take what asks for a drain, and ask if that was asked before."""
        self._drain = drain
        if self._draining:
            drain()

    def drain(self) -> None:
        """Have the graph stop at its next super-step."""
        self._draining = True
        if self._drain is not None:
            self._drain()


class ChildRuns:
    """Executes what the server sends."""

    def __init__(self, executor: LangGraphExecutor, server: Server) -> None:
        self._executor = executor
        self._server = server
        self._work: dict[str, _Work] = {}

    def execute(self, run_id: str, text: bytes, listened: bool, logged: bool) -> None:  # noqa: FBT001 - as it comes
        """Begin a run."""
        stream = ToldStream(self._server, run_id, listened=listened)
        log = ToldLog(self._server, run_id) if logged else None
        run = Run(**orjson.loads(text), stream=stream, log=log)
        work = self._work[run_id] = _Work(run, stream)
        execution = self._executor.execute(run, work.drainable, _begun)
        work.task = asyncio.create_task(execution)
        work.task.add_done_callback(partial(self._ended, run_id))

    def cancel(self, run_id: str, ending: str) -> None:
        """Stop a run, for that reason."""
        work = self._work.get(run_id)
        if work is not None and work.task is not None:
            work.run.ending = Ending(ending)
            work.task.cancel()

    def drain(self, run_id: str) -> None:
        """Have a run stop at its next super-step."""
        if (work := self._work.get(run_id)) is not None:
            work.drain()

    def listen(self, run_id: str, listened: bool) -> None:  # noqa: FBT001 - as it comes
        """Learn whether somebody listens to a run."""
        if (work := self._work.get(run_id)) is not None:
            work.stream.wanted = listened

    def hold(self, run_id: str) -> None:
        """Have a run wait before it says more."""
        if (work := self._work.get(run_id)) is not None:
            work.stream.hold()

    def resume(self, run_id: str) -> None:
        """Let a run go on that waits."""
        if (work := self._work.get(run_id)) is not None:
            work.stream.resume()

    def _ended(self, run_id: str, task: "asyncio.Task[ThreadState]") -> None:
        del self._work[run_id]
        if task.cancelled():
            self._server.tell("cancelled", run_id)
        elif (error := task.exception()) is None:
            state = task.result()
            said = (state.values, state.interrupts, state.interrupted, state.output)
            try:
                self._server.tell("done", run_id, *said)
            except ValueError as too_long:
                self._failed(run_id, too_long)
        elif isinstance(error, Drained):
            self._server.tell("drained", run_id)
        else:
            self._failed(run_id, error)

    def _failed(self, run_id: str, error: BaseException) -> None:
        failure = self._executor.describe(error)
        self._server.tell("failed", run_id, failure.error, failure.message)


def _begun(_: Run) -> None:
    """Do nothing: its time is kept in the server."""
