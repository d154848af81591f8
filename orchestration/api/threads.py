"""Threads: made, read, changed, found, copied, pruned."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any
from uuid import UUID

import anyio.to_thread
from starlette.responses import Response
from uuid_utils import uuid7

from operations.errors import StorageUnavailable
from orchestration.api import answers
from orchestration.api.access import Access
from orchestration.api.documents import (
    Document,
    extracted,
    living_document,
    selected,
    thread_document,
)
from orchestration.api.endpoint import EVENTS, Call, Endpoints, json_response, no_content
from orchestration.api.idempotency import Once
from orchestration.api.run_models import ThreadStreamHow
from orchestration.api.thread_models import (
    ThreadCreate,
    ThreadFilter,
    ThreadInclude,
    ThreadPatch,
    ThreadSearch,
    ThreadsPrune,
    TimeToLive,
)
from orchestration.api.thread_stream import follow_thread
from orchestration.api.updates import graph_of, show_state, update_thread
from orchestration.loop.errors import Draining, ThreadBusy, ThreadNotFound
from orchestration.loop.run import Ending
from orchestration.store.thread_search import ThreadQuery
from orchestration.store.threads import ThreadExists
from orchestration.store.ttl import Change, Ttl

endpoint = Endpoints()

_AT_ONCE = 100  # threads deleted together; other writes come between


@endpoint(
    "POST",
    "/threads",
    access=Access("threads", "create"),
    body=ThreadCreate,
    optional_body=True,
    gives=answers.Thread,
    once=Once(living_document),
    refuses=(HTTPStatus.FAILED_DEPENDENCY,),
)
async def create_thread(call: Call, body: ThreadCreate) -> Response:
    """Create a thread."""
    thread_id = str(body.thread_id or uuid7())
    if body.thread_id is not None and _of_a_run_alone(call, thread_id):
        raise ThreadExists(thread_id)
    ttl = _ttl(body.ttl)
    try:
        metadata = call.stamped(body.metadata)
        whole = not body.supersteps
        receipt = call.receipt if whole else None
        await call.backend.threads.create(thread_id, metadata, receipt, ttl, whole=whole)
    except ThreadExists:
        if body.if_exists == "raise" or call.backend.threads.get(thread_id, call.visible) is None:
            raise
    else:
        await _go_through(call, thread_id, body)
    if ttl is not None:
        call.backend.sweeper.expect(ttl)
    return json_response(living_document(thread_row(call, thread_id)))


@endpoint(
    "GET",
    "/threads/{thread_id}",
    access=Access("threads", "read"),
    query=ThreadInclude,
    gives=answers.Thread,
)
async def get_thread(call: Call, query: ThreadInclude) -> Response:
    """Return a thread."""
    row = thread_row(call, call.uuid("thread_id"))
    return json_response(living_document(row) if query.include else thread_document(row))


@endpoint(
    "PATCH",
    "/threads/{thread_id}",
    access=Access("threads", "update"),
    body=ThreadPatch,
    gives={200: answers.Thread, 204: None},
)
async def patch_thread(call: Call, body: ThreadPatch) -> Response:
    """Merge metadata into a thread's, and say how long it lives."""
    thread_id, metadata = call.uuid("thread_id"), call.kept(body.metadata)
    ttl = _ttl(body.ttl)
    change: Change = (ttl or "never") if "ttl" in body.model_fields_set else "same"
    if not await call.backend.threads.patch(thread_id, metadata, call.visible, change):
        raise ThreadNotFound(thread_id)
    if ttl is not None:
        call.backend.sweeper.expect(ttl)
    if call.header(b"prefer") == "return=minimal":
        return no_content()
    return json_response(living_document(thread_row(call, thread_id)))


@endpoint(
    "DELETE", "/threads/{thread_id}", access=Access("threads", "delete"), gives=None, audited=True
)
async def delete_thread(call: Call) -> Response:
    """Delete a thread with its runs and checkpoints; what works on it is stopped first."""
    thread_id = call.uuid("thread_id")
    if not await delete_threads(call, [thread_id]):
        raise ThreadNotFound(thread_id)
    return no_content()


