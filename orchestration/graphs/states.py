"""The states of threads, as LangGraph keeps them in checkpoints: read, listed, changed."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

from langchain_core.runnables import RunnableConfig
from langgraph.types import StateSnapshot, StateUpdate
from orjson import Fragment

from orchestration.graphs.arguments import as_command, run_config
from orchestration.graphs.factories import Graph
from orchestration.graphs.jsontext import dumps
from orchestration.graphs.own_store import Namespace
from orchestration.graphs.questions import find_questions
from orchestration.graphs.registry import GraphRegistry
from orchestration.graphs.snapshots import read_state, thread_state
from orchestration.graphs.users import auth_configurable
from orchestration.loop.run import Run, ThreadState

Document = dict[str, Any]
Owner = Callable[[], Awaitable[Namespace]]
Latest = Callable[[str, str], Run | None]


EMPTY: Document = {
    "values": {},
    "next": [],
    "tasks": [],
    "metadata": {},
    "created_at": None,
    "checkpoint": None,
    "parent_checkpoint": None,
    "interrupts": [],
    "checkpoint_id": None,
    "parent_checkpoint_id": None,
}
_MADE = frozenset(("values", "interrupts", "result"))


async def _nobody() -> Namespace:
    return ()


class ThreadStates:
    """Reads and changes the state of a thread through the graph that last ran on it.

    ``latest`` returns the run that did, given the ids of the thread and the graph: a function that
    makes the graph is told what it was told for that.
    """

    def __init__(
        self,
        graphs: GraphRegistry,
        latest: Latest,
        principal: Mapping[str, Any] | None = None,
        owner: Owner = _nobody,
    ) -> None:
        self._graphs = graphs
        self._latest = latest
        self._who = auth_configurable(principal)
        self._owner = owner

    def on_behalf_of(self, principal: Mapping[str, Any] | None, owner: Owner) -> "ThreadStates":
        """Return the same for somebody: functions that make graphs are told who it is.

        ``owner`` tells whose items these see.
        """
        return ThreadStates(self._graphs, self._latest, principal, owner)

    async def get(
        self,
        graph_id: str,
        thread_id: str,
        checkpoint: Mapping[str, Any] | None = None,
        *,
        subgraphs: bool = False,
    ) -> Document:
        """Return the state of a thread, now or at a checkpoint."""
        config = self._config(thread_id, checkpoint)
        async with self._open(graph_id, config) as graph:
            return state_document(await read_state(graph, config, subgraphs=subgraphs))

    async def history(
        self,
        graph_id: str,
        thread_id: str,
        *,
        limit: int,
        before: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        checkpoint: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[Document]:
        """Yield a thread's states, newest first."""
        config = self._config(thread_id, checkpoint)
        earlier = self._config(thread_id, {"checkpoint_id": before}) if before else None
        async with self._open(graph_id, config) as graph:
            states = graph.aget_state_history(
                config, filter=dict(metadata) if metadata else None, before=earlier, limit=limit
            )
            async for state in states:
                yield state_document(state)

    async def update(
        self,
        graph_id: str,
        thread_id: str,
        supersteps: Sequence[Sequence[Mapping[str, Any]]],
        checkpoint: Mapping[str, Any],
    ) -> Document:
        """Change a thread's state as if nodes had, step by step; return where that left it.

        An update has ``values`` or a ``command``, and the node ``as_node`` that is to have made it.
        """
        config = self._config(thread_id, checkpoint)
        config["metadata"] = {"graph_id": graph_id}
        async with self._open(graph_id, config, "threads.update") as graph:
            steps = [[_update(one, graph) for one in step] for step in supersteps]
            updated = await graph.abulk_update_state(config, steps)
        return _checkpoint(updated)

    async def shown(self, graph_id: str, thread_id: str) -> ThreadState:
        """Return what the thread shows of its latest checkpoint."""
        config = self._config(thread_id, None)
        async with self._open(graph_id, config) as graph:
            return thread_state(await read_state(graph, config))

    async def unanswered(self, graph_id: str, thread_id: str) -> list[str]:
        """Return the ids of the questions of a thread to which none of its tasks has an answer."""
        config = self._config(thread_id, None)
        async with self._open(graph_id, config) as graph:
            return (await find_questions(graph, await read_state(graph, config))).unanswered

    @asynccontextmanager
    async def _open(
        self,
        graph_id: str,
        config: RunnableConfig,
        access: Literal["threads.read", "threads.update"] = "threads.read",
    ) -> AsyncGenerator[Graph]:
        owner = await self._owner()
        graph = self._graphs.fixed(graph_id, checkpointed=True, owner=owner)
        if graph is not None:
            yield graph
            return
        told = self._told(graph_id, config)
        opening = self._graphs.open(graph_id, told, checkpointed=True, owner=owner, access=access)
        async with opening as graph:
            yield graph

    def _told(self, graph_id: str, config: RunnableConfig) -> RunnableConfig:
        """Return the config of the latest run, with what is asked for now, and by whom."""
        configurable = config.get("configurable", {})
        run = self._latest(configurable["thread_id"], graph_id)
        if run is None:
            return config
        told = run_config(run)
        told["configurable"] = {**told.get("configurable", {}), **configurable}
        return told

    def _config(self, thread_id: str, checkpoint: Mapping[str, Any] | None) -> RunnableConfig:
        configurable = {**self._who, "thread_id": thread_id, "checkpoint_ns": ""}
        for key in ("checkpoint_ns", "checkpoint_id", "checkpoint_map"):
            if checkpoint and checkpoint.get(key) is not None:
                configurable[key] = checkpoint[key]
        return {"configurable": configurable}


