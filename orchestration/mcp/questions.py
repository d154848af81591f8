"""Interrupts as questions to the user: elicitation, with one form per interrupt."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from operations.excerpt import CUT
from orchestration.graphs.snapshots import INTERRUPT_KEY
from orchestration.mcp.validation import Validator, is_schema

_ANSWER = "answer"
_TEXT = {"type": "object", "properties": {_ANSWER: {"type": "string"}}, "required": [_ANSWER]}
_PRIMITIVE = frozenset({"string", "number", "integer", "boolean"})
_DECLINED = ("decline", "cancel")
_SHOWN = 2_000  # characters of a question
_QUESTION = ("message", "question", "prompt", "description")
_SCHEMA = ("schema", "requestedSchema")


@dataclass(frozen=True, slots=True)
class Question:
    """What a graph asks: the id of its interrupt, the text, and the form of the answer.

    ``bare``: the graph wants the one value of the form, and not an object with it.
    """

    key: str
    message: str
    schema: Mapping[str, Any]
    bare: bool

    @property
    def request(self) -> dict[str, Any]:
        """What a client is told to ask its user."""
        params = {"mode": "form", "message": self.message, "requestedSchema": dict(self.schema)}
        return {"method": "elicitation/create", "params": params}

    @property
    def document(self) -> dict[str, Any]:
        """What a model is told that is to answer it."""
        return {"id": self.key, "question": self.message, "schema": self._wanted}

    @property
    def _wanted(self) -> Any:
        return self.schema["properties"][_ANSWER] if self.bare else self.schema

    def answer(self, response: Mapping[str, Any]) -> "Answer | None":
        """Return what the user said; None if that is no answer to this question."""
        action, content = response.get("action"), response.get("content")
        if action in _DECLINED:
            return Answer(declined=True)
        if action != "accept" or not isinstance(content, dict):
            return None
        if not Validator(self.schema).passes(content):
            return None
        return Answer(value=content[_ANSWER] if self.bare else content)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a user said."""

    value: Any = None
    declined: bool = False


def questions_in(output: Any) -> list[Question]:
    """Return what a run asks that has stopped, by what a waiter is answered."""
    waiting = output.get(INTERRUPT_KEY) if isinstance(output, dict) else None
    return [_question(one) for one in waiting or ()]


def questions_on(interrupts: str | None) -> list[Question]:
    """Return what a thread waits for, by its interrupts as they are stored."""
    by_task: dict[str, list[dict[str, Any]]] = orjson.loads(interrupts or "{}")
    return [_question(one) for waiting in by_task.values() for one in waiting]


def _question(interrupt: Mapping[str, Any]) -> Question:
    value = interrupt.get("value")
    schema = interrupt.get("response_schema")
    if schema is None and isinstance(value, dict):
        schema = next((value[key] for key in _SCHEMA if value.get(key)), None)
    form, bare = _form(schema)
    return Question(str(interrupt["id"]), _message(value), form, bare)


def _message(value: Any) -> str:
    """Return what the user reads: the question, and below it whatever else they are to judge."""
    text = _told(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}{CUT}"


def _told(value: Any) -> str:
    if isinstance(value, dict):
        for key in _QUESTION:
            if isinstance(value.get(key), str):
                rest = {
                    name: one
                    for name, one in value.items()
                    if name not in (key, *_SCHEMA) and one is not None
                }
                lines = [f"{name}: {_words(one)}" for name, one in rest.items()]
                return "\n\n".join([value[key], *lines])
    return _words(value)


def _words(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _form(schema: Any) -> tuple[Mapping[str, Any], bool]:
    """Return the form for an answer of that schema, and whether it has one value only.

    A form is flat. What does not fit into one is answered by a text.
    """
    if not isinstance(schema, dict) or not is_schema(schema):
        return _TEXT, True
    if _is_flat(schema):
        return schema, False
    if schema.get("type") in _PRIMITIVE:
        return {"type": "object", "properties": {_ANSWER: schema}, "required": [_ANSWER]}, True
    return _TEXT, True


def _is_flat(schema: Mapping[str, Any]) -> bool:
    fields = schema.get("properties")
    if schema.get("type") != "object" or not isinstance(fields, dict) or not fields:
        return False
    return all(isinstance(one, dict) and _is_field(one) for one in fields.values())


def _is_field(schema: Mapping[str, Any]) -> bool:
    if schema.get("type") == "array":
        items = schema.get("items")
        return isinstance(items, dict) and bool({"enum", "anyOf"} & items.keys())
    return schema.get("type") in _PRIMITIVE
