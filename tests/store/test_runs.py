"""The run store on a real database: what is kept, who may change it, what a start finds."""

from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from orchestration.loop.run import (
    Failure,
    MultitaskStrategy,
    Outcome,
    Run,
    RunStatus,
    ThreadState,
)
from orchestration.loop.streams import StreamEvent
from orchestration.store.runs import RunStore
from tests.store.checkpointing import at, put
from tests.store.shelf import Shelf, crash, new_run, open_shelf

DONE = Outcome(RunStatus.SUCCESS, b"{}")
FAILED = Outcome(RunStatus.ERROR, failure=Failure("ValueError", "no"))
POISONED = Outcome(RunStatus.ERROR, failure=Failure("PoisonRun", "dead"), poison=True)
SHOWN = ThreadState(b'{"x":1}')


async def test_an_accepted_run_is_pending_and_its_thread_is_busy_and_named(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        await shelf.accept("a", timeout=1.5, tenant="t", priority=2)
        run, thread = shelf.run("a"), shelf.thread()
    wanted = {"status": "pending", "attempt": 0, "token": None, "priority": 2, "tenant": "t"}
    assert {key: run[key] for key in wanted} == wanted
    assert (thread["shown_status"], thread["status"]) == ("busy", "idle")
    assert thread["metadata"] == '{"graph_id":"graph","assistant_id":"assistant"}'


async def test_a_thread_is_not_made_unasked(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        assert not await shelf.runs.accept(new_run("a", create_thread=False))
        assert (shelf.run("a"), shelf.thread()) == ({}, {})


async def test_only_of_a_thread_that_was_made_for_a_run_it_is_told_that_it_is_new(
    tmp_path: Path,
) -> None:
    told: list[str] = []
    async with open_shelf(tmp_path) as shelf:
        runs = RunStore(shelf.database, made=told.append)
        await shelf.threads.create("there", {})
        for number, thread in enumerate(("new", "new", "there")):
            assert await runs.accept(new_run(f"r{number}", thread))
        assert await runs.accept(new_run("e", "own", ephemeral=True))
        assert not await runs.accept(new_run("n", "none", create_thread=False))
    assert told == ["new"]


async def test_a_run_that_makes_its_thread_finds_what_langgraphs_own_saver_has_put_there(
    tmp_path: Path,
) -> None:
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "test.db")) as library:
        theirs = await put(library, at("thread"))
    async with open_shelf(tmp_path) as shelf:
        await shelf.accept("a")
        assert shelf.thread()["thread_id"] == "thread"
        found = await shelf.saver.aget_tuple(at("thread"))
        assert found is not None
        assert found.config == theirs


async def test_of_a_thread_whose_run_ends_or_is_undone_it_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    async with open_shelf(tmp_path) as shelf:
        runs = RunStore(shelf.database, left=told.append)
        for name in "abc":
            await shelf.claim(await shelf.accept(name, f"thread of {name}"))
        ended, undone, working = (new_run(name, f"thread of {name}") for name in "abc")
        await runs.finish(ended, DONE, SHOWN)
        await runs.erase(undone)
        await runs.requeue(working)
    assert told == ["thread of a", "thread of b"]


