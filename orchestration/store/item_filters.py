"""The filters of a search for items, as conditions on their values.

A filter names fields of the value: ``{"kind": "note", "size": {"$gt": 3}}``. What it says reaches
SQLite as parameters only.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import orjson

_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KEYS = 16  # fields that an object in a filter may name
_CONDITIONS = 128  # that a filter may come to
_DEEP = 8  # objects and lists in one another
_ORDERS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_OPERATORS = ("$eq", "$ne", *_ORDERS)
_NUMBER = "json_type(value, ?) IN ('integer', 'real') AND json_extract(value, ?)"
_INT64 = 2**63

Condition: TypeAlias = tuple[str, list[Any]]


class _Part(NamedTuple):
    """A condition in SQL, its parameters, and as how many conditions it counts."""

    sql: str
    parameters: list[Any]
    conditions: int = 1


class FilterRefused(ValueError):
    """A filter says what no filter can say. ``pointer`` leads to where, from the filter on."""

    def __init__(self, pointer: str, reason: str) -> None:
        super().__init__(reason)
        self.pointer = pointer


def filter_conditions(asked: Mapping[str, Any]) -> list[Condition]:
    """Return the SQL conditions, with their parameters, all of which an item has to meet.

    Raises:
        FilterRefused: a key, an operator or what one compares with is none.
    """
    return [(part.sql, part.parameters) for part in _bounded(_fields(asked, "$", ""))]


def _bounded(parts: Iterator[_Part]) -> Iterator[_Part]:
    """Yield ``parts`` for as long as they are no more conditions than there may be."""
    count = 0
    for part in parts:
        count += part.conditions
        if count > _CONDITIONS:
            raise FilterRefused("", f"a filter can have {_CONDITIONS} conditions at most")
        yield part


def _fields(asked: Mapping[str, Any], path: str, pointer: str) -> Iterator[_Part]:
    if len(asked) > _KEYS:
        raise FilterRefused(pointer, f"a filter can name {_KEYS} fields at most")
    for key, value in asked.items():
        where = f"{pointer}/{key[:64].replace('~', '~0').replace('/', '~1')}"
        if not _KEY.fullmatch(key):
            raise FilterRefused(
                where,
                f"{key[:64]!r} cannot be filtered by; "
                "a field has 1 to 64 letters, digits, '_' and '-'",
            )
        yield from _field(value, f'{path}."{key}"', where)


def _field(value: Any, path: str, pointer: str) -> Iterator[_Part]:
    if not isinstance(value, Mapping) or not any(str(key).startswith("$") for key in value):
        yield from _equal(value, path, pointer)
        return
    for operator, operand in value.items():
        where = f"{pointer}/{operator[:64]}"
        if operator in _ORDERS:
            yield _ordered(operator, operand, path, where)
        elif operator == "$eq":
            yield from _equal(operand, path, where)
        elif operator == "$ne":
            yield _other(operand, path, where)
        else:
            raise FilterRefused(
                where,
                f"{operator[:64]!r} is no operator; there are {', '.join(_OPERATORS)}",
            )


def _other(value: Any, path: str, pointer: str) -> _Part:
    parts = list(_bounded(_equal(value, path, pointer)))
    sql = " AND ".join(part.sql for part in parts)
    parameters = [one for part in parts for one in part.parameters]
    return _Part(f"({sql}) IS NOT TRUE", parameters, sum(part.conditions for part in parts))


def _equal(value: Any, path: str, pointer: str) -> Iterator[_Part]:
    """Yield conditions for equality; an object may have more keys than are asked for."""
    if path.count('."') + path.count("[") > _DEEP:
        raise FilterRefused(pointer, f"a filter can be {_DEEP} levels deep at most")
    match value:
        case None:
            yield _Part("coalesce(json_type(value, ?), 'null') = 'null'", [path])
        case bool():
            yield _Part("json_type(value, ?) = ?", [path, "true" if value else "false"])
        case int() | float():
            yield _Part(f"{_NUMBER} = ?", [path, path, _bound(value)])
        case str():
            # Asked for twice it comes as JSON; alone, SQLite ends a text at its first NUL.
            wanted = orjson.dumps([value, value]).decode()
            yield _Part("json_extract(value, ?, ?) = ?", [path, path, wanted])
        case Mapping():
            yield _Part("json_type(value, ?) = 'object'", [path])
            yield from _fields(value, path, pointer)
        case list() | tuple():
            yield _Part(
                "json_type(value, ?) = 'array' AND json_array_length(value, ?) = ?",
                [path, path, len(value)],
            )
            for number, element in enumerate(value):
                yield from _field(element, f"{path}[{number}]", f"{pointer}/{number}")
        case _:
            raise FilterRefused(pointer, f"{type(value).__name__} is nothing that JSON has")


def _ordered(operator: str, operand: Any, path: str, pointer: str) -> _Part:
    if isinstance(operand, int | float) and not isinstance(operand, bool):
        return _Part(f"{_NUMBER} {_ORDERS[operator]} ?", [path, path, _bound(operand)])
    if isinstance(operand, str):
        sql = f"json_type(value, ?) = 'text' AND json_extract(value, ?) {_ORDERS[operator]} ?"
        return _Part(sql, [path, path, operand])
    raise FilterRefused(pointer, f"{operator} compares with a number or a text")


def _bound(number: float) -> float:
    """Return a number that SQLite has."""
    return number if -_INT64 <= number < _INT64 else float(number)
