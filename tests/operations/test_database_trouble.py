"""The service's database in trouble: full disks, other processes, damaged files, sudden death."""

import asyncio
import os
import random
import resource
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from operations.database import (
    DatabaseBusy,
    DatabaseCorrupt,
    DatabaseError,
    DatabaseInUse,
    DatabaseNotWritable,
    DiskFailed,
    DiskFull,
    open_database,
)
from operations.database_file import hold
from operations.writer import Writer
from tests.operations.notes import NOTES, Held, bodies, bodies_in, note

KILLS = 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "masterloop.sqlite"


async def test_a_full_disk_refuses_a_write_and_nothing_else(path: Path) -> None:
    async with open_database(path, [NOTES]) as database:
        await database.write(note("small"))
        await database.write(lambda c: c.execute("PRAGMA max_page_count = 20").fetchall())
        held = Held(database)
        big, small = map(database.write, (note("x" * 1_000_000), note("b")))
        held.release()
        with pytest.raises(DiskFull):
            await big
        assert (await small, bodies(database)) == (2, ["small", "b"])
        await database.write(lambda c: c.execute("PRAGMA max_page_count = 10000").fetchall())
        assert await database.write(note("x" * 1_000_000)) == 3
    assert len(bodies_in(path)) == 3


FULL_DISK = """
import asyncio, resource, sys
from pathlib import Path
from operations.database import DiskFull, Migration, open_database

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

async def main():
    notes = Migration(1, "notes", "CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT);")
    write = lambda c: c.execute("INSERT INTO notes (body) VALUES (?)", ("x" * 10_000,)).lastrowid
    limit(int(sys.argv[2]))
    async with open_database(Path(sys.argv[1]), [notes]) as database:
        limit(256 * 1024)
        acknowledged = 0
        for _ in range(100):
            try:
                acknowledged = await database.write(write)
            except DiskFull:
                break
        stored = database.get("SELECT count(*) FROM notes")[0]
        limit(resource.RLIM_INFINITY)
        later = await database.write(write)
        print(0 < acknowledged < 100, stored == acknowledged, later == acknowledged + 1)

asyncio.run(main())
"""


@pytest.mark.parametrize("at_the_start", [resource.RLIM_INFINITY, 256 * 1024])
def test_a_disk_that_has_no_room_for_the_log_is_full_until_it_has_room_again(
    path: Path, at_the_start: int
) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(path), str(at_the_start)]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    assert child.stdout.split() == ["True", "True", "True"]
    assert bodies_in(path)


async def test_a_write_waits_no_longer_than_the_busy_timeout_for_another_process(
    path: Path,
) -> None:
    async with open_database(path, [NOTES], busy_timeout=0.01) as database:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            writes = [database.write(note(body)) for body in "ab"]
            for write in writes:
                with pytest.raises(DatabaseBusy):
                    await write
            other.execute("ROLLBACK")
        assert (await database.write(note("c")), bodies(database)) == (1, ["c"])
        assert database.busy == 2


@pytest.mark.parametrize(
    "code", [sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN]
)
async def test_a_disk_that_fails_refuses_until_it_is_seen_to_work(path: Path, code: int) -> None:
    def fail(_: sqlite3.Connection) -> None:
        error = sqlite3.OperationalError("as the disk would have it")
        error.sqlite_errorcode = code
        raise error

    async with open_database(path, [NOTES]) as database:
        with pytest.raises(DiskFailed):
            await database.write(fail)
        assert database.refusing
        assert await database.refusal() is None
        assert not database.refusing


async def test_a_disk_that_lets_nobody_write_refuses_for_as_long(path: Path) -> None:
    async with open_database(path, [NOTES]) as database:
        await database.write(lambda c: c.execute("PRAGMA query_only = ON").fetchall())
        with pytest.raises(DiskFailed, match="readonly"):
            await database.write(note("a"))
        for _ in range(2):
            assert isinstance(await database.refusal(), DiskFailed)


