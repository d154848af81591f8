"""What `masterloop doctor` says of the database."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from operations.database import Migration, open_database
from operations.database_check import check_database
from operations.doctor import Verdict
from tests.operations.notes import NOTES, bodies, note

OK, WARNING, PROBLEM = Verdict.OK, Verdict.WARNING, Verdict.PROBLEM
TAGS = Migration(2, "tags", "CREATE TABLE tags (tag TEXT);")

MANY_NOTES = """
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 400000)
INSERT INTO notes (body) SELECT hex(randomblob(50)) FROM numbers
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "masterloop.db"


async def used(path: Path, *migrations: Migration, notes: int = 0) -> None:
    async with open_database(path, migrations) as database:
        for _ in range(notes):
            database.write(note("x" * 100))


def content(path: Path) -> bytes:
    return path.read_bytes()


def contents(path: Path) -> dict[Path, bytes]:
    """Return all that is in the folder, but for the shared memory, where it is told who reads."""
    return {file: file.read_bytes() for file in path.parent.iterdir() if file.suffix != ".db-shm"}


def damaged(path: Path) -> bytes:
    with path.open("r+b") as file:
        file.seek(10 * 4_096)
        file.write(b"\xff" * 4_096)
    return content(path)


def test_a_database_that_is_yet_to_be_made_is_fine_and_is_not_made(path: Path) -> None:
    finding = check_database(path, [NOTES])
    assert (finding.verdict, finding.detail) == (OK, f"{path} is yet to be made")
    assert not path.parent.exists()


async def test_one_that_nobody_uses_is_whole_and_fits(path: Path) -> None:
    await used(path, NOTES)
    finding = check_database(path, [NOTES])
    assert (finding.verdict, finding.detail) == (OK, f"{path}: its schema fits; no damage")


async def test_beside_one_that_nobody_uses_nothing_is_left(path: Path) -> None:
    await used(path, NOTES)
    files = set(path.parent.iterdir())
    check_database(path, [NOTES])
    assert set(path.parent.iterdir()) == files


async def test_what_is_only_in_the_log_of_a_service_that_died_is_seen(path: Path) -> None:
    kept = path.with_name("kept")
    async with open_database(path, [NOTES, TAGS]):
        shutil.copytree(path.parent, kept)
    assert check_database(kept / path.name, [NOTES]).verdict is PROBLEM


async def test_one_that_is_written_to_meanwhile_is_looked_at_again(path: Path) -> None:
    await used(path, NOTES)
    with closing(sqlite3.connect(path, isolation_level=None)) as newer:

        class Meanwhile(tuple[Migration, ...]):
            """Has a newer service write once the migrations were read, which are compared now."""

            __slots__ = ()

            def __iter__(self) -> Iterator[Migration]:
                newer.execute("INSERT OR IGNORE INTO schema_migrations VALUES (2, 'x', '', '')")
                return super().__iter__()

        finding = check_database(path, Meanwhile([NOTES]))
    assert finding.verdict is PROBLEM


async def test_one_that_a_service_uses_is_only_read_and_says_so(path: Path) -> None:
    async with open_database(path, [NOTES]) as database:
        await database.write(note("a"))
        files = contents(path)
        finding = check_database(path, [NOTES])
        assert contents(path) == files
        await database.write(note("b"))
        assert bodies(database) == ["a", "b"]
    assert finding.verdict is OK
    assert finding.detail.startswith(f"{path}: its schema fits; no damage; process ")
    assert finding.detail.endswith(" is using it, so it was only read")


async def test_one_that_a_newer_service_uses_is_a_problem_and_says_so(path: Path) -> None:
    async with open_database(path, [NOTES, TAGS]):
        finding = check_database(path, [NOTES])
    assert finding.verdict is PROBLEM
    assert "is using it" in finding.detail


async def test_one_whose_service_died_is_used_by_nobody(path: Path) -> None:
    await used(path, NOTES)
    path.with_suffix(".db.lock").write_text("1\n")
    assert "using" not in check_database(path, [NOTES]).detail


async def test_one_of_an_older_version_is_told_what_the_start_will_do(path: Path) -> None:
    await used(path, NOTES)
    finding = check_database(path, [NOTES, TAGS])
    assert finding.verdict is OK
    assert "the start brings its schema up to date" in finding.detail
    assert check_database(path, [NOTES, TAGS]) == finding


async def test_one_of_a_newer_version_is_a_problem(path: Path) -> None:
    await used(path, NOTES, TAGS)
    finding = check_database(path, [NOTES])
    assert finding.verdict is PROBLEM
    assert "newer version" in finding.detail


async def test_a_damaged_one_is_a_problem_and_is_left_as_it_is(path: Path) -> None:
    await used(path, NOTES, notes=1_000)
    before = damaged(path)
    finding = check_database(path, [NOTES])
    assert finding.verdict is PROBLEM
    assert "is damaged" in finding.detail
    assert content(path) == before


def test_what_is_no_database_is_a_problem(tmp_path: Path) -> None:
    letter = tmp_path / "masterloop.db"
    letter.write_bytes(b"this is a letter to my aunt, and not a database at all" * 100)
    assert check_database(letter, [NOTES]).verdict is PROBLEM
    assert check_database(tmp_path, [NOTES]).verdict is PROBLEM


@pytest.mark.parametrize("table", [None, "CREATE TABLE others (x)"])
def test_one_without_anything_of_ours_is_warned_of(tmp_path: Path, table: str | None) -> None:
    path = tmp_path / "masterloop.db"
    path.touch()
    if table is not None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(table)
    finding = check_database(path, [NOTES])
    assert finding.verdict is WARNING
    assert "begin anew" in finding.detail


async def test_a_large_one_is_read_for_so_long_and_no_longer(path: Path) -> None:
    await used(path, NOTES)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(MANY_NOTES)
    finding = check_database(path, [NOTES], reading=0)
    assert finding.verdict is OK
    assert "too short for all of it: see masterloop db check" in finding.detail


async def test_one_that_another_process_locks_is_warned_of(path: Path) -> None:
    await used(path, NOTES)
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        finding = check_database(path, [NOTES])
    assert finding.verdict is WARNING
    assert "locked by another process" in finding.detail
