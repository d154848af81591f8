"""From a cron to the runs that it makes, as whoever made the cron."""

from typing import Any, NoReturn

from pydantic import ValidationError

from orchestration.api.access import Grant, Principal
from orchestration.api.backend import Backend
from orchestration.api.endpoint import Call
from orchestration.api.following import keep_events
from orchestration.api.models import RunCreate
from orchestration.api.problems import Problem
from orchestration.api.submission import new_run
from orchestration.crons.timekeeper import Unrunnable
from orchestration.loop.run import Firing, Run
from orchestration.store.crons import Cron


async def submit_cron_run(backend: Backend, cron: Cron, firing: Firing) -> None:
    """Submit the run of a cron that is due, as if its maker had sent the same.

    Raises:
        Unrunnable: it would be refused as a mistake, such as one whose graph is not served.
        LoopError, StorageUnavailable: nothing was taken.
    """
    try:
        run = await cron_run(_call_of(backend, cron), cron)
    except (Problem, ValidationError) as error:
        raise Unrunnable(str(error)) from error
    run.firing = firing
    keep_events(backend, run)
    await backend.loop.submit(run)


async def cron_run(call: Call, cron: Cron) -> Run:
    """Return a run of ``cron``; its metadata say which cron it is of.

    Raises:
        ThreadNotFound: the thread is not the caller's.
        Problem: it would be refused.
        ValidationError: the payload was stored by a version that took what this one does not.
    """
    body = RunCreate.model_validate(
        {
            **cron.payload,
            "assistant_id": cron.assistant_id,
            "metadata": {**cron.metadata, "cron_id": cron.cron_id},
            "on_completion": cron.on_run_completed or "delete",
        }
    )
    return await new_run(call, body, cron.thread_id)


def maker_of(call: Call) -> dict[str, Any]:
    """Return what a cron keeps of the caller who makes it."""
    return {
        "identity": call.principal.identity,
        "permissions": list(call.principal.permissions),
        "user": dict(call.principal.user),
        "visible": call.grant.visible,
        "stamp": dict(call.grant.stamp),
    }


def _call_of(backend: Backend, cron: Cron) -> Call:
    maker = cron.maker
    principal = Principal(
        identity=maker["identity"], permissions=tuple(maker["permissions"]), user=maker["user"]
    )
    grant = Grant(visible=maker["visible"], stamp=maker["stamp"])
    return Call(backend, {"path_params": {}}, _nobody, {}, principal, grant)


async def _nobody() -> NoReturn:
    raise RuntimeError("there is no client that sends a body")
