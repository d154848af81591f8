"""Interrupts as questions to the user: elicitation, with one form per interrupt."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from operations.excerpt import CUT
from orchestration.api.ingress import parse_json
from orchestration.api.problems import Problem
from orchestration.graphs.snapshots import INTERRUPT_KEY
from orchestration.mcp.validation import Schema, Validator, is_schema

_ANSWER = "answer"
_TEXT = {"type": "string"}
_PRIMITIVE = frozenset({"string", "number", "integer", "boolean"})
_DECLINED = ("decline", "cancel")
_SHOWN = 2_000  # characters of a question
_QUESTION = ("message", "question", "prompt", "description")
_SCHEMA = ("schema", "requestedSchema")
_DEFINITIONS = "#/$defs/"


@dataclass(frozen=True, slots=True)
class Question:
    """What a graph asks: the id of its interrupt, the text, and the form of the answer.

    ``bare``: the graph wants the one value of the form, and not an object with it. ``wanted``: the
    schema of what it wants, if it tells; what no form can ask for is written down as JSON.
    """

    key: str
    message: str
    schema: Mapping[str, Any]
    bare: bool
    wanted: Mapping[str, Any] | None = None

    @property
    def request(self) -> dict[str, Any]:
        """What a client is told to ask its user."""
        params = {"mode": "form", "message": self.message, "requestedSchema": dict(self.schema)}
        return {"method": "elicitation/create", "params": params}

    @property
    def document(self) -> dict[str, Any]:
        """What a model is told that is to answer it."""
        wanted = _TEXT if self.wanted is None else self.wanted
        return {"id": self.key, "question": self.message, "schema": wanted}

    def mistakes(self, value: Any) -> list[str]:
        """Return why ``value`` is not what the graph wants."""
        if self.wanted is None:
            return []
        return [str(mistake) for mistake in Validator(self.wanted).mistakes(value)]

    def answer(self, response: Mapping[str, Any]) -> "Answer | None":
        """Return what the user said; None if that is no answer to this question."""
        action, content = response.get("action"), response.get("content")
        if action in _DECLINED:
            return Answer(declined=True)
        if action != "accept" or not isinstance(content, dict):
            return None
        if self.bare and not Validator(self.schema).passes(content):
            return None
        fitting = (value for value in self._meant(content) if not self.mistakes(value))
        return next((Answer(value=value) for value in fitting), None)

    def _meant(self, content: Mapping[str, Any]) -> Iterator[Any]:
        """Yield what the content of the form may stand for."""
        if not self.bare:
            yield content
            return
        value = content[_ANSWER]
        yield value
        if isinstance(value, str):
            with suppress(Problem):
                yield parse_json(value.encode())


@dataclass(frozen=True, slots=True)
class Answer:
    """What a user said."""

    value: Any = None
    declined: bool = False


def questions_in(output: Any, thread_id: str) -> list[Question]:
    """Return what a run on a thread asks that has stopped, by what a waiter is answered."""
    waiting = output.get(INTERRUPT_KEY) if isinstance(output, dict) else None
    return [_question(one, thread_id) for one in waiting or ()]


def questions_on(interrupts: str | None, thread_id: str) -> list[Question]:
    """Return what a thread waits for, by its interrupts as they are stored."""
    by_task: dict[str, list[dict[str, Any]]] = orjson.loads(interrupts or "{}")
    return [_question(one, thread_id) for waiting in by_task.values() for one in waiting]


def _question(interrupt: Mapping[str, Any], thread_id: str) -> Question:
    value = interrupt.get("value")
    schema = interrupt.get("response_schema")
    if schema is None and isinstance(value, dict):
        schema = next((value[key] for key in _SCHEMA if value.get(key)), None)
    wanted = schema if isinstance(schema, dict) and is_schema(schema) else None
    message = _told(value)
    if len(message) > _SHOWN:
        wanted, kept = _without_offers(wanted)
        message = _beginning(message, kept, thread_id)
    form, bare = _form(wanted)
    return Question(str(interrupt["id"]), message, form, bare, wanted)


def _beginning(text: str, kept: Sequence[str], thread_id: str) -> str:
    """Return the beginning of a text, and where all of it is, with what is ``kept`` from its form.

    Who is shown the beginning only is told so, or would approve what they do not know of.
    """
    missing = f"{len(text) - _SHOWN} more characters are not shown here"
    whole = f"all is under interrupts of thread://{thread_id}"
    if kept:
        whole = (
            f"all, and the {' and '.join(kept)} to answer with, is under interrupts of "
            f"GET /threads/{thread_id} and thread://{thread_id}"
        )
    return f"{_cut(text)}\n\n[{missing}; {whole}]"


def _without_offers(wanted: Schema | None) -> tuple[Schema | None, list[str]]:
    """Return the schema without the values that it offers as the only ones, and whose they are.

    Who gives such a value, a hash, has seen what they agree to: it is beside that.
    """
    fields = {} if wanted is None else wanted.get("properties", {})
    kept = [name for name, one in fields.items() if _offers_all(one)]
    if wanted is None or not kept:
        return wanted, kept
    bare = {
        name: {key: said for key, said in fields[name].items() if key not in ("enum", "default")}
        for name in kept
    }
    return {**wanted, "properties": {**fields, **bare}}, kept


def _offers_all(field: Any) -> bool:
    return isinstance(field, dict) and field.get("enum") == [field.get("default")]


def _cut(text: str) -> str:
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


def _form(wanted: Mapping[str, Any] | None) -> tuple[Mapping[str, Any], bool]:
    """Return the form for an answer of that schema, and whether it has one value only.

    A form is flat. What does not fit into one is answered by a text, of JSON if it is no text.
    """
    if wanted is None:
        return _of_one(_TEXT), True
    plain = _flattened(wanted)
    if _is_flat(plain):
        return plain, False
    if plain.get("type") in _PRIMITIVE:
        return _of_one(plain), True
    told = _cut(orjson.dumps(wanted).decode())
    return _of_one({**_TEXT, "description": f"JSON that is as this schema says: {told}"}), True


def _of_one(field: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "object", "properties": {_ANSWER: dict(field)}, "required": [_ANSWER]}


def _flattened(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema without what is there for a model of Pydantic, and for no form.

    That is what its fields refer to, and null, where a field may just be left out.
    """
    definitions = wanted.get("$defs", {})
    plain = _plain(wanted, definitions)
    plain.pop("$defs", None)
    fields = plain.get("properties", {})
    if fields:
        plain["properties"] = {name: _field(one, definitions) for name, one in fields.items()}
    return plain


def _field(schema: Any, definitions: Mapping[str, Any]) -> Any:
    if not isinstance(schema, dict):
        return schema
    plain = _plain(schema, definitions)
    if isinstance(plain.get("items"), dict):
        plain["items"] = _plain(plain["items"], definitions)
    return plain


def _plain(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    plain = dict(schema)
    kinds = plain.get("anyOf", [])
    some = [one for one in kinds if one != {"type": "null"}]
    if len(some) == 1 < len(kinds) and isinstance(some[0], dict):
        del plain["anyOf"]
        plain = {**some[0], **plain}
        if plain.get("default", plain) is None:
            del plain["default"]
    found = definitions.get(str(plain.get("$ref")).removeprefix(_DEFINITIONS))
    if isinstance(found, dict):
        del plain["$ref"]
        plain = {**found, **plain}
    return plain


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
