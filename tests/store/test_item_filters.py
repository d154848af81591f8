"""A filter finds what a plain reading of it in Python would, and nothing that it says is SQL."""

import sqlite3
from contextlib import closing, suppress
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestration.store.item_filters import FilterRefused, filter_conditions

ORDERS = {
    "$gt": lambda a, b: a > b,
    "$gte": lambda a, b: a >= b,
    "$lt": lambda a, b: a < b,
    "$lte": lambda a, b: a <= b,
}


def found(value: Any, asked: Any) -> bool:
    """Ask SQLite."""
    conditions = filter_conditions(asked)
    where = " AND ".join(f"({sql})" for sql, _ in conditions) or "TRUE"
    parameters = [one for _, given in conditions for one in given]
    with closing(sqlite3.connect(":memory:")) as connection:
        sql = f"WITH items(value) AS (SELECT ?) SELECT 1 FROM items WHERE {where}"  # noqa: S608
        row = [orjson.dumps(value).decode(), *parameters]
        return connection.execute(sql, row).fetchone() is not None


def meant(value: Any, asked: Any) -> bool:
    """Read the filter as LangGraph's store in memory does, with JSON's types."""
    return isinstance(value, dict) and all(
        _field(value.get(key), part) for key, part in asked.items()
    )


def _field(value: Any, asked: Any) -> bool:
    if isinstance(asked, dict) and any(key.startswith("$") for key in asked):
        return all(_operator(value, operator, operand) for operator, operand in asked.items())
    return _equal(value, asked)


def _operator(value: Any, operator: str, operand: Any) -> bool:
    if operator in ("$eq", "$ne"):
        return _equal(value, operand) == (operator == "$eq")
    if _kind(value) != _kind(operand):
        return False
    return bool(ORDERS[operator](value, operand))


def _equal(value: Any, asked: Any) -> bool:
    if _kind(value) != _kind(asked):
        return False
    if isinstance(asked, dict):
        return meant(value, asked)
    if isinstance(asked, list):
        return len(value) == len(asked) and all(map(_field, value, asked))
    return bool(value == asked)


def _kind(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return type(value).__name__
    return "number"


keys = st.sampled_from(["a", "b", "a-b", "A", "0", "_"])
numbers = (
    st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-2, 2)
)
texts = st.sampled_from(["", "a", "b", "1", "null", 'a"b', "a\\b", "é", "\U0001f600", "a%"])
scalars = st.none() | st.booleans() | numbers | texts | st.just("a\0b")
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)
operators = st.fixed_dictionaries(
    {},
    optional={
        "$eq": values,
        "$ne": values,
        **dict.fromkeys(ORDERS, numbers | texts),
    },
).filter(bool)
filters = st.dictionaries(keys, values | operators, max_size=3)
bodies = st.dictionaries(keys, values, max_size=4)


@given(bodies, filters)
@example({"a": 0.1 + 0.2}, {"a": 0.30000000000000004})
@example({"a": "a\0b"}, {"a": "a"})
@example({"a": True}, {"a": 1})
@example({"a": 1}, {"a": 1.0})
@example({}, {"a": {"$ne": 1}})
@example({"a": [1, {"b": 2, "c": 3}]}, {"a": [1, {"b": 2}]})
def test_a_filter_finds_what_it_means(value: dict[str, Any], asked: dict[str, Any]) -> None:
    assert found(value, asked) == meant(value, asked)


@given(bodies)
def test_a_value_is_found_by_itself(value: dict[str, Any]) -> None:
    assert found(value, value)


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        ({"a') OR 1=1 --": 1}, "/a') OR 1=1 --"),
        ({"$where": 1}, "/$where"),
        ({"a.b.c": 1}, "/a.b.c"),
        ({'a"': 1}, '/a"'),
        ({"": 1}, "/"),
        ({"a" * 65: 1}, "/" + "a" * 64),
        ({"a/~": 1}, "/a~1~0"),
        ({"a": {"b'": 1}}, "/a/b'"),
        ({"a": {"$foo": 1}}, "/a/$foo"),
        ({"a": {"$eq": 1, "b": 2}}, "/a/b"),
        ({"a": {"$gt": None}}, "/a/$gt"),
        ({"a": {"$gt": True}}, "/a/$gt"),
        ({"a": {"$lt": {"b": 1}}}, "/a/$lt"),
        ({"a": [{"$nor": 1}]}, "/a/0/$nor"),
        ({str(number): 1 for number in range(1000)}, ""),
        ({"a": {"b": {str(number): 1 for number in range(17)}}}, "/a/b"),
        ({"a": [1] * 10_000}, ""),
        ({"a": {"$ne": [0] * 128}}, ""),
        ({"a": {"$ne": [[0] * 100] * 10}}, ""),
        ({"a": [{"$ne": [0] * 63}] * 2}, ""),
        ({"a": {"$ne": [{"$ne": [0] * 127}]}}, ""),
        ({str(number): {"$ne": [0] * 99} for number in range(2)}, ""),
        ({"a": {"$eq": b"bytes"}}, "/a/$eq"),
        ({"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": 1}}}}}}}}}, "/a/b/c/d/e/f/g/h/i"),
    ],
)
def test_what_no_filter_can_say_is_refused_with_its_place(
    asked: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(FilterRefused) as refused:
        filter_conditions(asked)
    assert refused.value.pointer == pointer


@pytest.mark.parametrize(
    "asked",
    [
        {"a": [0] * 127},
        {"a": {"$ne": [0] * 127}},
        {"a": [{"$ne": [0] * 62}, {"$ne": [0] * 61}, 0]},
        {"a": {"$ne": [{"$ne": [0] * 126}]}},
    ],
)
def test_a_filter_of_as_many_conditions_as_there_may_be_is_carried_out(
    asked: dict[str, Any],
) -> None:
    for value in ({"a": [0] * 127}, {"a": [0] * 126 + [1]}, {"a": [[1], [1], 0]}):
        assert found(value, asked) == meant(value, asked)


@given(st.dictionaries(st.text(), values | st.dictionaries(st.text(), values), max_size=3))
def test_any_filter_is_either_refused_or_carried_out(asked: dict[str, Any]) -> None:
    with suppress(FilterRefused):
        found({"a": 1}, asked)
