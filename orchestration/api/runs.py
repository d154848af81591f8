"""The runs of a thread: listed, read, joined, cancelled, deleted."""

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from uuid import UUID

import orjson
from starlette.responses import Response

from orchestration.api import answers
from orchestration.api.access import Access
from orchestration.api.documents import run_document, selected
from orchestration.api.endpoint import EVENTS, Call, Endpoints, json_response, no_content
from orchestration.api.fields import Page
from orchestration.api.following import follow_again
from orchestration.api.own_runs import (
    cancel,
    is_own,
    left_waiting,
    live_run,
    noted,
    own_runs,
    run_row,
    unfinished,
)
from orchestration.api.patience import waiting
from orchestration.api.problems import Problem
from orchestration.api.run_models import (
    AllRuns,
    CancelHow,
    JoinHow,
    JoinRunHow,
    RunList,
    RunsCancel,
)
from orchestration.graphs.registry import GraphNotMade
from orchestration.loop.errors import Draining, ThreadBusy, ThreadNotFound
from orchestration.loop.run import Ending, Failure, Outcome, Place, Run, RunStatus

endpoint = Endpoints()


@endpoint(
    "POST",
    "/runs/cancel",
    access=Access("threads", "update"),
    body=RunsCancel,
    query=CancelHow,
    gives=None,
    refuses=(404,),
    audited=True,
)
async def cancel_runs(call: Call, body: RunsCancel, how: CancelHow) -> Response:
    """Cancel runs by their ids, or all of a status."""
    loop = call.backend.loop
    if body.status is None and not body.run_ids:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "give run_ids, or a status")
    named = None if body.run_ids is None else frozenset(body.run_ids)
    found = await own_runs(call, [run for run in loop.all_live() if _matches(run, body, named)])
    for run in found:
        loop.cancel(run, Ending(how.action))
    if loop.draining and not _all_end(call, body, found):
        raise Draining
    if not found:
        raise Problem(HTTPStatus.NOT_FOUND, "No runs found to cancel")
    await noted(found)
    for run in found:
        if how.wait or run.place is Place.GONE:
            await _ended(run)
    return no_content()


@endpoint(
    "GET", "/dead-letters", access=Access("threads", "search"), query=Page, gives=list[answers.Run]
)
async def list_dead_letters(call: Call, page: Page) -> Response:
    """List the runs that were given up, newest first."""
    rows = await call.backend.runs.dead_letters(page.limit, page.offset, call.visible)
    return json_response([run_document(row) for row in rows])


@endpoint(
    "GET",
    "/runs",
    access=Access("threads", "search"),
    query=AllRuns,
    gives=list[answers.Run],
)
async def list_all_runs(call: Call, query: AllRuns) -> Response:
    """List the runs of all threads, and those without one that have not ended, newest first."""
    run_id = None if query.run_id is None else str(query.run_id)
    asked = (run_id, query.status, query.limit, query.offset)
    rows = await call.backend.runs.of_all(*asked, call.visible)
    return json_response([selected(run_document(row), query.select) for row in rows])


@endpoint(
    "GET",
    "/threads/{thread_id}/runs",
    access=Access("threads", "search"),
    query=RunList,
    gives=list[answers.Run],
)
async def list_runs(call: Call, query: RunList) -> Response:
    """List the runs of a thread, newest first."""
    thread_id = call.uuid("thread_id")
    if call.backend.threads.get(thread_id, call.visible) is None:
        raise ThreadNotFound(thread_id)
    rows = await call.backend.runs.of_thread(thread_id, query.status, query.limit, query.offset)
    return json_response([selected(run_document(row), query.select) for row in rows])


@endpoint(
    "GET", "/threads/{thread_id}/runs/{run_id}", access=Access("threads", "read"), gives=answers.Run
)
async def get_run(call: Call) -> Response:
    """Return a run."""
    run = _live(call)
    if run is not None and not run.announced:  # nor written, perhaps
        await call.backend.runs.announce(run)
    return json_response(run_document(_row(call)))


@endpoint(
    "GET",
    "/threads/{thread_id}/runs/{run_id}/why",
    access=Access("threads", "read"),
    gives=answers.Standing,
)
async def explain_run(call: Call) -> Response:
    """Say where a run is and what it waits for."""
    return _why(call)


@endpoint(
    "GET",
    "/runs/{run_id}/why",
    access=Access("threads", "read"),
    gives=answers.Standing,
)
async def explain_run_by_id(call: Call) -> Response:
    """Say where a run is and what it waits for, whatever thread it is on."""
    return _why(call)


@endpoint(
    "GET",
    "/threads/{thread_id}/runs/{run_id}/join",
    access=Access("threads", "read"),
    query=JoinRunHow,
)
async def join_run(call: Call, how: JoinRunHow) -> Response:
    """Wait for a run to end and answer with its output."""
    run = _live(call)
    if run is not None:
        if how.cancel_on_disconnect:
            await _require_stoppable(call, run)
        return waiting(call, run, cancel=how.cancel_on_disconnect)
    row = _ended_row(call)
    if row["status"] in (RunStatus.ERROR, RunStatus.TIMEOUT):
        failure = Failure(**orjson.loads(row["error"]))
        return json_response(Outcome(RunStatus(row["status"]), failure=failure).answer)
    thread = call.backend.threads.get(row["thread_id"])
    values = thread["state_values"] if thread is not None else None
    return json_response(values.encode() if values is not None else b"null")


