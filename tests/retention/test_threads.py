"""Threads that were given a time to live, on virtual time."""

import asyncio
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest
from structlog.testing import capture_logs

from operations.errors import StorageFull
from orchestration.loop.run import Outcome, RunStatus, ThreadState
from orchestration.loop.streams import StreamEvent
from orchestration.retention.threads import AT_ONCE, LONGEST_REST
from orchestration.store import gone_threads
from orchestration.store.crons import CronStore
from orchestration.store.deliveries import Attempt, DeliveryStore
from orchestration.store.expiry import EXPIRED, NEXT, Expired, ExpiryStore
from orchestration.store.gone_threads import PART
from orchestration.store.runs import RunStore
from orchestration.store.thread_rows import delete_thread
from orchestration.store.ttl import Ttl
from tests.crons.watch import new_cron, utc
from tests.retention.broom import INTERVAL, open_broom
from tests.store.checkpointing import at, put
from tests.store.shelf import new_run, open_shelf


async def test_a_thread_goes_when_its_time_is_over_and_no_other(tmp_path: Path) -> None:
    async with open_broom(tmp_path) as broom:
        await broom.add("short", 10)
        await broom.add("long", 60)
        await broom.add("for ever", None)
        await broom.pass_minutes(9.9)
        assert broom.threads == {"short", "long", "for ever", "for a year"}
        await broom.pass_minutes(0.1)
        assert broom.threads == {"long", "for ever", "for a year"}


async def test_it_sleeps_until_the_first_thread_expires(tmp_path: Path) -> None:
    async with open_broom(tmp_path) as broom:
        assert await broom.clock.next_alarm() == LONGEST_REST
        await broom.add("short", 10)
        assert await broom.clock.next_alarm() == pytest.approx(600)
        broom.clock.move(60)
        await broom.add("longer", 20)
        assert await broom.clock.next_alarm() == pytest.approx(540)
        await broom.add("shorter", 1)
        assert await broom.clock.next_alarm() == pytest.approx(60)


async def test_all_that_hangs_on_a_thread_goes_with_it(tmp_path: Path) -> None:
    async with open_broom(tmp_path) as broom:
        shelf = broom.shelf
        await broom.add("full", 10)
        run = await shelf.claim(await shelf.accept("run", "full", resumable=True))
        for number in range(10 * PART + 1):
            shelf.events.append("run", StreamEvent(number + 1, "values", b"{}"))
        for number in range(PART + 1):
            place = await put(shelf.saver, at("full"), run_id="run")
            await shelf.saver.aput_writes(place, [("channel", number)], "task")
        await shelf.runs.finish(run, Outcome(RunStatus.SUCCESS), ThreadState(b"{}"))
        cron = new_cron("* * * * *", utc("2026-06-01"), thread_id="full")
        await CronStore(shelf.database).create(cron)
        await broom.touch("full")
        await broom.pass_minutes(10)
        assert broom.threads == {"for a year"}
        tables = ("runs", "run_events", "checkpoints", "writes", "crons")
        assert {table: broom.count(table) for table in tables} == dict.fromkeys(tables, 0)
        assert broom.count("thread_terms") == 1


async def test_what_webhooks_were_not_told_of_a_thread_goes_with_it_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gone_threads, "PART", 2)
    async with open_broom(tmp_path) as broom:
        runs = RunStore(broom.shelf.database, lambda _: None)
        deliveries = DeliveryStore(broom.shelf.database)
        await broom.add("told", 10)
        webhook = {"webhook": "https://hooks.example.com/"}
        for number in range(5):
            run = new_run(f"run-{number}", "told", kwargs=webhook)
            await runs.accept(run)
            await runs.finish(run, Outcome(RunStatus.SUCCESS), ThreadState(b"{}"))
        for row in await deliveries.page(None, 5, 0):
            await deliveries.record(row["delivery_id"], Attempt("failed", broom.clock()))
        store = ExpiryStore(broom.shelf.database)
        (told,) = await store.expired(broom.clock() + timedelta(minutes=10), 9)
        assert await store.delete(told)
        kept: list[int] = []
        while await store.delete_some():
            kept.append(broom.count("webhook_deliveries WHERE payload IS NOT NULL"))
        assert (kept[:3], broom.count("webhook_deliveries")) == ([3, 1, 0], 5)
        assert broom.threads == {"for a year"}


async def test_a_thread_that_is_touched_while_it_goes_is_gone_or_whole(tmp_path: Path) -> None:
    async with open_broom(tmp_path) as broom:
        await broom.add("long", 10)
        await broom.shelf.checkpoints_at("long", most := 3 * PART)
        passing = asyncio.create_task(broom.pass_minutes(10))
        while broom.count("checkpoints") == most:  # noqa: ASYNC110 - a turn, not a wait
            await asyncio.sleep(0)
        touched = await broom.shelf.threads.patch("long", {"touched": True})
        await passing
        left = ("long" in broom.threads, broom.count("checkpoints"))
        assert left == ((True, most) if touched else (False, 0))


