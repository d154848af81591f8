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
