"""What is done to the rows of checkpoints inside a transaction, or a longer read."""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import orjson
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    PendingWrite,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from orchestration.store.resumptions import forget_resumptions, restore_writes

WRITES = """
SELECT task_id, channel, type, value FROM writes
WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?
ORDER BY task_path, task_id, idx
"""  # the order of the library's writes_sort_key
_OF_RUN = "json_extract(CAST(metadata AS TEXT), '$.run_id') = :run_id"
_AT_CHECKPOINTS = ("writes", "writes_before_run")
_DELETE_RUN = (
    *(
        f"""
        DELETE FROM {table} WHERE thread_id = :thread_id AND (checkpoint_ns, checkpoint_id) IN (
            SELECT checkpoint_ns, checkpoint_id FROM checkpoints
            WHERE thread_id = :thread_id AND {_OF_RUN}
        )
        """  # noqa: S608 - constants
        for table in _AT_CHECKPOINTS
    ),
    f"DELETE FROM checkpoints WHERE thread_id = :thread_id AND {_OF_RUN}",  # noqa: S608 - constants
)
_ANY = "SELECT 1 FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = '' LIMIT 1"
_FOUND = f"""
SELECT checkpoint_id FROM (
    SELECT checkpoint_id, metadata FROM checkpoints
    WHERE thread_id = :thread_id AND checkpoint_ns = '' ORDER BY checkpoint_id DESC LIMIT 1000
) WHERE {_OF_RUN} LIMIT 100
"""  # noqa: S608 - constants
_COPY_CHECKPOINTS = """
INSERT OR REPLACE INTO checkpoints
    (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata)
SELECT ?, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata
FROM checkpoints WHERE thread_id = ?
"""
_COPY_WRITES = """
INSERT OR REPLACE INTO writes
    (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value)
SELECT ?, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value
FROM writes WHERE thread_id = ?
"""
_WHO = frozenset(("langgraph_auth_user", "langgraph_auth_user_id", "langgraph_auth_permissions"))
_LATEST = """
SELECT checkpoint_ns, max(checkpoint_id), CAST(metadata AS TEXT) FROM checkpoints
WHERE thread_id = ? GROUP BY checkpoint_ns
"""
_PARENT = """
SELECT parent.checkpoint_id, parent.type, parent.checkpoint
FROM checkpoints AS child JOIN checkpoints AS parent
    ON parent.thread_id = child.thread_id AND parent.checkpoint_ns = child.checkpoint_ns
    AND parent.checkpoint_id = child.parent_checkpoint_id
WHERE child.thread_id = ? AND child.checkpoint_ns = ? AND child.checkpoint_id = ?
"""
_HAVING_ANY = " UNION ".join(
    f"SELECT checkpoint_id FROM {table} WHERE thread_id = :thread_id AND checkpoint_ns = :ns"  # noqa: S608 - constants
    for table in ("checkpoints", *_AT_CHECKPOINTS)
)
_DELETE_SOME = tuple(
    f"""
    DELETE FROM {table} WHERE (thread_id, checkpoint_ns, checkpoint_id) IN (
        SELECT ?, value ->> 0, value ->> 1 FROM json_each(?))
    """  # noqa: S608 - constants
    for table in (*_AT_CHECKPOINTS, "checkpoints")
)
_THREADS_OF_RUNS = """
WITH run AS (SELECT value AS id FROM json_each(?))
SELECT thread_id, json_extract(CAST(metadata AS TEXT), '$.run_id') AS run_id
FROM checkpoints WHERE run_id IN run
UNION SELECT thread_id, run_id FROM writes_before_run WHERE run_id IN run
"""


def delete_thread_checkpoints(connection: sqlite3.Connection, thread_id: str) -> None:
    """Delete what a thread has of checkpoints and their writes."""
    connection.execute("DELETE FROM writes WHERE thread_id = ?", (thread_id,))
    connection.execute("DELETE FROM checkpoints WHERE thread_id = ?", (thread_id,))
    forget_resumptions(connection, thread_id)


def delete_run_checkpoints(connection: sqlite3.Connection, thread_id: str, run_id: str) -> None:
    """Undo what a run did to the checkpoints of its thread, in every namespace.

    Its own are those whose metadata have its ``run_id``. After deleting the thread's last run, the
    latest checkpoint is the one from before it, with the writes that it had then.
    """
    restore_writes(connection, thread_id, run_id)
    run = {"thread_id": thread_id, "run_id": run_id}
    for sql in _DELETE_RUN:
        connection.execute(sql, run)


def has_checkpoints(connection: sqlite3.Connection, thread_id: str) -> bool:
    """Return whether a thread has any, in the root namespace."""
    return connection.execute(_ANY, (thread_id,)).fetchone() is not None


def checkpoints_of_run(
    thread_id: str, run_id: str, connection: sqlite3.Connection
) -> Sequence[str]:
    """Return the ids of the last hundred checkpoints of a run, oldest first.

    They are looked for among the last thousand of its thread, in the root namespace.
    """
    rows = connection.execute(_FOUND, {"thread_id": thread_id, "run_id": run_id}).fetchall()
    return [row[0] for row in reversed(rows)]


