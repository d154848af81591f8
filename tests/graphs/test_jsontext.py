"""JSON text of everything a state can hold."""

import dataclasses
import enum
import ipaddress
import json
import math
import re
from collections import ChainMap, OrderedDict, UserDict, deque
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langgraph.types import Command, Interrupt, Send
from pydantic import BaseModel

from orchestration.graphs.jsontext import DEPTH_LIMIT, NotSerialisable, dumps


class Colour(enum.Enum):
    RED = "red"


class Model(BaseModel):
    when: datetime = datetime(2024, 1, 2, tzinfo=UTC)
    tags: set[str] = {"a"}


@dataclasses.dataclass
class Point:
    x: int
    model: Model = dataclasses.field(default_factory=Model)
    _cache: int = 0


class Pair(NamedTuple):
    left: int
    right: int


class Celsius(float):
    pass


class Moment(datetime):
    pass


class Money(Decimal):
    pass


class Span(timedelta):
    pass


class Raw(bytes):
    pass


class Bag(set[int]):
    pass


class Array:
    """As numpy's arrays that orjson does not take."""

    def tolist(self) -> list[int]:
        return [1, 2]


class Broken:
    def dict(self) -> dict[str, Any]:
        raise LookupError("gone")


class Endless:
    def tolist(self) -> "Endless":
        return Endless()


class Lookup(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    def __len__(self) -> int:
        return 1


MODEL = {"when": "2024-01-02T00:00:00+00:00", "tags": ["a"]}

CASES: list[tuple[Any, Any]] = [
    (b"\xff\x00ab", "/wBhYg=="),
    (bytearray(b"ab"), "YWI="),
    (memoryview(b"ab"), "YWI="),
    (Raw(b"ab"), "YWI="),
    ({1}, [1]),
    (Bag([1]), [1]),
    (frozenset([1]), [1]),
    (deque([1, 2]), [1, 2]),
    ((1, 2), [1, 2]),
    (Pair(1, 2), {"left": 1, "right": 2}),
    (datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC), "2024-01-02T03:04:05+00:00"),
    (Moment(2024, 1, 2, tzinfo=UTC), "2024-01-02T00:00:00+00:00"),
    (date(2024, 1, 2), "2024-01-02"),
    (time(1, 2, 3), "01:02:03"),
    (timedelta(seconds=90), 90.0),
    (Span(seconds=90), 90.0),
    (Decimal("1.50"), 1.5),
    (Decimal(2), 2),
    (Decimal("NaN"), None),
    (Money("0.5"), 0.5),
    (PurePosixPath("/a/b"), "/a/b"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (Colour.RED, "red"),
    (Model(), MODEL),
    (Point(1), {"x": 1, "model": MODEL}),
    (OrderedDict(a=1), {"a": 1}),
    (ChainMap({"a": 1}), {"a": 1}),
    (UserDict(a=1), {"a": 1}),
    (Lookup(), {"a": 1}),
    (ValueError("boom"), {"error": "ValueError", "message": "boom"}),
    (Command(goto="x"), {"graph": None, "update": None, "resume": None, "goto": "x"}),
    (Send("n", {"a": 1}), {"node": "n", "args": {"a": 1}}),
    (Interrupt("v", id="i"), {"value": "v", "id": "i", "response_schema": None}),
    (re.compile("a+"), "a+"),
    (ipaddress.ip_address("1.2.3.4"), "1.2.3.4"),
    (ZoneInfo("UTC"), "UTC"),
    (Celsius(1.5), 1.5),
    (Array(), [1, 2]),
    (math.nan, None),
    (math.inf, None),
    (Model, None),
    (len, None),
    (object(), None),
    (2**70, 2**70),
    (-(2**70), -(2**70)),
    ("a\ud800b", "a?b"),
    ({"k\ud800": 1}, {"k?": 1}),
]


@pytest.mark.parametrize(("value", "expected"), CASES, ids=lambda value: type(value).__name__)
def test_a_value_has_this_json(value: Any, expected: Any) -> None:
    assert json.loads(dumps(value)) == expected


@pytest.mark.parametrize(("value", "expected"), CASES, ids=lambda value: type(value).__name__)
def test_it_has_the_same_json_beside_something_that_orjson_refuses(
    value: Any, expected: Any
) -> None:
    assert json.loads(dumps([value, 2**70])) == [expected, 2**70]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (1, "1"),
        (1.5, "1.5"),
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (Colour.RED, "red"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (date(2024, 1, 2), "2024-01-02"),
        ((1, 2), "(1, 2)"),
        (2**70, str(2**70)),
    ],
)
def test_a_key_of_any_type_becomes_a_string(key: Any, expected: str) -> None:
    assert json.loads(dumps({key: 0})) == {expected: 0}


def test_a_message_has_its_type_beside_its_fields() -> None:
    got = json.loads(
        dumps([HumanMessage("a", id="1"), AIMessage("b"), AIMessageChunk(content="c")])
    )
    assert [(m["type"], m["content"]) for m in got] == [
        ("human", "a"),
        ("ai", "b"),
        ("AIMessageChunk", "c"),
    ]


def test_a_message_is_written_as_langgraph_writes_it() -> None:
    call = {"name": "f", "args": {"a": 1}, "id": "t"}
    assert json.loads(dumps(AIMessage("c", id="q", tool_calls=[call]))) == {
        "content": "c",
        "additional_kwargs": {},
        "response_metadata": {},
        "type": "ai",
        "name": None,
        "id": "q",
        "tool_calls": [{**call, "type": "tool_call"}],
        "invalid_tool_calls": [],
        "usage_metadata": None,
    }


def _circle() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


def _deep(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "value", [_circle(), _deep(300), _deep(100_000), Endless()], ids=["circle", "300", "1e5", "∞"]
)
def test_what_contains_itself_or_is_too_deep_is_refused(value: Any) -> None:
    with pytest.raises(NotSerialisable, match="contains itself or is deeper than 254 levels"):
        dumps(value)


def test_the_deepest_value_allowed_is_written() -> None:
    value = _deep(DEPTH_LIMIT - 2)
    assert json.loads(dumps([value, 2**70])) == [value, 2**70]


def test_an_object_that_raises_while_it_is_converted_is_refused_with_its_reason() -> None:
    with pytest.raises(NotSerialisable, match="gone"):
        dumps(Broken())


TEXT = st.text(st.characters(codec="utf-8"))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda children: st.lists(children) | st.dictionaries(TEXT, children),
    max_leaves=20,
)
ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates too


@given(JSON)
def test_json_comes_back_as_it_went(value: Any) -> None:
    assert json.loads(dumps(value)) == value


@given(st.dictionaries(ANY_TEXT, ANY_TEXT | st.integers() | st.binary() | st.datetimes()))
def test_the_text_is_always_utf_8_json(value: dict[str, Any]) -> None:
    orjson.loads(dumps(value))
