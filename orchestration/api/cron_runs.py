"""From a cron to the runs that it makes, as whoever made the cron."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

from pydantic import ValidationError

from orchestration.api.access import ANONYMOUS, EVERYTHING, Grant, Principal
from orchestration.api.backend import Backend
from orchestration.api.endpoint import Call
from orchestration.api.following import keep_events
from orchestration.api.problems import Problem
from orchestration.api.run_models import RunCreate
from orchestration.api.submission import find_assistant, may_run, new_run
from orchestration.crons.timekeeper import Unrunnable
from orchestration.graphs.users import User
from orchestration.loop.run import Firing, Run
from orchestration.store.crons import Cron

_NOT_PAYLOAD = frozenset({"assistant_id", "metadata", "on_completion"})  # a cron's own fields


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
    run = await new_run(_as(call, cron.maker), _body(cron, cron.metadata), cron.thread_id)
    if not cron.maker:  # it was made when nobody was asked who they are
        run.principal = None
    return run


async def allowed(call: Call, cron: Cron) -> Cron:
    """Return ``cron`` as its maker may have it: how they may run, and what that left of its runs.

    Raises:
        Problem: 403, they may make no such runs.
    """
    if not cron.maker or call.backend.authority is None:
        return cron
    # What is written into the metadata is to be found again, to be written into those of each run.
    written = {*call.grant.stamp, *cron.maker["stamp"]}
    metadata = {key: value for key, value in cron.metadata.items() if key not in written}
    asked = _body(cron, metadata)
    maker, body = await may_run(_as(call, cron.maker), asked, cron.thread_id)
    given = {name: getattr(body, name) for name in body.model_fields_set - _NOT_PAYLOAD}
    return replace(
        cron,
        assistant_id=find_assistant(call.backend, body.assistant_id).assistant_id,
        on_run_completed=cron.on_run_completed and body.on_completion,
        maker=_kept(maker.principal, maker.grant),
        payload={name: value for name, value in given.items() if value or name in cron.payload},
    )


def maker_of(call: Call) -> dict[str, Any]:
    """Return what a cron keeps of the caller who makes it, which has yet to be `allowed`.

    Nothing of nobody: where nobody is asked who they are.
    """
    return {} if call.backend.authority is None else _kept(call.principal, Grant())


def _kept(principal: Principal, grant: Grant) -> dict[str, Any]:
    return {
        "identity": principal.identity,
        "permissions": list(principal.permissions),
        "user": dict(principal.user),
        "visible": grant.visible,
        "stamp": dict(grant.stamp),
        "namespace": list(grant.namespace),
    }


def _body(cron: Cron, metadata: Mapping[str, Any]) -> RunCreate:
    """Return what a run of ``cron`` would be asked for with.

    Raises:
        ValidationError: the payload was stored by a version that took what this one does not.
    """
    return RunCreate.model_validate(
        {
            **cron.payload,
            "assistant_id": cron.assistant_id,
            "metadata": {**metadata, "cron_id": cron.cron_id},
            "on_completion": cron.on_run_completed or "delete",
        }
    )


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
