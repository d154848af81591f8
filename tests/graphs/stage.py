"""What the executor's tests play on: real graphs, and runs of them."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from copy import copy
from typing import Any, Literal, cast
from uuid import uuid4

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver

from orchestration.graphs.arguments import Graph, thread_config
from orchestration.graphs.executor import LangGraphExecutor
from orchestration.graphs.own_store import Namespace
from orchestration.loop.run import Drain, Run, ThreadState
from tests.graphs.plays import Gate


class Shelf:
    """Graphs by name, with and without a checkpointer; those in ``made`` are made for each use."""

    def __init__(
        self,
        graphs: Mapping[str, Graph],
        saver: BaseCheckpointSaver[Any],
        made: tuple[str, ...] = (),
    ) -> None:
        self._graphs = graphs
        self._saver = saver
        self._made = made
        self.opened: list[tuple[str, RunnableConfig, Any]] = []

    def fixed(self, name: str, *, checkpointed: bool, owner: Namespace) -> Graph | None:
        return None if name in self._made else self._equipped(name, checkpointed=checkpointed)

    @asynccontextmanager
    async def open(
        self,
        name: str,
        config: RunnableConfig,
        *,
        checkpointed: bool,
        owner: Namespace,
        access: Literal["threads.create_run", "threads.read"] = "threads.create_run",
        context: Any = None,
    ) -> AsyncGenerator[Graph]:
        self.opened.append((access, config, context))
        yield self._equipped(name, checkpointed=checkpointed)

    def _equipped(self, name: str, *, checkpointed: bool) -> Graph:
        graph = copy(self._graphs[name])
        graph.checkpointer = self._saver if checkpointed else None
        return graph


class Stage:
    """An executor over some graphs, and what came of its runs."""

    def __init__(self, *, made: tuple[str, ...] = (), saver: Any = None, **graphs: Graph) -> None:
        self.saver: Any = saver or InMemorySaver()
        self.shelf = Shelf(graphs, self.saver, made)
        self.executor = LangGraphExecutor(self.shelf, fence=lambda _: lambda: None)
        self.drains: list[Drain] = []

    async def play(self, run: Run) -> ThreadState:
        """Make one attempt at ``run``."""
        run.attempt += 1
        return await self.executor.execute(run, self.drains.append, lambda _: None)

    def begin(self, run: Run) -> "asyncio.Task[ThreadState]":
        """Make one attempt in a task of its own, as the loop does."""
        return asyncio.create_task(self.play(run))

    async def cut_off(self, run: Run, *gates: Gate) -> None:
        """Cancel an attempt when all ``gates`` are reached, and return when it has ended."""
        task = self.begin(run)
        for gate in gates:
            await gate.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def state(self, run: Run) -> Any:
        """Return LangGraph's own view of the thread."""
        return await self._graph(run).aget_state(thread_config(run))

    async def edit(self, run: Run, values: Any) -> None:
        """Change the state of the thread."""
        await self._graph(run).aupdate_state(thread_config(run), values)

    async def edit_within(self, run: Run, values: Any) -> None:
        """Change the state of the innermost subgraph that waits."""
        graph, config = self._graph(run), thread_config(run)
        while tasks := [each for each in (await graph.aget_state(config)).tasks if each.state]:
            config = cast("RunnableConfig", tasks[0].state)
        await graph.aupdate_state(config, values)

    def _graph(self, run: Run) -> Graph:
        graph = self.shelf.fixed(run.graph_id, checkpointed=True, owner=())
        assert graph is not None
        return graph


def new_run(graph_id: str, given: Any = None, **more: Any) -> Run:
    """Return a run of ``graph_id`` on a new thread; fields of Run by name, the rest are kwargs."""
    fields: dict[str, Any] = {
        name: more.pop(name)
        for name in ("thread_id", "run_id", "metadata", "ephemeral")
        if name in more
    }
    defaults: dict[str, Any] = {
        "run_id": str(uuid4()),
        "thread_id": str(uuid4()),
        "assistant_id": "the-assistant",
        "graph_id": graph_id,
        "kwargs": {"input": given, **more},
        "metadata": {},
        "created_at": "2024-01-02T03:04:05Z",
    }
    return Run(**(defaults | fields))


def record(run: Run) -> list[tuple[str, Any]]:
    """Return a list that fills with the events of ``run``: their names and what they say."""
    events: list[tuple[str, Any]] = []
    run.stream.tap(lambda event: events.append((event.name, json.loads(event.data))))
    return events


def read(text: bytes | None) -> Any:
    """Return what a JSON text says."""
    assert text is not None
    return json.loads(text)
