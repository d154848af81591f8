"""Which workflow a thread goes on with, when the run that was given it is not there any more."""

from pathlib import Path
from typing import Any

from orchestration.loop.run import Outcome, RunStatus, ThreadState
from tests.store.shelf import Shelf, open_shelf

DONE = Outcome(RunStatus.SUCCESS, b"{}")
SHOWN = ThreadState(b"{}")


async def done(
    shelf: Shelf, run_id: str, configurable: dict[str, Any] | None, *, checkpoint: bool = True
) -> None:
    """Have a run on the thread that has ended, with such a config, and a checkpoint or none."""
    at = f"2026-01-01T00:00:0{run_id}+00:00"
    kwargs = {"config": {"configurable": configurable}}
    run = await shelf.claim(await shelf.accept(run_id, kwargs=kwargs, created_at=at))
    if checkpoint:
        await shelf.checkpoint(run)
    await shelf.runs.finish(run, DONE, SHOWN)


async def test_the_run_that_went_on_keeps_the_workflow_of_a_deleted_one_and_no_other(
    tmp_path: Path,
) -> None:
    other, spec = {"name": "other"}, {"name": "w", "steps": [{"id": "a", "input": None}]}
    async with open_shelf(tmp_path) as shelf:
        for run_id, configurable in (
            ("1", {"workflow": other}),
            ("2", {"workflow": spec}),
            ("3", None),
            ("4", {"mine": 1}),
        ):
            await done(shelf, run_id, configurable)
        kept = []
        for run_id in ("2", "3", "4"):
            await shelf.runs.delete("thread", run_id)
            kept.append(shelf.runs.workflow_on("thread"))
    assert kept == [spec, spec, other]


async def test_a_workflow_goes_with_its_run_if_those_after_it_left_no_checkpoints(
    tmp_path: Path,
) -> None:
    first, second = {"name": "first"}, {"name": "second"}
    async with open_shelf(tmp_path) as shelf:
        await done(shelf, "1", {"workflow": first})
        await done(shelf, "2", {"workflow": second})
        await done(shelf, "3", None, checkpoint=False)
        await shelf.runs.delete("thread", "2")
        assert shelf.runs.workflow_on("thread") == first
        await done(shelf, "4", None)
        await shelf.runs.delete("thread", "1")
        assert shelf.runs.workflow_on("thread") == first


async def test_a_workflow_is_not_handed_on_to_a_run_that_was_given_another_or_never_began(
    tmp_path: Path,
) -> None:
    async with open_shelf(tmp_path) as shelf:
        await done(shelf, "1", {"workflow": {"name": "first"}})
        await shelf.accept("2", created_at="2026-01-01T00:00:02+00:00")
        await done(shelf, "3", {"workflow": {"name": "second"}})
        await shelf.runs.delete("thread", "1")
        assert shelf.runs.workflow_on("thread") == {"name": "second"}
        await shelf.runs.delete("thread", "3")
        assert shelf.runs.workflow_on("thread") is None


async def test_the_workflow_of_a_copy_goes_with_it_and_stays_without_the_thread(
    tmp_path: Path,
) -> None:
    async with open_shelf(tmp_path) as shelf:
        await done(shelf, "1", {"workflow": {"name": "w"}})
        await shelf.threads.copy("thread", "copy")
        await shelf.threads.delete("thread")
        kept = shelf.runs.workflow_on("copy")
        await shelf.threads.delete("copy")
        assert (kept, shelf.runs.workflow_on("copy")) == ({"name": "w"}, None)
