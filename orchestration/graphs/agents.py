"""The kind ``graph``: a graph of this service as an agent of a pool."""

from collections.abc import Callable
from contextlib import aclosing
from typing import Any, cast
from uuid import uuid4

from langchain_core.runnables import RunnableConfig

from agents.agent import Context, Lost, Task
from agents.configuration import GraphPool, Limits
from agents.errors import StartFailed, TaskFailed
from orchestration.graphs.arguments import CLIENT_KEY
from orchestration.graphs.contexts import fitted
from orchestration.graphs.jsontext import as_json
from orchestration.graphs.node_tasks import enter_run
from orchestration.graphs.registry import GraphRegistry
from orchestration.graphs.snapshots import INTERRUPT_KEY

Inject = Callable[[Context], Any]


class GraphAgent:
    """Runs the graph from its start for each task, without checkpoints.

    What its nodes write to the custom stream are the task's events; its last values, the result.
    """

    def __init__(
        self, section: GraphPool, name: str, graphs: GraphRegistry, client: Inject
    ) -> None:
        self.limits: Limits = section.limits
        self.capabilities = frozenset(section.capabilities or (name,))
        self._graph = section.graph
        self._graphs = graphs
        self._client = client

    async def start(self, lost: Lost) -> None:  # noqa: ARG002 - a graph does not end by itself
        """See that there is such a graph."""
        try:
            await self.probe()
        except LookupError as error:
            raise StartFailed(str(error)) from error

    async def invoke(self, task: Task, context: Context) -> Any:
        """Run the graph on the task's input."""
        enter_run(context)
        config = self._config(task, context)
        context.started = True
        owner = () if context.origin is None else context.origin.namespace
        opening = self._graphs.open(self._graph, config, checkpointed=False, owner=owner)
        values: Any = None
        try:
            async with opening as graph:
                options: dict[str, Any] = {"stream_mode": ["values", "custom"]}
                static = fitted(graph.context_schema, None)
                if static is not None:
                    options["context"] = static
                stream = cast("Any", graph.astream(task.input, config, **options))
                async with aclosing(stream):
                    async for mode, chunk in stream:
                        if mode == "custom":
                            context.publish(as_json(chunk))
                        else:
                            values = chunk
        except Exception as error:
            raise TaskFailed(f"{type(error).__name__}: {error}") from error
        if isinstance(values, dict) and INTERRUPT_KEY in values:
            raise TaskFailed("the graph waits for a human, whom an agent does not have")
        return as_json(values)

    async def probe(self) -> None:
        """See that the graph is still there."""
        if self._graph not in self._graphs:
            raise LookupError(f"there is no graph {self._graph!r}")

    async def aclose(self) -> None:
        """Nothing is kept between tasks."""

    def _config(self, task: Task, context: Context) -> RunnableConfig:
        metadata = {"task_id": task.task_id, "capability": task.capability}
        configurable = {
            "thread_id": str(uuid4()),
            "graph_id": self._graph,
            CLIENT_KEY: self._client(context),
        }
        return {"configurable": configurable, "metadata": metadata}
