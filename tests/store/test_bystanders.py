"""What a write on a run or a thread leaves alone: whatever is not its own, however alike."""

import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from orchestration.loop.run import Ending, Failure, Outcome, Run, RunStatus, ThreadState
from orchestration.loop.streams import StreamEvent
from tests.store.checkpointing import at, at_checkpoint, put
from tests.store.shelf import Shelf, open_shelf

DONE = Outcome(RunStatus.SUCCESS, b"{}")
FAILED = Outcome(RunStatus.ERROR, failure=Failure("ValueError", "no"))
POISONED = Outcome(RunStatus.ERROR, failure=Failure("PoisonRun", "dead"), poison=True)
Write = Callable[[Shelf, Run], Awaitable[Any]]


def _stop(shelf: Shelf, run: Run) -> Awaitable[Any]:
    run.ending = Ending.INTERRUPT
    return shelf.runs.note_stop(run)


async def _delete_run(shelf: Shelf, run: Run) -> bool:
    await shelf.runs.finish(run, DONE, None)
    return await shelf.runs.delete("mine", "mine")


async def _delete_thread(shelf: Shelf, run: Run) -> bool:
    await shelf.runs.finish(run, DONE, None)
    return await shelf.threads.delete("mine")


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda s, run: s.runs.finish(run, DONE, ThreadState(b"1")), id="finish"),
        pytest.param(lambda s, run: s.runs.finish(run, FAILED, None), id="fail"),
        pytest.param(lambda s, run: s.runs.finish(run, FAILED, ThreadState(b"1")), id="fail-at"),
        pytest.param(lambda s, run: s.runs.finish(run, POISONED, None), id="poison"),
        pytest.param(lambda s, run: s.runs.requeue(run), id="requeue"),
        pytest.param(lambda s, run: s.runs.crash(run), id="crash"),
        pytest.param(lambda s, run: s.runs.erase(run), id="erase"),
        pytest.param(_stop, id="stop"),
        pytest.param(lambda s, _: s.threads.show("mine", ThreadState(b"1")), id="show"),
        pytest.param(_delete_run, id="delete-run"),
        pytest.param(_delete_thread, id="delete-thread"),
    ],
)
async def test_a_write_changes_nothing_of_other_runs_and_threads(
    tmp_path: Path, write: Write
) -> None:
    async with open_shelf(tmp_path) as shelf:
        mine = await _fill(shelf)
        before = await shelf.database.write(_others)
        assert await write(shelf, mine) is not False
        assert await shelf.database.write(_others) == before


@pytest.mark.parametrize("token", [None, "other"])
async def test_a_crash_is_not_charged_to_a_run_that_is_not_held(
    tmp_path: Path, token: str | None
) -> None:
    async with open_shelf(tmp_path) as shelf:
        run = await shelf.claim(await shelf.accept("a"))
        before = shelf.run("a")
        run.token, run.crashes = token, 1
        assert not await shelf.runs.crash(run)
        assert shelf.run("a") == before


async def test_a_run_that_ended_before_it_began_ends_once(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        run = await shelf.accept("a")
        assert await shelf.runs.finish(run, Outcome(RunStatus.INTERRUPTED), None)
        before = shelf.run("a")
        assert not await shelf.runs.finish(run, FAILED, None)
        assert not await shelf.runs.erase(run)
        assert not await shelf.runs.crash(run)
        assert shelf.run("a") == before


async def _fill(shelf: Shelf) -> Run:
    """Have a run work that went on where another was, and others beside it; return it.

    The others are held under the same token, and one has a copy of its thread.
    """
    for name in ("pending", "running", "ended", "copy"):
        run = await shelf.accept(name, name)
        if name != "pending":
            await shelf.claim(run)
            await shelf.checkpoint(run)
        if name == "ended":
            await shelf.runs.finish(run, DONE, ThreadState(b'{"x":1}'))
        shelf.events.append(name, StreamEvent(1, "values", b"1"))
    first = await shelf.claim(await shelf.accept("first", "mine"))
    left = await put(shelf.saver, at("mine", "first"), run_id="first")
    await shelf.runs.finish(first, DONE, ThreadState(b'{"x":1}'))
    await shelf.saver.aput_writes(at_checkpoint(left, "first"), [("channel", 1)], "one")
    mine = await shelf.claim(await shelf.accept("mine", "mine"))
    await shelf.saver.aput_writes(at_checkpoint(left, "mine"), [("channel", 2)], "two")
    await shelf.checkpoint(mine)
    shelf.events.append("mine", StreamEvent(1, "values", b"1"))
    await shelf.events.after("mine", 0)
    await shelf.database.write(_copy)
    return mine


def _copy(connection: sqlite3.Connection) -> None:
    for table in ("checkpoints", "writes", "writes_before_run"):
        rows = connection.execute(f"SELECT * FROM {table} WHERE thread_id = 'mine'")  # noqa: S608
        columns = [column[0] for column in rows.description]
        values = ", ".join("'copy'" if name == "thread_id" else name for name in columns)
        connection.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) "  # noqa: S608
            f"SELECT {values} FROM {table} WHERE thread_id = 'mine'"
        )


def _others(connection: sqlite3.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows that are not of the thread, or of the run, that is called "mine"."""
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    found: dict[str, list[tuple[Any, ...]]] = {}
    for (table,) in tables:
        columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        whose = next((name for name in ("thread_id", "run_id") if name in columns), None)
        if whose is not None:
            rows = connection.execute(f"SELECT * FROM {table} WHERE {whose} <> 'mine'")  # noqa: S608
            found[table] = [tuple(row) for row in rows]
    return found
