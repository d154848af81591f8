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
        (question,) = questions_in({"__interrupt__": [{"id": "1", "value": value}]}, "t")
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


_BACK_AND_FORTH = (
    r"^(\w+\s?)+$"  # Python's engine takes as long for each letter as for all before it
)
_LETTERS = "a" * 10_000


@pytest.mark.parametrize(
    ("schema", "fits", "mistaken"),
    [
        ({"type": "string", "pattern": _BACK_AND_FORTH}, _LETTERS, f"{_LETTERS}!"),
        ({"patternProperties": {_BACK_AND_FORTH: _TEXT}}, {f"{_LETTERS}!": 1}, {_LETTERS: 1}),
        (
            {"patternProperties": {_BACK_AND_FORTH: {}}, "additionalProperties": False},
            {_LETTERS: 1},
            {f"{_LETTERS}!": 1},
        ),
        (
            {"patternProperties": {_BACK_AND_FORTH: {}}, "additionalProperties": _TEXT},
            {_LETTERS: 1, f"{_LETTERS}!": "x"},
            {f"{_LETTERS}!": 1},
        ),
    ],
)
def test_a_pattern_is_looked_for_in_the_time_that_a_text_is_long(
    schema: dict[str, Any], fits: Any, mistaken: Any
) -> None:
    validator = Validator(schema)
    assert validator.passes(fits)
    assert not validator.passes(mistaken)


def test_keys_that_nobody_else_knows_are_not_looked_for_by_patterns() -> None:
    schema = {
        "allOf": [{"patternProperties": {_BACK_AND_FORTH: {}}}],
        "unevaluatedProperties": False,
    }
    assert Validator(schema).passes({f"{_LETTERS}!": 1})
    alone = {"properties": {"known": {}}, "unevaluatedProperties": False}
    assert not Validator(alone).passes({"unknown": 1})


def test_a_pattern_that_looks_around_itself_lets_everything_pass() -> None:
    assert Validator({"type": "string", "pattern": r"^(?=a)b$"}).passes("x")
    closed = {"patternProperties": {r"^(?=a)b$": _TEXT}, "additionalProperties": False}
    assert Validator(closed).passes({"x": 1})


def test_a_pattern_is_found_anywhere_in_a_text() -> None:
    validator = Validator({"pattern": "b+"})
    assert validator.passes("abbc")
    assert validator.passes(1)
    (mistake,) = validator.mistakes("x")
    assert (mistake.message, mistake.rule) == ("'x' does not match 'b+'", "pattern")
