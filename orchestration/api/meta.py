"""The service itself: alive, ready, what it is, what it can do."""

from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from starlette.responses import Response

from orchestration.api import answers
from orchestration.api.access import PUBLIC
from orchestration.api.endpoint import Call, Endpoints, json_response

endpoint = Endpoints()
VERSION = version("masterloop")
_LANGGRAPH = version("langgraph")


@endpoint("GET", "/ok", access=PUBLIC, gives=answers.Ok)
async def ok(call: Call) -> Response:  # noqa: ARG001 - every handler takes it
    """Say that the service answers."""
    return json_response({"ok": True})


@endpoint("GET", "/livez", access=PUBLIC, gives=answers.Ready)
async def livez(call: Call) -> Response:  # noqa: ARG001 - every handler takes it
    """Say that the process lives; touches nothing."""
    return json_response({"status": "ok"})


@endpoint("GET", "/readyz", access=PUBLIC, gives={200: answers.Ready, 503: answers.Ready})
async def readyz(call: Call) -> Response:
    """Say whether the service takes runs, and if not, why."""
    missing = await call.backend.readiness()
    status = HTTPStatus.SERVICE_UNAVAILABLE if missing else HTTPStatus.OK
    return json_response({"status": "not ready" if missing else "ok", **missing}, status)


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
