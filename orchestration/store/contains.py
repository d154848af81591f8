"""JSON containment in SQLite: does a document hold another, as PostgreSQL's ``@>`` has it."""

import sqlite3
from collections.abc import Sequence
from typing import Any

import orjson


def contains(whole: Any, part: Any) -> bool:
    """Return whether every member of ``part`` is in ``whole``, at any depth."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            key in whole and contains(whole[key], value) for key, value in part.items()
        )
    if isinstance(part, list):
        return isinstance(whole, list) and all(
            any(contains(element, value) for element in whole) for value in part
        )
    return type(whole) is type(part) and bool(whole == part)


def _json_contains(whole: str | None, part: bytes) -> bool:
    return whole is not None and contains(orjson.loads(whole), orjson.loads(part))


def add_json_contains(connection: sqlite3.Connection) -> None:
    """Let ``connection`` call ``json_contains(column, ?)``."""
    connection.create_function("json_contains", 2, _json_contains, deterministic=True)


class Contains:
    """A query that may call ``json_contains(column, ?)`` and ``casefold(column)``."""

    def __init__(self, sql: str, parameters: Sequence[Any]) -> None:
        self._sql = sql
        self._parameters = parameters

    def fetchall(self, connection: sqlite3.Connection) -> list[sqlite3.Row]:
        """Run it on ``connection``."""
        add_json_contains(connection)
        connection.create_function("casefold", 1, str.casefold, deterministic=True)
        return connection.execute(self._sql, self._parameters).fetchall()
