"""JSON containment in SQLite: does a document hold another, as PostgreSQL's ``@>`` has it."""

import math
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson

_LOOK = 4_096  # members that are looked at between two looks at the clock: some 1 ms
_NESTED = (dict, list)

Spend = Callable[[int], None]


def _freely(_: int) -> None: ...


def contains(whole: Any, part: Any, spend: Spend = _freely) -> bool:
    """Return whether every member of ``part`` is in ``whole``, at any depth.

    ``spend`` is told how many members are about to be looked at; what it raises ends that.
    """
    spend(1)
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            key in whole and contains(whole[key], value, spend) for key, value in part.items()
        )
    if isinstance(part, list):
        return isinstance(whole, list) and _has_all(whole, part, spend)
    return type(whole) is type(part) and bool(whole == part)


def _has_all(whole: list[Any], part: list[Any], spend: Spend) -> bool:
    spend(len(whole) + len(part))
    plain = {(type(element), element) for element in whole if not isinstance(element, _NESTED)}
    nested = [element for element in whole if isinstance(element, _NESTED)]
    return all(
        any(contains(element, value, spend) for element in nested)
        if isinstance(value, _NESTED)
        else (type(value), value) in plain
        for value in part
    )


class _Patience:
    """Ends by a deadline what SQLite itself cannot interrupt."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._left = 0

    def spend(self, number: int) -> None:
        self._left -= number
        if self._left < 0:
            if time.monotonic() > self._deadline:
                raise TimeoutError
            self._left = _LOOK


def _json_contains(deadline: float, whole: str | None, part: bytes) -> bool:
    if whole is None:
        return False
    return contains(orjson.loads(whole), orjson.loads(part), _Patience(deadline).spend)


def add_json_contains(connection: sqlite3.Connection, deadline: float = math.inf) -> None:
    """Let ``connection`` call ``json_contains(column, ?)``, which fails after ``deadline``.

    That is a time of `time.monotonic`.
    """
    function = partial(_json_contains, deadline)
    connection.create_function("json_contains", 2, function, deterministic=True)
