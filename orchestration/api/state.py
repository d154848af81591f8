"""The state of a thread: now, at a checkpoint, over time, changed from outside."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from langchain_core.runnables import RunnableConfig
from starlette.responses import Response

from operations.errors import StorageUnavailable
from orchestration.api import answers
from orchestration.api.access import Access
from orchestration.api.endpoint import Call, Endpoints, json_response
from orchestration.api.models import (
    HistoryQuery,
    HistorySearch,
    StateAt,
    StateQuery,
    StateUpdate,
)
from orchestration.api.problems import Problem
from orchestration.api.threads import thread_row
from orchestration.graphs.jsontext import dumps
from orchestration.graphs.states import EMPTY
from orchestration.store.checkpoint_search import UnsafeFilter

endpoint = Endpoints()


@endpoint(
    "GET",
    "/threads/{thread_id}/state",
    access=Access("threads", "read"),
    query=StateQuery,
    gives=answers.ThreadState,
    refuses=(HTTPStatus.FAILED_DEPENDENCY,),
)
async def get_state(call: Call, query: StateQuery) -> Response:
    """Return the state of a thread."""
    return await _state(call, None, subgraphs=query.subgraphs)


@endpoint(
    "GET",
    "/threads/{thread_id}/state/{checkpoint_id}",
    access=Access("threads", "read"),
    query=StateQuery,
    gives=answers.ThreadState,
    refuses=(HTTPStatus.FAILED_DEPENDENCY,),
)
async def get_state_at_id(call: Call, query: StateQuery) -> Response:
    """Return the state of a thread at a checkpoint."""
    checkpoint = {"checkpoint_id": call.path("checkpoint_id")}
    return await _state(call, checkpoint, subgraphs=query.subgraphs)


@endpoint(
    "POST",
    "/threads/{thread_id}/state/checkpoint",
    access=Access("threads", "read"),
    body=StateAt,
    gives=answers.ThreadState,
    refuses=(HTTPStatus.FAILED_DEPENDENCY,),
)
async def get_state_at(call: Call, body: StateAt) -> Response:
    """Return the state of a thread at a checkpoint, of a subgraph too."""
    return await _state(call, body.checkpoint, subgraphs=body.subgraphs)


@endpoint(
    "POST",
    "/threads/{thread_id}/state",
    access=Access("threads", "update"),
    body=StateUpdate,
    gives=answers.Updated,
    refuses=(HTTPStatus.FAILED_DEPENDENCY,),
)
async def update_state(call: Call, body: StateUpdate) -> Response:
    """Change the state of a thread as if a node had."""
    backend, thread_id = call.backend, call.uuid("thread_id")
    graph_id = _graph_of(call, thread_id)
    if graph_id is None:
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            "the thread has no graph yet: run something on it, or name a graph_id in its metadata",
        )
    with backend.loop.hold(thread_id):
        updated = await _updated(call, graph_id, thread_id, body)
        await backend.threads.show(thread_id, await backend.states.shown(graph_id, thread_id))
    return json_response({"checkpoint": updated, **updated})


@endpoint(
    "GET",
    "/threads/{thread_id}/history",
    access=Access("threads", "read"),
    query=HistoryQuery,
    gives=list[answers.ThreadState],
    refuses=(HTTPStatus.FAILED_DEPENDENCY,),
)
async def get_history(call: Call, query: HistoryQuery) -> Response:
    """Return the states of a thread, newest first."""
    return await _history(call, HistorySearch(limit=query.limit, before=query.before))


@endpoint(
    "POST",
    "/threads/{thread_id}/history",
    access=Access("threads", "read"),
    body=HistorySearch,
    optional_body=True,
    gives=list[answers.ThreadState],
    refuses=(HTTPStatus.FAILED_DEPENDENCY,),
)
async def search_history(call: Call, body: HistorySearch) -> Response:
    """Return the states of a thread that match, newest first."""
    return await _history(call, body)


async def _updated(
    call: Call, graph_id: str, thread_id: str, body: StateUpdate
) -> Mapping[str, Any]:
    checkpoint: Mapping[str, Any] = body.checkpoint or {"checkpoint_id": body.checkpoint_id}
    await _require_checkpoint(call, thread_id, checkpoint)
    try:
        return await call.backend.states.update(
            graph_id, thread_id, body.values, as_node=body.as_node, checkpoint=checkpoint
        )
    except StorageUnavailable:
        raise
    except Exception as error:  # reducers are user code, and may raise anything
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"{type(error).__name__}: {error}"
        ) from error


async def _state(call: Call, checkpoint: Mapping[str, Any] | None, *, subgraphs: bool) -> Response:
    thread_id = call.uuid("thread_id")
    graph_id = _graph_of(call, thread_id)
    if graph_id is None:
        return json_response(EMPTY)
    state = await call.backend.states.get(graph_id, thread_id, checkpoint, subgraphs=subgraphs)
    return json_response(dumps(state))


async def _history(call: Call, body: HistorySearch) -> Response:
    thread_id = call.uuid("thread_id")
    graph_id = _graph_of(call, thread_id)
    if graph_id is None:
        return json_response([])
    try:
        states = await call.backend.states.history(
            graph_id,
            thread_id,
            limit=body.limit,
            before=_before(body.before),
            metadata=body.metadata,
            checkpoint=body.checkpoint,
        )
    except UnsafeFilter as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"metadata: {error}") from error
    return json_response(dumps(states))


async def _require_checkpoint(call: Call, thread_id: str, checkpoint: Mapping[str, Any]) -> None:
    """Refuse one that does not exist: LangGraph would begin again from nothing."""
    checkpoint_id = checkpoint.get("checkpoint_id")
    if checkpoint_id is None:
        return
    place = {"thread_id": thread_id, "checkpoint_ns": checkpoint.get("checkpoint_ns") or ""}
    config: RunnableConfig = {"configurable": {**place, "checkpoint_id": checkpoint_id}}
    if await call.backend.checkpoints.aget_tuple(config) is None:
        raise Problem(HTTPStatus.NOT_FOUND, f"Checkpoint {checkpoint_id[:64]} not found")


def _before(before: str | dict[str, Any] | None) -> str | None:
    """Return the checkpoint id in ``before``, whichever of the clients' forms it has."""
    if not isinstance(before, dict):
        return before
    place = before.get("configurable", before)
    found = place.get("checkpoint_id") if isinstance(place, dict) else None
    if not isinstance(found, str):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "before: it names no checkpoint_id")
    return found


def _graph_of(call: Call, thread_id: str) -> str | None:
    metadata = orjson.loads(thread_row(call, thread_id)["metadata"])
    graph_id = metadata.get("graph_id")
    return graph_id if isinstance(graph_id, str) and graph_id in call.backend.graphs else None
