"""A small table of notes, and how the tests write and read it."""

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from operations.database import Database, Migration

NOTES = Migration(1, "notes", "CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT NOT NULL);")


def note(body: str) -> Callable[[sqlite3.Connection], int | None]:
    sql = "INSERT INTO notes (body) VALUES (?)"
    return lambda connection: connection.execute(sql, (body,)).lastrowid


def refuse(_: sqlite3.Connection) -> None:
    raise LookupError("there is no such note")


def bodies(database: Database) -> list[str]:
    return [row["body"] for row in database.all("SELECT body FROM notes ORDER BY id")]


def bodies_in(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [body for (body,) in connection.execute("SELECT body FROM notes ORDER BY id")]


class Held:
    """Keeps the writer inside an operation, so that what is written meanwhile becomes one batch."""

    def __init__(self, database: Database) -> None:
        self._gate = threading.Event()
        database.write(lambda _: self._gate.wait())

    def release(self) -> None:
        self._gate.set()
