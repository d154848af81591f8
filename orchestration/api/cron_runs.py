"""From a cron to the runs that it makes, as whoever made the cron."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn
from uuid import UUID

from pydantic import ValidationError

from orchestration.api.access import ANONYMOUS, EVERYTHING, Grant, Principal
from orchestration.api.backend import Backend
from orchestration.api.endpoint import Call
from orchestration.api.following import keep_events
from orchestration.api.problems import Problem
from orchestration.api.run_models import RunCreate
from orchestration.api.submission import new_run
from orchestration.crons.timekeeper import Unrunnable
from orchestration.graphs.users import User
from orchestration.loop.run import Firing, Run
from orchestration.store.crons import Cron


async def submit_cron_run(backend: Backend, cron: Cron, firing: Firing) -> None:
    """Submit the run of a cron that is due, as if its maker had sent the same.

    Raises:
        Unrunnable: it would be refused as a mistake, such as one whose graph is not served.
        LoopError, StorageUnavailable: nothing was taken.
    """
    try:
        run = await cron_run(Call(backend, {"path_params": {}}, _nobody, {}), cron)
    except (Problem, ValidationError) as error:
        raise Unrunnable(str(error)) from error
    run.firing = firing
    keep_events(backend, run)
    await backend.loop.submit(run)


async def cron_run(call: Call, cron: Cron) -> Run:
    """Return a run of ``cron``, its maker's; its metadata say which cron it is of.

    Raises:
        ThreadNotFound: the thread is not the maker's.
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
    run = await new_run(_as(call, cron.maker), body, cron.thread_id)
    if not cron.maker:  # it was made when nobody was asked who they are
        run.principal = None
    return run


async def maker_of(call: Call, thread_id: str | None) -> dict[str, Any]:
    """Return what a cron keeps of the caller who makes it: who they are, and how they may run.

    Nothing of nobody: where nobody is asked who they are.

    Raises:
        Problem: 403, they may make no runs.
    """
    if call.backend.authority is None:
        return {}
    asked: dict[str, Any] = {"metadata": {}}
    if thread_id is not None:
        asked["thread_id"] = UUID(thread_id)
    grant = (await call.may("threads", "create_run", asked)).grant
    return {
        "identity": call.principal.identity,
        "permissions": list(call.principal.permissions),
        "user": dict(call.principal.user),
        "visible": grant.visible,
        "stamp": dict(grant.stamp),
        "namespace": list(grant.namespace),
    }


def _as(call: Call, maker: Mapping[str, Any]) -> Call:
    """Return a call that is its maker's, with what they may do."""
    if not maker:
        return replace(call, principal=ANONYMOUS, grant=EVERYTHING)
    principal = Principal(
        identity=maker["identity"],
        permissions=tuple(maker["permissions"]),
        user=User(maker["user"]),
    )
    grant = Grant(
        visible=maker["visible"], stamp=maker["stamp"], namespace=tuple(maker["namespace"])
    )
    return replace(call, principal=principal, grant=grant)


async def _nobody() -> NoReturn:
    raise RuntimeError("there is no client that sends a body")
