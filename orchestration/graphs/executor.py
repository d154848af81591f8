"""How a run's graph is executed: LangGraph behind the loop's executor port."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import asdict, replace
from inspect import getmro
from typing import Any, Literal, Protocol

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig
from langgraph.channels import UntrackedValue
from langgraph.errors import GraphDrained, ParentCommand
from langgraph.runtime import RunControl
from langgraph.types import Command

from operations.surrogates import without_surrogates
from orchestration.graphs.arguments import (
    CLIENT_KEY,
    Call,
    Graph,
    checkpointed,
    prepare,
    run_config,
    thread_config,
)
from orchestration.graphs.breakpoints import has_breakpoints
from orchestration.graphs.events import RunEvents
from orchestration.graphs.jsontext import dumps
from orchestration.graphs.node_tasks import enter_run, had_subgraph, saved
from orchestration.graphs.node_threads import NodeExit
from orchestration.graphs.own_store import Namespace
from orchestration.graphs.resumption import find_place, may_have_begun
from orchestration.graphs.snapshots import read_state, thread_state, with_interrupts
from orchestration.graphs.thread_events import MESSAGE_EVENTS, ThreadEvents
from orchestration.graphs.users import namespace_for
from orchestration.loop.errors import Drained
from orchestration.loop.run import Drain, Failure, Run, ThreadState

MESSAGE_LIMIT = 16_384  # characters of an error's message that are kept

_DEFAULT_MODES = ("values",)


class GraphSource(Protocol):
    """Where graphs come from, ready: with their checkpointer and the store as ``owner`` sees it."""

    def fixed(self, name: str, *, checkpointed: bool, owner: Namespace) -> Graph | None:
        """Return a graph that needs no making; None if one has to be opened."""
        ...

    def open(
        self,
        name: str,
        config: RunnableConfig,
        *,
        checkpointed: bool,
        owner: Namespace,
        access: Literal["threads.create_run", "threads.read"] = ...,
        context: Any = None,
    ) -> AbstractAsyncContextManager[Graph]:
        """Make a graph for one use.

        Raises:
            LookupError: there is no graph of that name.
        """
        ...


class LangGraphExecutor:
    """Executes runs on LangGraph graphs; holds nothing of a run."""

    def __init__(
        self,
        graphs: GraphSource,
        fence: Callable[[str], Callable[[], None]],
        client: Callable[[Run], Any] | None = None,
        watch: Callable[[Run], BaseCallbackHandler] | None = None,
    ) -> None:
        self._graphs = graphs
        self._fence = fence
        self._client = client  # makes what the nodes of a run find in their config
        self._watch = watch  # makes what hears of the steps of a run

    async def execute(
        self, run: Run, drainable: Callable[[Drain], None], begun: Callable[[Run], None]
    ) -> ThreadState:
        """Drive the run's graph to its end or to an interrupt, publishing to ``run.stream``.

        To be called in a native task, which is cancelled at most once.

        Raises:
            Drained: the graph stopped at a super-step as asked.
            NotSerialisable: the values of the graph have no JSON text.
            Exception: whatever the graph raised; it was published as ``error``.
        """
        begun(run)
        enter_run(run)
        if run.stream.wanted:
            head = {"run_id": run.run_id, "attempt": run.attempt}
            run.stream.publish("metadata", dumps(head))
            await asyncio.sleep(0)  # the reader's turn: it has this while the graph begins
        try:
            return await self._execute(run, drainable)
        except asyncio.CancelledError:
            await saved()  # or it would be put after what is stored of the run's end
            raise
        except GraphDrained as drained:
            raise Drained(str(drained)) from drained
        except ParentCommand as handed_on:
            return await self._hand_on(run, handed_on)
        except Exception as error:
            self._publish_error(run, error)
            raise
        except (SystemExit, KeyboardInterrupt) as error:  # a factory's; nodes have their own tasks
            exit_error = NodeExit(error)
            self._publish_error(run, exit_error)
            raise exit_error from error

    async def settle(self, run: Run, *, own: bool = False) -> ThreadState | None:
        """Return what the thread of a run that was cut off shows, from its last checkpoint.

        Waits until what the run wrote is durable. None if the thread has no checkpoint, or, where
        only its ``own`` counts, another run has put that.

        Raises:
            NotSerialisable: the values of the thread have no JSON text.
        """
        if not checkpointed(run):
            return None
        config, owner = thread_config(run), namespace_for(run.principal)
        graph = self._graphs.fixed(run.graph_id, checkpointed=True, owner=owner)
        if graph is not None:
            return await _settled(graph, config, run.run_id if own else None)
        opening = self._graphs.open(
            run.graph_id, run_config(run), checkpointed=True, owner=owner, access="threads.read"
        )
        async with opening as graph:
            return await _settled(graph, config, run.run_id if own else None)

    def fence(self, run: Run) -> Callable[[], None]:
        """Let a run that has ended write no more checkpoints; return what lifts the fence."""
        return self._fence(run.run_id)

    def describe(self, error: BaseException) -> Failure:
        """Put an error of user code into words; of a group with one member, that member."""
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        try:
            message = str(error)
        except Exception as broken:  # noqa: BLE001 - it is user code that makes this text
            message = f"its message could not be read: {type(broken).__name__}"
        return Failure(type(error).__name__, _printable(message))

    async def _execute(self, run: Run, drainable: Callable[[Drain], None]) -> ThreadState:
        keeps, owner = checkpointed(run), namespace_for(run.principal)
        config = run_config(run)
        if self._client is not None:
            config.setdefault("configurable", {})[CLIENT_KEY] = self._client(run)
        if self._watch is not None:
            config["callbacks"] = [self._watch(run)]
        graph = self._graphs.fixed(run.graph_id, checkpointed=keeps, owner=owner)
        if graph is not None:
            return await _drive(run, graph, config, drainable)
        context = run.kwargs.get("context")
        opening = self._graphs.open(
            run.graph_id, config, checkpointed=keeps, owner=owner, context=context
        )
        async with opening as graph:
            return await _drive(run, graph, config, drainable)

    async def _hand_on(self, run: Run, handed_on: ParentCommand) -> ThreadState:
        """Tell a command for the graph that this one is a node of, somewhere else."""
        if run.stream.wanted:
            # LangGraph has put in its place the namespace of the graph around this one: none.
            command = {**asdict(handed_on.args[0]), "graph": Command.PARENT}
            run.stream.publish("command", dumps(command))
        return await self.settle(run) or ThreadState(values=None)

    def _publish_error(self, run: Run, error: BaseException) -> None:
        if run.stream.wanted:
            failure = self.describe(error)
            data = dumps({"error": failure.error, "message": failure.message})
            run.stream.publish("error", data)


class _Control(RunControl):
    """Stops a run that is to end at its next super-step, if a node swallowed its cancellation."""

    __slots__ = ("_run",)

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run

    @property
    def drain_requested(self) -> bool:
        return self._run.ending is not None or super().drain_requested


async def _drive(
    run: Run, graph: Graph, config: RunnableConfig, drainable: Callable[[Drain], None]
) -> ThreadState:
    """Call the graph, follow it, and return what its thread shows then."""
    call = prepare(run, graph, config)
    modes = run.kwargs.get("stream_mode") or _DEFAULT_MODES
    modes = (modes,) if isinstance(modes, str) else modes
    nested = bool(run.kwargs.get("stream_subgraphs"))
    events = _events(run, graph, modes, nested=nested)
    keeps = checkpointed(run)
    control = call.options["control"] = _Control(run)
    stops = keeps and bool(call.breakpoints or has_breakpoints(graph))
    if keeps:
        if may_have_begun(run, call, stops=stops):
            place = await find_place(run, graph, call)
            if place is not None:
                waiting = place.interrupts
                values = with_interrupts(place.values, waiting) if waiting else place.values
                events.take((), "values", values)
                return thread_state(place)
        drainable(control.request_drain)
    await _follow(run, graph, call, events)
    # What a graph streams does not tell of a breakpoint, and not every subgraph can be found.
    if keeps and (stops or events.interrupted or not events.complete or had_subgraph()):
        return thread_state(await graph.aget_state(thread_config(run)))
    if keeps and _has_untracked(graph):
        kept = thread_state(await graph.aget_state(thread_config(run)))
        return replace(kept, output=events.state.answer)
    return events.state


def _has_untracked(graph: Graph) -> bool:
    """Whether the graph has values that are not to be kept."""
    kinds = {type(channel) for channel in graph.channels.values()}
    return any(UntrackedValue in getmro(kind) for kind in kinds)  # `issubclass` asks abc, slowly


def _events(run: Run, graph: Graph, modes: Sequence[str], *, nested: bool) -> RunEvents:
    if run.log is None:
        return RunEvents(run, modes, nested=nested)
    transformers = graph.stream_transformers
    return ThreadEvents(run, run.log, modes, nested=nested, transformers=transformers)


async def _follow(run: Run, graph: Graph, call: Call, events: RunEvents) -> None:
    """Consume the graph's stream to its end; it is closed whatever happens."""
    options = call.options
    options["stream_mode"] = events.graph_modes
    if not events.detailed and events.options:
        options |= events.options
        call.configurable[MESSAGE_EVENTS] = True
    if events.nested:
        options["subgraphs"] = True
    if events.detailed:
        stream: Any = graph.astream_events(call.input, call.config, version="v2", **options)
        async with aclosing(stream):
            await events.follow_events(stream, run.run_id)
        return
    stream = graph.astream(call.input, call.config, **options)
    async with aclosing(stream):
        await events.follow(stream)


async def _settled(graph: Graph, config: RunnableConfig, run_id: str | None) -> ThreadState | None:
    """Return what a thread shows once all is written; None if its latest is not the run's."""
    settle: Callable[[], Awaitable[None]] | None = getattr(graph.checkpointer, "settled", None)
    if settle is not None:
        await settle()
    snapshot = await read_state(graph, config)
    if snapshot.metadata is None or run_id not in (None, snapshot.metadata.get("run_id")):
        return None
    return thread_state(snapshot)


def _printable(message: str) -> str:
    """Return a message that every encoder takes and no log chokes on."""
    kept = message if len(message) <= MESSAGE_LIMIT else f"{message[:MESSAGE_LIMIT]}…"
    return without_surrogates(kept)
