"""Crons: runs by a schedule; made, read, changed, found, deleted."""

from dataclasses import asdict, replace
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from starlette.responses import Response

from operations.clock import iso, iso_now, utc_now
from orchestration.api import answers
from orchestration.api.access import Access
from orchestration.api.cron_models import (
    CronCreate,
    CronFilter,
    CronPatch,
    CronSearch,
    ThreadCronCreate,
)
from orchestration.api.cron_runs import allowed, cron_run, maker_of
from orchestration.api.documents import Document, selected
from orchestration.api.endpoint import Call, Endpoints, as_uuid, json_response, no_content
from orchestration.api.idempotency import Once
from orchestration.api.problems import Problem
from orchestration.api.submission import find_assistant
from orchestration.crons.schedule import BadSchedule
from orchestration.crons.timekeeper import due_after
from orchestration.loop.errors import ThreadNotFound
from orchestration.store.crons import Cron, CronQuery

endpoint = Endpoints()
_PAYLOAD = frozenset(
    {
        "input", "config", "context", "checkpoint_during", "interrupt_before", "interrupt_after",
        "webhook", "multitask_strategy", "if_not_exists", "stream_mode", "stream_subgraphs",
        "stream_resumable", "durability",
    }
)  # fmt: skip


def _document(cron: Cron) -> Document:
    document = asdict(cron)
    del document["maker"]
    given = {"schedule": cron.schedule, "assistant_id": cron.assistant_id}
    return {**document, "payload": {**given, **cron.payload}}


@endpoint(
    "POST",
    "/runs/crons",
    access=Access("crons", "create"),
    body=CronCreate,
    refuses=(404,),
    gives=answers.Cron,
    once=Once(_document),
    audited=True,
)
async def create_cron(call: Call, body: CronCreate) -> Response:
    """Run by a schedule, each time on a thread of its own."""
    return await _create(call, body, None, body.on_run_completed or "delete")


@endpoint(
    "POST",
    "/threads/{thread_id}/runs/crons",
    access=Access("crons", "create"),
    body=ThreadCronCreate,
    gives=answers.Cron,
    once=Once(_document),
    audited=True,
)
async def create_thread_cron(call: Call, body: ThreadCronCreate) -> Response:
    """Run on a thread by a schedule."""
    return await _create(call, body, call.uuid("thread_id"), None)


@endpoint("GET", "/runs/crons/{cron_id}", access=Access("crons", "read"), gives=answers.Cron)
async def get_cron(call: Call) -> Response:
    """Return a cron."""
    return json_response(_document(_cron(call)))


@endpoint(
    "PATCH",
    "/runs/crons/{cron_id}",
    access=Access("crons", "update"),
    body=CronPatch,
    gives=answers.Cron,
    audited=True,
)
async def patch_cron(call: Call, body: CronPatch) -> Response:
    """Change a cron; if that changes when it is due, it is due anew from now on."""
    old = _cron(call)
    if body.on_run_completed is not None and old.thread_id is not None:
        raise Problem(HTTPStatus.CONFLICT, "on_run_completed: this cron's thread stays as it is")
    new = await allowed(call, _patched(call, old, body))
    try:
        await cron_run(call, new)
    except Problem as refused:
        if refused.status != HTTPStatus.BAD_REQUEST:
            raise
        raise Problem(HTTPStatus.CONFLICT, refused.detail) from refused  # with what it has already
    before, after = asdict(old), asdict(new)
    changes = {name: value for name, value in after.items() if value != before[name]}
    if not await call.backend.crons.update(old.cron_id, changes):
        raise _no_cron(old.cron_id)
    call.backend.timekeeper.changed(old.cron_id)
    return json_response(_document(_cron(call)))


@endpoint(
    "DELETE", "/runs/crons/{cron_id}", access=Access("crons", "delete"), gives=None, audited=True
)
async def delete_cron(call: Call) -> Response:
    """Delete a cron; its runs stay."""
    cron_id = _cron(call).cron_id
    if not await call.backend.crons.delete(cron_id):
        raise _no_cron(cron_id)
    return no_content()


@endpoint(
    "POST",
    "/runs/crons/search",
    access=Access("crons", "search"),
    body=CronSearch,
    optional_body=True,
    gives=list[answers.FoundCron],
)
async def search_crons(call: Call, body: CronSearch) -> Response:
    """Find crons."""
    query = CronQuery(
        **_filter(call, body),
        limit=body.limit,
        offset=body.offset,
        sort_by=body.sort_by,
        descending=body.sort_order == "desc",
    )
    at = iso_now()
    found = [_document(cron) for cron in await call.backend.crons.search(query)]
    if body.select is not None:
        found = [selected({**document, "now": at}, body.select) for document in found]
    return json_response(found)