async def test_what_is_left_of_a_thread_by_a_crash_goes_after_the_next_start(
    tmp_path: Path,
) -> None:
    async with open_shelf(tmp_path) as shelf:
        await shelf.threads.create("long", {})
        await shelf.checkpoints_at("long", 3 * PART)
        await shelf.database.write(partial(delete_thread, thread_id="long"))
    async with open_broom(tmp_path) as broom:
        await broom.clock.next_alarm()
        assert (broom.count("checkpoints"), broom.count("threads_gone")) == (0, 0)


async def test_the_time_begins_anew_with_every_update(tmp_path: Path) -> None:
    async with open_broom(tmp_path) as broom:
        await broom.add("used", 10)
        await broom.pass_minutes(6)
        await broom.touch("used")
        await broom.pass_minutes(9)
        assert "used" in broom.threads
        await broom.pass_minutes(1)
        assert "used" not in broom.threads


async def test_a_busy_thread_stays(tmp_path: Path) -> None:
    async with open_broom(tmp_path) as broom:
        await broom.add("busy", 10)
        await broom.add("held", 10)
        run = await broom.shelf.accept("run", "busy")
        broom.occupied.add("held")
        await broom.pass_minutes(10)
        assert {"busy", "held"} <= broom.threads
        await broom.shelf.runs.erase(run)
        broom.occupied.clear()
        await broom.pass_minutes(10)
        assert broom.threads == {"for a year"}


async def test_one_that_is_to_keep_its_latest_loses_the_others_each_time(tmp_path: Path) -> None:
    async with open_broom(tmp_path) as broom:
        await broom.add("pruned", 10, "keep_latest")
        for _ in range(2):
            for _ in range(3):
                await put(broom.shelf.saver, at("pruned"), run_id="run")
            await broom.pass_minutes(10)
            assert await broom.shelf.checkpoints("pruned") == 1
        assert "pruned" in broom.threads


async def test_it_sweeps_so_many_at_a_time_and_not_too_often(tmp_path: Path) -> None:
    async with open_broom(tmp_path, limit=AT_ONCE + 2) as broom:
        for number in range(AT_ONCE + 5):
            await broom.add(f"thread {number}", 10)
        await broom.pass_minutes(10)
        assert len(broom.threads) == 4
        assert await broom.clock.next_alarm() == INTERVAL
        await broom.pass_minutes(INTERVAL / 60)
        assert len(broom.threads) == 1


async def test_with_a_default_it_expects_threads_that_nobody_tells_of(tmp_path: Path) -> None:
    async with open_broom(tmp_path, default=Ttl(10)) as broom:
        assert await broom.clock.next_alarm() == 600


class Broken(ExpiryStore):
    """Raises ``errors`` before it deletes, for the threads whose ids they are of."""

    errors: ClassVar[dict[str, Exception]]

    async def delete(self, thread: Expired) -> bool:
        if (error := self.errors.pop(thread.thread_id, None)) is not None:
            raise error
        return await super().delete(thread)


async def test_a_disk_that_is_full_for_a_while_ends_no_sweeping(tmp_path: Path) -> None:
    Broken.errors = {"first": StorageFull("no room")}
    async with open_broom(tmp_path, store=Broken) as broom:
        for thread_id in ("first", "second"):
            await broom.add(thread_id, 10)
        with capture_logs() as logs:
            await broom.pass_minutes(10)
        assert broom.threads == {"first", "for a year"}
        assert [line["event"] for line in logs] == ["threads cannot be swept; trying again"]
        await broom.pass_minutes(1)
        assert broom.threads == {"for a year"}


async def test_a_thread_that_cannot_be_dealt_with_holds_up_no_other(tmp_path: Path) -> None:
    Broken.errors = {"broken": LookupError("a bug")}
    async with open_broom(tmp_path, store=Broken) as broom:
        await broom.add("broken", 10)
        await broom.add("other", 10)
        with capture_logs() as logs:
            await broom.pass_minutes(10)
        assert broom.threads == {"broken", "for a year"}
        assert [line.get("thread_id") for line in logs if line["log_level"] == "error"] == [
            "broken"
        ]
        await broom.pass_minutes(10)
        assert broom.threads == {"for a year"}


async def test_a_clock_that_is_set_back_puts_nothing_off_for_long(tmp_path: Path) -> None:
    async with open_broom(tmp_path) as broom:
        await broom.add("first", 10)
        await broom.pass_minutes(10)
        broom.clock.set(broom.clock() - timedelta(days=1))
        await broom.add("second", 1)
        await broom.pass_minutes(1 + 2 * INTERVAL / 60)
        assert broom.threads == {"for a year"}


async def test_what_is_expired_is_found_by_its_index(tmp_path: Path) -> None:
    async with open_broom(tmp_path) as broom:
        for sql in (EXPIRED, NEXT):
            (step,) = broom.shelf.database.all(f"EXPLAIN QUERY PLAN {sql}", (1,) * sql.count("?"))
            assert step["detail"].startswith("SEARCH threads USING")
            assert "threads_expiring" in step["detail"]