def copy_thread_checkpoints(connection: sqlite3.Connection, source: str, target: str) -> None:
    """Copy all checkpoints and writes of one thread to another, under the same checkpoint ids."""
    connection.execute(_COPY_CHECKPOINTS, (target, source))
    connection.execute(_COPY_WRITES, (target, source))


def superfluous_checkpoints(
    connection: sqlite3.Connection, thread_id: str, serde: SerializerProtocol
) -> list[tuple[str, str]]:
    """Return all namespaces and ids but those of the latest, and of the ancestors it stands on.

    Those are needed by a `DeltaChannel`: back to where each of its kind is stored in full.
    """
    found: list[tuple[str, str]] = []
    for checkpoint_ns, latest, metadata in connection.execute(_LATEST, (thread_id,)).fetchall():
        kept = {latest}
        deltas = set(orjson.loads(metadata or "{}").get("counters_since_delta_snapshot", ()))
        ancestors = _ancestors(connection, (thread_id, checkpoint_ns, latest), serde)
        while deltas and (ancestor := next(ancestors, None)):
            kept.add(ancestor[0])
            deltas -= ancestor[1]["channel_values"].keys()
        having_any = connection.execute(_HAVING_ANY, {"thread_id": thread_id, "ns": checkpoint_ns})
        found += [(checkpoint_ns, row[0]) for row in having_any if row[0] not in kept]
    return found


def delete_checkpoints(
    connection: sqlite3.Connection, thread_id: str, places: Sequence[tuple[str, str]]
) -> None:
    """Delete the checkpoints with these namespaces and ids, and what is kept beside them."""
    for sql in _DELETE_SOME:
        connection.execute(sql, (thread_id, orjson.dumps(places).decode()))


def threads_of_runs(connection: sqlite3.Connection, run_ids: Sequence[str]) -> list[sqlite3.Row]:
    """Return each ``(thread_id, run_id)`` with checkpoints of these runs; reads the whole table."""
    return connection.execute(_THREADS_OF_RUNS, (orjson.dumps(list(run_ids)).decode(),)).fetchall()


def delta_history(
    connection: sqlite3.Connection,
    key: tuple[str, str, str],
    channels: Sequence[str],
    serde: SerializerProtocol,
) -> Mapping[str, DeltaChannelHistory]:
    """Return what each channel was written by the ancestors of a checkpoint, oldest first.

    ``key`` is its thread, namespace and id. A channel's history goes back to the nearest ancestor
    that holds its value, which is the ``seed``.
    """
    histories: dict[str, DeltaChannelHistory] = {channel: {"writes": []} for channel in channels}
    unseeded = set(channels)
    for ancestor_id, checkpoint in _ancestors(connection, key, serde):
        if not unseeded:
            break
        for row in reversed(connection.execute(WRITES, (*key[:2], ancestor_id)).fetchall()):
            if row[1] in unseeded:
                histories[row[1]]["writes"].append(_pending_write(row, serde))
        for channel in unseeded & checkpoint["channel_values"].keys():
            histories[channel]["seed"] = checkpoint["channel_values"][channel]
            unseeded.discard(channel)
    for history in histories.values():
        history["writes"].reverse()
    return histories


def checkpoint_tuple(
    row: Sequence[Any], writes: Sequence[Sequence[Any]], serde: SerializerProtocol
) -> CheckpointTuple:
    """Return a checkpoint from its row, in the order of the table's columns, and its writes."""
    thread_id, checkpoint_ns, checkpoint_id, parent_id, type_, checkpoint, metadata = row
    thread = {"thread_id": thread_id, "checkpoint_ns": checkpoint_ns}
    return CheckpointTuple(
        {"configurable": {**thread, "checkpoint_id": checkpoint_id}},
        serde.loads_typed((type_, checkpoint)),
        orjson.loads(metadata) if metadata is not None else {},
        {"configurable": {**thread, "checkpoint_id": parent_id}} if parent_id else None,
        [_pending_write(write, serde) for write in writes],
    )


def _pending_write(row: Sequence[Any], serde: SerializerProtocol) -> PendingWrite:
    task_id, channel, type_, value = row
    return task_id, channel, serde.loads_typed((type_, value))


def _ancestors(
    connection: sqlite3.Connection, key: tuple[str, str, str], serde: SerializerProtocol
) -> Iterator[tuple[str, Checkpoint]]:
    thread_id, checkpoint_ns, checkpoint_id = key
    seen = {checkpoint_id}
    while row := connection.execute(_PARENT, (thread_id, checkpoint_ns, checkpoint_id)).fetchone():
        checkpoint_id, type_, blob = row
        if checkpoint_id in seen:  # a checkpoint stored again below its own descendant
            return
        seen.add(checkpoint_id)
        yield checkpoint_id, serde.loads_typed((type_, blob))


def metadata_text(config: RunnableConfig, metadata: CheckpointMetadata) -> bytes:
    """Return what is known of a checkpoint, without who its run is for: clients read it."""
    whole = get_checkpoint_metadata(config, metadata)
    for name in _WHO & whole.keys():
        del cast("dict[str, Any]", whole)[name]
    try:
        return orjson.dumps(whole)
    except TypeError:  # integers over 64 bits, half a surrogate pair, keys that are no text
        return json.dumps(whole, ensure_ascii=False).encode("utf-8", "ignore")
