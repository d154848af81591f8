"""Threads that nobody was told of, and the runs that make them: when they are written, and how."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from operations.database import Database, DiskFull
from orchestration.loop.run import Failure, Outcome, Run, RunStatus, ThreadState
from orchestration.store.unwritten_threads import CannotBeWritten, UnwrittenThreads
from tests.store.checkpointing import at, put
from tests.store.shelf import Shelf, crash, new_run, open_shelf

DONE = Outcome(RunStatus.SUCCESS, b"{}")
LEFT = ThreadState(b'{"text": "x"}')
NEVER = 3600.0  # seconds
BALLAST = "x" * 500_000


def quiet(run_id: str, **given: Any) -> Run:
    """Return a run that makes a thread of which nobody was told."""
    return new_run(run_id, f"thread-{run_id}", **{"announced": False, **given})


async def begun(shelf: Shelf, run: Run, checkpoints: int = 2) -> Run:
    assert await shelf.runs.accept(run)
    await shelf.claim(run)
    for _ in range(checkpoints):
        await shelf.checkpoint(run)
    return run


async def statements(shelf: Shelf) -> list[str]:
    """Have the statements noted that the writer makes from now on."""
    made: list[str] = []
    await shelf.database.write(lambda c: c.set_trace_callback(lambda sql: made.append(sql.strip())))
    made.clear()
    return made


async def leave_no_room(database: Database) -> None:
    await database.write(lambda c: c.execute("PRAGMA max_page_count = 1").fetchall())


async def make_room(database: Database) -> None:
    await database.write(lambda c: c.execute("PRAGMA max_page_count = 99999").fetchall())


def found(shelf: Shelf, run_id: str) -> tuple[Any, ...]:
    """Return what there is of a run and its thread."""
    run, thread = shelf.run(run_id), shelf.thread(f"thread-{run_id}")
    stored = shelf.database.all(
        "SELECT * FROM checkpoints WHERE thread_id = ?", (f"thread-{run_id}",)
    )
    return run.get("status"), run.get("attempt"), thread.get("state_values"), len(stored)


async def written(shelf: Shelf, run_id: str) -> None:
    while not shelf.run(run_id):  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0)


async def test_a_run_that_ends_in_its_time_is_one_transaction_on_the_disk(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=NEVER) as shelf:
        made = await statements(shelf)
        run = await begun(shelf, quiet("a"))
        config = await put(shelf.saver, at("thread-a", "a"))
        config["metadata"] = {"run_id": "a"}
        await shelf.saver.aput_writes(config, [("text", "x")], "task")
        assert not made
        assert found(shelf, "a") == (None, None, None, 0)
        assert await shelf.runs.finish(run, DONE, LEFT)
        assert found(shelf, "a") == ("success", 1, '{"text": "x"}', 3)
        assert len(shelf.database.all("SELECT * FROM writes")) == 1
        assert not shelf.runs.holding
    assert [sql for sql in made if sql in ("COMMIT", "PRAGMA synchronous = NORMAL")] == ["COMMIT"]


async def test_of_a_run_that_has_not_ended_a_crash_leaves_nothing(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=NEVER) as shelf:
        await begun(shelf, quiet("a"))
    await crash(tmp_path)
    async with open_shelf(tmp_path) as shelf:
        assert found(shelf, "a") == (None, None, None, 0)


async def test_a_run_that_works_for_longer_is_written_as_it_is_then(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=0.0) as shelf:
        run = await begun(shelf, quiet("a"))
        await written(shelf, "a")
        assert found(shelf, "a") == ("running", 1, None, 2)
        await shelf.database.settled()
        await shelf.checkpoint(run)
        assert found(shelf, "a") == ("running", 1, None, 3)
        assert await shelf.runs.finish(run, DONE, LEFT)
        assert found(shelf, "a") == ("success", 1, '{"text": "x"}', 3)
        assert not await shelf.runs.finish(run, DONE, LEFT)


async def test_while_runs_take_long_a_thread_is_held_back_for_longer(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=0.0) as shelf:
        now = asyncio.get_running_loop().time
        long = await begun(shelf, quiet("a", arrived=now() - 60))
        assert await shelf.runs.finish(long, DONE, LEFT)
        begins = now()
        await begun(shelf, quiet("b"))
        await written(shelf, "b")
        assert now() - begins > 0.4


@pytest.mark.parametrize(("checkpoints", "levels"), [(0, ["NORMAL"]), (1, [])])
async def test_checkpoints_wait_for_the_disk_as_soon_as_they_are_written(
    tmp_path: Path, checkpoints: int, levels: list[str]
) -> None:
    async with open_shelf(tmp_path, hold=NEVER) as shelf:
        made = await statements(shelf)
        await begun(shelf, quiet("a"), checkpoints)
        await shelf.runs.show("a")
        set_to = [sql.split()[-1] for sql in made if sql.startswith("PRAGMA synchronous")]
    assert set_to == levels


async def test_a_run_that_waits_for_longer_is_written_and_can_be_claimed(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=0.0) as shelf:
        run = quiet("a")
        assert await shelf.runs.accept(run)
        await written(shelf, "a")
        assert found(shelf, "a") == ("pending", 0, None, 0)
        await shelf.claim(run)
        assert found(shelf, "a") == ("running", 1, None, 0)
        assert not await shelf.runs.claim(run, "other")


@pytest.mark.parametrize(
    "asks",
    [
        {"kwargs": {"webhook": "https://example.com"}},
        {"kwargs": {"durability": "sync"}},
        {"resumable": True},
        {"delay": 60.0},
        {"announced": True},
    ],
)
async def test_a_run_of_which_more_is_known_is_written_at_once(
    tmp_path: Path, asks: dict[str, Any]
) -> None:
    async with open_shelf(tmp_path, hold=NEVER) as shelf:
        assert await shelf.runs.accept(quiet("a", **asks))
        assert found(shelf, "a") == ("pending", 0, None, 0)


async def test_a_run_on_a_thread_that_is_there_is_written_at_once(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=NEVER) as shelf:
        await shelf.threads.create("thread-a", {})
        assert await shelf.runs.accept(quiet("a", create_thread=False))
        assert found(shelf, "a") == ("pending", 0, None, 0)


async def test_who_names_the_thread_or_the_run_finds_it(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=NEVER) as shelf:
        for run_id in "ab":
            await begun(shelf, quiet(run_id))
        await shelf.runs.show("somebody-else")
        assert found(shelf, "a") == (None, None, None, 0)
        await shelf.runs.show("a", "thread-a")
        assert found(shelf, "a") == ("running", 1, None, 2)
        assert found(shelf, "b") == (None, None, None, 0)
        await shelf.runs.show("thread-b")
        assert found(shelf, "b") == ("running", 1, None, 2)


async def test_a_run_is_on_the_disk_once_it_is_announced(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=NEVER) as shelf:
        run = await begun(shelf, quiet("a"))
        await shelf.runs.announce(run)
        assert found(shelf, "a") == ("running", 1, None, 2)
    assert run.announced


async def test_who_reads_checkpoints_finds_those_that_were_held_back(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=NEVER) as shelf:
        for run_id in "abcd":
            await begun(shelf, quiet(run_id))
        assert await shelf.saver.aget_tuple(at("thread-a", checkpoint_ns="sub")) is None
        assert found(shelf, "a") == (None, None, None, 0)
        latest = await shelf.saver.aget_tuple(at("thread-a"))
        assert latest is not None
        assert await shelf.saver.aget_tuple(latest.config) is not None
        assert await shelf.checkpoints("thread-b") == 2
        assert found(shelf, "c") == (None, None, None, 0)
        assert len([one async for one in shelf.saver.alist(None)]) == 8
        assert found(shelf, "d") == ("running", 1, None, 2)


async def test_who_deletes_or_copies_checkpoints_finds_them_too(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=NEVER) as shelf:
        for run_id in "abcd":
            await begun(shelf, quiet(run_id))
        await shelf.saver.adelete_thread("thread-a")
        await shelf.saver.adelete_for_runs(["b"])
        await shelf.saver.acopy_thread("thread-c", "other")
        await shelf.saver.aprune(["thread-d"])
        counts = [await shelf.checkpoints(f"thread-{run_id}") for run_id in "abcd"]
        assert (*counts, await shelf.checkpoints("other")) == (0, 0, 2, 1, 2)


@pytest.mark.parametrize("namespace", ["x" * 2_000_000, "half a pair: \ud800"])
async def test_a_put_that_is_large_or_cannot_be_made_is_not_held_back(
    tmp_path: Path, namespace: str
) -> None:
    async with open_shelf(tmp_path, hold=NEVER) as shelf:
        run = await begun(shelf, quiet("a"))
        try:
            await put(shelf.saver, at("thread-a", "a", checkpoint_ns=namespace))
        except UnicodeEncodeError:
            assert found(shelf, "a") == (None, None, None, 0)
        else:
            assert found(shelf, "a") == ("running", 1, None, 3)
        assert await shelf.runs.finish(run, DONE, LEFT)
        assert found(shelf, "a")[0] == "success"


async def test_a_name_in_any_script_is_held_back(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=NEVER) as shelf:
        await begun(shelf, quiet("a"))
        await put(shelf.saver, at("thread-a", "a", checkpoint_ns="schön"))
        assert found(shelf, "a") == (None, None, None, 0)


async def test_an_end_that_finds_no_room_is_whole_when_it_does(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=NEVER) as shelf:
        run = await begun(shelf, quiet("a", kwargs={"input": BALLAST}))
        await leave_no_room(shelf.database)
        for _ in range(2):
            with pytest.raises(DiskFull):
                await shelf.runs.finish(run, DONE, LEFT)
        with pytest.raises(DiskFull):  # nothing new is held back meanwhile
            await shelf.runs.accept(quiet("b", kwargs={"input": BALLAST}))
        await make_room(shelf.database)
        assert await shelf.runs.finish(run, DONE, LEFT)
        assert found(shelf, "a") == ("success", 1, '{"text": "x"}', 2)


async def test_what_finds_no_room_in_its_time_goes_along_with_what_does(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=NEVER) as shelf:
        run = await begun(shelf, quiet("a", kwargs={"input": BALLAST}))
        await leave_no_room(shelf.database)
        with pytest.raises(DiskFull):
            await shelf.runs.show("a")
        with pytest.raises(DiskFull):
            await shelf.checkpoint(run)
        with pytest.raises(DiskFull):
            await shelf.runs.announce(run)
        await make_room(shelf.database)
        await shelf.checkpoint(run)
        assert found(shelf, "a") == ("running", 1, None, 3)


async def test_a_write_that_follows_one_that_fails_makes_up_for_it(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=NEVER) as shelf:
        run = await begun(shelf, quiet("a", kwargs={"input": BALLAST}))
        await leave_no_room(shelf.database)
        shelf.runs.write_all()
        room = make_room(shelf.database)
        failing = asyncio.ensure_future(shelf.runs.show("a"))
        await room
        with pytest.raises(DiskFull):
            await failing
        assert await shelf.runs.finish(run, DONE, LEFT)
        assert found(shelf, "a") == ("success", 1, '{"text": "x"}', 2)


async def test_what_is_done_while_it_is_written_is_done_once(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=NEVER) as shelf:
        run = await begun(shelf, quiet("a"))
        shelf.runs.write_all()
        checkpoint = asyncio.ensure_future(shelf.checkpoint(run))
        await asyncio.sleep(0)
        assert await shelf.runs.finish(run, DONE, LEFT)
        await checkpoint
        assert found(shelf, "a") == ("success", 1, '{"text": "x"}', 3)


async def test_a_waiter_who_is_cancelled_does_not_have_it_written_twice(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=NEVER) as shelf:
        run = await begun(shelf, quiet("a"))
        erased = asyncio.ensure_future(shelf.runs.erase(run))
        erased.cancel()
        await shelf.database.settled()
        await asyncio.sleep(0)
        assert not shelf.runs.holding
        assert found(shelf, "a") == (None, None, None, 0)
        assert shelf.thread("thread-a")


async def test_what_was_not_written_yet_is_found_after_a_stop(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=NEVER) as shelf:
        await shelf.runs.accept(quiet("waits"))
        drained = await begun(shelf, quiet("works"))
        assert await shelf.runs.requeue(drained)
        crashed = await begun(shelf, quiet("crashed"))
        crashed.crashes = 1
        assert await shelf.runs.crash(crashed)
        shelf.runs.write_all()
    async with open_shelf(tmp_path) as shelf:
        recovered = (await shelf.runs.recover(3, Failure("PoisonRun", "dead"))).runs
        assert await shelf.checkpoints("thread-works") == 2
    assert {(run.run_id, run.attempt, run.crashes) for run in recovered} == {
        ("waits", 0, 0), ("works", 0, 0), ("crashed", 1, 1),
    }  # fmt: skip


async def test_what_can_never_be_written_is_not_tried_for_ever(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=NEVER) as shelf:
        threads = UnwrittenThreads(shelf.database, NEVER)

        def refuse(_: object) -> None:
            raise ValueError("no row at all")

        threads.hold(quiet("a"), refuse)
        with pytest.raises(CannotBeWritten):
            await threads.show("a")
        assert not threads