@endpoint(
    "POST",
    "/threads/search",
    access=Access("threads", "search"),
    body=ThreadSearch,
    optional_body=True,
    gives=list[answers.FoundThread],
)
async def search_threads(call: Call, body: ThreadSearch) -> Response:
    """Find threads."""
    query = ThreadQuery(
        **_filter(call, body),
        limit=body.limit,
        offset=body.offset,
        sort_by=body.sort_by or "created_at",
        descending=body.sort_order != "asc",
        with_values=body.select is None or "values" in body.select or bool(body.extract),
    )
    rows = await call.backend.threads.search(query)
    if body.extract is None:
        return json_response([selected(thread_document(row), body.select) for row in rows])
    # Not on the event loop, as many states may have to be parsed.
    found = await anyio.to_thread.run_sync(_with_extracts, rows, body.select, body.extract)
    return json_response(found)


@endpoint(
    "POST",
    "/threads/count",
    access=Access("threads", "search"),
    body=ThreadFilter,
    optional_body=True,
    gives=int,
)
async def count_threads(call: Call, body: ThreadFilter) -> Response:
    """Count threads."""
    return json_response(await call.backend.threads.count(ThreadQuery(**_filter(call, body))))


@endpoint(
    "POST",
    "/threads/{thread_id}/copy",
    access=Access("threads", "read"),
    gives=answers.Thread,
    once=Once(thread_document),
    refuses=(HTTPStatus.FAILED_DEPENDENCY,),
)
async def copy_thread(call: Call) -> Response:
    """Copy a thread with its checkpoints."""
    target = str(uuid7())
    source = call.uuid("thread_id")
    making = await call.may("threads", "create", {"thread_id": UUID(target), "metadata": {}})
    stamp, receipt = making.grant.stamp, call.receipt
    if not await call.backend.threads.copy(source, target, call.visible, stamp, receipt):
        await _finish_copy(making, target)
    return json_response(thread_document(thread_row(making, target)))


@endpoint(
    "POST",
    "/threads/prune",
    access=Access("threads", "delete"),
    body=ThreadsPrune,
    gives=answers.Pruned,
    audited=True,
)
async def prune_threads(call: Call, body: ThreadsPrune) -> Response:
    """Delete threads, or all of their checkpoints but the latest."""
    threads = call.backend.threads
    asked = list(dict.fromkeys(map(str, body.thread_ids)))
    if body.strategy == "delete":
        pruned = await delete_threads(call, asked)
    else:
        own = [thread_id for thread_id in asked if threads.get(thread_id, call.visible)]
        pruned = [thread_id for thread_id in own if await _pruned(call, thread_id)]
    return json_response({"pruned_count": len(pruned)})


@endpoint(
    "GET",
    "/threads/{thread_id}/stream",
    access=Access("threads", "read"),
    query=ThreadStreamHow,
    gives=EVENTS,
)
async def stream_thread(call: Call, how: ThreadStreamHow) -> Response:
    """Stream what happens on a thread, run after run, from now or ``Last-Event-ID`` on."""
    thread_id = call.uuid("thread_id")
    thread_row(call, thread_id)
    return await follow_thread(call, thread_id, how)


async def _go_through(call: Call, thread_id: str, body: ThreadCreate) -> None:
    """Take a new thread through the supersteps that it is to have gone through, or undo it."""
    if not body.supersteps:
        return
    async with _finished(call, thread_id):
        await update_thread(call, thread_id, [step["updates"] for step in body.supersteps], {})


async def _finish_copy(call: Call, thread_id: str) -> None:
    """Have a copy show its latest checkpoint, which a run has put that is still under way."""
    async with _finished(call, thread_id):
        graph_id = graph_of(call, thread_id)
        if graph_id is not None:
            await show_state(call, graph_id, thread_id)


