"""Changes of a thread's state from outside, as if nodes had made them."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from orjson import Fragment

from operations.errors import StorageUnavailable
from orchestration.api.checkpoints import require_checkpoint
from orchestration.api.endpoint import Call
from orchestration.api.problems import Problem
from orchestration.api.thread_stream import STATE_UPDATE
from orchestration.graphs.registry import GraphNotMade
from orchestration.loop.errors import ThreadBusy, ThreadNotFound
from orchestration.loop.run import Place, ThreadState
from orchestration.loop.streams import StreamEvent

_FREE = (Place.DELAYED, Place.GONE)  # where runs leave their thread to others


async def update_thread(
    call: Call,
    thread_id: str,
    supersteps: Sequence[Sequence[Mapping[str, Any]]],
    checkpoint: Mapping[str, Any],
) -> Mapping[str, Any]:
    """Take a thread through ``supersteps``, from ``checkpoint`` on; return where that left it.

    Each update of a superstep has ``values`` or a ``command``, and ``as_node``.

    Raises:
        Problem: 409, the thread has no graph, or the graph refuses; 404, no such checkpoint.
        GraphNotMade: its factory failed.
        ThreadBusy: a run works on it.
        ThreadNotFound: there is no such thread.
    """
    _require_graph(call, thread_id)
    if any(run.place not in _FREE for run in call.backend.loop.on_thread(thread_id)):
        raise ThreadBusy(thread_id)  # it may wait for the change before this one
    async with call.backend.turns.of(thread_id):
        updated, shown = await _update(call, thread_id, supersteps, checkpoint)
    values = Fragment(shown.values) if shown.values is not None else None
    told = orjson.dumps({"thread_id": thread_id, "checkpoint": updated, "values": values})
    call.backend.loop.watchers.tell(thread_id, StreamEvent(0, STATE_UPDATE, told))
    return updated


async def _update(
    call: Call,
    thread_id: str,
    supersteps: Sequence[Sequence[Mapping[str, Any]]],
    checkpoint: Mapping[str, Any],
) -> tuple[Mapping[str, Any], ThreadState]:
    graph_id = _require_graph(call, thread_id)  # it may have been deleted meanwhile
    with call.backend.loop.hold(thread_id):
        await require_checkpoint(call.backend, thread_id, checkpoint)
        try:
            updated = await call.states.update(graph_id, thread_id, supersteps, checkpoint)
        except (GraphNotMade, StorageUnavailable):
            raise
        except Exception as error:  # reducers are user code, and may raise anything
            if len(supersteps) > 1:  # those before it stand
                await show_state(call, graph_id, thread_id)
            raise Problem(HTTPStatus.CONFLICT, f"{type(error).__name__}: {error}") from error
        return updated, await show_state(call, graph_id, thread_id)


async def show_state(call: Call, graph_id: str, thread_id: str) -> ThreadState:
    """Let the thread show its state as it is now, and return that."""
    shown = await call.states.shown(graph_id, thread_id)
    await call.backend.threads.show(thread_id, shown)
    return shown


def _require_graph(call: Call, thread_id: str) -> str:
    graph_id = graph_of(call, thread_id)
    if graph_id is None:
        raise Problem(
            HTTPStatus.CONFLICT,
            "the thread has no graph yet: run something on it, or name a graph_id in its metadata",
        )
    return graph_id


def graph_of(call: Call, thread_id: str) -> str | None:
    """Return the graph of a thread, if it has one that is served.

    Raises:
        ThreadNotFound: there is no such thread.
    """
    row = call.backend.threads.get(thread_id, call.visible)
    if row is None:
        raise ThreadNotFound(thread_id)
    graph_id = orjson.loads(row["metadata"]).get("graph_id")
    return graph_id if isinstance(graph_id, str) and graph_id in call.backend.graphs else None
