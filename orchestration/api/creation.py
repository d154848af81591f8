"""Creating runs: in the background, waited for, streamed; on a thread or without one."""

from http import HTTPStatus

from starlette.responses import Response

from operations.errors import StorageUnavailable
from orchestration.api import answers
from orchestration.api.access import Access
from orchestration.api.documents import accepted_document
from orchestration.api.endpoint import EVENTS, Call, Endpoints, json_response
from orchestration.api.following import follow, keep_events, place
from orchestration.api.models import RunCreate
from orchestration.api.patience import waiting
from orchestration.api.problems import Problem
from orchestration.api.submission import new_run
from orchestration.loop.errors import LoopError
from orchestration.loop.run import Ending, Run

endpoint = Endpoints()
_BATCH = 1_000  # runs


@endpoint(
    "POST", "/runs/wait", access=Access("threads", "create_run"), body=RunCreate, refuses=(404, 429)
)
async def wait_stateless(call: Call, body: RunCreate) -> Response:
    """Run without a thread and answer with the output."""
    return await _wait(call, body, None)


@endpoint(
    "POST",
    "/runs/stream",
    access=Access("threads", "create_run"),
    body=RunCreate,
    refuses=(404, 429),
    gives=EVENTS,
)
async def stream_stateless(call: Call, body: RunCreate) -> Response:
    """Run without a thread and stream what happens."""
    return await _stream(call, body, None)


@endpoint(
    "POST",
    "/runs",
    access=Access("threads", "create_run"),
    body=RunCreate,
    refuses=(404, 429),
    gives=answers.Run,
)
async def create_stateless(call: Call, body: RunCreate) -> Response:
    """Run without a thread, in the background."""
    return await _create(call, body, None)


@endpoint(
    "POST",
    "/threads/{thread_id}/runs",
    access=Access("threads", "create_run"),
    body=RunCreate,
    refuses=(404, 429),
    gives=answers.Run,
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
)
async def stream_run(call: Call, body: RunCreate) -> Response:
    """Run on a thread and stream what happens."""
    return await _stream(call, body, call.uuid("thread_id"))


@endpoint(
    "POST",
    "/runs/batch",
    access=Access("threads", "create_run"),
    body=list[RunCreate],
    refuses=(404, 429),
    gives=list[answers.Run],
)
async def create_batch(call: Call, body: list[RunCreate]) -> Response:
    """Run many without a thread, in the background."""
    if len(body) > _BATCH:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"at most {_BATCH} runs at once")
    runs = [await _asked(call, one, None) for one in body]
    for number, run in enumerate(runs):
        try:
            await call.backend.loop.submit(run)
        except (LoopError, StorageUnavailable):  # all of them, or none
            for accepted in runs[:number]:
                call.backend.loop.cancel(accepted, Ending.ROLLBACK)
            raise
    return json_response([accepted_document(run) for run in runs])


async def _create(call: Call, body: RunCreate, thread_id: str | None) -> Response:
    run = await _submit(call, body, thread_id)
    return json_response(accepted_document(run), headers={"content-location": place(run)})


async def _wait(call: Call, body: RunCreate, thread_id: str | None) -> Response:
    run = await _submit(call, body, thread_id)
    return waiting(call, run, cancel=body.on_disconnect == "cancel")


async def _stream(call: Call, body: RunCreate, thread_id: str | None) -> Response:
    run = await _asked(call, body, thread_id)
    listener = run.stream.listen()
    await call.backend.loop.submit(run)
    return follow(call, run, listener, cancel=body.on_disconnect == "cancel")


async def _submit(call: Call, body: RunCreate, thread_id: str | None) -> Run:
    run = await _asked(call, body, thread_id)
    await call.backend.loop.submit(run)
    return run


async def _asked(call: Call, body: RunCreate, thread_id: str | None) -> Run:
    if thread_id is None and body.command and body.command.get("resume") is not None:
        raise Problem(
            HTTPStatus.BAD_REQUEST, "only a run on a thread can be resumed; name the thread"
        )
    run = await new_run(call, body, thread_id)
    keep_events(call.backend, run)
    return run
