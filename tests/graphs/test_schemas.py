"""What a graph tells about itself."""

import operator
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import typing_extensions as te
from langchain_core.messages import AnyMessage
from langchain_core.runnables import Runnable, RunnableLambda
from langgraph.func import entrypoint
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.pregel import Pregel
from langgraph.pregel.remote import RemoteGraph
from pydantic import BaseModel

from orchestration.graphs.schemas import graph_drawing, graph_schemas, subgraph_schemas

Graph = Pregel[Any, Any, Any, Any]


class Author(typing.TypedDict):
    name: str


class Article(typing.TypedDict, total=False):
    """One article."""

    title: te.Required[str]
    author: Author
    others: Annotated[list[Author], operator.add]
    by_role: dict[str, Author]
    reviewer: Author | None
    editor: typing.Optional[Author]  # noqa: UP045 - users write it
    pair: tuple[Author, ...]
    stage: typing.Literal["draft", "done"]


class Messages(te.TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


class Model(BaseModel):
    count: int = 3


@dataclass
class Data:
    count: int = 3


class Socket:
    """A class that no schema can describe."""


class Odd(te.TypedDict):
    socket: Socket
    call: Callable[[int], str]
    text: str


class Broken:
    @classmethod
    def __get_pydantic_core_schema__(cls, *_: object) -> object:
        raise RuntimeError("no")


class Bad(te.TypedDict):
    field: Broken


class Selfish(typing.TypedDict):
    me: "Selfish | None"
    text: str


same: Runnable[Any, Any] = RunnableLambda(lambda _: {})


def graph_of(state: Any, **schemas: Any) -> Graph:
    builder = StateGraph(state, **schemas)
    builder.add_node("same", same)
    builder.add_edge(START, "same")
    return builder.compile()


def nested() -> Graph:
    builder = StateGraph(Messages)
    builder.add_node("child", parent_of(graph_of(Messages), "grandchild"))
    builder.add_node("plain", same)
    builder.add_edge(START, "child")
    builder.add_edge("child", "plain")
    builder.add_edge("plain", END)
    return builder.compile()


def parent_of(graph: Graph, name: str) -> Graph:
    builder = StateGraph(Messages)
    builder.add_node(name, graph)
    builder.add_edge(START, name)
    return builder.compile()


def state_of(graph: Graph) -> dict[str, Any]:
    schema = graph_schemas(graph)["state_schema"]
    assert schema is not None
    return schema


def test_a_typing_typeddict_is_described_with_what_is_in_it() -> None:
    schema = state_of(graph_of(Article))
    author = {"$ref": "#/$defs/Author"}
    properties = {
        name: {key: value for key, value in described.items() if key != "title"}
        for name, described in schema["properties"].items()
    }
    assert properties == {
        "title": {"type": "string"},
        "author": author,
        "others": {"type": "array", "items": author},
        "by_role": {"type": "object", "additionalProperties": author},
        "reviewer": {"anyOf": [author, {"type": "null"}]},
        "editor": {"anyOf": [author, {"type": "null"}]},
        "pair": {"type": "array", "items": author},
        "stage": {"type": "string", "enum": ["draft", "done"]},
    }
    assert (schema["required"], schema["description"]) == (["title"], "One article.")


@pytest.mark.parametrize("state", [Model, Data])
def test_pydantic_and_dataclass_states_are_described_with_their_defaults(state: Any) -> None:
    assert state_of(graph_of(state))["properties"]["count"]["default"] == 3


def test_messages_are_described() -> None:
    assert "HumanMessage" in state_of(graph_of(Messages))["$defs"]


def test_input_output_and_state_are_told_apart() -> None:
    schemas = graph_schemas(graph_of(Article, input_schema=Author, output_schema=Model))
    assert [list((schemas[f"{kind}_schema"] or {})["properties"])[:1] for kind in KINDS] == [
        ["name"],
        ["count"],
        ["title"],
    ]


KINDS = ("input", "output", "state")


@pytest.mark.parametrize(
    "context", [Model, Data, Author, Annotated[dict[str, int], ["unhashable"]]]
)
def test_the_context_is_the_schema_of_the_config_too(context: Any) -> None:
    schemas = graph_schemas(graph_of(Messages, context_schema=context))
    assert schemas["context_schema"] is not None
    assert schemas["config_schema"] == schemas["context_schema"]


def test_a_graph_without_context_has_no_schema_of_it() -> None:
    schemas = graph_schemas(graph_of(Messages))
    assert (schemas["context_schema"], schemas["config_schema"]) == (None, None)


def test_a_field_without_words_in_json_says_nothing_and_hides_no_other() -> None:
    properties = state_of(graph_of(Odd))["properties"]
    assert [list(properties[name]) for name in ("socket", "call", "text")] == [
        ["title"],
        ["title"],
        ["title", "type"],
    ]


def test_types_that_fail_to_describe_themselves_leave_no_schema() -> None:
    assert graph_schemas(graph_of(Bad))["state_schema"] is None


def test_a_type_that_contains_itself_raises_nothing() -> None:
    assert "state_schema" in graph_schemas(graph_of(Selfish))


def test_an_entrypoint_has_input_and_output_only() -> None:
    @entrypoint()
    def double(value: int) -> int:
        return value * 2

    schemas = graph_schemas(double)
    assert [(schemas[f"{kind}_schema"] or {}).get("type") for kind in KINDS] == [
        "integer",
        "integer",
        None,
    ]


def test_a_remote_graph_tells_nothing() -> None:
    remote = RemoteGraph("agent", url="http://127.0.0.1:9")
    assert set(graph_schemas(remote).values()) == {None}


async def test_a_drawing_has_nodes_and_edges() -> None:
    drawing = await graph_drawing(nested())
    assert {node["id"] for node in drawing["nodes"]} == {"__start__", "child", "plain", "__end__"}
    assert {(edge["source"], edge["target"]) for edge in drawing["edges"]} == {
        ("__start__", "child"),
        ("child", "plain"),
        ("plain", "__end__"),
    }


@pytest.mark.parametrize(
    ("xray", "node"), [(1, "child:grandchild"), (True, "child:grandchild:same")]
)
async def test_xray_opens_subgraphs_to_its_depth(xray: int, node: str) -> None:
    drawing = await graph_drawing(nested(), xray=xray)
    assert node in {node["id"] for node in drawing["nodes"]}


async def test_subgraphs_are_listed_by_name() -> None:
    found = await subgraph_schemas(nested())
    assert [
        (name, "messages" in (s["input_schema"] or {})["properties"]) for name, s in found.items()
    ] == [("child", True)]


@pytest.mark.parametrize(
    ("namespace", "recurse", "names"),
    [
        (None, True, ["child", "child|grandchild"]),
        ("child", False, ["child"]),
        ("child|grandchild", True, ["child|grandchild"]),
        ("nobody", True, []),
    ],
)
async def test_subgraphs_are_found_by_namespace(
    namespace: str | None, recurse: bool, names: list[str]
) -> None:
    assert list(await subgraph_schemas(nested(), namespace, recurse=recurse)) == names
