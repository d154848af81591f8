"""The service's database: what a write promises, and what a read sees."""

import asyncio
import gc
import sqlite3
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from operations.database import Database, DatabaseClosed, DatabaseError, Migration, open_database
from tests.operations.notes import NOTES, Held, bodies, bodies_in, note, refuse


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "masterloop.sqlite"


def length_of_log(path: Path) -> int:
    return Path(f"{path}-wal").stat().st_size


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


async def test_what_is_left_of_a_failed_batch_is_committed_together(path: Path) -> None:
    statements: list[str] = []

    async with open_database(path, [NOTES]) as database:
        held = Held(database)
        database.write(lambda c: c.set_trace_callback(statements.append))
        for operation in (note("a"), refuse, note("b")):
            database.write(operation)
        held.release()
        await database.settled()
        await database.write(lambda c: c.set_trace_callback(None))
        begun = [statement for statement in statements if statement.startswith("BEGIN")]
        assert (len(begun), bodies(database)) == (2, ["a", "b"])  # its own, and that of the last


async def test_in_a_failed_batch_every_result_and_every_error_finds_its_waiter(path: Path) -> None:
    def odd(number: int) -> Callable[[sqlite3.Connection], int | None]:
        def operation(connection: sqlite3.Connection) -> int | None:
            identity = note(str(number))(connection)
            if number % 3 == 1:
                raise LookupError(number)
            if number % 3 == 2:
                connection.execute("INSERT INTO notes (body) VALUES (NULL)")
            return identity

        return operation

    async with open_database(path, [NOTES]) as database:
        held = Held(database)
        writes = [database.write(odd(number)) for number in range(30)]
        held.release()
        await database.settled()
        told = [write.exception() or write.result() for write in writes]
        for number, result in enumerate(told):
            match number % 3:
                case 0:
                    assert result == number // 3 + 1
                case 1:
                    assert isinstance(result, LookupError)
                    assert result.args == (number,)
                case _:
                    assert isinstance(result, DatabaseError)
        assert bodies(database) == [str(number) for number in range(0, 30, 3)]


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


async def test_the_log_is_as_long_at_the_start_as_commits_make_it(path: Path) -> None:
    for _ in range(2):
        async with open_database(path, [NOTES]) as database:
            length = length_of_log(path)
            for _ in range(1_100):  # pages; after 1,000 SQLite begins the log anew
                await database.write(note("a"), synced=False)
            assert length_of_log(path) == length


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


async def test_wide_reads_leave_a_thread_to_the_others_even_if_nobody_waits_for_them(
    path: Path,
) -> None:
    gate = threading.Event()
    async with open_database(path, [NOTES]) as database:
        wide = partial(database.read, lambda _: gate.wait(), wide=True)
        left = [asyncio.ensure_future(wide()) for _ in range(6)]
        try:
            assert await read_twice(database) == ["read"] * 2
            for one in left:
                one.cancel()
            await asyncio.wait(left)
            more = [asyncio.ensure_future(wide()) for _ in range(6)]
            assert await read_twice(database) == ["read"] * 2
        finally:
            gate.set()
        assert await asyncio.gather(*more) == [True] * 6


async def read_twice(database: Database) -> list[str]:
    """Read, let everybody else begin meanwhile, and read again."""
    return [await database.read(lambda _: "read") for _ in range(2)]


async def test_a_wide_read_that_fails_makes_room_for_the_next(path: Path) -> None:
    async with open_database(path, [NOTES]) as database:
        for _ in range(4):
            with pytest.raises(DatabaseError):
                await database.read(lambda c: c.execute("SELECT * FROM absent"), wide=True)
        assert await database.read(lambda _: "read", wide=True) == "read"


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


@pytest.mark.parametrize("wide", [False, True])
async def test_closing_interrupts_a_read_that_would_never_end(path: Path, *, wide: bool) -> None:
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def endless(connection: sqlite3.Connection) -> object:
        loop.call_soon_threadsafe(begun.set)
        sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
        return connection.execute(sql).fetchone()

    async with open_database(path, [NOTES]) as database:
        # Six for four threads, or three: the others never begin.
        reads = [asyncio.ensure_future(database.read(endless, wide=wide)) for _ in range(6)]
        await begun.wait()
    outcomes = await asyncio.gather(*reads, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [DatabaseClosed] * 6


def patience(connection: sqlite3.Connection) -> int:
    """Write, and return whether the commit waits for the disk (2), or not (1)."""
    note("a")(connection)
    level: int = connection.execute("PRAGMA synchronous").fetchone()[0]
    return level


async def test_a_write_waits_for_the_disk_unless_nothing_in_its_batch_has_to(path: Path) -> None:
    async with open_database(path, [NOTES]) as database:
        alone = [await database.write(patience, synced=synced) for synced in (False, True, False)]
        held = Held(database)
        mixed = [database.write(patience, synced=synced) for synced in (False, True)]
        held.release()
        assert (alone, await asyncio.gather(*mixed)) == ([1, 2, 1], [2, 2])
        assert len(bodies(database)) == 5


@pytest.mark.parametrize(
    ("before", "commits"), [([False], 1), ([True], 0), ([False, True], 0), ([True, False], 1)]
)
async def test_a_sync_writes_only_if_something_may_not_be_on_the_disk(
    path: Path, before: list[bool], commits: int
) -> None:
    statements: list[str] = []
    async with open_database(path, [NOTES]) as database:
        for synced in before:
            await database.write(note("a"), synced=synced)
        await database.write(lambda c: c.set_trace_callback(statements.append))
        await database.sync()
        await database.sync()
        await database.write(lambda c: c.set_trace_callback(None))
        assert len([each for each in statements if each.startswith("UPDATE")]) == commits
        assert "PRAGMA synchronous = NORMAL" not in statements
