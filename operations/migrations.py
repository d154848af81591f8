"""Forward-only migrations: each applied once, in order, and never changed afterwards."""

import hashlib
import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files

from operations.database_errors import DatabaseError

_FILE = re.compile(r"(?P<number>\d{3})_(?P<name>[a-z0-9_]+)\.sql")
_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at TEXT NOT NULL
)
"""
_RECORD = "INSERT INTO schema_migrations (number, name, checksum, applied_at) VALUES (?, ?, ?, ?)"


class SchemaMismatch(DatabaseError):
    """The database and this version of the program disagree about its schema.

    No migration was applied.
    """


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema: SQL statements that run in one transaction."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the SQL, in hexadecimal."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load_migrations(package: str) -> list[Migration]:
    """Return the ``NNN_name.sql`` files of a package, in the order of their numbers.

    Raises:
        ValueError: a ``.sql`` file has another name, or the numbers are not 1, 2, 3, …
    """
    migrations: list[Migration] = []
    for file in files(package).iterdir():
        if match := _FILE.fullmatch(file.name):
            sql = file.read_text(encoding="utf-8")
            migrations.append(Migration(int(match["number"]), match["name"], sql))
        elif file.name.endswith(".sql"):
            raise ValueError(f"{package}: {file.name} is not named like 001_name.sql")
    migrations.sort(key=lambda migration: migration.number)
    numbers = [migration.number for migration in migrations]
    if numbers != list(range(1, len(numbers) + 1)):
        raise ValueError(f"{package}: migrations have to be numbered from 1, found {numbers}")
    return migrations


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    """Apply what is missing, each migration in a transaction of its own.

    ``migrations`` are in the order of their numbers; the connection is in autocommit mode.

    Raises:
        SchemaMismatch: the database is newer than ``migrations``, or one applied has changed.
        sqlite3.Error: a migration failed. It was undone; those before it stand.
    """
    connection.execute(_TABLE)
    for migration in outstanding(connection, migrations):
        _apply(connection, migration)


def outstanding(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> list[Migration]:
    """Return those that are yet to be applied; nothing is written.

    Raises:
        SchemaMismatch: as ``migrate`` does.
        sqlite3.Error: it cannot be read, or no migration was ever applied.
    """
    rows = connection.execute("SELECT number, checksum FROM schema_migrations").fetchall()
    applied = dict(rows)
    _compare(applied, migrations)
    return [migration for migration in migrations if migration.number not in applied]


def touch(connection: sqlite3.Connection) -> None:
    """Write a row as it is, so that there is something to commit."""
    connection.execute("UPDATE schema_migrations SET name = name WHERE number = 1")


def _compare(applied: Mapping[int, str], migrations: Sequence[Migration]) -> None:
    if unknown := applied.keys() - {migration.number for migration in migrations}:
        raise SchemaMismatch(
            f"the database is at migration {max(unknown)}, which this version does not know: "
            "it was written by a newer version. Start that one, or restore a backup"
        )
    for migration in migrations:
        checksum = applied.get(migration.number, migration.checksum)
        if checksum != migration.checksum:
            raise SchemaMismatch(
                f"migration {migration.number:03}_{migration.name} is not the one that was applied "
                "to the database. Put it back as it was, and make the change in a new migration"
            )


def _apply(connection: sqlite3.Connection, migration: Migration) -> None:
    at = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        connection.executescript(f"BEGIN IMMEDIATE;\n{migration.sql}")
        connection.execute(_RECORD, (migration.number, migration.name, migration.checksum, at))
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise
