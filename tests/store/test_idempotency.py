"""What is kept for an idempotency key: for a day, found and forgotten by an index."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from operations.database import Database
from orchestration.loop.errors import AskedTwice
from orchestration.loop.run import Outcome, Run, RunStatus
from orchestration.loop.streams import StreamEvent
from orchestration.store import idempotency
from orchestration.store.events import EventStore
from orchestration.store.idempotency import AT_ONCE, KeyStore
from tests.store.shelf import Shelf, new_run, open_shelf


@dataclass
class Clock:
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at


def kept(runs: Any) -> tuple[bytes, str]:
    return b'{"made": true}', runs[0].run_id


async def accept(shelf: Shelf, keys: KeyStore, key: str, **given: Any) -> Run:
    receipt = keys.receipt("me", key, b"print", kept)
    run = new_run(f"run of {key}", receipt=receipt, repeatable=True, **given)
    assert await shelf.runs.accept(run)
    return run


async def test_what_was_created_is_found_by_its_key_and_by_nobody_else(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        keys = KeyStore(shelf.database)
        await accept(shelf, keys, "a")
        found = keys.find("me", "a")
        assert found is not None
        assert (found["answer"], found["run_id"]) == ('{"made": true}', "run of a")
        assert keys.find("you", "a") is None
        assert keys.find("me", "b") is None


async def test_a_run_is_not_accepted_under_a_key_that_is_taken(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        keys = KeyStore(shelf.database)
        await accept(shelf, keys, "a")
        second = new_run("b", receipt=keys.receipt("me", "a", b"print", kept))
        with pytest.raises(AskedTwice):
            await shelf.runs.accept(second)
        assert shelf.runs.get("b") is None


@pytest.mark.parametrize(("principal", "key"), [("you", "a"), ("me", "b")])
async def test_a_key_that_is_taken_stays_so_whatever_others_have_expired(
    principal: str, key: str, tmp_path: Path
) -> None:
    clock = Clock()
    async with open_shelf(tmp_path) as shelf:
        keys = KeyStore(shelf.database, clock)
        old = keys.receipt(principal, key, b"print", kept)
        assert await shelf.runs.accept(new_run("old", receipt=old))
        clock.at += timedelta(hours=25)
        await accept(shelf, keys, "a")
        second = new_run("second", receipt=keys.receipt("me", "a", b"print", kept))
        with pytest.raises(AskedTwice):
            await shelf.runs.accept(second)
        assert shelf.runs.get("second") is None
        assert await keys.sweep() == 1
        assert keys.find("me", "a") is not None


async def test_a_key_is_answered_by_one_request_at_a_time(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        keys = KeyStore(shelf.database)
        with keys.answering("me", "a"), keys.answering("you", "a"), keys.answering("me", "b"):
            with pytest.raises(AskedTwice), keys.answering("me", "a"):
                pass
            with pytest.raises(AskedTwice), keys.answering("me", "a"):
                pass
        with keys.answering("me", "a"):
            pass


async def test_a_key_is_forgotten_after_a_day_with_the_events_kept_for_it(tmp_path: Path) -> None:
    clock = Clock()
    async with open_shelf(tmp_path) as shelf:
        keys, events = KeyStore(shelf.database, clock), EventStore(shelf.database)
        run = await accept(shelf, keys, "a", ephemeral=True, resumable=True)
        events.append(run.run_id, StreamEvent(1, "values", b"{}"))
        await shelf.runs.finish(await shelf.claim(run), Outcome(RunStatus.SUCCESS), None)
        assert keys.next_sweep() == timedelta(hours=24).total_seconds()
        assert await shelf.runs.accept(new_run("another"))
        assert await keys.sweep() == 0
        assert len(await events.after(run.run_id, 0)) == 1

        clock.at += timedelta(hours=24)
        assert keys.find("me", "a") is None
        assert await keys.sweep() == 1
        assert await events.after(run.run_id, 0) == []
        assert _count(shelf.database) == 0


async def test_a_run_that_outlives_its_key_leaves_no_events(tmp_path: Path) -> None:
    clock = Clock()
    async with open_shelf(tmp_path) as shelf:
        keys, events = KeyStore(shelf.database, clock), EventStore(shelf.database)
        run = await shelf.claim(await accept(shelf, keys, "a", ephemeral=True, resumable=True))
        events.append(run.run_id, StreamEvent(1, "values", b"{}"))
        clock.at += timedelta(hours=24)
        assert await keys.sweep() == 1
        assert len(await events.after(run.run_id, 0)) == 1
        await shelf.runs.finish(run, Outcome(RunStatus.SUCCESS), None)
        assert await events.after(run.run_id, 0) == []


async def test_a_run_that_a_key_only_made_leaves_no_events(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        events = EventStore(shelf.database)
        receipt = KeyStore(shelf.database).receipt("me", "a", b"print", lambda _: (b"{}", None))
        run = new_run("a", receipt=receipt, repeatable=True, ephemeral=True, resumable=True)
        assert await shelf.runs.accept(run)
        events.append(run.run_id, StreamEvent(1, "values", b"{}"))
        await shelf.runs.finish(await shelf.claim(run), Outcome(RunStatus.SUCCESS), None)
        assert await events.after(run.run_id, 0) == []


async def test_a_key_can_be_taken_again_before_it_is_swept(tmp_path: Path) -> None:
    clock = Clock()
    async with open_shelf(tmp_path) as shelf:
        keys = KeyStore(shelf.database, clock)
        await accept(shelf, keys, "a")
        clock.at += timedelta(hours=25)
        again = new_run("again", receipt=keys.receipt("me", "a", b"other", kept))
        assert await shelf.runs.accept(again)
        found = keys.find("me", "a")
    assert found is not None
    assert (found["fingerprint"], found["run_id"]) == (b"other", "again")


async def test_a_key_that_is_taken_again_leaves_nothing_of_the_run_before(tmp_path: Path) -> None:
    clock = Clock()
    async with open_shelf(tmp_path) as shelf:
        keys, events = KeyStore(shelf.database, clock), EventStore(shelf.database)
        for run_id in ("first", "second", "third"):
            receipt = keys.receipt("me", "a", b"print", kept)
            run = new_run(run_id, receipt=receipt, repeatable=True, ephemeral=True, resumable=True)
            assert await shelf.runs.accept(run)
            events.append(run.run_id, StreamEvent(1, "values", b"{}"))
            await shelf.runs.finish(await shelf.claim(run), Outcome(RunStatus.SUCCESS), None)
            clock.at += timedelta(hours=25)
        clock.at -= timedelta(hours=25)
        assert await keys.sweep() == 2
        assert [len(await events.after(run_id, 0)) for run_id in ("first", "third")] == [0, 1]
        found = keys.find("me", "a")
    assert found is not None
    assert (found["run_id"], found["output"]) == ("third", "null")


async def test_many_old_keys_are_forgotten_a_few_at_a_time(tmp_path: Path) -> None:
    clock = Clock()
    async with open_shelf(tmp_path) as shelf:
        keys = KeyStore(shelf.database, clock)
        for number in range(AT_ONCE + 1):
            receipt = keys.receipt("me", str(number), b"", kept)
            shelf.database.write(partial(receipt.write, created=[new_run("a")]))
        await shelf.database.settled()
        clock.at += timedelta(hours=24)
        assert [await keys.sweep() for _ in range(2)] == [AT_ONCE, 1]


async def test_what_long_streams_told_is_forgotten_a_part_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "EVENTS_AT_ONCE", 4)
    clock, left = Clock(), list[int]()
    async with open_shelf(tmp_path) as shelf:
        keys, events = KeyStore(shelf.database, clock), EventStore(shelf.database)
        for key in "ab":
            run = await accept(
                shelf, keys, key, thread_id=f"thread {key}", ephemeral=True, resumable=True
            )
            for number in range(6):
                events.append(run.run_id, StreamEvent(number, "values", b"{}"))
            await shelf.runs.finish(await shelf.claim(run), Outcome(RunStatus.SUCCESS), None)
        clock.at += timedelta(hours=24)
        while await keys.sweep():
            left.append(_count(shelf.database, "run_events"))
        assert (left, _count(shelf.database)) == ([8, 4, 0, 0], 0)


async def test_old_keys_and_those_of_a_run_are_found_by_an_index(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        for sql in (idempotency.EXPIRED, idempotency.KEEP_OUTPUT, idempotency.NEXT_EXPIRY):
            asked = ("", 1)[: sql.count("?")]
            (step, *_) = shelf.database.all(f"EXPLAIN QUERY PLAN {sql}", asked)
            assert "USING" in step["detail"]
            assert "idempotency_keys_" in step["detail"]


def _count(database: Database, table: str = "idempotency_keys") -> int:
    row = database.get(f"SELECT count(*) FROM {table}")  # noqa: S608 - constants
    assert row is not None
    return int(row[0])
