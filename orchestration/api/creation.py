"""Creating runs: in the background, waited for, streamed; on a thread or without one."""

import sqlite3
from collections.abc import Sequence
from http import HTTPStatus

import orjson
from starlette.responses import Response

from orchestration.api import answers
from orchestration.api.access import Access
from orchestration.api.batch import Batch
from orchestration.api.documents import Document, accepted_document
from orchestration.api.endpoint import EVENTS, Call, Endpoints, json_response
from orchestration.api.fields import RunConfig
from orchestration.api.following import follow, follow_again, keep_events, place
from orchestration.api.idempotency import Once
from orchestration.api.own_runs import left_waiting
from orchestration.api.patience import waiting
from orchestration.api.problems import Problem
from orchestration.api.quota import quota
from orchestration.api.run_models import JoinHow, RunCreate, StatelessRun, WorkflowRun
from orchestration.api.submission import new_run, require_workflow
from orchestration.graphs.workflows import SPEC
from orchestration.loop.errors import Draining
from orchestration.loop.run import Run

endpoint = Endpoints()


async def _created_again(_: Call, kept: sqlite3.Row) -> Response:
    return json_response(kept["answer"].encode(), headers=_kept_place(kept))


def _kept_place(kept: sqlite3.Row, rest: str | None = None) -> dict[str, str]:
    """Return the headers that say where the run is that a request made first."""
    run = orjson.loads(kept["answer"])
    return place(run["thread_id"], run["run_id"], rest)


async def _waited_again(call: Call, kept: sqlite3.Row) -> Response:
    """Wait for the run that the request made first, or tell how that ended."""
    run = call.backend.loop.live(kept["run_id"])
    if run is not None:
        return waiting(call, run, cancel=False)
    if left_waiting(call, kept["run_id"]):
        raise Draining
    headers = _kept_place(kept, "join")
    return json_response((kept["output"] or "null").encode(), headers=headers)


async def _streamed_again(call: Call, kept: sqlite3.Row) -> Response:
    """Stream what the run has done so far, and what it does."""
    run = call.backend.loop.live(kept["run_id"])
    where = _kept_place(kept, "stream")
    return await follow_again(call, run, kept["run_id"], JoinHow(), after=0, where=where)


def _one(runs: Sequence[Run]) -> Document:
    return accepted_document(runs[0])


def _all(runs: Sequence[Run]) -> list[Document]:
    return [accepted_document(run) for run in runs]


def _run_id(runs: Sequence[Run]) -> str:
    return runs[0].run_id


_CREATED = Once(_one, _created_again)
_WAITED = Once(_one, _waited_again, _run_id)
_STREAMED = Once(_one, _streamed_again, _run_id)


@endpoint(
    "POST",
    "/runs/wait",
    access=Access("threads", "create_run"),
    body=StatelessRun,
    refuses=(404, 429),
    once=_WAITED,
)
async def wait_stateless(call: Call, body: StatelessRun) -> Response:
    """Run without a thread and answer with the output."""
    return await _wait(call, body, None)


@endpoint(
    "POST",
    "/runs/stream",
    access=Access("threads", "create_run"),
    body=StatelessRun,
    refuses=(404, 429),
    gives=EVENTS,
    once=_STREAMED,
)
async def stream_stateless(call: Call, body: StatelessRun) -> Response:
    """Run without a thread and stream what happens."""
    return await _stream(call, body, None)


@endpoint(
    "POST",
    "/runs",
    access=Access("threads", "create_run"),
    body=StatelessRun,
    refuses=(404, 429),
    gives=answers.Run,
    once=_CREATED,
)
async def create_stateless(call: Call, body: StatelessRun) -> Response:
    """Run without a thread, in the background."""
    return await _create(call, body, None)