def in_parts(state: Document) -> Document:
    """Return a state, or some of its fields, in which what the graph has made is JSON text already.

    So all of that may have as many levels as by itself, wherever in the state it is shown.

    Raises:
        NotSerialisable: some of it has no JSON text.
    """
    parts = {name: Fragment(dumps(state[name])) for name in _MADE & state.keys()}
    whole = {**state, **parts}
    if "tasks" in state:
        whole["tasks"] = [in_parts(task) for task in state["tasks"]]
    if state.get("state") is not None:
        whole["state"] = in_parts(state["state"])
    return whole


def _update(asked: Mapping[str, Any], graph: Graph) -> StateUpdate:
    command = asked.get("command")
    values: Any = asked.get("values") if command is None else as_command(command, graph)
    return StateUpdate(values, asked.get("as_node"))


def state_document(state: StateSnapshot) -> Document:
    """Return a state as clients see it."""
    checkpoint = _checkpoint(state.config)
    parent = _checkpoint(state.parent_config) if state.parent_config else None
    exists = checkpoint.get("checkpoint_id") is not None
    return {
        "values": state.values if exists or state.values else {},
        "next": list(state.next),
        "tasks": [_task(task) for task in state.tasks],
        "metadata": state.metadata or {},
        "created_at": state.created_at,
        "checkpoint": checkpoint if exists else None,
        "parent_checkpoint": parent,
        "interrupts": [_interrupt(interrupt) for interrupt in state.interrupts],
        "checkpoint_id": checkpoint.get("checkpoint_id"),
        "parent_checkpoint_id": parent.get("checkpoint_id") if parent else None,
    }


def _task(task: Any) -> Document:
    state, checkpoint = None, None
    if isinstance(task.state, StateSnapshot):
        state = state_document(task.state)
    elif task.state is not None:
        checkpoint = _checkpoint(task.state)
    return {
        "id": task.id,
        "name": task.name,
        "path": task.path,
        "error": repr(task.error) if task.error is not None else None,
        "interrupts": [_interrupt(interrupt) for interrupt in task.interrupts],
        "checkpoint": checkpoint,
        "state": state,
        "result": task.result,
    }


def _interrupt(interrupt: Any) -> Document:
    return {"value": interrupt.value, "id": interrupt.id}


def _checkpoint(config: Mapping[str, Any]) -> Document:
    configurable = config["configurable"]
    return {
        key: configurable.get(key)
        for key in ("thread_id", "checkpoint_ns", "checkpoint_id", "checkpoint_map")
        if key in configurable
    }
