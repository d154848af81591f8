"""What a tool takes and gives, made of the JSON Schemas of a graph such that a model copes.

The root of a tool's schema is an object. The schema of a graph that takes anything else, as those
of LangGraph's functional API do, is put under one name.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from typing_extensions import is_typeddict

from operations.errors import nearest
from orchestration.graphs.schemas import graph_schemas
from orchestration.mcp.validation import Mistake, Schema, Validator

Graph = Pregel[Any, Any, Any, Any]

_MISTAKES = 5  # told of one call
_INPUT, _OUTPUT = "input", "output"
_DEFINITIONS = "#/$defs/"
# LangChain's own description of a message takes 20 kB, which every prompt of a host would pay for.
_MESSAGE: Schema = {
    "type": "object",
    "description": "A chat message.",
    "properties": {
        "role": {"type": "string", "enum": ["user", "assistant", "system"]},
        "content": {"type": "string"},
    },
    "required": ["role", "content"],
}
_ANY_MESSAGE: Schema = {"type": "object", "description": "A chat message."}


@dataclass(frozen=True, slots=True)
class Input:
    """The arguments of a tool."""

    schema: Schema
    wrapped: bool
    _validator: Validator

    def mistakes(self, arguments: Mapping[str, Any]) -> list[str]:
        """Return what is wrong with ``arguments`` and how to mend it, in words for a model."""
        found = self._validator.mistakes(arguments)[:_MISTAKES]
        return [_in_words(mistake, arguments, self.schema) for mistake in found]

    def of(self, arguments: Mapping[str, Any]) -> Any:
        """Return the input of the graph."""
        return arguments[_INPUT] if self.wrapped else dict(arguments)


@dataclass(frozen=True, slots=True)
class Output:
    """The structured result of a tool."""

    schema: Schema
    wrapped: bool
    _validators: Mapping[str, Validator]

    def of(self, values: Any) -> dict[str, Any]:
        """Return what of the values of a graph the schema tells of, and is as it tells.

        LangGraph does not hold nodes to the types of a state; clients hold servers to schemas.
        """
        if self.wrapped or not isinstance(values, dict):
            values = {_OUTPUT: values} if self.wrapped else {}
        if not self._validators:
            return cast("dict[str, Any]", values)
        return {
            name: values[name]
            for name, validator in self._validators.items()
            if name in values and validator.passes(values[name])
        }


def shapes(graph: Graph) -> tuple[Input, Output]:
    """Return what ``graph`` takes and gives as a tool."""
    found = graph_schemas(graph)
    given = found["input_schema"]
    taken, wrapped = _rooted(given, _INPUT, _MESSAGE)
    if not wrapped and _takes_its_state(graph):
        taken.pop("required", None)
    if taken.get("properties"):
        taken.setdefault("additionalProperties", False)
    left, boxed = _rooted(found["output_schema"], _OUTPUT, _ANY_MESSAGE)
    left.pop("required", None)  # a state need not have all its values
    left.pop("additionalProperties", None)
    definitions = {"$defs": left["$defs"]} if "$defs" in left else {}
    validators = {
        name: Validator({**schema, **definitions} if isinstance(schema, dict) else {})
        for name, schema in left.get("properties", {}).items()
    }
    return Input(taken, wrapped, Validator(taken)), Output(left, boxed, validators)


def open_shapes() -> tuple[Input, Output]:
    """Return the shapes of a graph of which nothing is known."""
    anything: Schema = {"type": "object"}
    return Input(anything, False, Validator(anything)), Output(anything, False, {})  # noqa: FBT003 - two facts


def _takes_its_state(graph: Graph) -> bool:
    """Return whether a graph takes its whole state, of which it needs what its nodes read."""
    if not isinstance(graph, CompiledStateGraph):
        return False
    builder = graph.builder
    return builder.input_schema is builder.state_schema and is_typeddict(builder.input_schema)


def _rooted(schema: Schema | None, name: str, message: Schema) -> tuple[Schema, bool]:
    """Return ``schema`` with an object at its root, and whether it was wrapped for that."""
    if schema is None:
        return {"type": "object"}, False
    simple = cast("Schema", _simplified(schema, message))
    definitions: Schema = simple.pop("$defs", {})
    if "$ref" in simple:
        simple = {**simple, **definitions[str(simple.pop("$ref")).removeprefix(_DEFINITIONS)]}
    simple.pop("title", None)
    wrapped = simple.get("type") != "object"
    if wrapped:
        simple = {"type": "object", "properties": {name: simple}, "required": [name]}
    if used := _used(simple, definitions):
        simple["$defs"] = used
    return simple, wrapped


def _simplified(node: Any, message: Schema) -> Any:
    """Return a copy in which a message is just that."""
    if isinstance(node, list):
        return [_simplified(one, message) for one in node]
    if not isinstance(node, dict):
        return node
    for key in ("oneOf", "anyOf"):
        members = node.get(key)
        if isinstance(members, list) and {"$ref": f"{_DEFINITIONS}HumanMessage"} in members:
            return dict(message)
    return {key: _simplified(value, message) for key, value in node.items()}


def _used(schema: Schema, definitions: Schema) -> Schema:
    """Return those of ``definitions`` that ``schema`` refers to."""
    used: Schema = {}
    found = list(_references(schema))
    while found:
        name = found.pop()
        if name in definitions and name not in used:
            used[name] = definitions[name]
            found += _references(definitions[name])
    return used


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for one in node:
            yield from _references(one)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref" and isinstance(value, str):
                yield value.removeprefix(_DEFINITIONS)
            else:
                yield from _references(value)


def _in_words(mistake: Mistake, arguments: Mapping[str, Any], schema: Schema) -> str:
    if mistake.rule != "additionalProperties" or mistake.path:
        return str(mistake)
    known = schema["properties"]
    unknown = next(name for name in arguments if name not in known)
    return f"{mistake}. {nearest(unknown, known)}".removesuffix(".")