@endpoint(
    "GET",
    "/threads/{thread_id}/runs/{run_id}/stream",
    access=Access("threads", "read"),
    query=JoinHow,
    gives=EVENTS,
)
async def join_stream(call: Call, how: JoinHow) -> Response:
    """Stream what happens in a run from now on, or from ``Last-Event-ID`` if it is resumable."""
    return await _join_stream(call, how)


@endpoint(
    "GET", "/runs/{run_id}/stream", access=Access("threads", "read"), query=JoinHow, gives=EVENTS
)
async def join_stream_by_id(call: Call, how: JoinHow) -> Response:
    """Stream what happens in a run, whatever thread it is on."""
    return await _join_stream(call, how)


@endpoint(
    "POST",
    "/threads/{thread_id}/runs/{run_id}/cancel",
    access=Access("threads", "update"),
    query=CancelHow,
    gives={202: None, 204: None},
    audited=True,
)
async def cancel_run(call: Call, how: CancelHow) -> Response:
    """Cancel a run."""
    run = _live(call)
    if run is None:
        row = _ended_row(call)
        raise _over(row["run_id"], row["status"])
    ending = Ending(how.action)
    await cancel(call, run, ending)
    if how.wait or run.place is Place.GONE:
        await _ended(run)
        stands = call.backend.runs.get(run.run_id) if ending is Ending.ROLLBACK else None
        if stands is not None:  # it was about to end in another way
            raise _over(run.run_id, stands["status"])
    return no_content(HTTPStatus.ACCEPTED if not how.wait else HTTPStatus.NO_CONTENT)


@endpoint(
    "DELETE",
    "/threads/{thread_id}/runs/{run_id}",
    access=Access("threads", "delete"),
    gives=None,
    audited=True,
)
async def delete_run(call: Call) -> Response:
    """Delete a run with its checkpoints; one that works is stopped and undone."""
    backend, run = call.backend, _live(call)
    if run is not None:
        backend.loop.cancel(run, Ending.ROLLBACK)
        await _ended(run)
        if backend.runs.get(run.run_id) is None:
            return no_content()
    row = _ended_row(call)  # it had, or was about to in another way
    await backend.runs.delete(row["thread_id"], row["run_id"])
    if row["graph_id"] in backend.graphs:
        # It is deleted, even if its graph cannot be made. What works on the thread shows it later.
        async with backend.turns.of(row["thread_id"]):
            with suppress(GraphNotMade, ThreadBusy), backend.loop.hold(row["thread_id"]):
                state = await call.states.shown(row["graph_id"], row["thread_id"])
                await backend.threads.show(row["thread_id"], state)
    return no_content()


def _why(call: Call) -> Response:
    run = _live(call)
    if run is None:
        row = _row(call)
        why = str(Draining()) if unfinished(row) else f"it has ended: {row['status']}"
        return json_response({"place": "gone", "ahead": 0, "why": why})
    return json_response(call.backend.loop.standing(run))


async def _join_stream(call: Call, how: JoinHow) -> Response:
    run = _live(call)
    if run is None:
        _row(call)
    elif how.cancel_on_disconnect:
        await _require_stoppable(call, run)
    return await follow_again(call, run, call.uuid("run_id"), how)


async def _require_stoppable(call: Call, run: Run) -> None:
    """Refuse who would stop a run by going away, and may only look at it.

    Raises:
        Problem: 403 or 404, they may not change it.
    """
    asked = {"thread_id": UUID(run.thread_id), "run_id": UUID(run.run_id)}
    changing = await call.may("threads", "update", asked)
    if not is_own(changing, run.thread_id, run.metadata, ephemeral=run.ephemeral):
        raise Problem(HTTPStatus.NOT_FOUND, f"Run {run.run_id} not found")


def _live(call: Call) -> Run | None:
    return live_run(call, call.uuid("run_id"), _thread(call))


def _row(call: Call) -> sqlite3.Row:
    return run_row(call, call.uuid("run_id"), _thread(call))


def _ended_row(call: Call) -> sqlite3.Row:
    """Return the row of a run that is not live.

    Raises:
        Draining: It has not ended: the service is stopping.
    """
    row = _row(call)
    if unfinished(row):
        raise Draining
    return row


def _thread(call: Call) -> str | None:
    """Return the thread that the path names, if it names one."""
    return call.uuid("thread_id") if "thread_id" in call.scope["path_params"] else None


def _matches(run: Run, asked: RunsCancel, named: frozenset[str] | None) -> bool:
    if asked.thread_id is not None and run.thread_id != asked.thread_id:
        return False
    if named is not None and run.run_id not in named:
        return False
    return asked.status in (None, "all", run.status)


def _all_end(call: Call, asked: RunsCancel, found: Sequence[Run]) -> bool:
    """Return whether nothing of what is to be cancelled goes on after the next start."""
    if asked.run_ids is None:  # who was put back is not among those that are found
        return False
    others = set(asked.run_ids) - {run.run_id for run in found}
    return all(run.ends for run in found) and not any(left_waiting(call, one) for one in others)


async def _ended(run: Run) -> None:
    if run.done is not None:
        await run.done


def _over(run_id: str, status: str) -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, f"Run {run_id} has ended: {status}")
