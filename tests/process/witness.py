"""What happened in the database, told by the database: triggers note every end of every run.

The notes are made in the transactions that they are about, so a kill leaves both or neither.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from operations.database import open_database
from operations.migrations import load_migrations
from orchestration.store import migrations

_TRIGGERS = """
CREATE TABLE witnessed (run_id TEXT NOT NULL, what TEXT NOT NULL);
CREATE TRIGGER witness_end AFTER UPDATE OF status ON runs
WHEN NEW.status NOT IN ('pending', 'running') BEGIN
    INSERT INTO witnessed VALUES (NEW.run_id, NEW.status);
END;
CREATE TRIGGER witness_deletion AFTER DELETE ON runs BEGIN
    INSERT INTO witnessed VALUES (OLD.run_id, 'deleted');
END;
"""
_COMMITTED = """
SELECT type, checkpoint FROM checkpoints
WHERE thread_id = ? AND checkpoint_ns = '' AND json_extract(metadata, '$.run_id') = ?
    -- That of the input still shows what an earlier run on the thread has left.
    AND json_extract(metadata, '$.source') = 'loop'
ORDER BY checkpoint_id DESC LIMIT 1
"""
_SERIALIZER = JsonPlusSerializer(pickle_fallback=False, allowed_msgpack_modules=None)


async def set_witness(database: Path) -> None:
    """Make a new database as a server would, and put the witness in it."""
    async with open_database(database, load_migrations(migrations.__name__)):
        pass
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(_TRIGGERS)


@contextmanager
def inspected(database: Path) -> Iterator[sqlite3.Connection]:
    """Open a database to look at it; read-only, so that a restart finds it as the kill left it."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        yield connection


def rows(database: Path, sql: str, *parameters: object) -> list[sqlite3.Row]:
    """Return the rows of one query."""
    with inspected(database) as connection:
        return connection.execute(sql, parameters).fetchall()


def integrity(database: Path) -> str:
    """Return what SQLite says of the whole file: "ok"."""
    return str(rows(database, "PRAGMA integrity_check")[0][0])


def ends_of(database: Path, run_id: str) -> list[str]:
    """Return every terminal status that was ever written of a run."""
    found = rows(database, "SELECT what FROM witnessed WHERE run_id = ?", run_id)
    return [row["what"] for row in found]


def committed_steps(connection: sqlite3.Connection, thread_id: str, run_id: str) -> int:
    """Return how many steps of a counter its last durable checkpoint has."""
    row = connection.execute(_COMMITTED, (thread_id, run_id)).fetchone()
    if row is None:
        return 0
    checkpoint: dict[str, Any] = _SERIALIZER.loads_typed((row["type"], row["checkpoint"]))
    done: int = checkpoint["channel_values"].get("done", 0)
    return done