async def test_a_thread_is_named_after_the_graph_that_ran_on_it_last(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        await shelf.threads.create("thread", {"owner": "ada", "graph_id": {"odd": 1}})
        await shelf.accept("a", create_thread=False)
        run = await shelf.accept("b", graph_id="other", assistant_id="else")
        assert "else" not in shelf.thread()["metadata"], "that waits still"
        await shelf.claim(run)
        metadata = shelf.thread()["metadata"]
    assert metadata == '{"owner":"ada","graph_id":"other","assistant_id":"else"}'


async def test_an_ephemeral_run_has_no_thread_and_is_not_listed(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        await shelf.accept("a", ephemeral=True)
        await shelf.accept("b")
        rows = await shelf.runs.of_thread("thread", None, 10, 0)
        assert [row["run_id"] for row in rows] == ["b"]


async def test_a_run_is_claimed_once(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        run = await shelf.accept("a")
        first, second = await shelf.runs.claim(run, "1"), await shelf.runs.claim(run, "2")
        row = shelf.run("a")
    assert (first, second) == (True, False)
    assert (row["status"], row["token"], row["attempt"]) == ("running", "1", 1)


@pytest.mark.parametrize("ephemeral", [False, True])
async def test_a_run_can_be_claimed_by_its_acceptance(tmp_path: Path, *, ephemeral: bool) -> None:
    async with open_shelf(tmp_path) as shelf:
        run = await shelf.accept("a", token="1", ephemeral=ephemeral)
        row = shelf.run("a")
        again = await shelf.runs.claim(run, "2")
        assert await shelf.runs.requeue(run)
        put_back = shelf.run("a")
    assert (row["status"], row["token"], row["attempt"], again) == ("running", "1", 1, False)
    assert (put_back["status"], put_back["token"], put_back["attempt"]) == ("pending", None, 0)


@pytest.mark.parametrize("token", [None, "other"])
@pytest.mark.parametrize("write", ["finish", "requeue", "erase"])
async def test_whoever_does_not_hold_a_run_changes_nothing(
    tmp_path: Path, token: str | None, write: str
) -> None:
    async with open_shelf(tmp_path) as shelf:
        run = await shelf.claim(await shelf.accept("a"))
        await shelf.checkpoint(run)
        before = (shelf.run("a"), shelf.thread())
        run.token = token
        assert not await _write(shelf, write, run)
        assert (shelf.run("a"), shelf.thread()) == before
        assert await shelf.checkpoints() == 1


@pytest.mark.parametrize("write", ["finish", "requeue", "erase", "claim"])
async def test_a_run_that_has_ended_changes_no_more(tmp_path: Path, write: str) -> None:
    async with open_shelf(tmp_path) as shelf:
        run = await shelf.claim(await shelf.accept("a"))
        assert await shelf.runs.finish(run, DONE, SHOWN)
        before = (shelf.run("a"), shelf.thread())
        for token in ("token", None):
            run.token = token
            assert not await _write(shelf, write, run)
        assert (shelf.run("a"), shelf.thread()) == before


async def _write(shelf: Shelf, write: str, run: Run) -> bool:
    match write:
        case "finish":
            return await shelf.runs.finish(run, FAILED, ThreadState(b'{"x":2}'))
        case "requeue":
            return await shelf.runs.requeue(run)
        case "erase":
            return await shelf.runs.erase(run)
        case _:
            return await shelf.runs.claim(run, "new")


@pytest.mark.parametrize(
    ("outcome", "state", "shown"),
    [
        (DONE, SHOWN, ("idle", None, '{"x":1}', "{}")),
        (
            DONE,
            ThreadState(b"1", b'{"t":[]}', interrupted=True),
            ("interrupted", None, "1", '{"t":[]}'),
        ),
        (FAILED, SHOWN, ("error", '{"error":"ValueError","message":"no"}', '{"x":1}', "{}")),
        (FAILED, None, ("error", '{"error":"ValueError","message":"no"}', '{"before":1}', "{}")),
        (Outcome(RunStatus.INTERRUPTED), None, ("idle", None, '{"before":1}', "{}")),
        (DONE, ThreadState(None), ("idle", None, '{"before":1}', "{}")),
    ],
)
async def test_an_ending_frees_the_thread_and_decides_what_it_shows(
    tmp_path: Path, outcome: Outcome, state: ThreadState | None, shown: tuple[Any, ...]
) -> None:
    async with open_shelf(tmp_path) as shelf:
        await shelf.threads.create("thread", {})
        await shelf.threads.show("thread", ThreadState(b'{"before":1}'))
        run = await shelf.claim(await shelf.accept("a"))
        assert await shelf.runs.finish(run, outcome, state)
        thread = shelf.thread()
        row = shelf.run("a")
    keys = ("shown_status", "error", "state_values", "interrupts")
    assert tuple(thread[key] for key in keys) == shown
    assert (row["status"], row["token"]) == (outcome.status, None)


async def test_a_thread_stays_busy_until_its_last_run_has_ended(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        runs = [await shelf.accept(name) for name in "ab"]
        statuses = []
        for run in runs:
            await shelf.runs.finish(await shelf.claim(run), DONE, SHOWN)
            statuses.append(shelf.thread()["shown_status"])
    assert statuses == ["busy", "idle"]


async def test_a_pending_run_can_be_ended_without_ever_running(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        run = await shelf.accept("a")
        assert await shelf.runs.finish(run, Outcome(RunStatus.INTERRUPTED), None)
        assert (shelf.run("a")["status"], shelf.run("a")["attempt"]) == ("interrupted", 0)


@pytest.mark.parametrize("durability", [None, "sync"])
async def test_an_ephemeral_run_is_gone_when_it_ends(
    tmp_path: Path, durability: str | None
) -> None:
    async with open_shelf(tmp_path) as shelf:
        kwargs = {} if durability is None else {"durability": durability}
        accepted = await shelf.accept("a", ephemeral=True, resumable=True, kwargs=kwargs)
        run = await shelf.claim(accepted)
        await shelf.checkpoint(run)
        shelf.events.append("a", StreamEvent(1, "values", b"1"))
        run.token = "other"
        assert not await shelf.runs.finish(run, DONE, None)
        run.token = "token"
        assert await shelf.runs.finish(run, DONE, None)
        left = (shelf.run("a"), await shelf.events.after("a", 0), await shelf.checkpoints())
    assert left == ({}, [], 1 if durability is None else 0)  # without durability there are none


async def test_a_requeued_run_is_pending_and_not_charged_for_its_attempt(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        run = await shelf.claim(await shelf.accept("a"))
        assert await shelf.runs.requeue(run)
        row = shelf.run("a")
    assert (row["status"], row["attempt"], row["token"]) == ("pending", 0, None)


async def test_an_erased_run_takes_its_checkpoints_and_events_and_nobody_else_s(
    tmp_path: Path,
) -> None:
    async with open_shelf(tmp_path) as shelf:
        first = await shelf.claim(await shelf.accept("a"))
        await shelf.checkpoint(first)
        await shelf.runs.finish(first, DONE, SHOWN)
        second = await shelf.claim(await shelf.accept("b"))
        await shelf.checkpoint(second)
        for name in "ab":
            shelf.events.append(name, StreamEvent(1, "values", b"1"))
        assert await shelf.runs.erase(second)
        left = (await shelf.events.after("a", 0), await shelf.events.after("b", 0))
        assert (shelf.run("b"), await shelf.checkpoints(), len(left[0]), left[1]) == ({}, 1, 1, [])
        assert shelf.thread()["shown_status"] == "idle"


async def test_only_a_run_that_has_ended_can_be_deleted(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        run = await shelf.accept("a")
        pending = await shelf.runs.delete("thread", "a")
        await shelf.claim(run)
        await shelf.checkpoint(run)
        running = await shelf.runs.delete("thread", "a")
        await shelf.runs.finish(run, DONE, SHOWN)
        elsewhere = await shelf.runs.delete("other", "a")
        ended = await shelf.runs.delete("thread", "a")
        assert (pending, running, elsewhere, ended) == (False, False, False, True)
        assert (shelf.run("a"), await shelf.checkpoints()) == ({}, 0)


async def test_a_start_finds_what_is_unfinished_what_has_begun_first_then_as_it_came(
    tmp_path: Path,
) -> None:
    async with open_shelf(tmp_path) as shelf:
        accepted = [
            await shelf.accept(
                name,
                f"thread {name}",
                tenant="t",
                priority=3,
                timeout=2.5,
                resumable=True,
                multitask_strategy=MultitaskStrategy.INTERRUPT,
            )
            for name in "cab"
        ]
        await shelf.claim(accepted[1])
        ended = await shelf.claim(await shelf.accept("ended"))
        await shelf.runs.finish(ended, DONE, SHOWN)
    await crash(tmp_path)
    async with open_shelf(tmp_path) as shelf:
        found = (await shelf.runs.recover(3, Failure("PoisonRun", "dead"))).runs
        row = shelf.run("a")
    assert [(run.run_id, run.attempt, run.crashes) for run in found] == [
        ("a", 1, 1), ("c", 0, 0), ("b", 0, 0),
    ]  # fmt: skip
    assert (row["status"], row["token"]) == ("pending", None)
    names = ("thread_id", "kwargs", "metadata", "tenant", "priority", "timeout", "resumable")
    more = ("multitask_strategy", "created_at", "assistant_id", "graph_id", "ephemeral")
    by_id = {run.run_id: run for run in accepted}
    for after in found:
        before = by_id[after.run_id]
        assert [getattr(after, name) for name in names + more] == [
            getattr(before, name) for name in names + more
        ]


async def test_a_run_found_running_after_a_stop_in_order_is_not_charged(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        await shelf.claim(await shelf.accept("a"))
    async with open_shelf(tmp_path) as shelf:
        (found,) = (await shelf.runs.recover(3, Failure("PoisonRun", "dead"))).runs
        row = shelf.run("a")
    assert (found.attempt, found.crashes) == (0, 0)
    assert (row["status"], row["token"]) == ("pending", None)


async def test_a_run_found_running_too_often_is_a_dead_letter(tmp_path: Path) -> None:
    failure = Failure("PoisonRun", "dead")
    await crash(tmp_path)
    async with open_shelf(tmp_path) as shelf:
        await shelf.accept("a")
        for crashes in range(3):
            run = (await shelf.runs.recover(3, failure)).runs[0]
            assert run.crashes == crashes
            await shelf.claim(run)
        found = await shelf.runs.recover(3, failure)
        letters = await shelf.runs.dead_letters(10, 0)
        thread = shelf.thread()
    assert (found.runs, [run.run_id for run in found.dead]) == ([], ["a"])
    assert (found.working, found.crashed) == (1, True)
    assert [(row["run_id"], row["status"], row["dead_letter"]) for row in letters] == [
        ("a", "error", "poison")
    ]
    assert (thread["shown_status"], thread["error"]) == (
        "error", '{"error":"PoisonRun","message":"dead"}',
    )  # fmt: skip


async def test_a_run_cut_off_in_a_live_server_is_pending_and_charged(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        run = await shelf.claim(await shelf.accept("a"))
        run.crashes = 1
        assert await shelf.runs.crash(run)
        assert not await shelf.runs.crash(run)
        kept = {"status": "pending", "token": None, "attempt": 1, "crashes": 1}
        assert {key: shelf.run("a")[key] for key in kept} == kept


async def test_a_held_run_that_is_cut_off_is_written_as_what_it_is(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, hold=60.0) as shelf:
        run = await shelf.claim(await shelf.accept("a", ephemeral=True, announced=False))
        assert shelf.run("a") == {}
        run.crashes = 1
        assert await shelf.runs.crash(run)
        assert (shelf.run("a")["status"], shelf.run("a")["crashes"]) == ("pending", 1)
        await shelf.claim(run)


async def test_a_run_that_is_poison_to_its_workers_is_a_dead_letter(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        run = await shelf.claim(await shelf.accept("a"))
        run.crashes = 3
        assert await shelf.runs.finish(run, POISONED, None)
        assert not await shelf.runs.finish(run, POISONED, None)
        (found,) = await shelf.runs.dead_letters(10, 0)
        assert (found["status"], found["crashes"], found["dead_letter"]) == ("error", 3, "poison")
        assert shelf.thread()["shown_status"] == "error"


@pytest.mark.parametrize("hold", [0.0, 60.0])
async def test_a_run_without_a_thread_that_is_poison_is_a_dead_letter_too(
    tmp_path: Path, hold: float
) -> None:
    async with open_shelf(tmp_path, hold=hold) as shelf:
        run = await shelf.accept("a", ephemeral=True, announced=hold == 0.0)
        await shelf.claim(run)
        run.crashes = 1
        assert await shelf.runs.finish(run, POISONED, None)
        (found,) = await shelf.runs.dead_letters(10, 0)
        assert (found["run_id"], found["status"], found["token"]) == ("a", "error", None)
        assert (found["crashes"], found["error"]) == (1, '{"error":"PoisonRun","message":"dead"}')


async def test_of_a_dead_letter_without_a_thread_nothing_else_is_left(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        kwargs = {"durability": "sync"}
        run = await shelf.accept("a", ephemeral=True, resumable=True, kwargs=kwargs)
        await shelf.claim(run)
        await shelf.checkpoint(run)
        shelf.events.append("a", StreamEvent(1, "values", b"1"))
        assert await shelf.runs.finish(run, POISONED, None)
        assert (await shelf.events.after("a", 0), await shelf.checkpoints()) == ([], 0)
        assert len(await shelf.runs.dead_letters(10, 0)) == 1
