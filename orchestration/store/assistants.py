"""Assistants in SQLite."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from operations.database import Database
from orchestration.store.contains import Contains
from orchestration.store.runs import now

_SORTS = frozenset({"assistant_id", "graph_id", "name", "created_at", "updated_at"})
_JSON = frozenset({"config", "context", "metadata"})


_CACHED = 1_000  # assistants kept in memory


class AssistantExists(Exception):
    """There is an assistant with that id already."""

    def __init__(self, assistant_id: str) -> None:
        super().__init__(f"Assistant {assistant_id} already exists")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assistant:
    """A graph with a name, a configuration and metadata. Not to be changed: it is shared."""

    assistant_id: str
    graph_id: str
    name: str
    description: str | None
    version: int
    created_at: str
    updated_at: str
    config: Mapping[str, Any]
    context: Mapping[str, Any]
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AssistantQuery:
    """What to look for. ``metadata`` must be contained in the assistant's."""

    graph_id: str | None = None
    name: str | None = None
    metadata: Mapping[str, Any] | None = None
    limit: int = 10
    offset: int = 0
    sort_by: str = "created_at"
    descending: bool = True

    def where(self) -> tuple[str, list[Any]]:
        """Return the condition and its parameters."""
        conditions, parameters = ["1"], list[Any]()
        if self.graph_id is not None:
            conditions.append("graph_id = ?")
            parameters.append(self.graph_id)
        if self.name is not None:
            conditions.append("instr(lower(name), lower(?)) > 0")
            parameters.append(self.name)
        if self.metadata:
            conditions.append("json_contains(metadata, ?)")
            parameters.append(orjson.dumps(self.metadata))
        return " AND ".join(conditions), parameters


class AssistantStore:
    """The assistants; those in use are kept in memory, as every run looks one up."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cache: dict[str, Assistant] = {}

    def get(self, assistant_id: str) -> Assistant | None:
        """Return an assistant."""
        assistant = self._cache.get(assistant_id)
        if assistant is None:
            sql = "SELECT * FROM assistants WHERE assistant_id = ?"
            row = self._database.get(sql, (assistant_id,))
            if row is None:
                return None
            if len(self._cache) >= _CACHED:
                self._cache.clear()
            assistant = self._cache[assistant_id] = _assistant(row)
        return assistant

    async def create(self, assistant_id: str, fields: Mapping[str, Any]) -> None:
        """Create an assistant.

        Raises:
            AssistantExists: there is one with that id.
        """
        if not await self._database.write(partial(_create, assistant_id, fields)):
            raise AssistantExists(assistant_id)

    async def update(self, assistant_id: str, fields: Mapping[str, Any]) -> bool:
        """Set ``fields`` and count one version more; False if there is no such assistant."""
        updated = await self._database.write(partial(_update, assistant_id, fields))
        self._cache.pop(assistant_id, None)
        return updated

    async def delete(self, assistant_id: str) -> bool:
        """Delete an assistant; its threads and runs stay. False if there is none."""
        sql = "DELETE FROM assistants WHERE assistant_id = ?"
        deleted = await self._database.write(
            lambda c: c.execute(sql, (assistant_id,)).rowcount == 1
        )
        self._cache.pop(assistant_id, None)
        return deleted

    async def search(self, query: AssistantQuery) -> list[Assistant]:
        """Return the assistants that match.

        Raises:
            ValueError: ``query.sort_by`` is no column.
        """
        if query.sort_by not in _SORTS:
            raise ValueError(query.sort_by)
        where, parameters = query.where()
        order = f"{query.sort_by} {'DESC' if query.descending else 'ASC'}, rowid"
        sql = f"SELECT * FROM assistants WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?"  # noqa: S608 - made of constants
        parameters += [query.limit, query.offset]
        rows = await self._database.read(Contains(sql, parameters).fetchall)
        return [_assistant(row) for row in rows]

    async def count(self, query: AssistantQuery) -> int:
        """Return how many assistants match."""
        where, parameters = query.where()
        sql = f"SELECT count(*) FROM assistants WHERE {where}"  # noqa: S608 - made of constants
        rows = await self._database.read(Contains(sql, parameters).fetchall)
        return int(rows[0][0])


def _assistant(row: sqlite3.Row) -> Assistant:
    parts = {name: orjson.loads(row[name]) for name in _JSON}
    return Assistant(**{**dict(row), **parts})


def _texts(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: orjson.dumps(value).decode() if name in _JSON else value
        for name, value in fields.items()
    }


def _create(assistant_id: str, fields: Mapping[str, Any], connection: sqlite3.Connection) -> bool:
    at = now()
    row = {"assistant_id": assistant_id, "created_at": at, "updated_at": at, **_texts(fields)}
    sql = f"""
        INSERT INTO assistants ({", ".join(row)}) VALUES ({", ".join("?" * len(row))})
        ON CONFLICT DO NOTHING
    """  # noqa: S608 - the names are ours
    return connection.execute(sql, tuple(row.values())).rowcount == 1


def _update(assistant_id: str, fields: Mapping[str, Any], connection: sqlite3.Connection) -> bool:
    row = {"updated_at": now(), **_texts(fields)}
    sql = f"""
        UPDATE assistants SET version = version + 1, {", ".join(f"{name} = ?" for name in row)}
        WHERE assistant_id = ?
    """  # noqa: S608 - the names are ours
    return connection.execute(sql, (*row.values(), assistant_id)).rowcount == 1
