"""Copies of a database that is written to, and what is found in a damaged one."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from operations.backup import BackupFailed, back_up, faults_of
from operations.database_errors import DiskFailed


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "live.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE pairs (one INTEGER, two INTEGER, filler BLOB)")
        connection.executemany(
            "INSERT INTO pairs VALUES (?, ?, randomblob(500))", [(n, n) for n in range(5_000)]
        )
        connection.commit()
    return path


def test_a_copy_of_a_database_in_use_is_of_one_moment(database: Path) -> None:
    done = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(database, timeout=30)) as connection:
            while not done.is_set():
                with connection:  # both or neither, in every snapshot
                    connection.execute("UPDATE pairs SET one = one + 1")
                    connection.execute("UPDATE pairs SET two = two + 1")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        size = back_up(database, database.with_name("copy.db"))
    finally:
        done.set()
        writer.join()
    with closing(sqlite3.connect(database.with_name("copy.db"))) as copy:
        assert copy.execute("SELECT count(*), sum(one - two) FROM pairs").fetchone() == (5_000, 0)
    assert size > 5_000 * 500
    assert sorted(path.name for path in database.parent.glob("copy.db*")) == ["copy.db"]


def test_a_copy_takes_no_ones_place(database: Path) -> None:
    target = database.with_name("copy.db")
    target.write_text("precious")
    with pytest.raises(BackupFailed, match="is there already"):
        back_up(database, target)
    assert target.read_text() == "precious"


def test_where_there_is_nothing_to_copy_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(BackupFailed, match="there is no"):
        back_up(tmp_path / "missing.db", tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == []


def test_damage_is_found_and_not_copied(database: Path) -> None:
    content = bytearray(database.read_bytes())
    content[20_000:60_000] = b"\xff" * 40_000
    database.write_bytes(content)
    assert faults_of(database)
    with pytest.raises(BackupFailed):
        back_up(database, database.with_name("copy.db"))
    assert not database.with_name("copy.db").exists()


def test_a_sound_database_has_no_faults_and_another_file_has(database: Path) -> None:
    assert faults_of(database) == []
    (database.parent / "text").write_text("no database at all " * 100)
    assert faults_of(database.parent / "text") == ["file is not a database"]


def test_what_cannot_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(DiskFailed, match="cannot be read"):
        faults_of(tmp_path)


def test_a_file_without_anything_in_it_is_no_copy_and_none_is_made_of_it(tmp_path: Path) -> None:
    empty = tmp_path / "empty.db"
    empty.touch()
    assert faults_of(empty) == ["there is nothing in it"]
    with pytest.raises(BackupFailed, match="there is nothing in it"):
        back_up(empty, tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == [empty]
