"""In what order a start takes up what was cut off, or waits."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestration.loop.run import Failure
from tests.store.shelf import new_run, open_shelf


async def test_what_was_put_back_goes_on_before_a_delayed_run_that_was_made_earlier(
    tmp_path: Path,
) -> None:
    def ago(seconds: float) -> str:
        return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="microseconds")

    async with open_shelf(tmp_path) as shelf:
        await shelf.accept("overdue", delay=20.0, created_at=ago(30))
        await shelf.accept("begun", created_at=ago(5))
        await shelf.accept("prompt", created_at=ago(25))
        await shelf.runs.requeue(await shelf.claim(new_run("begun")))
        found = (await shelf.runs.recover(3, Failure("x", "y"))).runs
    assert [run.run_id for run in found] == ["begun", "prompt", "overdue"]


async def test_a_delayed_run_starts_when_it_was_due_whatever_the_restarts(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        long_ago = (datetime.now(UTC) - timedelta(seconds=90)).isoformat(timespec="microseconds")
        await shelf.accept("soon", delay=100.0, created_at=long_ago)
        await shelf.accept("overdue", delay=10.0, created_at=long_ago)
        recovered = await shelf.runs.recover(3, Failure("x", "y"))
        found = {run.run_id: run.delay for run in recovered.runs}
    assert 5 < found["soon"] <= 10
    assert found["overdue"] == 0.0
