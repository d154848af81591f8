"""The service itself: alive, ready, what it is, what it can do."""

from http import HTTPStatus
from importlib.metadata import version
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from starlette.responses import Response

from operations.errors import nearest
from operations.health import State, examine
from orchestration.api import answers
from orchestration.api.access import PUBLIC
from orchestration.api.asked import Query
from orchestration.api.conditions import PARTS, components_document, shutdown_document
from orchestration.api.endpoint import Call, Endpoints, json_response
from orchestration.api.problems import Problem

endpoint = Endpoints()
VERSION = version("masterloop")
_LANGGRAPH = version("langgraph")
# `?verbose` is true.
Flag = Annotated[
    bool,
    BeforeValidator(lambda text: text == "" or text),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"const": ""}]}),
]


class ReadyHow(Query):
    """What is said of the parts, and which of them do not count."""

    verbose: Flag = False
    exclude: list[Annotated[str, WithJsonSchema({"enum": list(PARTS)})]] | None = None


@endpoint("GET", "/ok", access=PUBLIC, gives=answers.Ok)
async def ok(call: Call) -> Response:  # noqa: ARG001 - every handler takes it
    """Say that the service answers."""
    return json_response({"ok": True})


@endpoint("GET", "/livez", access=PUBLIC, gives=answers.Ready)
async def livez(call: Call) -> Response:  # noqa: ARG001 - every handler takes it
    """Say that the process lives; touches nothing."""
    return json_response({"status": "ok"})


@endpoint(
    "GET",
    "/readyz",
    access=PUBLIC,
    query=ReadyHow,
    gives={200: answers.Ready, 503: answers.Ready},
)
async def readyz(call: Call, how: ReadyHow) -> Response:
    """Say whether the service takes runs, and if not, why."""
    shutdown = call.backend.shutdown
    left_out = how.exclude or ()
    for name in left_out:
        if name not in PARTS:
            detail = f"there is no part {name!r}. {nearest(name, PARTS)}"
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
    found = await examine(call.backend.checks, left_out)
    missing = {name: one.reason for name, one in found.items() if one.state is State.FAILED}
    body: dict[str, Any] = {"status": "not ready" if missing else "ok", **missing}
    if how.verbose:
        # Anybody may ask this; figures are for those who may see `GET /ops/status`.
        details = call.backend.authority is None
        body["components"] = components_document(found, details=details)
        if shutdown.begun:
            body["shutdown"] = shutdown_document(shutdown)
    return json_response(body, HTTPStatus.SERVICE_UNAVAILABLE if missing else HTTPStatus.OK)


@endpoint("GET", "/startupz", access=PUBLIC, gives={200: answers.Ready, 503: answers.Ready})
async def startupz(call: Call) -> Response:
    """Say whether the start is over: every pool has its agents, or says what keeps them away."""
    starting = {
        pool.name: pool.snapshot().reason
        for pool in call.backend.agents
        if pool.snapshot().state == "starting"
    }
    status = HTTPStatus.SERVICE_UNAVAILABLE if starting else HTTPStatus.OK
    return json_response({"status": "not ready" if starting else "ok", **starting}, status)


@endpoint("GET", "/info", access=PUBLIC, gives=dict[str, Any])
async def info(call: Call) -> Response:
    """Say what this is and what it can do."""
    open_to_all = call.backend.authority is None
    return json_response(
        {
            "version": VERSION,
            "langgraph_py_version": _LANGGRAPH,
            "server": "masterloop",
            "flags": {
                "assistants": True,
                "crons": True,
                "langsmith": False,
                "strict_resume": True,
            },
            # Anybody may ask this; who may not call need not know what there is.
            **({"graphs": list(call.backend.graphs.names)} if open_to_all else {}),
        }
    )
