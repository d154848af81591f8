"""Containment of JSON in JSON, as PostgreSQL's ``@>`` has it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.store.contains import contains


@pytest.mark.parametrize(
    ("whole", "part", "held"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, True),
        ({"a": {"b": 1}}, {"a": {}}, True),
        ({"a": [1, 2, 3]}, {"a": [3, 1]}, True),
        ({"a": [1, 2]}, {"a": [4]}, False),
        ({"a": [{"b": 1, "c": 2}]}, {"a": [{"b": 1}]}, True),
        ({"a": None}, {"a": None}, True),
        ({}, {"a": None}, False),
        ({"a": 1}, {"a": True}, False),
        ({"a": 0}, {"a": False}, False),
        ({"a": "1"}, {"a": 1}, False),
        ({"a": 1}, {"a": [1]}, False),
        ([1], {"a": 1}, False),
        ({"a": 1.5}, {"a": 1.5}, True),
    ],
)
def test_what_is_held(whole: Any, part: Any, held: bool) -> None:
    assert contains(whole, part) is held


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=1), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(_JSON)
def test_everything_holds_itself(value: Any) -> None:
    assert contains(value, value)


@given(_JSON, _JSON, _JSON)
def test_what_holds_a_holder_holds_what_that_holds(a: Any, b: Any, c: Any) -> None:
    if contains(a, b) and contains(b, c):
        assert contains(a, c)
