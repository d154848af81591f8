"""The writes on assistants: each change is a version more, and any version can be put back."""

import sqlite3
from collections.abc import Mapping
from typing import Any

import orjson

from operations.clock import iso_now
from orchestration.store.cron_rows import delete_crons_of_assistant

JSON = frozenset({"config", "context", "metadata"})

_KEPT = "graph_id, name, description, config, context, metadata"
_CREATE = """
INSERT INTO assistants (assistant_id, graph_id, name, description, version, created_at, updated_at,
    config, context, metadata)
VALUES (:assistant_id, :graph_id, :name, :description, 1, :at, :at, :config, :context, :metadata)
ON CONFLICT DO NOTHING
"""
_KEEP = f"""
INSERT INTO assistant_versions (assistant_id, version, created_at, {_KEPT})
SELECT assistant_id, version, updated_at, {_KEPT} FROM assistants WHERE assistant_id = ?
"""  # noqa: S608 - constants
_CHANGE = """
UPDATE assistants SET graph_id = :graph_id, name = :name, description = :description,
    config = :config, context = :context, metadata = :metadata, updated_at = :at, version = (
        SELECT max(version) + 1 FROM assistant_versions WHERE assistant_id = :assistant_id)
WHERE assistant_id = :assistant_id
"""
_PUT_BACK = f"""
UPDATE assistants SET ({_KEPT}, version, updated_at) = (
    SELECT {_KEPT}, version, :at FROM assistant_versions
    WHERE assistant_id = :assistant_id AND version = :version)
WHERE assistant_id = :assistant_id AND EXISTS (
    SELECT 1 FROM assistant_versions WHERE assistant_id = :assistant_id AND version = :version)
"""  # noqa: S608 - constants
_EMPTY: Mapping[str, Any] = {"description": None, "config": {}, "context": {}, "metadata": {}}


def create(assistant_id: str, fields: Mapping[str, Any], connection: sqlite3.Connection) -> bool:
    """Add an assistant with its first version; False if there is one with that id."""
    row = {"assistant_id": assistant_id, "at": iso_now(), **_texts({**_EMPTY, **fields})}
    if connection.execute(_CREATE, row).rowcount == 0:
        return False
    connection.execute(_KEEP, (assistant_id,))
    return True


def update(assistant_id: str, fields: Mapping[str, Any], connection: sqlite3.Connection) -> bool:
    """Set ``fields``, as the version after the highest; False if there is no such assistant.

    Metadata are merged into those that it has, key by key. A context alone replaces what is
    configurable in the config that it has, a config alone all but that.
    """
    sql = "SELECT * FROM assistants WHERE assistant_id = ?"
    row = connection.execute(sql, (assistant_id,)).fetchone()
    if row is None:
        return False
    changed = dict(fields)
    if "metadata" in fields:
        changed["metadata"] = {**orjson.loads(row["metadata"]), **fields["metadata"]}
    if ("context" in fields) != ("config" in fields):
        config = orjson.loads(row["config"])
        context = fields.get("context", config.get("configurable"))
        changed["config"] = _mirroring(context, fields.get("config", config))
    connection.execute(_CHANGE, {**dict(row), "at": iso_now(), **_texts(changed)})
    connection.execute(_KEEP, (assistant_id,))
    return True


def put_back(assistant_id: str, version: int, connection: sqlite3.Connection) -> bool:
    """Make the assistant what it was at ``version``; False if there is no such version."""
    row = {"assistant_id": assistant_id, "version": version, "at": iso_now()}
    return connection.execute(_PUT_BACK, row).rowcount == 1


def delete(assistant_id: str, connection: sqlite3.Connection) -> bool:
    """Delete an assistant with its versions and crons; False if there is none."""
    delete_crons_of_assistant(connection, assistant_id)
    connection.execute("DELETE FROM assistant_versions WHERE assistant_id = ?", (assistant_id,))
    sql = "DELETE FROM assistants WHERE assistant_id = ?"
    return connection.execute(sql, (assistant_id,)).rowcount == 1


def _mirroring(context: Mapping[str, Any] | None, config: Mapping[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in config.items() if name != "configurable"}
    return {**rest, "configurable": context} if context else rest


def _texts(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: orjson.dumps(value).decode() if name in JSON else value
        for name, value in fields.items()
    }