@endpoint(
    "POST",
    "/threads/{thread_id}/runs",
    access=Access("threads", "create_run"),
    body=RunCreate,
    refuses=(404, 429),
    gives=answers.Run,
    once=_CREATED,
)
async def create_run(call: Call, body: RunCreate) -> Response:
    """Run on a thread, in the background."""
    return await _create(call, body, call.uuid("thread_id"))


@endpoint(
    "POST",
    "/threads/{thread_id}/runs/wait",
    access=Access("threads", "create_run"),
    body=RunCreate,
    refuses=(404, 429),
    once=_WAITED,
)
async def wait_run(call: Call, body: RunCreate) -> Response:
    """Run on a thread and answer with the output."""
    return await _wait(call, body, call.uuid("thread_id"))


@endpoint(
    "POST",
    "/threads/{thread_id}/runs/stream",
    access=Access("threads", "create_run"),
    body=RunCreate,
    refuses=(404, 429),
    gives=EVENTS,
    once=_STREAMED,
)
async def stream_run(call: Call, body: RunCreate) -> Response:
    """Run on a thread and stream what happens."""
    return await _stream(call, body, call.uuid("thread_id"))


@endpoint(
    "POST",
    "/workflows/runs",
    access=Access("threads", "create_run"),
    body=WorkflowRun,
    refuses=(404, 429),
    gives=answers.Run,
    once=_CREATED,
)
async def run_workflow(call: Call, body: WorkflowRun) -> Response:
    """Do a workflow that is given here, in the background."""
    require_workflow(call.backend, body.workflow)
    config: RunConfig = body.config or {}
    configurable = {**(config.get("configurable") or {}), SPEC: body.workflow}
    changes = {"config": {**config, "configurable": configurable}, "input": body.input or {}}
    run = body.model_copy(update=changes)
    thread_id = None if body.thread_id is None else str(body.thread_id)
    return await _create(call, run, thread_id)


@endpoint(
    "POST",
    "/runs/batch",
    access=Access("threads", "create_run"),
    body=Batch,
    refuses=(404, 429),
    gives=list[answers.Run],
    once=Once(_all),
)
async def create_batch(call: Call, body: Batch) -> Response:
    """Run many without a thread, in the background."""
    runs = [await _asked(call, one, None) for one in body]
    if not runs:
        return json_response([])
    await call.backend.loop.submit(*runs)
    return json_response(_all(runs), headers=quota(call.backend.loop, runs[0]))


async def _create(call: Call, body: RunCreate, thread_id: str | None) -> Response:
    run = await _asked(call, body, thread_id)
    await call.backend.loop.submit(run)
    headers = {**place(run.thread_id, run.run_id), **quota(call.backend.loop, run)}
    return json_response(accepted_document(run), headers=headers)


async def _wait(call: Call, body: RunCreate, thread_id: str | None) -> Response:
    run = await _asked(call, body, thread_id)
    # Until it has ended, nobody knows of a run on a thread that is made for it.
    run.announced = thread_id is not None or call.receipt is not None
    await call.backend.loop.submit(run)
    cancel, again = body.on_disconnect == "cancel", call.receipt is not None
    return waiting(call, run, cancel=cancel, again=again, headers=quota(call.backend.loop, run))


async def _stream(call: Call, body: RunCreate, thread_id: str | None) -> Response:
    run = await _asked(call, body, thread_id, resumable=call.receipt is not None)
    listener = run.stream.listen()
    await call.backend.loop.submit(run)
    return follow(call, run, listener, cancel=body.on_disconnect == "cancel")


async def _asked(
    call: Call, body: RunCreate, thread_id: str | None, *, resumable: bool = False
) -> Run:
    if thread_id is None and body.command and body.command.get("resume") is not None:
        raise Problem(
            HTTPStatus.BAD_REQUEST, "only a run on a thread can be resumed; name the thread"
        )
    run = await new_run(call, body, thread_id)
    run.resumable = run.resumable or resumable
    keep_events(call.backend, run)
    return run
