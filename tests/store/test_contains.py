"""Containment of JSON in JSON, as PostgreSQL's ``@>`` has it."""

import sqlite3
import time
from contextlib import closing
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.store import bounded
from orchestration.store.bounded import SearchTooWide, fetch
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
        ({"a": [1, "1", None]}, {"a": [None, "1", 1, 1]}, True),
        ({"a": [1, 0]}, {"a": [True]}, False),
        ({"a": [1]}, {"a": [1.0]}, False),
        ({"a": [[1, 2], {"b": 1}]}, {"a": [[2], {}]}, True),
        ({"a": [[1, 2], {"b": 1}]}, {"a": [{"b": 1}, 1]}, False),
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


@given(st.lists(_JSON | st.floats(-3, 3), max_size=4), st.lists(_JSON, max_size=3))
def test_a_list_is_held_as_if_each_member_were_compared_with_each(
    whole: list[Any], part: list[Any]
) -> None:
    each = all(any(contains(element, value) for element in whole) for value in part)
    assert contains(whole, part) is each


def test_long_lists_of_plain_values_are_compared_at_once() -> None:
    many = 99_000
    began = time.process_time()
    assert contains({"a": [0] * (many - 1) + [1]}, {"a": [1] * many})
    assert not contains({"a": list(range(many))}, {"a": [*range(many - 1), -1]})
    assert time.process_time() - began < 5, "each with each takes half an hour"


@pytest.mark.parametrize(
    ("whole", "part"),
    [
        ([{"a": 0}] * 1_999 + [{"a": 1}], [{"a": 1}] * 2_000),
        ([[0]] * 1_999 + [[1]], [[1]] * 2_000),
        ([*range(50_000), [0], [1]], [[1]] * 100_000),
    ],
)
def test_one_comparison_that_takes_too_long_is_given_up(
    monkeypatch: pytest.MonkeyPatch, whole: list[Any], part: list[Any]
) -> None:
    monkeypatch.setattr(bounded, "PATIENCE", 0.1)
    sql, row = "SELECT json_contains(?, ?)", (orjson.dumps(whole).decode(), orjson.dumps(part))
    with closing(sqlite3.connect(":memory:")) as connection:
        began = time.process_time()
        with pytest.raises(SearchTooWide):
            fetch(connection, sql, row)
        assert time.process_time() - began < 5
