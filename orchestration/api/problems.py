"""Errors as clients see them: RFC 9457 problem documents that LangGraph clients can read too.

``detail`` is always text, which is all that LangGraph's clients look at.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from random import uniform
from typing import Any

import orjson
from langgraph.store.base import InvalidNamespaceError
from pydantic import ValidationError
from starlette.responses import Response
from uuid_utils import uuid4

from agents.errors import PoolNotFound
from agents.network.errors import MailboxFull, MailboxNotFound, MessageRefused
from operations.errors import StorageFull, StorageUnavailable
from orchestration.api.quota import rate_limit
from orchestration.graphs.jsontext import NotSerialisable
from orchestration.graphs.registry import GraphNotMade
from orchestration.loop import errors
from orchestration.store.assistants import AssistantExists
from orchestration.store.bounded import SearchTooWide, TooMuchFound
from orchestration.store.terms import TooMuchMetadata
from orchestration.store.threads import ThreadExists

CLIENT_GONE = 499  # as nginx has it: nobody is there to see it, but who counts requests
_FULL = "there is no room left in the data folder; nothing was stored, reads go on"
_LOCKED = "the data folder cannot be written to at the moment; nothing was stored"
MANY = 10_000  # mistakes in one request; to list more would hold up the event loop
_MISTAKES = 20  # told of one request
_NAME = 64  # characters shown of a name that a client made up
_ANSWERED = 1.0  # seconds after which a request is likely to be answered
_STOPPING = 5.0  # seconds after which a stopping service is likely to be back


Dice = Callable[[float, float], float]  # something between the two


class Problem(Exception):
    """A refusal: its status, its reason for people, and where in the request it lies.

    ``detail`` is the ``reason``, and behind it the ``advice`` what to do, if there is any.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        *,
        advice: str = "",
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        kind: str = "about:blank",
    ) -> None:
        self.reason = reason
        self.detail = f"{reason}; {advice}" if advice else reason
        super().__init__(self.detail)
        self.status = status
        self.errors = errors
        self.headers = dict(headers or {})
        self.kind = kind


_STATUSES: Mapping[type[Exception], HTTPStatus] = {
    errors.ThreadBusy: HTTPStatus.CONFLICT,
    errors.ThreadNotFound: HTTPStatus.NOT_FOUND,
    ThreadExists: HTTPStatus.CONFLICT,
    PoolNotFound: HTTPStatus.NOT_FOUND,
    MailboxNotFound: HTTPStatus.NOT_FOUND,
    MessageRefused: HTTPStatus.UNPROCESSABLE_ENTITY,
    AssistantExists: HTTPStatus.CONFLICT,
    InvalidNamespaceError: HTTPStatus.UNPROCESSABLE_ENTITY,  # one that an authorisation made
    SearchTooWide: HTTPStatus.UNPROCESSABLE_ENTITY,
    TooMuchFound: HTTPStatus.UNPROCESSABLE_ENTITY,
    TooMuchMetadata: HTTPStatus.UNPROCESSABLE_ENTITY,
    NotSerialisable: HTTPStatus.UNPROCESSABLE_ENTITY,
    GraphNotMade: HTTPStatus.FAILED_DEPENDENCY,
}
CHALLENGE = {"www-authenticate": 'Bearer realm="masterloop"'}
_OVERLOAD = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
_QUOTA = "https://iana.org/assignments/http-problem-types#quota-exceeded"


def unauthorised(detail: str) -> Problem:
    """Return the refusal of somebody who is not known."""
    return Problem(HTTPStatus.UNAUTHORIZED, detail, headers=CHALLENGE)


def not_found(path: str) -> Problem:
    """Return the refusal of a path that nothing answers."""
    return Problem(HTTPStatus.NOT_FOUND, f"there is nothing at {path[:200]}; see /openapi.json")


