"""Schemas that a graph makes up: what they refer to is neither fetched nor missed."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from orchestration.mcp.questions import questions_in
from orchestration.mcp.validation import Validator

_TEXT: dict[str, Any] = {"type": "string"}


def test_what_a_schema_refers_to_elsewhere_is_not_fetched() -> None:
    asked: list[str] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        field = {**_TEXT, "$ref": f"http://127.0.0.1:{server.server_port}/secret"}
        value = {"message": "Name?", "schema": {"type": "object", "properties": {"name": field}}}
        (question,) = questions_in({"__interrupt__": [{"id": "1", "value": value}]})
        answer = question.answer({"action": "accept", "content": {"name": "Ada"}})
        server.shutdown()
    assert answer is not None
    assert answer.value == {"name": "Ada"}
    assert asked == []


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/Missing"},
        {"$ref": "elsewhere.json"},
        {"allOf": [{"$ref": "#"}]},
    ],
)
def test_a_schema_that_refers_to_nothing_lets_everything_pass(schema: dict[str, Any]) -> None:
    validator = Validator(schema)
    assert validator.passes("x")
    assert validator.mistakes("x") == []


def test_a_schema_that_refers_to_its_own_definitions_is_kept_to() -> None:
    schema = {"$ref": "#/$defs/Text", "$defs": {"Text": _TEXT}}
    assert Validator(schema).passes("x")
    assert not Validator(schema).passes(1)
