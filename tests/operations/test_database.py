"""The service's database: what a write promises, what a read sees, and what it does in trouble."""

import asyncio
import gc
import os
import random
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from operations.database import (
    Database,
    DatabaseBusy,
    DatabaseClosed,
    DatabaseCorrupt,
    DatabaseError,
    DatabaseInUse,
    DiskFull,
    Migration,
    open_database,
)

NOTES = Migration(1, "notes", "CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT NOT NULL);")
KILLS = 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "masterloop.sqlite"


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


# Writes


async def test_a_write_gives_what_its_operation_returned_and_is_seen_by_reads(path: Path) -> None:
    async with open_database(path, [NOTES]) as database:
        assert await database.write(note("a")) == 1
        assert bodies(database) == ["a"]


async def test_writes_take_effect_in_the_order_of_the_calls(path: Path) -> None:
    async with open_database(path, [NOTES]) as database:
        expected = [str(number) for number in range(1_200)]  # more than two batches
        writes = [database.write(note(body)) for body in expected]
        assert await asyncio.gather(*writes) == list(range(1, 1_201))
        assert [row["body"] for row in database.all("SELECT body FROM notes", limit=2_000)] == (
            expected
        )


async def test_a_read_does_not_see_a_write_that_is_still_queued(path: Path) -> None:
    async with open_database(path, [NOTES]) as database:
        held = Held(database)
        write = database.write(note("a"))
        assert bodies(database) == []
        held.release()
        await write
        assert bodies(database) == ["a"]


async def test_an_operation_that_raises_fails_alone_in_its_batch(path: Path) -> None:
    async with open_database(path, [NOTES]) as database:
        held = Held(database)
        first, bad, last = map(database.write, (note("a"), refuse, note("b")))
        held.release()
        with pytest.raises(LookupError, match="no such note"):
            await bad
        assert (await first, await last, bodies(database)) == (1, 2, ["a", "b"])


async def test_each_operation_of_a_failed_batch_is_done_again_in_its_own_transaction(
    path: Path,
) -> None:
    tries: list[bool] = []

    def counted(connection: sqlite3.Connection) -> None:
        tries.append(True)
        note("a")(connection)

    async with open_database(path, [NOTES]) as database:
        held = Held(database)
        database.write(counted)
        database.write(refuse)
        held.release()
        await database.settled()
        assert (len(tries), bodies(database)) == (2, ["a"])


async def test_what_an_operation_did_before_it_raised_is_undone(path: Path) -> None:
    def half(connection: sqlite3.Connection) -> None:
        note("half")(connection)
        refuse(connection)

    async with open_database(path, [NOTES]) as database:
        with pytest.raises(LookupError):
            await database.write(half)
        assert bodies(database) == []


async def test_a_violated_constraint_is_a_database_error_that_names_it(path: Path) -> None:
    async with open_database(path, [NOTES]) as database:
        with pytest.raises(DatabaseError, match="NOT NULL constraint failed"):
            await database.write(lambda c: c.execute("INSERT INTO notes (body) VALUES (NULL)"))


async def test_foreign_keys_are_enforced(path: Path) -> None:
    tags = Migration(2, "tags", "CREATE TABLE tags (note INTEGER REFERENCES notes (id));")
    async with open_database(path, [NOTES, tags]) as database:
        with pytest.raises(DatabaseError, match="FOREIGN KEY constraint failed"):
            await database.write(lambda c: c.execute("INSERT INTO tags VALUES (7)"))


async def test_an_operation_that_runs_out_of_rows_is_an_error_and_not_a_hang(path: Path) -> None:
    async with open_database(path, [NOTES]) as database:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await database.write(lambda c: next(c.execute("SELECT 1 WHERE FALSE")))


async def test_an_operation_that_exits_does_not_take_the_writer_down(path: Path) -> None:
    async with open_database(path, [NOTES]) as database:
        write: asyncio.Future[object] = database.write(lambda _: sys.exit(3))
        await database.settled()
        assert type(write.exception()) is SystemExit
        assert await database.write(note("a")) == 1


async def test_a_cancelled_waiter_does_not_stop_its_write(path: Path) -> None:
    async with open_database(path, [NOTES]) as database:
        held = Held(database)
        write = database.write(note("a"))
        write.cancel()
        held.release()
        await database.settled()
        assert bodies(database) == ["a"]


async def test_an_error_that_nobody_looks_at_makes_no_noise(path: Path) -> None:
    noise: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
    async with open_database(path, [NOTES]) as database:
        database.write(refuse)
        await database.settled()
        gc.collect()
        assert noise == []


async def test_settled_returns_at_once_when_nothing_is_queued(path: Path) -> None:
    async with open_database(path, [NOTES]) as database:
        with pytest.raises(StopIteration):  # it returned without having waited
            database.settled().send(None)


async def test_settled_does_not_raise_what_a_write_raised(path: Path) -> None:
    async with open_database(path, [NOTES]) as database:
        write = database.write(refuse)
        await database.settled()
        assert isinstance(write.exception(), LookupError)


async def test_leaving_makes_every_queued_write_first(path: Path) -> None:
    async with open_database(path, [NOTES]) as database:
        for number in range(1_000):
            database.write(note(str(number)))
    assert len(bodies_in(path)) == 1_000


