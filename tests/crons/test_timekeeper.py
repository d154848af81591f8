"""Crons on virtual time: fired when due, once, whatever the loop, the store or the clock do."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from operations.errors import StorageFull
from orchestration.crons.timekeeper import AT_ONCE, LONGEST_REST, LONGEST_WAIT, Unrunnable
from orchestration.loop.errors import Draining, QueueFull, RateLimited, ThreadBusy, ThreadNotFound
from orchestration.loop.rate import Allowance
from orchestration.loop.run import Firing
from orchestration.store.crons import DUE, NEXT_DUE
from tests.crons.watch import new_cron, open_watch, utc

NOON = "2026-06-01 12:00:30"


async def test_a_cron_runs_whenever_it_is_due(tmp_path: Path) -> None:
    async with open_watch(tmp_path, NOON) as watch:
        cron = await watch.add("*/20 * * * *")
        await watch.pass_until("2026-06-01 13:00")
        assert watch.ran(cron) == ["06-01 12:20:00", "06-01 12:40:00", "06-01 13:00:00"]
        assert watch.next_of(cron) == "2026-06-01T13:20:00+00:00"


async def test_each_cron_keeps_its_own_time_zone_over_a_gap_and_a_fold(tmp_path: Path) -> None:
    async with open_watch(tmp_path, "2026-03-28 20:00") as watch:
        berlin = await watch.add("30 2 * * *", timezone="Europe/Berlin")
        london = await watch.add("30 1 * * *", timezone="Europe/London")
        utc_cron = await watch.add("30 1 * * *")
        await watch.pass_until("2026-03-30 04:00")
        assert watch.ran(berlin) == ["03-29 01:00:00", "03-30 00:30:00"]
        assert watch.ran(london) == ["03-29 01:00:00", "03-30 00:30:00"]
        assert watch.ran(utc_cron) == ["03-29 01:30:00", "03-30 01:30:00"]
    async with open_watch(tmp_path / "autumn", "2026-10-24 20:00") as watch:
        berlin = await watch.add("30 2 * * *", timezone="Europe/Berlin")
        await watch.pass_until("2026-10-26 04:00")
        assert watch.ran(berlin) == ["10-25 00:30:00", "10-26 01:30:00"]


async def test_between_two_due_times_it_rests_and_reads_nothing(tmp_path: Path) -> None:
    async with open_watch(tmp_path, NOON) as watch:
        await watch.add("1 12 * * *")
        assert await watch.quiet() == 30
        await watch.add("0 13 * * *")
        assert await watch.quiet() == 30


async def test_what_a_stop_made_it_miss_runs_once(tmp_path: Path) -> None:
    cron = new_cron("*/5 * * * *", utc("2026-06-01 00:00"))
    async with open_watch(tmp_path, NOON, cron) as watch:
        await watch.quiet()
        assert watch.ran(cron) == ["06-01 12:00:30"]
        assert watch.next_of(cron) == "2026-06-01T12:05:00+00:00"


async def test_nothing_starts_after_the_end_not_even_late(tmp_path: Path) -> None:
    late = new_cron("* * * * *", utc("2026-06-01 11:00"), end_time="2026-06-01T12:00:00+00:00")
    async with open_watch(tmp_path, NOON, late) as watch:
        cron = await watch.add("* * * * *", end_time="2026-06-01T12:02:00+00:00")
        other = await watch.add("* * * * *")
        await watch.pass_until("2026-06-01 12:05")
        assert watch.ran(late) == []
        assert watch.ran(cron) == ["06-01 12:01:00", "06-01 12:02:00"]
        assert (watch.next_of(late), watch.next_of(cron)) == (None, None)
        assert len(watch.ran(other)) == 5


async def test_what_is_due_at_the_end_runs_although_the_alarm_rings_some_ms_late(
    tmp_path: Path,
) -> None:
    async with open_watch(tmp_path, NOON) as watch:
        cron = await watch.add("* * * * *", end_time="2026-06-01T12:01:00+00:00")
        await watch.add("0 0 1 1 *")
        await watch.quiet()
        watch.clock.move(30.011)
        await watch.quiet()
        assert watch.ran(cron) == ["06-01 12:01:00"]
        assert watch.next_of(cron) is None


async def test_one_that_is_disabled_or_deleted_does_not_run(tmp_path: Path) -> None:
    async with open_watch(tmp_path, NOON) as watch:
        disabled, deleted = await watch.add("* * * * *"), await watch.add("* * * * *")
        await watch.add("* * * * *")
        await watch.crons.update(disabled.cron_id, {"next_run_date": None, "enabled": False})
        await watch.crons.delete(deleted.cron_id)
        await watch.pass_until("2026-06-01 12:03")
        assert (watch.ran(disabled), watch.ran(deleted)) == ([], [])


NOTHING_LEFT = Allowance(1, 1.0, 0, 1.0)
REFUSALS = [
    QueueFull(1, 3.0),
    RateLimited("tenant", 1.0, 3.0, NOTHING_LEFT),
    Draining(),
    StorageFull("no room"),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda one: type(one).__name__)
async def test_a_run_that_is_refused_is_submitted_again_and_never_lost(
    tmp_path: Path, refusal: Exception
) -> None:
    async with open_watch(tmp_path, NOON) as watch:
        watch.refusals = [refusal] * 3
        cron = await watch.add("1 12 * * *")
        with capture_logs() as logs:
            await watch.pass_until("2026-06-01 12:03")
        assert len(watch.ran(cron)) == 1
        assert len(watch.tried) == 4
        assert watch.next_of(cron) == "2026-06-02T12:01:00+00:00"
        assert [line["times"] for line in logs] == [1, 2, 3]
        asked = getattr(refusal, "retry_after", 1.0)
        assert all(line["retry_in"] >= asked for line in logs)


async def test_the_waits_grow_to_a_minute_and_differ(tmp_path: Path) -> None:
    async with open_watch(tmp_path, NOON) as watch:
        watch.refusals = [Draining() for _ in range(12)]
        await watch.add("1 12 * * *")
        with capture_logs() as logs:
            await watch.pass_until("2026-06-01 12:12")
        waits = [line["retry_in"] for line in logs]
        assert len(set(waits)) == len(waits) == 12
        assert LONGEST_WAIT / 2 < waits[-1] <= LONGEST_WAIT
        assert waits[0] <= 2


async def test_a_change_ends_the_wait_of_one_that_was_refused(tmp_path: Path) -> None:
    async with open_watch(tmp_path, NOON) as watch:
        watch.refusals = [QueueFull(1, 600.0)]
        cron = await watch.add("1 12 * * *")
        await watch.pass_until("2026-06-01 12:01")
        watch.timekeeper.changed(cron.cron_id)
        await watch.noticed()
        await watch.quiet()
        assert watch.ran(cron) == ["06-01 12:01:00"]


async def test_one_that_is_gone_while_it_waits_is_forgotten(tmp_path: Path) -> None:
    async with open_watch(tmp_path, NOON) as watch:
        watch.refusals = [QueueFull(1, 20.0)]
        cron = await watch.add("1 12 * * *")
        await watch.add("0 0 1 1 *")
        await watch.pass_until("2026-06-01 12:01")
        await watch.crons.delete(cron.cron_id)
        watch.clock.move(await watch.quiet())
        assert await watch.quiet() == LONGEST_REST


@pytest.mark.parametrize(
    "error", [ThreadBusy("thread"), ThreadNotFound("thread"), Unrunnable("no such graph")]
)
async def test_what_cannot_run_now_is_left_out_and_said(tmp_path: Path, error: Exception) -> None:
    async with open_watch(tmp_path, NOON) as watch:
        watch.refusals = [error]
        cron = await watch.add("* * * * *")
        with capture_logs() as logs:
            await watch.pass_until("2026-06-01 12:02")
        assert watch.ran(cron) == ["06-01 12:02:00"]
        assert [line["reason"] for line in logs] == [str(error)]


async def test_a_cron_that_breaks_holds_up_no_other(tmp_path: Path) -> None:
    async with open_watch(tmp_path, NOON) as watch:
        broken = await watch.add("1 12 * * *")
        await watch.crons.update(broken.cron_id, {"timezone": "Nowhere"})
        cron = await watch.add("1 12 * * *")
        with capture_logs() as logs:
            await watch.pass_until("2026-06-01 12:01:10")
        assert watch.ran(cron) == ["06-01 12:01:00"]
        assert watch.ran(broken) == []
        assert "Nowhere" in logs[0]["reason"]


async def test_a_clock_set_back_makes_nothing_run_twice(tmp_path: Path) -> None:
    async with open_watch(tmp_path, NOON) as watch:
        cron = await watch.add("* * * * *")
        await watch.pass_until("2026-06-01 12:02")
        watch.clock.set(utc("2026-06-01 12:00:30"))
        await watch.pass_until("2026-06-01 12:03")
        assert watch.ran(cron) == ["06-01 12:01:00", "06-01 12:02:00", "06-01 12:03:00"]


async def test_a_clock_set_back_lengthens_the_wait_of_no_refused_run(tmp_path: Path) -> None:
    async with open_watch(tmp_path, NOON) as watch:
        watch.refusals = [QueueFull(1, 20.0)]
        cron = await watch.add("1 12 * * *")
        watch.clock.set(utc("2026-06-02 12:00:50"))  # a day too late
        await watch.add("0 0 1 1 *")
        await watch.pass_until("2026-06-02 12:01:01")
        assert len(watch.tried) == 1
        watch.clock.set(utc("2026-06-01 12:01:00"))
        await watch.pass_until("2026-06-01 12:02:10")
        assert len(watch.ran(cron)) == 1


async def test_a_clock_set_forward_is_noticed_within_a_minute(tmp_path: Path) -> None:
    async with open_watch(tmp_path, NOON) as watch:
        cron = await watch.add("0 15 * * *")
        assert await watch.quiet() == LONGEST_REST
        watch.clock.set(utc("2026-06-01 15:30"))  # the rest that goes on takes no notice
        watch.clock.move(LONGEST_REST)
        await watch.quiet()
        assert watch.ran(cron) == ["06-01 15:31:00"]


async def test_very_many_that_are_due_together_all_run_once(tmp_path: Path) -> None:
    async with open_watch(tmp_path, NOON) as watch:
        due = utc("2026-06-01 12:00")
        crons = [new_cron("1 12 * * *", due) for _ in range(3 * AT_ONCE + 1)]
        await asyncio.gather(*(watch.crons.create(cron) for cron in crons))
        await watch.add("0 0 1 1 *")
        await watch.pass_until("2026-06-01 12:01")
        assert [len(watch.ran(cron)) for cron in crons] == [1] * len(crons)


async def test_a_firing_that_is_not_as_the_cron_is_now_takes_no_run(tmp_path: Path) -> None:
    async with open_watch(tmp_path, NOON) as watch:
        cron = await watch.add("1 12 * * *")
        stale = Firing(cron.cron_id, "2026-06-01T11:00:00+00:00", None)
        with pytest.raises(ThreadNotFound):
            await watch.submit(cron, stale)
        assert watch.ran(cron) == []
        assert watch.next_of(cron) == cron.next_run_date


async def test_what_is_due_is_found_by_its_index(tmp_path: Path) -> None:
    async with open_watch(tmp_path, NOON) as watch:
        of_thread = "DELETE FROM crons WHERE thread_id = ?"
        of_assistant = "DELETE FROM crons WHERE assistant_id = ?"
        plans = [
            watch.database.all(f"EXPLAIN QUERY PLAN {sql}", (1,) * sql.count("?"))
            for sql in (DUE, NEXT_DUE, of_thread, of_assistant)
        ]
        steps = [row["detail"] for plan in plans for row in plan if "crons" in row["detail"]]
        assert [step.split(" USING ")[0] for step in steps] == ["SEARCH crons"] * 4
