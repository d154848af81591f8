"""Runs that nobody was told of: when they are written, and what becomes of them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from operations.database import DiskFull
from orchestration.loop.run import Ending, Failure, Outcome, Run, RunStatus
from orchestration.store.unwritten import HOLD, UnwrittenRuns
from tests.agents.puppets import on_virtual_time
from tests.store.shelf import Shelf, crash, new_run, open_shelf

DONE = Outcome(RunStatus.SUCCESS, b"{}")
NEVER = 3600.0  # seconds
BALLAST = "x" * 500_000


def quiet(run_id: str, **given: Any) -> Run:
    """Return a run that somebody waits for who was told nothing."""
    arrived = asyncio.get_running_loop().time()
    asked = {"announced": False, "ephemeral": True, "arrived": arrived, **given}
    return new_run(run_id, f"thread-{run_id}", **asked)


async def begun(shelf: Shelf, run: Run) -> Run:
    assert await shelf.runs.accept(run)
    return await shelf.claim(run)


async def statements(shelf: Shelf) -> list[str]:
    """Have the statements noted that the writer makes from now on."""
    made: list[str] = []
    await shelf.database.write(lambda c: c.set_trace_callback(lambda sql: made.append(sql.strip())))
    made.clear()
    return made


class Disk:
    """Notes when runs are written."""

    def __init__(self) -> None:
        self.written: dict[str, float] = {}  # seconds after their arrival
        self.runs = UnwrittenRuns(self._write, HOLD)

    def _write(self, run: Run) -> "asyncio.Future[bool]":
        loop = asyncio.get_running_loop()
        self.written[run.run_id] = loop.time() - run.arrived
        written: asyncio.Future[bool] = loop.create_future()
        written.set_result(True)
        return written

    async def crowd(self, name: str, count: int, took: float) -> None:
        """Have many runs that each take so many seconds, ten of them at any time."""

        async def one(number: int) -> None:
            await asyncio.sleep(number * took / 10)
            run = quiet(f"{name}-{number}")
            self.runs.add(run)
            await asyncio.sleep(took)
            self.runs.discard(run)

        await asyncio.gather(*map(one, range(count)))


async def written(shelf: Shelf, run_id: str) -> None:
    while not shelf.run(run_id):  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0)


async def test_a_run_that_has_ended_before_its_time_is_never_written(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=NEVER) as shelf:
        made = await statements(shelf)
        run = await begun(shelf, quiet("a"))
        assert await shelf.runs.finish(run, DONE, None)
        other = await begun(shelf, quiet("b"))
        assert await shelf.runs.erase(other)
        shelf.runs.write_all()
        await shelf.database.settled()
        assert await shelf.runs.accept(quiet("c", announced=True))
    changes = [each.split()[0] for each in made if each.startswith(("INSERT", "DELETE"))]
    assert changes == ["INSERT"]


async def test_a_run_that_works_for_longer_is_written_as_it_is_then(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=0.0) as shelf:
        run = await begun(shelf, quiet("a"))
        await written(shelf, "a")
        row = shelf.run("a")
        assert await shelf.runs.finish(run, DONE, None)
        left = shelf.run("a")
    assert (row["status"], row["token"], row["attempt"]) == ("running", "token", 1)
    assert left == {}


async def test_a_run_that_waits_for_longer_is_written_and_can_be_claimed(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=0.0) as shelf:
        run = quiet("a")
        assert await shelf.runs.accept(run)
        await written(shelf, "a")
        assert shelf.run("a")["status"] == "pending"
        await shelf.claim(run)
        assert shelf.run("a")["status"] == "running"


async def test_each_run_has_its_own_time(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=0.1) as shelf:
        for run_id in "abc":
            await begun(shelf, quiet(run_id))
        await written(shelf, "c")
        assert shelf.run("a")
        assert shelf.run("b")


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
async def test_a_run_that_leaves_something_is_written_at_once(
    tmp_path: Path, asks: dict[str, Any]
) -> None:
    async with open_shelf(tmp_path, hold=NEVER) as shelf:
        assert await shelf.runs.accept(quiet("a", **asks))
        assert shelf.run("a")["status"] == "pending"


async def test_a_run_is_on_the_disk_once_it_is_announced_or_has_ended(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=0.0) as shelf:
        made = await statements(shelf)
        run = await begun(shelf, quiet("a"))
        await shelf.runs.announce(run)
        await shelf.runs.finish(run, DONE, None)
        other = await begun(shelf, quiet("b"))
        await written(shelf, "b")
        await shelf.runs.finish(other, DONE, None)
    levels = ("PRAGMA synchronous = ", "COMMIT")
    kept = [each.split()[-1] for each in made if each.startswith(levels)]
    assert kept[kept.index("NORMAL") :] == [
        "NORMAL", "COMMIT", "FULL", "COMMIT", "COMMIT",
        "NORMAL", "COMMIT", "FULL", "COMMIT",
    ]  # fmt: skip


async def test_what_was_not_written_yet_is_found_after_a_stop(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=NEVER) as shelf:
        await shelf.runs.accept(quiet("waits"))
        drained = await begun(shelf, quiet("works"))
        assert await shelf.runs.requeue(drained)
        shelf.runs.write_all()
    async with open_shelf(tmp_path) as shelf:
        found = (await shelf.runs.recover(3, Failure("PoisonRun", "dead"))).runs
    assert {(run.run_id, run.attempt, run.crashes) for run in found} == {
        ("waits", 0, 0), ("works", 0, 0),
    }  # fmt: skip


async def test_a_run_that_worked_for_longer_outlives_a_crash(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=0.0) as shelf:
        await begun(shelf, quiet("a"))
        await written(shelf, "a")
    await crash(tmp_path)
    async with open_shelf(tmp_path) as shelf:
        (found,) = (await shelf.runs.recover(3, Failure("PoisonRun", "dead"))).runs
    assert (found.run_id, found.ephemeral, found.crashes) == ("a", True, 1)


async def test_a_run_that_was_told_to_end_before_it_was_written_does_so_after_a_crash(
    tmp_path: Path,
) -> None:
    async with open_shelf(tmp_path, hold=NEVER) as shelf:
        run = await begun(shelf, quiet("a"))
        run.ending = Ending.INTERRUPT
        await shelf.runs.note_stop(run)
        shelf.runs.write_all()
        await shelf.database.settled()
    await crash(tmp_path)
    async with open_shelf(tmp_path) as shelf:
        (found,) = (await shelf.runs.recover(3, Failure("PoisonRun", "dead"))).runs
    assert found.stop is Ending.INTERRUPT


async def test_a_run_for_which_there_is_no_room_works_and_ends_all_the_same(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=NEVER) as shelf:
        run = quiet("a", kwargs={"input": BALLAST})
        assert await shelf.runs.accept(run)
        await shelf.database.write(lambda c: c.execute("PRAGMA max_page_count = 1").fetchall())
        with pytest.raises(DiskFull):
            await shelf.runs.announce(run)
        assert not run.announced
        with pytest.raises(DiskFull):  # nothing new is held back meanwhile
            await shelf.runs.accept(quiet("b", kwargs={"input": BALLAST}))
        await shelf.claim(run)
        assert await shelf.runs.finish(run, DONE, None)


async def test_a_run_ends_and_is_claimed_while_it_fails_to_be_written(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=NEVER) as shelf:
        runs = [quiet(run_id, kwargs={"input": BALLAST}) for run_id in "ab"]
        for run in runs:
            assert await shelf.runs.accept(run)
        await shelf.database.write(lambda c: c.execute("PRAGMA max_page_count = 1").fetchall())
        shelf.runs.write_all()
        claims = [shelf.runs.claim(run, "token") for run in runs]
        runs[0].token = runs[1].token = "token"
        ended = shelf.runs.finish(runs[0], DONE, None)
        assert [await claim for claim in claims] == [True, True]
        assert await ended
        await shelf.database.write(lambda c: c.execute("PRAGMA max_page_count = 9999").fetchall())
        shelf.runs.write_all()
        await shelf.database.settled()
        rows = [shelf.run("a"), shelf.run("b")]
    assert rows[0] == {}
    assert (rows[1]["status"], rows[1]["token"]) == ("running", "token")


async def test_a_run_is_put_back_although_it_could_not_be_written_at_first(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=NEVER) as shelf:
        run = await begun(shelf, quiet("a", kwargs={"input": BALLAST}))
        await shelf.database.write(lambda c: c.execute("PRAGMA max_page_count = 1").fetchall())
        with pytest.raises(DiskFull):
            await shelf.runs.requeue(run)
        await shelf.database.write(lambda c: c.execute("PRAGMA max_page_count = 9999").fetchall())
        assert await shelf.runs.requeue(run)
        row = shelf.run("a")
    assert (row["status"], row["token"], row["attempt"]) == ("pending", None, 0)


async def test_a_run_that_is_cut_off_goes_on_although_it_cannot_be_written(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=NEVER) as shelf:
        run = await begun(shelf, quiet("a", kwargs={"input": BALLAST}))
        await shelf.database.write(lambda c: c.execute("PRAGMA max_page_count = 1").fetchall())
        run.crashes = 1
        assert await shelf.runs.crash(run)
        await shelf.claim(run)
        assert await shelf.runs.finish(run, DONE, None)


async def test_a_run_that_was_not_taken_is_not_claimed(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        await shelf.database.write(lambda c: c.execute("PRAGMA max_page_count = 1").fetchall())
        run = quiet("a", kwargs={"durability": "sync", "input": BALLAST})
        with pytest.raises(DiskFull):
            await shelf.runs.accept(run)
        assert not await shelf.runs.claim(run, "token")


async def test_a_run_that_is_written_is_claimed_once(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=NEVER) as shelf:
        run = await begun(shelf, quiet("a"))
        shelf.runs.write_all()
        await shelf.database.settled()
        assert not await shelf.runs.claim(run, "other")


def test_of_runs_that_all_take_long_but_few_are_written() -> None:
    async def main() -> None:
        disk = Disk()
        await disk.crowd("short", 50, 0.1)
        assert disk.written == {}
        await disk.crowd("long", 200, 0.6)
        assert max(int(run_id.split("-")[1]) for run_id in disk.written) < 20

    on_virtual_time(main)


@pytest.mark.parametrize(
    ("crowds", "seconds"),
    [
        ([], HOLD),
        ([0.1], HOLD),
        ([0.6], 1.2),
        ([3600.0], 2.0),
        ([1.0, 0.01], HOLD),
    ],
)
def test_a_run_is_written_after_twice_what_those_before_it_took_within_bounds(
    crowds: list[float], seconds: float
) -> None:
    async def main() -> None:
        disk = Disk()
        for took in crowds:
            await disk.crowd(f"{took:g}", 200, took)
        run = quiet("a")
        disk.runs.add(run)
        await asyncio.sleep(10)
        assert disk.written["a"] == pytest.approx(seconds, abs=0.01)

    on_virtual_time(main)
