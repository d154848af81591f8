"""Assistants in SQLite."""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any
from uuid import UUID, uuid5

import orjson

from operations.database import Database
from operations.writer import Operation
from orchestration.store import assistant_versions as versions
from orchestration.store.bounded import fetch_widely
from orchestration.store.idempotency import Receipt, with_receipt
from orchestration.store.visibility import Visible, sees

_SORTS = frozenset({"assistant_id", "graph_id", "name", "created_at", "updated_at"})

PROMPTS = "prompts"  # in metadata: what hosts of MCP are shown, and no graph has to know
_CACHED = 1_000  # assistants kept in memory
_DEFAULT_ASSISTANTS = UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")  # LangGraph's name space


@cache
def default_assistant(graph_id: str) -> str:
    """Return the id of the assistant that every graph has by itself."""
    return str(uuid5(_DEFAULT_ASSISTANTS, graph_id))


class AssistantExists(Exception):
    """There is an assistant with that id already."""

    def __init__(self, assistant_id: str) -> None:
        super().__init__(f"Assistant {assistant_id} already exists")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assistant:
    """A graph with a name, a configuration and metadata. Not to be changed: it is shared.

    Of a version that is not in use, ``created_at`` and ``updated_at`` are when it came about.
    """

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
    visible: Visible = None
    limit: int = 10
    offset: int = 0
    sort_by: str = "created_at"
    descending: bool = True

    def sql(self) -> tuple[str, list[Any]]:
        """Return the statement that finds a page, and its parameters.

        Raises:
            ValueError: ``sort_by`` is no column.
        """
        if self.sort_by not in _SORTS:
            raise ValueError(self.sort_by)
        where, parameters = self.where()
        way = "DESC" if self.descending else "ASC"
        sql = f"""
            SELECT * FROM assistants WHERE {where}
            ORDER BY {self.sort_by} {way}, rowid {way} LIMIT ? OFFSET ?
        """  # noqa: S608 - made of constants
        return sql, [*parameters, self.limit, self.offset]

    def where(self) -> tuple[str, list[Any]]:
        """Return the condition and its parameters."""
        conditions, parameters = ["1"], list[Any]()
        if self.graph_id is not None:
            conditions.append("graph_id = ?")
            parameters.append(self.graph_id)
        if self.name is not None:
            conditions.append("instr(casefold(name), ?) > 0")
            parameters.append(self.name.casefold())
        for part in (self.visible, self.metadata):
            if part:
                conditions.append("json_contains(metadata, ?)")
                parameters.append(orjson.dumps(part))
        return " AND ".join(conditions), parameters


class AssistantStore:
    """The assistants; those in use are kept in memory, as every run looks one up."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cache: dict[str, Assistant] = {}
        self._told: list[Callable[[], None]] = []

    def tell(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call ``changed`` whenever there are other assistants than before; return what ends it."""
        self._told.append(changed)
        return lambda: self._told.remove(changed)

    def get(self, assistant_id: str, visible: Visible = None) -> Assistant | None:
        """Return an assistant."""
        assistant = self._get(assistant_id)
        return assistant if assistant and sees(visible, assistant.metadata) else None

    def _get(self, assistant_id: str) -> Assistant | None:
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

    async def create(
        self, assistant_id: str, fields: Mapping[str, Any], receipt: Receipt | None = None
    ) -> None:
        """Create an assistant; keep ``receipt`` of it.

        Raises:
            AssistantExists: there is one with that id.
        """
        create = partial(versions.create, assistant_id, fields)
        created = partial(_stored, assistant_id)
        if not await self._database.write(with_receipt(create, receipt, created)):
            raise AssistantExists(assistant_id)
        self._tell()

    async def update(self, assistant_id: str, fields: Mapping[str, Any]) -> bool:
        """Set ``fields``, merging metadata, as a new version; False if there is no assistant."""
        return await self._change(assistant_id, partial(versions.update, assistant_id, fields))

    async def put_back(self, assistant_id: str, version: int) -> bool:
        """Make the assistant what it was at ``version``; False if there is no such version."""
        return await self._change(assistant_id, partial(versions.put_back, assistant_id, version))

    async def delete(self, assistant_id: str) -> bool:
        """Delete an assistant and its crons; its threads and runs stay. False if there is none."""
        return await self._change(assistant_id, partial(versions.delete, assistant_id))

    async def search(self, query: AssistantQuery) -> list[Assistant]:
        """Return the assistants that match.

        Raises:
            ValueError: ``query.sort_by`` is no column.
            SearchTooWide: it took too long.
        """
        return await self._read(*query.sql())

    async def count(self, query: AssistantQuery) -> int:
        """Return how many assistants match.

        Raises:
            SearchTooWide: it took too long.
        """
        where, parameters = query.where()
        sql = f"SELECT count(*) FROM assistants WHERE {where}"  # noqa: S608 - made of constants
        rows = await fetch_widely(self._database, sql, parameters)
        return int(rows[0][0])

    async def versions(
        self, assistant_id: str, metadata: Mapping[str, Any] | None, limit: int, offset: int
    ) -> list[Assistant]:
        """Return what an assistant was at each of its versions, the highest first.

        Raises:
            SearchTooWide: it took too long.
        """
        sql = """
            SELECT *, created_at AS updated_at FROM assistant_versions
            WHERE assistant_id = ? AND json_contains(metadata, ?)
            ORDER BY version DESC LIMIT ? OFFSET ?
        """
        parameters = [assistant_id, orjson.dumps(metadata or {}), limit, offset]
        return await self._read(sql, parameters)

    async def _read(self, sql: str, parameters: list[Any]) -> list[Assistant]:
        rows = await fetch_widely(self._database, sql, parameters)
        return [_assistant(row) for row in rows]

    async def _change(self, assistant_id: str, operation: Operation[bool]) -> bool:
        writing = self._database.write(operation)
        # Shielded: a caller that goes away stops no write, which is then still to be noticed here.
        writing.add_done_callback(lambda _: self._cache.pop(assistant_id, None))
        changed = await asyncio.shield(writing)
        self._tell()
        return changed

    def _tell(self) -> None:
        for changed in tuple(self._told):
            changed()


def _stored(assistant_id: str, connection: sqlite3.Connection) -> Assistant:
    sql = "SELECT * FROM assistants WHERE assistant_id = ?"
    return _assistant(connection.execute(sql, (assistant_id,)).fetchone())


def _assistant(row: sqlite3.Row) -> Assistant:
    parts = {name: orjson.loads(row[name]) for name in versions.JSON}
    return Assistant(**{**dict(row), **parts})
