"""Copies of threads: made in small parts, there once they are whole, and as the thread is then."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from orchestration.loop.errors import AskedTwice, ThreadNotFound
from orchestration.store.expiry import ExpiryStore
from orchestration.store.gone_threads import PART
from orchestration.store.idempotency import KeyStore
from orchestration.store.thread_copies import PART_BYTES
from tests.store.shelf import Shelf, open_shelf

_PUT = """
INSERT OR REPLACE INTO checkpoints (thread_id, checkpoint_id, type, checkpoint)
VALUES (?, ?, 'bytes', ?)
"""
_PUT_WRITE = """
INSERT INTO writes (thread_id, checkpoint_id, task_id, idx, channel, value)
VALUES ('thread', ?, 'task', ?, 'channel', 'value')
"""


async def make(shelf: Shelf, number: int, size: int = 1) -> None:
    """Make a thread with so many checkpoints, of so many bytes, and two writes at each."""
    await shelf.threads.create("thread", {"of": "me"})
    names = [f"{count:08}" for count in range(number)]
    rows = [("thread", name, bytes(size)) for name in names]
    writes = [(name, index) for name in names for index in range(2)]
    await shelf.database.write(lambda c: c.executemany(_PUT, rows).rowcount)
    await shelf.database.write(lambda c: c.executemany(_PUT_WRITE, writes).rowcount)


async def rows(shelf: Shelf, thread_id: str) -> Sequence[Any]:
    """Return what a thread has in both tables, without its id."""

    def read(connection: sqlite3.Connection) -> list[Any]:
        tables = ("checkpoints", "writes")
        found = (f"SELECT * FROM {table} WHERE thread_id = ?" for table in tables)  # noqa: S608 - constants
        return [tuple(row)[1:] for sql in found for row in connection.execute(sql, (thread_id,))]

    return await shelf.database.write(read)


async def begun(shelf: Shelf, copying: "asyncio.Task[bool]") -> None:
    """Return once there is something of the copy, which is not whole yet."""
    while len(await rows(shelf, "copy")) < PART:
        pass
    assert not copying.done()


def _count(connection: sqlite3.Connection) -> tuple[int, int]:
    copied = "SELECT count(*) FROM {} WHERE thread_id <> 'thread' AND checkpoint_id <> ''"
    of_checkpoints, of_writes = copied.format("checkpoints"), copied.format("writes")
    [checkpoints], [writes] = (
        connection.execute(sql).fetchone() for sql in (of_checkpoints, of_writes)
    )
    return checkpoints, writes


@pytest.mark.parametrize(
    ("number", "size", "most"), [(2 * PART + 1, 1, PART), (3, PART_BYTES, 1), (0, 0, 0)]
)
async def test_no_write_waits_for_more_than_a_part_of_the_threads_that_are_copied(
    tmp_path: Path, number: int, size: int, most: int
) -> None:
    async with open_shelf(tmp_path) as shelf:
        await make(shelf, number, size)
        copying = asyncio.gather(*(shelf.threads.copy("thread", f"{n}") for n in range(4)))
        counted = [(0, 0)]
        while not copying.done():
            counted.append(await shelf.database.write(_count))
        await copying
        counted.append(await shelf.database.write(_count))
        whole = await rows(shelf, "thread")
        assert [await rows(shelf, f"{n}") for n in range(4)] == [whole] * 4
    assert counted[-1] == (4 * number, 8 * number)
    assert max(after[0] - before[0] for before, after in pairwise(counted)) <= most
    assert max(after[1] - before[1] for before, after in pairwise(counted)) <= PART


async def test_a_copy_is_there_once_it_is_whole_and_no_sweeper_takes_anything_of_it(
    tmp_path: Path,
) -> None:
    async with open_shelf(tmp_path) as shelf:
        await make(shelf, 5 * PART)
        sweeper = ExpiryStore(shelf.database, shelf.threads.unfinished)
        copying = asyncio.ensure_future(shelf.threads.copy("thread", "copy"))
        await begun(shelf, copying)
        assert shelf.thread("copy") == {}
        assert not await sweeper.delete_some()
        await copying
        assert shelf.thread("copy")["metadata"] == '{"of":"me"}'
        assert await rows(shelf, "copy") == await rows(shelf, "thread")
        assert not await sweeper.delete_some()
        assert not shelf.threads.unfinished


async def test_a_copy_is_as_the_thread_is_when_it_is_whole(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        await make(shelf, 5 * PART)
        copying = asyncio.ensure_future(shelf.threads.copy("thread", "copy"))
        await begun(shelf, copying)
        first, last, new = f"{1:08}", f"{5 * PART - 1:08}", f"{5 * PART:08}"

        def change(connection: sqlite3.Connection) -> None:
            for table in ("checkpoints", "writes"):
                gone = f"DELETE FROM {table} WHERE thread_id = 'thread' AND checkpoint_id IN (?, ?)"  # noqa: S608 - constants
                connection.execute(gone, (first, last))
            for name in (f"{2:08}", last, new):
                connection.execute(_PUT, ("thread", name, b"changed"))
            connection.execute(_PUT_WRITE, (new, 0))

        await shelf.database.write(change)
        await copying
        copied = await rows(shelf, "copy")
        assert copied == await rows(shelf, "thread")
        assert len(copied) == 15 * PART - 6 + 3


async def test_nothing_is_left_of_a_copy_whose_thread_is_deleted_meanwhile(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        await make(shelf, 5 * PART)
        copying = asyncio.ensure_future(shelf.threads.copy("thread", "copy"))
        await begun(shelf, copying)
        assert await shelf.threads.delete("thread")
        with pytest.raises(ThreadNotFound):
            await copying
        assert (shelf.thread("copy"), await rows(shelf, "copy")) == ({}, [])
        assert not await ExpiryStore(shelf.database).delete_some()


async def test_nothing_is_left_of_a_copy_that_was_asked_for_twice(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        await make(shelf, PART)
        receipt = KeyStore(shelf.database).receipt("me", "key", b"", lambda _: (b"{}", None))
        await shelf.threads.copy("thread", "first", receipt=receipt)
        with pytest.raises(AskedTwice):
            await shelf.threads.copy("thread", "copy", receipt=receipt)
        assert (shelf.thread("copy"), await rows(shelf, "copy")) == ({}, [])
        assert not await ExpiryStore(shelf.database).delete_some()


def _save(path: Path, connection: sqlite3.Connection) -> None:
    """Save the database as a crash would leave it now."""
    with closing(sqlite3.connect(path)) as saved:
        connection.backup(saved)


async def test_what_a_crash_leaves_of_a_copy_is_deleted(tmp_path: Path) -> None:
    later = tmp_path / "later"
    later.mkdir()
    async with open_shelf(tmp_path) as shelf:
        await make(shelf, 5 * PART)
        copying = asyncio.ensure_future(shelf.threads.copy("thread", "copy"))
        await begun(shelf, copying)
        await shelf.database.read(partial(_save, later / "test.db"))
        await copying
    async with open_shelf(later) as shelf:
        assert shelf.thread("copy") == {}
        assert len(await rows(shelf, "copy")) >= PART
        sweeper = ExpiryStore(shelf.database)
        while await sweeper.delete_some():
            pass
        assert await rows(shelf, "copy") == []
        assert len(await rows(shelf, "thread")) == 15 * PART