@asynccontextmanager
async def _finished(call: Call, thread_id: str) -> AsyncGenerator[None]:
    """Have a thread that was not made whole stay after the block, or undo it."""
    try:
        yield
        await call.backend.threads.finish(thread_id, call.receipt)
    except BaseException:
        with suppress(StorageUnavailable):
            await asyncio.shield(call.backend.threads.delete(thread_id))
        raise


def _of_a_run_alone(call: Call, thread_id: str) -> bool:
    """Return whether a run without a thread has this id for one, where it may be another's."""
    backend = call.backend
    if backend.authority is None or not backend.loop.on_thread(thread_id):
        return False
    return backend.threads.get(thread_id) is None


def thread_row(call: Call, thread_id: str) -> sqlite3.Row:
    """Return a thread's row.

    Raises:
        ThreadNotFound: there is no such thread.
    """
    row = call.backend.threads.get(thread_id, call.visible)
    if row is None:
        raise ThreadNotFound(thread_id)
    return row


async def _pruned(call: Call, thread_id: str) -> bool:
    """Leave a thread its latest checkpoints; not, if a run works: they may be undone with it."""
    async with call.backend.turns.of(thread_id):
        try:
            with call.backend.loop.hold(thread_id):
                await call.backend.checkpoints.aprune([thread_id], strategy="keep_latest")
        except ThreadBusy:
            return False
    return True


async def delete_threads(call: Call, thread_ids: Sequence[str]) -> list[str]:
    """Delete threads of the caller with their runs, which are stopped first; return which.

    Others may have been deleted when it raises, and none still is then.

    Raises:
        ThreadBusy: one is being deleted, or pruned, as it has expired.
        LoopError, StorageUnavailable: a run on one does not end.
    """
    deleted: list[str] = []
    for start in range(0, len(thread_ids), _AT_ONCE):
        page = thread_ids[start : start + _AT_ONCE]
        own = await call.backend.threads.among(page, call.visible)
        deletions = [_delete(call, one) for one in page if one in own]
        for ended in await asyncio.gather(*deletions, return_exceptions=True):
            if isinstance(ended, BaseException):
                raise ended
            if ended is not None:
                deleted.append(ended)
    return deleted


async def _delete(call: Call, thread_id: str) -> str | None:
    """Delete a thread, on which no run starts meanwhile; return its id, None if there is none."""
    loop = call.backend.loop
    async with call.backend.turns.of(thread_id):
        while loop.on_thread(thread_id):  # one may come meanwhile; if delayed, no hold knows of it
            await _stop_runs(call, thread_id)
        try:
            with loop.hold(thread_id):
                deleted = await call.backend.threads.delete(thread_id, visible=call.visible)
        except ThreadBusy as error:
            raise (Draining() if loop.draining else error) from None
    if deleted:
        loop.gone(thread_id)
    return thread_id if deleted else None


async def _stop_runs(call: Call, thread_id: str) -> None:
    loop = call.backend.loop
    runs = loop.on_thread(thread_id)
    for run in runs:
        loop.cancel(run, Ending.ROLLBACK)
    endings = [(run, run.done) for run in runs if run.done is not None]
    if endings:
        await asyncio.wait([ending for _, ending in endings])
    for run, ending in endings:
        error = ending.exception()
        if error is not None and loop.live(run.run_id) is run:  # it works still, whatever it hears
            raise error


def _with_extracts(
    rows: Iterable[sqlite3.Row], select: Sequence[str] | None, paths: Mapping[str, str]
) -> list[Document]:
    documents = map(thread_document, rows)
    return [
        {**selected(document, select), "extracted": extracted(document, paths)}
        for document in documents
    ]


def _ttl(given: TimeToLive | None) -> Ttl | None:
    return None if given is None else Ttl(given.ttl, given.strategy)


def _filter(call: Call, body: ThreadFilter) -> dict[str, Any]:
    return {
        "visible": call.visible,
        "ids": None if body.ids is None else [str(thread_id) for thread_id in body.ids],
        "status": body.status,
        "metadata": body.metadata,
        "values": body.values,
    }