async def test_leaving_folds_the_log_into_the_file(path: Path) -> None:
    async with open_database(path, [NOTES]) as database:
        await database.write(note("a"))
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, f"{path.name}.lock"]


async def test_leaving_does_not_wait_for_who_still_reads_the_file(path: Path) -> None:
    async with open_database(path, [NOTES], busy_timeout=60) as database:
        await database.write(note("a"))
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM notes").fetchall()
            await database.write(note("b"))
    assert bodies_in(path) == ["a", "b"]


async def test_a_closed_database_takes_no_writes_and_no_reads(path: Path) -> None:
    async with open_database(path, [NOTES]) as database:
        pass
    with pytest.raises(DatabaseClosed):
        database.write(note("a"))
    with pytest.raises(DatabaseClosed):
        await database.read(lambda connection: connection.execute("SELECT 1").fetchall())
    with pytest.raises(DatabaseError):
        database.get("SELECT 1")


# Reads


async def test_a_point_read_gives_a_row_or_none(path: Path) -> None:
    async with open_database(path, [NOTES]) as database:
        await database.write(note("a"))
        row = database.get("SELECT * FROM notes WHERE id = ?", (1,))
        assert row is not None
        assert (row["body"], database.get("SELECT * FROM notes WHERE id = 2")) == ("a", None)


async def test_a_read_that_leaves_rows_behind_does_not_hold_later_reads_to_its_snapshot(
    path: Path,
) -> None:
    async with open_database(path, [NOTES]) as database:
        await asyncio.gather(*map(database.write, map(note, "ab")))
        database.get("SELECT * FROM notes")
        assert len(database.all("SELECT * FROM notes", limit=1)) == 1
        await database.write(note("c"))
        assert bodies(database) == ["a", "b", "c"]


async def test_a_longer_read_runs_on_another_thread(path: Path) -> None:
    async with open_database(path, [NOTES]) as database:
        thread = await database.read(lambda _: threading.current_thread().name)
        assert thread.startswith("database-reader")


async def test_longer_reads_run_side_by_side(path: Path) -> None:
    together = threading.Barrier(4)
    async with open_database(path, [NOTES]) as database:
        reads = [database.read(lambda _: together.wait()) for _ in range(4)]
        assert sorted(await asyncio.gather(*reads)) == [0, 1, 2, 3]


async def test_a_reader_cannot_write(path: Path) -> None:
    async with open_database(path, [NOTES]) as database:
        with pytest.raises(DatabaseError, match="readonly"):
            await database.read(note("a"))
        with pytest.raises(DatabaseError, match="readonly"):
            database.get("DELETE FROM notes")


async def test_a_read_in_wrong_sql_is_a_database_error(path: Path) -> None:
    async with open_database(path, [NOTES]) as database:
        with pytest.raises(DatabaseError, match="no such table"):
            database.all("SELECT * FROM absent")


async def test_closing_interrupts_a_read_that_would_never_end(path: Path) -> None:
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def endless(connection: sqlite3.Connection) -> object:
        loop.call_soon_threadsafe(begun.set)
        sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
        return connection.execute(sql).fetchone()

    async with open_database(path, [NOTES]) as database:
        # Six for four threads: two of them never begin.
        reads = [asyncio.ensure_future(database.read(endless)) for _ in range(6)]
        await begun.wait()
    outcomes = await asyncio.gather(*reads, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [DatabaseClosed] * 6


# Trouble


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


def test_a_disk_that_has_no_room_for_the_log_is_full_until_it_has_room_again(path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True
    )
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


async def test_settled_returns_even_if_nothing_can_be_written(path: Path) -> None:
    async with open_database(path, [NOTES], busy_timeout=0.01) as database:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            write = database.write(note("a"))
            await database.settled()
            assert isinstance(write.exception(), DatabaseBusy)


# Opening


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
        Path(f"{path}.lock").write_text("")
        with pytest.raises(DatabaseInUse, match="another process") as refusal:
            async with open_database(path, [NOTES]):
                pass
    assert refusal.value.pid is None


async def test_a_database_can_be_opened_again_after_it_was_closed(path: Path) -> None:
    for body in "ab":
        async with open_database(path, [NOTES]) as database:
            await database.write(note(body))
    assert bodies_in(path) == ["a", "b"]


async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is a letter to my aunt, and not a database at all" * 100)
    before = path.read_bytes()
    with pytest.raises(DatabaseCorrupt, match="is damaged .* left as it is"):
        async with open_database(path, [NOTES]):
            pass
    assert path.read_bytes() == before


async def test_a_file_with_damaged_pages_is_refused_and_left_as_it_is(path: Path) -> None:
    async with open_database(path, [NOTES]) as database:
        for _ in range(200):
            database.write(note("x" * 1_000))
    with path.open("r+b") as file:
        file.seek(10 * 4_096)
        file.write(random.Random(1).randbytes(5 * 4_096))
    before = path.read_bytes()
    with pytest.raises(DatabaseCorrupt, match="salvage what can be read"):
        async with open_database(path, [NOTES]):
            pass
    assert path.read_bytes() == before


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


# Death

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
