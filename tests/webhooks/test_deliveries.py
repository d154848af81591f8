"""What is kept for a webhook when a run ends: with the end itself, or not at all."""

import json
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from operations.database import Database
from orchestration.loop.run import Failure, Outcome, Run, RunStatus, ThreadState
from orchestration.store.deliveries import DROP_OF_THREAD, Attempt, DeliveryStore
from orchestration.store.runs import RunStore
from orchestration.store.threads import ThreadStore
from tests.webhooks.post_office import new_run, open_database_of

URL = "https://hooks.example.com:8443/a?token=secret"
STATE = ThreadState(b'{"reply":"y"}')
SUCCESS = Outcome(RunStatus.SUCCESS)
FAILURE = Failure("ValueError", "boom")


class Bell:
    """Counts how often it is rung."""

    def __init__(self) -> None:
        self.rung = 0

    def __call__(self, url: str) -> None:
        self.rung += 1


async def claimed(runs: RunStore, run: Run) -> Run:
    await runs.accept(run)
    await runs.claim(run, "token")
    run.token, run.status, run.attempt = "token", RunStatus.RUNNING, 1
    return run


def rows(database: Database) -> list[sqlite3.Row]:
    return database.all("SELECT * FROM webhook_deliveries")


def told(database: Database) -> dict[str, Any]:
    (row,) = rows(database)
    document: dict[str, Any] = json.loads(row["payload"])
    return document


@pytest.mark.parametrize(
    "outcome",
    [
        SUCCESS,
        Outcome(RunStatus.ERROR, failure=FAILURE),
        Outcome(RunStatus.TIMEOUT, failure=Failure("TimeoutError", "the run took longer")),
        Outcome(RunStatus.INTERRUPTED),
    ],
    ids=lambda outcome: outcome.status,
)
@pytest.mark.parametrize("ephemeral", [False, True])
async def test_every_end_is_told_with_its_values(
    tmp_path: Path, outcome: Outcome, *, ephemeral: bool
) -> None:
    async with open_database_of(tmp_path) as database:
        bell = Bell()
        runs = RunStore(database, bell)
        run = await claimed(runs, new_run(URL, ephemeral=ephemeral))
        assert await runs.finish(run, outcome, STATE)
        document = told(database)
        error = outcome.failure and {
            "error": outcome.failure.error,
            "message": outcome.failure.message,
        }
        assert (document["status"], document["error"], document["values"]) == (
            outcome.status,
            error,
            {"reply": "y"},
        )
        assert (document["kwargs"]["input"], document["metadata"]) == ({"text": "x"}, {"m": 1})
        assert bell.rung == 1


async def test_a_run_ended_when_it_says_itself_that_it_did(tmp_path: Path) -> None:
    async with open_database_of(tmp_path) as database:
        runs = RunStore(database, Bell())
        run = await claimed(runs, new_run(URL))
        await runs.finish(run, SUCCESS, STATE)
        row = runs.get(run.run_id)
        document = told(database)
    assert row is not None
    assert (document["updated_at"], document["run_ended_at"]) == (row["updated_at"],) * 2


async def test_a_run_that_never_started_has_no_time_of_its_start(tmp_path: Path) -> None:
    async with open_database_of(tmp_path) as database:
        runs = RunStore(database, Bell())
        run = new_run(URL)
        await runs.accept(run)
        await runs.finish(run, Outcome(RunStatus.INTERRUPTED), None)
        assert (told(database)["run_started_at"], told(database)["values"]) == (None, None)


async def test_a_run_that_is_undone_is_told_as_rolled_back(tmp_path: Path) -> None:
    async with open_database_of(tmp_path) as database:
        runs = RunStore(database, Bell())
        await runs.erase(await claimed(runs, new_run(URL)))
        assert told(database)["status"] == "rollback"


@pytest.mark.parametrize("ephemeral", [False, True])
async def test_a_run_that_was_given_up_at_the_start_is_told(
    tmp_path: Path, *, ephemeral: bool
) -> None:
    async with open_database_of(tmp_path) as database:
        runs = RunStore(database, Bell())
        await claimed(runs, new_run(URL, ephemeral=ephemeral))
        database.crashed = True  # as if another server had died over it
        assert not (await runs.recover(1, FAILURE)).runs
        document = told(database)
        assert (document["status"], document["error"]["error"]) == ("error", "ValueError")


async def test_who_loses_the_race_to_end_a_run_tells_nothing(tmp_path: Path) -> None:
    async with open_database_of(tmp_path) as database:
        runs = RunStore(database, Bell())
        run = await claimed(runs, new_run(URL))
        first, second = runs.finish(run, SUCCESS, STATE), runs.finish(run, SUCCESS, STATE)
        assert (await first, await second, len(rows(database))) == (True, False, 1)


async def test_a_run_without_a_webhook_rings_nobody(tmp_path: Path) -> None:
    async with open_database_of(tmp_path) as database:
        bell = Bell()
        runs = RunStore(database, bell)
        await runs.finish(await claimed(runs, new_run(None)), SUCCESS, STATE)
        await runs.erase(await claimed(runs, new_run(None)))
        assert (rows(database), bell.rung) == ([], 0)


async def test_nothing_is_kept_where_webhooks_are_disabled(tmp_path: Path) -> None:
    async with open_database_of(tmp_path) as database:
        runs = RunStore(database)
        await runs.finish(await claimed(runs, new_run(URL)), SUCCESS, STATE)
        await claimed(runs, new_run(URL))
        await runs.recover(1, FAILURE)
        assert rows(database) == []


async def test_a_page_is_of_one_run_or_of_all_newest_first(tmp_path: Path) -> None:
    async with open_database_of(tmp_path) as database:
        runs, deliveries = RunStore(database, Bell()), DeliveryStore(database)
        ended = [await claimed(runs, new_run(URL)) for _ in range(3)]
        for run in ended:
            await runs.finish(run, SUCCESS, STATE)
        newest_first = [run.run_id for run in reversed(ended)]
        everything = await deliveries.page(None, 10, 0)
        assert [row["run_id"] for row in everything] == newest_first
        second = await deliveries.page(None, 1, 1)
        assert [row["run_id"] for row in second] == newest_first[1:2]
        of_one = await deliveries.page(ended[0].run_id, 10, 0)
        assert [row["run_id"] for row in of_one] == [ended[0].run_id]


async def _failed(runs: RunStore, deliveries: DeliveryStore, **fields: Any) -> Run:
    """Let a run end, and its webhook refuse to hear of it."""
    run = await claimed(runs, new_run(URL, **fields))
    await runs.finish(run, SUCCESS, STATE)
    (row,) = await deliveries.page(run.run_id, 1, 0)
    await deliveries.record(row["delivery_id"], Attempt("gone", datetime.now(UTC)))
    return run


async def _delete_run(database: Database, run: Run) -> None:
    await RunStore(database).delete(run.thread_id, run.run_id)


async def _delete_thread(database: Database, run: Run) -> None:
    await ThreadStore(database).delete(run.thread_id)


@pytest.mark.parametrize("delete", [_delete_run, _delete_thread])
async def test_what_was_not_delivered_is_forgotten_with_its_run_and_its_thread(
    tmp_path: Path, delete: Callable[[Database, Run], Awaitable[None]]
) -> None:
    async with open_database_of(tmp_path) as database:
        runs, deliveries = RunStore(database, Bell()), DeliveryStore(database)
        gone, other = [await _failed(runs, deliveries) for _ in range(2)]
        await delete(database, gone)
        left = {row["run_id"]: row["payload"] is not None for row in rows(database)}
    assert left == {gone.run_id: False, other.run_id: True}


@pytest.mark.parametrize("delete", [_delete_run, _delete_thread])
async def test_what_is_still_to_be_delivered_outlives_its_run_until_it_is_over(
    tmp_path: Path, delete: Callable[[Database, Run], Awaitable[None]]
) -> None:
    async with open_database_of(tmp_path) as database:
        runs, deliveries = RunStore(database, Bell()), DeliveryStore(database)
        run = await claimed(runs, new_run(URL))
        await runs.finish(run, SUCCESS, STATE)
        await delete(database, run)
        now = datetime.now(UTC)
        (row,) = await deliveries.due(now, without=(), avoiding=(), limit=9)
        await deliveries.record(row["delivery_id"], Attempt("pending", now, due_at=now))
        assert told(database)["values"] == {"reply": "y"}
        await deliveries.record(row["delivery_id"], Attempt("failed", now))
        assert [(row["status"], row["payload"]) for row in rows(database)] == [("failed", None)]


async def test_of_a_run_of_which_nothing_is_kept_no_more_is_than_what_is_to_be_delivered(
    tmp_path: Path,
) -> None:
    async with open_database_of(tmp_path) as database:
        runs, deliveries = RunStore(database, Bell()), DeliveryStore(database)
        await _failed(runs, deliveries, ephemeral=True)
        assert [row["payload"] for row in rows(database)] == [None]


async def test_what_is_kept_of_a_thread_is_found_by_its_index(tmp_path: Path) -> None:
    async with open_database_of(tmp_path) as database:
        plan = database.all(f"EXPLAIN QUERY PLAN {DROP_OF_THREAD}", ("thread", -1))
        assert any("INDEX webhook_deliveries_left" in step["detail"] for step in plan)
