"""What a graph tells about itself: the JSON Schemas of its data, its drawing, its subgraphs."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from langgraph.pregel.protocol import PregelProtocol
from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from orchestration.graphs.typeddicts import modern

JsonSchema = dict[str, Any]
Schemas = dict[str, JsonSchema | None]


def graph_schemas(graph: PregelProtocol[Any, Any, Any, Any]) -> Schemas:
    """Return the JSON Schemas of what a graph takes, gives and keeps, in LangGraph's API's words.

    The keys are ``input_schema``, ``output_schema``, ``state_schema``, ``config_schema`` and
    ``context_schema``. A schema is None where the graph has none or it cannot be put into words.
    """
    if isinstance(graph, CompiledStateGraph):
        builder = graph.builder
        types = (builder.input_schema, builder.output_schema, builder.state_schema)
        given, left, kept = (_attempt(_schema_of, type_) for type_ in types)
    elif isinstance(graph, Pregel):
        given, left = _attempt(graph.get_input_jsonschema), _attempt(graph.get_output_jsonschema)
        kept = None
    else:
        given = left = kept = None
    declared = getattr(graph, "context_schema", None)
    context = None if declared is None else _attempt(_schema_of, declared)
    return {
        "input_schema": given,
        "output_schema": left,
        "state_schema": kept,
        # Since LangGraph 0.6 the schema of the context is that of ``config.configurable`` too.
        "config_schema": context,
        "context_schema": context,
    }


async def graph_drawing(
    graph: PregelProtocol[Any, Any, Any, Any], *, xray: bool | int = False
) -> dict[str, Any]:
    """Return ``nodes`` and ``edges``, with the insides of subgraphs to a depth of ``xray``."""
    return (await graph.aget_graph(xray=xray)).to_json()


async def subgraph_schemas(
    graph: Pregel[Any, Any, Any, Any], namespace: str | None = None, *, recurse: bool = False
) -> dict[str, Schemas]:
    """Return the schemas of subgraphs by namespace (``parent|child``): of all, or of one.

    Subgraphs of subgraphs are found with ``recurse`` only.
    """
    found = graph.aget_subgraphs(namespace=namespace, recurse=recurse)
    return {name: graph_schemas(subgraph) async for name, subgraph in found}


class _Lenient(GenerateJsonSchema):
    """Says nothing of a type that JSON has no words for, and goes on."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - theirs

    def handle_invalid_for_json_schema(
        self,
        schema: Any,  # noqa: ARG002
        error_info: str,  # noqa: ARG002
    ) -> JsonSchemaValue:
        return {}


def _schema_of(declared: Any) -> JsonSchema:
    """Return the schema of a type. It is remembered, as it takes 10 ms and more: not to change."""
    try:
        hash(declared)
    except TypeError:
        return _made_schema(declared)
    return _remembered_schema(declared)


def _made_schema(declared: Any) -> JsonSchema:
    try:
        adapter = TypeAdapter[Any](declared)
    except PydanticUserError:
        adapter = TypeAdapter[Any](modern(declared))
    return adapter.json_schema(schema_generator=_Lenient)


_remembered_schema = lru_cache(maxsize=256)(_made_schema)


def _attempt(make: Callable[..., JsonSchema], *arguments: Any) -> JsonSchema | None:
    try:
        return make(*arguments)
    except Exception:  # noqa: BLE001 - types of the user say how they are described, with any code
        return None