@endpoint(
    "POST",
    "/runs/crons/count",
    access=Access("crons", "search"),
    body=CronFilter,
    optional_body=True,
    gives=int,
)
async def count_crons(call: Call, body: CronFilter) -> Response:
    """Count crons."""
    return json_response(await call.backend.crons.count(CronQuery(**_filter(call, body))))


async def _create(
    call: Call, body: ThreadCronCreate, thread_id: str | None, on_run_completed: str | None
) -> Response:
    at = iso_now()
    cron = _timed(
        Cron(
            cron_id=str(uuid4()),
            assistant_id=find_assistant(call.backend, body.assistant_id).assistant_id,
            thread_id=thread_id,
            schedule=body.schedule,
            timezone=body.timezone,
            end_time=_end(body),
            enabled=body.enabled is not False,
            on_run_completed=on_run_completed,
            user_id=None if call.backend.authority is None else call.principal.identity,
            maker=maker_of(call),
            created_at=at,
            updated_at=at,
            next_run_date=None,
            metadata=call.stamped(body.metadata),
            payload=_payload(body),
        )
    )
    cron = await allowed(call, cron)
    await cron_run(call, cron)
    anywhere = body.if_not_exists == "create"
    if not await call.backend.crons.create(cron, call.receipt, on_any_thread=anywhere):
        raise ThreadNotFound(thread_id or "")
    call.backend.timekeeper.changed(cron.cron_id)
    return json_response(_document(cron))


def _patched(call: Call, old: Cron, body: CronPatch) -> Cron:
    names = ("schedule", "timezone", "enabled", "on_run_completed")
    changes = {name: getattr(body, name) for name in names if getattr(body, name) is not None}
    metadata = old.metadata
    if body.metadata is not None:
        # Who sees everything need not say again whose it is.
        mark = {
            name: old.metadata[name] for name in old.maker.get("stamp", ()) if name in old.metadata
        }
        metadata = {**mark, **body.metadata}
    changes["metadata"] = call.stamped(metadata)
    if "end_time" in body.model_fields_set:
        changes["end_time"] = _end(body)
    changes["payload"] = {**old.payload, **_payload(body)}
    new = replace(old, **changes, updated_at=iso_now())
    times = ("schedule", "timezone", "enabled", "end_time")
    return new if all(getattr(old, name) == getattr(new, name) for name in times) else _timed(new)


def _timed(cron: Cron) -> Cron:
    """Return ``cron`` with when it is due next, from now on.

    Raises:
        Problem: 422, its schedule or time zone is none.
    """
    try:
        due = due_after(cron, utc_now())
    except BadSchedule as error:
        raise _unfit(error.field, error.problem) from error
    return replace(cron, next_run_date=due if cron.enabled else None)


def _end(body: ThreadCronCreate | CronPatch) -> str | None:
    if body.end_time is None:
        return None
    if body.end_time <= utc_now():
        raise _unfit("end_time", "must be in the future, or the cron would never run")
    return iso(body.end_time)


def _payload(body: ThreadCronCreate | CronPatch) -> dict[str, Any]:
    given = _PAYLOAD & body.model_fields_set
    return {name: value for name in given if (value := getattr(body, name)) is not None}


def _filter(call: Call, body: CronFilter) -> dict[str, Any]:
    assistant_id, thread_id = body.assistant_id, body.thread_id
    if assistant_id is not None:
        assistant_id = as_uuid(call.backend.assistant_id(assistant_id), "assistant_id")
    return {
        "assistant_id": assistant_id,
        "thread_id": None if thread_id is None else as_uuid(thread_id, "thread_id"),
        "enabled": body.enabled,
        "metadata": body.metadata,
        "visible": call.visible,
    }


def _cron(call: Call) -> Cron:
    cron_id = call.uuid("cron_id")
    cron = call.backend.crons.get(cron_id, call.visible)
    if cron is None:
        raise _no_cron(cron_id)
    return cron


def _no_cron(cron_id: str) -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, f"Cron {cron_id} not found")


def _unfit(field: str, problem: str) -> Problem:
    errors = [{"pointer": f"/{field}", "detail": problem}]
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{field}: {problem}", errors=errors)
