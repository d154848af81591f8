"""Queries that ask for what documents contain."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from orchestration.store.bounded import fetch


class Contains:
    """A query that may call ``json_contains(column, ?)`` and ``casefold(column)``."""

    def __init__(self, sql: str, parameters: Sequence[Any]) -> None:
        self._sql = sql
        self._parameters = parameters

    def fetchall(self, connection: sqlite3.Connection) -> list[sqlite3.Row]:
        """Run it on ``connection``.

        Raises:
            SearchTooWide: it took too long.
        """
        connection.create_function("casefold", 1, str.casefold, deterministic=True)
        return fetch(connection, self._sql, self._parameters)
