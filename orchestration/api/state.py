"""The state of a thread: now, at a checkpoint, over time, changed from outside."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from orchestration.api import answers
from orchestration.api.access import Access
from orchestration.api.checkpoints import caught_up, is_there
from orchestration.api.documents import selected_state
from orchestration.api.endpoint import Call, Endpoints, json_response
from orchestration.api.thread_models import (
    ConfiguredPlace,
    HistoryQuery,
    HistorySearch,
    Place,
    StateAt,
    StateQuery,
    StateUpdate,
    SuperstepsUpdate,
    ThreadPatch,
)
from orchestration.api.threads import patch_thread
from orchestration.api.updates import graph_of, update_thread
from orchestration.graphs.jsontext import dumps
from orchestration.graphs.states import EMPTY, Document, in_parts
from orchestration.store import bounded

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
    return await _state(call, None, query)


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
    return await _state(call, checkpoint, query)


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
    return await _state(call, body.checkpoint, body)


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
    thread_id = call.uuid("thread_id")
    checkpoint: Mapping[str, Any] = body.checkpoint or {"checkpoint_id": body.checkpoint_id}
    step = [{"values": body.values, "as_node": body.as_node}]
    updated = await update_thread(call, thread_id, [step], checkpoint)
    return _updated(updated)


@endpoint(
    "POST",
    "/threads/{thread_id}/state/bulk",
    access=Access("threads", "update"),
    body=SuperstepsUpdate,
    gives=answers.Updated,
    refuses=(HTTPStatus.FAILED_DEPENDENCY,),
)
async def update_state_in_steps(call: Call, body: SuperstepsUpdate) -> Response:
    """Change the state of a thread as if nodes had, superstep after superstep."""
    steps = [step["updates"] for step in body.supersteps]
    updated = await update_thread(call, call.uuid("thread_id"), steps, {})
    return _updated(updated)


@endpoint(
    "PATCH",
    "/threads/{thread_id}/state",
    access=Access("threads", "update"),
    body=ThreadPatch,
    gives=answers.Thread,
)
async def patch_state(call: Call, body: ThreadPatch) -> Response:
    """Merge metadata into a thread's; another name for it that clients have."""
    return await patch_thread(call, body)


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
    return await _history(call, HistorySearch(**query.model_dump()))


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


async def _state(
    call: Call, checkpoint: Mapping[str, Any] | None, asked: StateQuery | StateAt
) -> Response:
    thread_id = call.uuid("thread_id")
    graph_id = graph_of(call, thread_id)
    if graph_id is None:
        return json_response(selected_state(EMPTY, asked.select))
    subgraphs = bool(asked.subgraphs)
    state = await current_state(call, graph_id, thread_id, checkpoint, subgraphs=subgraphs)
    return json_response(dumps(in_parts(selected_state(state, asked.select))))


async def current_state(
    call: Call,
    graph_id: str,
    thread_id: str,
    checkpoint: Mapping[str, Any] | None = None,
    *,
    subgraphs: bool = False,
) -> Document:
    """Return the state of a thread, with all that who follows the run that works has been told.

    Between two steps, the tasks of the one are done and nothing is next, which is what clients
    know the end of a run by.
    """
    backend = call.backend
    get = partial(call.states.get, graph_id, thread_id, checkpoint)
    working = backend.loop.on_thread(thread_id)
    if not working or (checkpoint and checkpoint.get("checkpoint_id")):
        if checkpoint and working:
            await is_there(backend, thread_id, checkpoint)
        return await get(subgraphs=subgraphs)

    async def look() -> tuple[Document, Document]:
        state = await get(subgraphs=subgraphs)
        nested = not subgraphs and any(task["checkpoint"] for task in state["tasks"])
        return state, await get(subgraphs=True) if nested else state

    state, _ = await caught_up(backend, thread_id, look, lambda found: not _behind(*found))
    return state


def _behind(state: Document, whole: Document) -> bool:
    """Return whether more is known of a run than ``state`` shows; ``whole`` has its subgraphs.

    What a subgraph asks is told before the task that it is has asked it.
    """
    within = {task["id"]: task["state"] for task in whole["tasks"] if task["state"]}
    return (
        bool(state["tasks"] and not state["next"])
        or any(
            within.get(task["id"], EMPTY)["interrupts"] and not task["interrupts"]
            for task in state["tasks"]
        )
        or any(_behind(inner, inner) for inner in within.values())
    )


async def _history(call: Call, body: HistorySearch) -> Response:
    thread_id = call.uuid("thread_id")
    graph_id = graph_of(call, thread_id)
    if graph_id is None:
        return json_response([])
    if call.backend.loop.on_thread(thread_id):
        await current_state(call, graph_id, thread_id)
    history = call.states.history(
        graph_id,
        thread_id,
        limit=body.limit,
        before=_before(body.before),
        metadata=body.metadata,
        checkpoint=body.checkpoint,
    )
    async with aclosing(history) as states:
        found = [text async for text in _texts(states, body.select)]
    return json_response(b"[%b]" % b",".join(found))


async def _texts(
    states: AsyncGenerator[Document], fields: Sequence[str] | None
) -> AsyncGenerator[bytes]:
    """Yield states as JSON.

    Raises:
        TooMuchFound: there are several, and they are too large together.
    """
    characters = 0
    async for state in states:
        text = dumps(in_parts(selected_state(state, fields)))
        if characters and characters + len(text) > bounded.MOST:
            raise bounded.TooMuchFound
        characters += len(text)
        yield text


def _before(before: str | Place | ConfiguredPlace | None) -> str | None:
    """Return the checkpoint id in ``before``, whichever of the clients' forms it has."""
    if before is None or isinstance(before, str):
        return before
    return (
        before["configurable"]["checkpoint_id"]
        if "configurable" in before
        else before["checkpoint_id"]
    )


def _updated(checkpoint: Mapping[str, Any]) -> Response:
    return json_response({"checkpoint": checkpoint, "configurable": checkpoint, **checkpoint})