async def test_a_violated_constraint_says_nothing_of_the_disk(path: Path) -> None:
    async with open_database(path, [NOTES]) as database:
        with pytest.raises(DatabaseError, match="NOT NULL"):
            await database.write(lambda c: c.execute("INSERT INTO notes (body) VALUES (NULL)"))
        assert not database.refusing


async def test_a_file_that_was_damaged_in_service_refuses_though_a_part_of_it_can_be_written(
    path: Path,
) -> None:
    async with open_database(path, [NOTES]) as database:
        await database.write(note("a"))
        (page,) = database.all("SELECT rootpage FROM sqlite_schema WHERE name = 'notes'")
    async with open_database(path, [NOTES]) as database:
        with path.open("r+b") as file:
            file.seek((page["rootpage"] - 1) * 4_096)
            file.write(random.Random(1).randbytes(4_096))
        with pytest.raises(DatabaseCorrupt):
            await database.write(note("b"))
        await database.write(lambda c: c.execute("CREATE TABLE other (a)").fetchall())
        assert isinstance(await database.refusal(), DatabaseCorrupt)


def test_a_writer_is_quiet_whose_event_loop_ends_while_it_opens(path: Path) -> None:
    opening = threading.Event()

    @contextmanager
    def connect() -> Iterator[sqlite3.Connection]:
        opening.wait()
        with closing(sqlite3.connect(path)) as connection:
            yield connection

    async def begin() -> None:
        Writer(path, connect)

    path.parent.mkdir()
    asyncio.run(begin())
    [thread] = [one for one in threading.enumerate() if one.name == "database-writer"]
    opening.set()
    thread.join()  # with an error that nobody takes, the test would fail


async def test_settled_returns_even_if_nothing_can_be_written(path: Path) -> None:
    async with open_database(path, [NOTES], busy_timeout=0.01) as database:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            write = database.write(note("a"))
            await database.settled()
            assert isinstance(write.exception(), DatabaseBusy)


def contents(path: Path) -> bytes:
    return path.read_bytes()


def empty(path: Path) -> None:
    path.write_text("")


def write_a_letter(path: Path) -> bytes:
    path.parent.mkdir()
    path.write_bytes(b"this is a letter to my aunt, and not a database at all" * 100)
    return path.read_bytes()


def damage(path: Path) -> bytes:
    with path.open("r+b") as file:
        file.seek(10 * 4_096)
        file.write(random.Random(1).randbytes(5 * 4_096))
    return path.read_bytes()


async def test_files_are_for_their_owner_alone(path: Path) -> None:
    async with open_database(path, [NOTES]) as database:
        await database.write(note("a"))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(
        [path.name, f"{path.name}-wal", f"{path.name}-shm", f"{path.name}.lock"], 0o600
    )
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_path_with_odd_characters_is_only_a_path(tmp_path: Path) -> None:
    async with open_database(tmp_path / "a b?mode=memory#%41'" / "x.sqlite", [NOTES]) as database:
        await database.write(note("a"))
        assert bodies(database) == ["a"]


async def test_a_second_opener_in_the_same_process_is_refused_and_told_who_has_it(
    path: Path,
) -> None:
    async with open_database(path, [NOTES]):
        with pytest.raises(DatabaseInUse, match=f"{path.parent} is in use by process") as refusal:
            async with open_database(path, [NOTES]):
                pass
    assert refusal.value.pid == os.getpid()


async def test_a_second_opener_in_another_process_is_refused(path: Path) -> None:
    program = (
        "import asyncio, sys; from pathlib import Path; from operations.database import *\n"
        "async def main():\n"
        "    async with open_database(Path(sys.argv[1]), []): pass\n"
        "try: asyncio.run(main())\n"
        "except DatabaseInUse as error: print(error.pid)\n"
    )
    async with open_database(path, [NOTES]):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, str(path), stdout=subprocess.PIPE
        )
        output, _ = await child.communicate()
    assert output.split() == [str(os.getpid()).encode()]


