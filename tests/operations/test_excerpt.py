"""The beginning of a value: short, whatever is in it, and without what a key calls a secret."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from operations.excerpt import CUT, excerpt
from operations.redaction import HIDDEN


@dataclass
class Point:
    x: int
    password: str


class Model(BaseModel):
    name: str
    parts: list[Any]


class Endless(Mapping[str, int]):
    """It looks at nothing beyond what there is room for, or this would never end."""

    def __getitem__(self, key: str) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        while True:
            yield "key"

    def __len__(self) -> int:
        return 1


class Broken(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        raise RuntimeError

    def __iter__(self) -> Iterator[str]:
        yield "key"

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"a": [1, 2.5, True, None, "ü\n"], 3: ()}, {"a": [1, 2.5, True, None, "ü\n"], "3": []}),
        (Point(1, "canary"), {"x": 1, "password": HIDDEN}),
        (
            Model(name="n", parts=[Point(2, "canary")]),
            {"name": "n", "parts": [{"x": 2, "password": HIDDEN}]},
        ),
        ({"tokens": 5, "api_key": "canary"}, {"tokens": 5, "api_key": HIDDEN}),
        (object(), "<object>"),
        (2**80, 2**80),
    ],
)
def test_what_is_short_is_whole(value: Any, shown: Any) -> None:
    assert json.loads(excerpt(value, 1_000)) == shown


def test_what_is_long_is_cut() -> None:
    assert excerpt("x" * 10_000_000, 10) == '"xxxxxxxxx' + CUT
    assert excerpt(list(range(10**6)), 12) == "[0, 1, 2, 3," + CUT
    assert excerpt(Endless(), 10) == '{"key": 1,' + CUT
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    assert excerpt(nested, 1_000) == "[" * 8 + f'"{CUT}"' + "]" * 8


def test_what_cannot_be_read_says_so() -> None:
    assert excerpt(Broken(), 100) == "{<RuntimeError>"
