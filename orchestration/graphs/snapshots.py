"""What a thread shows, read off LangGraph's snapshot of its state."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from langgraph.types import Interrupt, PregelTask, StateSnapshot

from orchestration.graphs.arguments import Graph
from orchestration.graphs.jsontext import dumps
from orchestration.loop.run import ThreadState

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import BaseCheckpointSaver

INTERRUPT_KEY = "__interrupt__"


async def read_state(
    graph: Graph, config: "RunnableConfig", *, subgraphs: bool = False
) -> StateSnapshot:
    """Return the state at a checkpoint, the latest if none is named.

    The latest has what its tasks have written so far, unless that cannot be put together, as when
    two of them wrote what only one may, or a reducer fails: it is as it was before them then.
    """
    try:
        return await graph.aget_state(config, subgraphs=subgraphs)
    except Exception:  # reducers are user code, and may raise anything
        saver = cast("BaseCheckpointSaver[Any]", graph.checkpointer)
        saved = await saver.aget_tuple(config)
        if saved is None:
            raise
    state = await graph.aget_state(saved.config)  # LangGraph adds no writes to one that is named
    if subgraphs:
        tasks = [await _with_state(graph, task) for task in state.tasks]
        state = state._replace(tasks=tuple(tasks))
    return state


async def _with_state(graph: Graph, task: PregelTask) -> PregelTask:
    if task.state is None:
        return task
    config = cast("RunnableConfig", task.state)
    return task._replace(state=await read_state(graph, config, subgraphs=True))


def thread_state(snapshot: StateSnapshot) -> ThreadState:
    """Return what a thread shows whose latest checkpoint is ``snapshot``.

    Raises:
        NotSerialisable: its values have no JSON text.
    """
    waiting = {
        task.id: [_question(interrupt) for interrupt in task.interrupts]
        for task in snapshot.tasks
        if task.interrupts
    }
    return ThreadState(
        values=dumps(snapshot.values),
        interrupts=dumps(waiting),
        interrupted=bool(snapshot.next),
        output=answer(snapshot.values, snapshot.interrupts),
    )


def answer(values: Any, interrupts: Iterable[Interrupt]) -> bytes | None:
    """Return the JSON text that tells a waiter of interrupts beside the values; None if none are.

    Raises:
        NotSerialisable: the values have no JSON text.
    """
    waiting = list(interrupts)
    return dumps(with_interrupts(values, waiting)) if waiting else None


def with_interrupts(values: Any, interrupts: Iterable[Interrupt]) -> dict[str, Any]:
    """Return values as LangGraph streams them while questions wait: beside them."""
    return {**(values if isinstance(values, dict) else {}), INTERRUPT_KEY: tuple(interrupts)}


def _question(interrupt: Interrupt) -> dict[str, Any]:
    question = {"id": interrupt.id, "value": interrupt.value}
    schema = getattr(interrupt, "response_schema", None)
    return question if schema is None else {**question, "response_schema": schema}
