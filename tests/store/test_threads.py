"""The thread store: found by what they hold, shown as busy while they are."""

import asyncio
import sqlite3
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from orchestration.loop.errors import ThreadNotFound
from orchestration.loop.run import Failure, Outcome, RunStatus, ThreadState
from orchestration.loop.streams import StreamEvent
from orchestration.store.expiry import ExpiryStore
from orchestration.store.gone_threads import PART
from orchestration.store.thread_rows import delete_thread
from orchestration.store.thread_search import ThreadQuery
from orchestration.store.threads import ThreadExists
from tests.store.shelf import open_shelf

FAILURE = Failure("PoisonRun", "dead")


async def test_a_thread_is_made_once(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        await shelf.threads.create("thread", {"a": 1})
        with pytest.raises(ThreadExists, match="Thread thread already exists"):
            await shelf.threads.create("thread", {"a": 2})
        assert shelf.thread()["metadata"] == '{"a":1}'


async def test_of_a_thread_that_was_not_finished_a_crash_leaves_nothing(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        for thread_id in ("whole", "half", "used"):
            await shelf.threads.create(thread_id, {}, whole=False)
            await shelf.checkpoints_at(thread_id, 1)
        await shelf.threads.finish("whole", None)
        await shelf.accept("run", "used")
        with pytest.raises(ThreadExists):
            await shelf.threads.create("half", {}, whole=False)
        sweeper = ExpiryStore(shelf.database, shelf.threads.unfinished)
        assert not await sweeper.delete_some()
        assert (shelf.run("run")["thread_id"], shelf.thread("half")["metadata"]) == ("used", "{}")
    async with open_shelf(tmp_path) as shelf:
        assert [run.run_id for run in (await shelf.runs.recover(3, FAILURE)).runs] == ["run"]
        while await ExpiryStore(shelf.database).delete_some():
            pass
        there = {name: bool(shelf.thread(name)) for name in ("whole", "half", "used")}
        assert there == {"whole": True, "half": False, "used": True}
        assert [await shelf.checkpoints(name) for name in there] == [1, 0, 1]
        await shelf.threads.create("half", {}, whole=False)
        assert await shelf.threads.delete("half")
        with pytest.raises(ThreadNotFound):
            await shelf.threads.finish("half", None)
        assert not shelf.threads.unfinished


async def test_a_patch_merges_and_tells_when_there_is_nothing_to_merge_into(
    tmp_path: Path,
) -> None:
    async with open_shelf(tmp_path) as shelf:
        await shelf.threads.create("thread", {"a": 1, "b": {"c": 1}})
        assert await shelf.threads.patch("thread", {"b": 2})
        assert not await shelf.threads.patch("other", {})
        assert shelf.thread()["metadata"] == '{"a":1,"b":2}'


async def test_a_thread_is_deleted_with_all_that_it_has(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        run = await shelf.claim(await shelf.accept("a"))
        await shelf.checkpoint(run)
        shelf.events.append("a", StreamEvent(1, "values", b"1"))
        assert await shelf.threads.delete("thread")
        assert not await shelf.threads.delete("thread")
        left = (shelf.run("a"), await shelf.events.after("a", 0), await shelf.checkpoints())
        assert left == ({}, [], 0)
        assert not await shelf.runs.finish(run, Outcome(RunStatus.SUCCESS), None)


async def test_nothing_is_there_of_a_thread_that_is_gone_whatever_is_left_of_it(
    tmp_path: Path,
) -> None:
    async with open_shelf(tmp_path) as shelf:
        await shelf.checkpoint(await shelf.claim(await shelf.accept("a", resumable=True)))
        shelf.events.append("a", StreamEvent(1, "values", b"1"))
        await shelf.accept("b")
        await shelf.database.write(partial(delete_thread, thread_id="thread"))
    async with open_shelf(tmp_path) as shelf:
        recovered = await shelf.runs.recover(3, FAILURE)
        listed = await shelf.runs.of_all(None, None, 10, 0)
        found = (recovered.runs, shelf.run("a"), shelf.run("b"), listed, shelf.thread())
        assert found == ([], {}, {}, [], {})
        await shelf.threads.create("thread", {})
        again = (await shelf.runs.of_thread("thread", None, 10, 0), await shelf.checkpoints())
        assert (again, await shelf.events.after("a", 0)) == (([], 0), [])


async def test_no_write_waits_for_more_than_a_part_of_the_threads_that_are_deleted(
    tmp_path: Path,
) -> None:
    async with open_shelf(tmp_path) as shelf:
        threads = [f"thread {number}" for number in range(4)]
        for thread_id in threads:
            await shelf.threads.create(thread_id, {})
            await shelf.checkpoints_at(thread_id, 3 * PART)
        deleting = asyncio.gather(*map(shelf.threads.delete, threads))
        left = [12 * PART]
        while not deleting.done():
            left.append(await shelf.database.write(_count_checkpoints))
        assert await deleting == [True] * 4
        left.append(await shelf.database.write(_count_checkpoints))
    assert left[-1] == 0
    assert max(before - after for before, after in pairwise(left)) <= PART


async def test_no_write_waits_for_more_than_a_part_of_the_threads_that_are_pruned(
    tmp_path: Path,
) -> None:
    async with open_shelf(tmp_path) as shelf:
        threads = [f"thread {number}" for number in range(4)]
        for thread_id in threads:
            await shelf.checkpoints_at(thread_id, 3 * PART)
        pruning = asyncio.gather(*(shelf.saver.aprune([thread_id]) for thread_id in threads))
        left = [12 * PART]
        while not pruning.done():
            left.append(await shelf.database.write(_count_checkpoints))
        await pruning
        left.append(await shelf.database.write(_count_checkpoints))
        oldest = shelf.database.get("SELECT min(checkpoint_id) FROM checkpoints")
    assert (left[-1], oldest and oldest[0]) == (4, f"{3 * PART - 1:08}")
    assert max(before - after for before, after in pairwise(left)) <= PART


def _count_checkpoints(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM checkpoints").fetchone()[0])


async def test_a_copy_takes_the_checkpoints_and_leaves_the_runs(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        run = await shelf.claim(await shelf.accept("a"))
        await shelf.checkpoint(run)
        await shelf.threads.show("thread", ThreadState(b"1", b'{"q":[]}', interrupted=True))
        await shelf.threads.copy("thread", "copy")
        with pytest.raises(ThreadNotFound):
            await shelf.threads.copy("nothing", "other")
        copy = shelf.thread("copy")
        assert (copy["shown_status"], copy["state_values"], copy["interrupts"]) == (
            "interrupted", "1", '{"q":[]}',
        )  # fmt: skip
        assert await shelf.checkpoints("copy") == await shelf.checkpoints() == 1


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["c", "b", "a"]),
        ({"descending": False}, ["a", "b", "c"]),
        ({"ids": ["a", "c", "x"]}, ["c", "a"]),
        ({"ids": []}, []),
        ({"status": "busy"}, ["b"]),
        ({"status": "idle"}, ["c", "a"]),
        ({"metadata": {"n": 1}}, ["a"]),
        ({"metadata": {}}, ["c", "b", "a"]),
        ({"values": {"deep": {"x": 1}}}, ["c"]),
        ({"sort_by": "status"}, ["c", "a", "b"]),
        ({"limit": 1, "offset": 1}, ["b"]),
        ({"metadata": {"n') OR 1=1 --": 1}}, []),
    ],
)
async def test_threads_are_found(tmp_path: Path, query: dict[str, Any], found: list[str]) -> None:
    async with open_shelf(tmp_path) as shelf:
        for number, name in enumerate("abc"):
            await shelf.threads.create(name, {"n": number + 1})
        await shelf.accept("run", "b", graph_id="g")
        await shelf.threads.show("c", ThreadState(b'{"deep":{"x":1,"y":2}}'))
        asked = ThreadQuery(**query)
        rows = [row["thread_id"] for row in await shelf.threads.search(asked)]
        counted = await shelf.threads.count(asked)
    assert rows == found
    assert counted == (3 if "limit" in query else len(found))
