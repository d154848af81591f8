"""How the schema moves forward, and what stops it."""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from operations.database import open_database
from operations.migrations import Migration, SchemaMismatch, load_migrations, migrate

NOTES = Migration(1, "notes", "CREATE TABLE notes (body TEXT); INSERT INTO notes VALUES ('a');")
TAGS = Migration(2, "tags", "CREATE TABLE tags (tag TEXT);")


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        yield connection


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "some_migrations"
    folder.mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    sys.modules.pop("some_migrations", None)


def tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}


def test_migrations_are_applied_in_order_and_noted(connection: sqlite3.Connection) -> None:
    migrate(connection, [NOTES, TAGS])
    rows = connection.execute("SELECT number, name, checksum FROM schema_migrations").fetchall()
    assert rows == [(1, "notes", NOTES.checksum), (2, "tags", TAGS.checksum)]
    assert tables(connection) == {"notes", "tags", "schema_migrations"}


def test_a_migration_is_applied_once(connection: sqlite3.Connection) -> None:
    migrate(connection, [NOTES])
    migrate(connection, [NOTES, TAGS])
    assert connection.execute("SELECT count(*) FROM notes").fetchone() == (1,)


def test_a_migration_that_fails_is_undone_and_those_before_it_stand(
    connection: sqlite3.Connection,
) -> None:
    broken = Migration(2, "broken", "CREATE TABLE tags (tag TEXT); INSERT INTO nobody VALUES (1);")
    with pytest.raises(sqlite3.OperationalError, match="no such table: nobody"):
        migrate(connection, [NOTES, broken])
    assert tables(connection) == {"notes", "schema_migrations"}
    migrate(connection, [NOTES, TAGS])
    assert "tags" in tables(connection)


def test_a_migration_that_meets_a_lock_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "masterloop.sqlite"
    with (
        closing(sqlite3.connect(file, isolation_level=None, timeout=0)) as connection,
        closing(sqlite3.connect(file, isolation_level=None)) as other,
    ):
        migrate(connection, [])
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            migrate(connection, [NOTES])
        other.execute("ROLLBACK")
        assert tables(connection) == {"schema_migrations"}


def test_a_changed_migration_stops_everything(connection: sqlite3.Connection) -> None:
    migrate(connection, [NOTES])
    changed = Migration(1, "notes", NOTES.sql.replace("'a'", "'b'"))
    with pytest.raises(SchemaMismatch, match="001_notes is not the one that was applied"):
        migrate(connection, [changed, TAGS])
    assert "tags" not in tables(connection)


def test_a_database_that_is_newer_than_the_program_stops_everything(
    connection: sqlite3.Connection,
) -> None:
    migrate(connection, [NOTES, TAGS])
    with pytest.raises(SchemaMismatch, match=r"is at migration 2, .* by a newer version"):
        migrate(connection, [NOTES])


async def test_a_database_that_does_not_fit_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "masterloop.sqlite"
    async with open_database(path, [NOTES, TAGS]):
        pass
    with pytest.raises(SchemaMismatch):
        async with open_database(path, [NOTES]):
            pass


def test_the_files_of_a_package_are_loaded_in_the_order_of_their_numbers(package: Path) -> None:
    (package / "002_tags.sql").write_text("SELECT 2;")
    (package / "001_notes.sql").write_text("SELECT 1;")
    (package / "README.md").write_text("not a migration")
    assert load_migrations("some_migrations") == [
        Migration(1, "notes", "SELECT 1;"),
        Migration(2, "tags", "SELECT 2;"),
    ]


def test_line_ends_do_not_change_a_checksum(package: Path) -> None:
    file = package / "001_notes.sql"
    file.write_bytes(b"SELECT 1;\nSELECT 2;\n")
    (unix,) = load_migrations("some_migrations")
    file.write_bytes(b"SELECT 1;\r\nSELECT 2;\r\n")
    (windows,) = load_migrations("some_migrations")
    assert unix.checksum == windows.checksum


@pytest.mark.parametrize("names", [["002_tags.sql"], ["001_a.sql", "001_b.sql"]])
def test_numbers_without_a_gap_or_a_double_are_demanded(package: Path, names: list[str]) -> None:
    for name in names:
        (package / name).write_text("SELECT 1;")
    with pytest.raises(ValueError, match="numbered from 1"):
        load_migrations("some_migrations")


def test_a_misnamed_migration_is_not_passed_over(package: Path) -> None:
    (package / "1-notes.sql").write_text("SELECT 1;")
    with pytest.raises(ValueError, match=r"1-notes\.sql is not named like 001_name\.sql"):
        load_migrations("some_migrations")


def test_the_store_has_its_migrations_in_order() -> None:
    first, *_ = load_migrations("orchestration.store.migrations")
    assert first.name == "checkpoints"