def problem(error: Exception) -> Problem:  # noqa: C901, PLR0911 - a table of errors
    """Return the problem that ``error`` is to a client."""
    match error:
        case Problem():
            return error
        case ValidationError():
            return invalid(error)
        case errors.QueueFull() | errors.Restricted():
            return _later(HTTPStatus.SERVICE_UNAVAILABLE, str(error), error.retry_after, _OVERLOAD)
        case MailboxFull():
            return Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                str(error),
                headers=come_back(_STOPPING),
                kind=_OVERLOAD,
            )
        case errors.RateLimited():
            refused = _later(HTTPStatus.TOO_MANY_REQUESTS, str(error), error.retry_after, _QUOTA)
            refused.headers.update(rate_limit(error.allowance))
            return refused
        case errors.AskedTwice():
            return Problem(HTTPStatus.CONFLICT, str(error), headers=come_back(_ANSWERED))
        case errors.Draining():
            return Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                error.reason,
                advice=error.advice,
                headers=come_back(_STOPPING),
            )
        case StorageFull():
            return Problem(HTTPStatus.INSUFFICIENT_STORAGE, _FULL)
        case StorageUnavailable():
            return Problem(HTTPStatus.SERVICE_UNAVAILABLE, _LOCKED, headers=come_back(_STOPPING))
        case _:
            status = _STATUSES.get(type(error))
            if status is None:
                return Problem(
                    HTTPStatus.INTERNAL_SERVER_ERROR, "something went wrong in the server"
                )
            return Problem(status, str(error))


def invalid(
    error: ValidationError, unknown: Callable[[Sequence[str | int]], str] | None = None
) -> Problem:
    """Return the 422 for a request that does not fit its model, with its first mistakes.

    ``unknown`` is asked what to say of a field that the model does not have, by its place. Of more
    than ``MANY`` mistakes nothing but their number is told.
    """
    if error.error_count() > MANY:
        detail = f"the request has {error.error_count()} mistakes"
        return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
    mistakes = error.errors(include_url=False, include_context=False, include_input=False)
    found: list[dict[str, str]] = []
    for entry in mistakes[:_MISTAKES]:
        path = [str(part)[:_NAME] for part in entry["loc"]]
        said = entry["msg"]
        if entry["type"] == "extra_forbidden" and unknown is not None:
            said = unknown(entry["loc"])
        found.append({"pointer": "/" + "/".join(map(_escaped, path)), "detail": said})
    detail = "; ".join(f"{entry['pointer'][1:] or 'body'}: {entry['detail']}" for entry in found)
    if len(mistakes) > _MISTAKES:
        detail += f"; and {len(mistakes) - _MISTAKES} more"
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=found)


def _escaped(part: str) -> str:
    """Return a part of a JSON pointer as RFC 6901 has it."""
    return part.replace("~", "~0").replace("/", "~1")


def respond(problem: Problem, instance: str) -> Response:
    """Put ``problem`` into a response; every one has an id to find it in the log by."""
    body: dict[str, Any] = {
        "type": problem.kind,
        "title": _title(problem.status),
        "status": int(problem.status),
        "detail": problem.detail,
        "instance": instance,
        "request_id": str(uuid4()),
    }
    if problem.errors:
        body["errors"] = problem.errors
    return Response(
        orjson.dumps(body),
        problem.status,
        headers=problem.headers,
        media_type="application/problem+json",
    )


def _title(status: int) -> str:
    return "Client Closed Request" if status == CLIENT_GONE else HTTPStatus(status).phrase


@dataclass(frozen=True, slots=True)
class Wording:
    """How refusals are worded: as a response, and described under ``name`` in the API document."""

    name: str
    respond: Callable[[Problem, str], Response]
    described: Mapping[str, Any]


PROBLEMS = Wording(
    "Problem",
    respond,
    {
        "description": "a problem (RFC 9457); `detail` says what is wrong and how to mend it",
        "content": {
            "application/problem+json": {
                "schema": {
                    "type": "object",
                    "required": ["type", "title", "status", "detail", "instance", "request_id"],
                    "properties": {
                        "type": {"type": "string"},
                        "title": {"type": "string"},
                        "status": {"type": "integer"},
                        "detail": {"type": "string"},
                        "instance": {"type": "string"},
                        "request_id": {"type": "string"},
                        "errors": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["pointer", "detail"],
                                "properties": {
                                    "pointer": {"type": "string"},
                                    "detail": {"type": "string"},
                                },
                            },
                        },
                    },
                }
            }
        },
    },
)


def come_back(seconds: float, dice: Dice = uniform) -> dict[str, str]:
    """Return the field that says when: up to twice the time, so that not everybody does at once."""
    return {"retry-after": str(math.ceil(seconds * dice(1, 2)))}


def _later(status: HTTPStatus, detail: str, seconds: float, kind: str) -> Problem:
    headers = {"retry-after": str(math.ceil(seconds))}
    return Problem(status, detail, headers=headers, kind=kind)