async def test_a_holder_that_has_not_written_its_number_yet_is_another_process(path: Path) -> None:
    async with open_database(path, [NOTES]):
        empty(Path(f"{path}.lock"))
        with pytest.raises(DatabaseInUse, match="another process") as refusal:
            async with open_database(path, [NOTES]):
                pass
    assert refusal.value.pid is None


def test_a_start_without_room_for_its_lock_is_refused_and_a_crash_before_it_is_still_known(
    path: Path,
) -> None:
    with hold(path):
        pass  # and died, for it did not leave
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limit[1]))
    try:
        with pytest.raises(DiskFailed, match="lock cannot be written"), hold(path):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    with hold(path) as held:
        assert held.crashed


async def test_a_database_can_be_opened_again_after_it_was_closed(path: Path) -> None:
    for body in "ab":
        async with open_database(path, [NOTES]) as database:
            await database.write(note(body))
    assert bodies_in(path) == ["a", "b"]


async def test_what_cannot_be_a_file_is_told_with_what_to_do(path: Path) -> None:
    write_a_letter(path)
    for impossible, why in ((path / "below.db", "File exists"), (path.parent, "Is a directory")):
        with pytest.raises(DatabaseNotWritable, match=why) as refused:
            async with open_database(impossible, [NOTES]):
                pass
        assert "MASTERLOOP_DATA_DIR" in str(refused.value)


async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(path: Path) -> None:
    before = write_a_letter(path)
    with pytest.raises(DatabaseCorrupt, match=r"is damaged .* left as it is"):
        async with open_database(path, [NOTES]):
            pass
    assert contents(path) == before


async def test_a_file_with_damaged_pages_is_refused_and_left_as_it_is(path: Path) -> None:
    async with open_database(path, [NOTES]) as database:
        for _ in range(200):
            database.write(note("x" * 1_000))
    before = damage(path)
    with pytest.raises(DatabaseCorrupt, match="salvage what can be read"):
        async with open_database(path, [NOTES]):
            pass
    assert contents(path) == before


async def test_a_file_that_is_large_is_not_read_through(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_database(path, [NOTES]) as database:
        await database.write(note("a"))
    monkeypatch.setattr("operations.database_file.QUICK_CHECK_LIMIT", 0)
    async with open_database(path, [NOTES]) as database:
        assert bodies(database) == ["a"]


async def test_cancelling_the_opening_lets_go_of_the_file(path: Path) -> None:
    async def open_it() -> None:
        async with open_database(path, [NOTES]):
            pass

    opening = asyncio.create_task(open_it())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    async with open_database(path, [NOTES]) as database:
        assert bodies(database) == []


WRITE_UNTIL_KILLED = """
import asyncio, sys
from pathlib import Path
from operations.database import Migration, open_database

async def write(database, name):
    sql = "INSERT INTO notes (body) VALUES (?)"
    for number in range(1_000_000):
        body = f"{name}-{number}"
        await database.write(lambda c: c.execute(sql, (body,)))
        sys.stdout.write(body + "\\n")
        sys.stdout.flush()

async def main():
    notes = Migration(1, "notes", sys.argv[3])
    async with open_database(Path(sys.argv[1]), [notes]) as database:
        await asyncio.gather(*(write(database, f"{sys.argv[2]}-{n}") for n in range(5)))

asyncio.run(main())
"""


@pytest.mark.timeout(60)
def test_kill_9_loses_no_write_that_was_acknowledged(path: Path) -> None:
    acknowledged: list[str] = []
    chance = random.Random(9)
    for kill in range(KILLS):
        command = [sys.executable, "-c", WRITE_UNTIL_KILLED, str(path), str(kill), NOTES.sql]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            heard = [child.stdout.readline() for _ in range(chance.randrange(1, 200))]
            child.kill()
            heard += child.stdout.readlines()
        acknowledged += [line.rstrip("\n") for line in heard if line.endswith("\n")]
    assert len(acknowledged) > KILLS
    assert set(acknowledged) <= set(bodies_in(path))
