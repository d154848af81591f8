"""Names and schemas of tools, and that a start does not pay for the SDK."""

import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AnyMessage
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from pydantic import BaseModel

from orchestration.mcp.names import RUN_TOOLS, tool_name
from orchestration.mcp.schemas import open_shapes, shapes

ID = "6ba7b821-9dad-11d1-80b4-00c04fd430c8"


@pytest.mark.parametrize(
    ("text", "own", "name"),
    [
        ("agent", True, "agent"),
        ("agent-2_B", True, "agent-2_B"),
        ("agent.v2", True, "agent_v2_4fd430c8"),
        ("run_get", True, "run_get_4fd430c8"),
        ("a" * 41, True, "a" * 31 + "_4fd430c8"),
        ("agent", False, "agent_4fd430c8"),
        ("Größe & Co", False, "Gr_e_Co_4fd430c8"),
        ("研究", False, "assistant_4fd430c8"),
    ],
)
def test_an_assistant_is_called_like_its_graph_or_marked(text: str, own: bool, name: str) -> None:
    found = tool_name(text, ID, own=own)
    assert found == name
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", found)
    assert found not in RUN_TOOLS


class Inner(TypedDict):
    size: int


class Plain(TypedDict):
    question: str
    inner: Inner
    messages: Annotated[list[AnyMessage], add_messages]


class Model(BaseModel):
    question: str


@dataclass
class Data:
    question: str


def _graph(state: Any, given: Any = None) -> Any:
    builder: Any = StateGraph(state, input_schema=given or state)
    builder.add_node("work", lambda _: {})
    builder.add_edge(START, "work")
    return builder.compile()


def test_a_state_that_is_the_input_has_no_required_keys_but_a_model_has() -> None:
    assert "required" not in shapes(_graph(Plain))[0].schema
    assert shapes(_graph(Plain, Inner))[0].schema["required"] == ["size"]
    assert shapes(_graph(Model))[0].schema["required"] == ["question"]
    assert shapes(_graph(Data))[0].schema["required"] == ["question"]


def test_only_what_is_referred_to_is_defined() -> None:
    taken, given = shapes(_graph(Plain))
    assert set(taken.schema["$defs"]) == set(given.schema["$defs"]) == {"Inner"}
    assert taken.mistakes({"inner": {"size": "x"}}) == [
        "inner/size: 'x' is not of type 'integer'",
    ]


def test_a_structure_has_what_its_schema_tells_and_allows() -> None:
    _, given = shapes(_graph(Plain))
    values = {"question": None, "inner": {"size": 1}, "other": 1, "messages": [{"type": "ai"}]}
    assert given.of(values) == {"inner": {"size": 1}, "messages": [{"type": "ai"}]}
    assert given.of(None) == {}


def test_of_a_graph_that_tells_nothing_anything_is_taken() -> None:
    taken, given = open_shapes()
    assert taken.mistakes({"x": 1}) == []
    assert given.of({"x": 1}) == {"x": 1}


def test_a_start_does_not_import_the_sdk() -> None:
    code = "import sys, orchestration.service; sys.exit('mcp.server' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
