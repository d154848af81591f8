"""Whatever LangGraph's SDK can send, there is an endpoint that declares to take it."""

import inspect
import json
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

import httpx
import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient

from operations.ports import DEFAULT_PORT
from orchestration.api.app import ENDPOINTS

PARTS = ("assistants", "threads", "runs", "crons", "store")
VALUES: dict[str, Any] = {
    "supersteps": [{"updates": [{"values": {}, "command": {}, "as_node": "a"}]}],
    "payloads": [{"assistant_id": "a", "input": {}, "metadata": {}}],
    "checkpoint": {"checkpoint_id": "a"},
    "select": ["values"],
    "namespace": ["a"],
    "command": {"resume": 1},
    "ttl": 5,
    "metadata": {"a": 1},
    "response_format": "array",
    "headers": None,
    "params": None,
    "on_run_created": None,
    "end_time": None,
}


def _methods() -> Iterator[tuple[str, str]]:
    client = SyncLangGraphClient(httpx.Client())
    for part in PARTS:
        for name, _ in inspect.getmembers(getattr(client, part), inspect.ismethod):
            if not name.startswith("_") and (part, name) != ("threads", "stream"):
                yield part, name


def _value(name: str) -> Any:
    if name in VALUES:
        return VALUES[name]
    return str(uuid4()) if name.endswith("_id") else "a"


def _sent(part: str, name: str, without: tuple[str, ...]) -> list[httpx.Request]:
    """Return what a method of the SDK sends when it is given everything that it takes."""
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        streams = "text/event-stream" in request.headers.get("accept", "")
        kind = "text/event-stream" if streams else "application/json"
        return httpx.Response(
            200, headers={"content-type": kind}, content=b"" if streams else b"{}"
        )

    transport = httpx.MockTransport(answer)
    with httpx.Client(transport=transport, base_url="http://service") as http:
        method: Callable[..., Any] = getattr(getattr(SyncLangGraphClient(http), part), name)
        found = inspect.signature(method).parameters.values()
        known = [one for one in found if one.name not in without]
        first = [_value(one.name) for one in known if one.kind is one.POSITIONAL_ONLY]
        given = {one.name: _value(one.name) for one in known if one.kind is not one.POSITIONAL_ONLY}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some parameters are deprecated
            result = method(*first, **given)
            if inspect.isgenerator(result):
                list(result)
    return sent


def _taken(request: httpx.Request) -> frozenset[str]:
    """Return the parameters that the endpoint for a request declares."""
    for one in sorted(ENDPOINTS, key=lambda endpoint: endpoint.path.count("{")):
        pattern = re.sub(r"{\w+}", "[^/]+", one.path)
        if one.method == request.method and re.fullmatch(pattern, request.url.path):
            return frozenset([*one.fields, *(one.query.model_fields if one.query else ())])
    raise AssertionError(f"there is no {request.method} {request.url.path}")


@pytest.mark.parametrize(("part", "name"), [*_methods()])
@pytest.mark.parametrize("without", [(), ("checkpoint",), ("checkpoint", "checkpoint_id")])
def test_what_the_sdk_can_send_is_taken(part: str, name: str, without: tuple[str, ...]) -> None:
    sent = _sent(part, name, without)
    assert sent, "the method sends nothing"
    for request in sent:
        body = json.loads(request.content or b"{}")
        bodies = body if isinstance(body, list) else [body]
        names = {key for one in bodies for key in one} | set(
            parse_qs(str(request.url.query, "ascii"))
        )
        assert names <= _taken(request), f"{request.method} {request.url.path}"


def test_the_client_that_is_given_no_url_looks_where_we_are() -> None:
    with get_sync_client() as client:
        assert client.http.client.base_url.port == DEFAULT_PORT
