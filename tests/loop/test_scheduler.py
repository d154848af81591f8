"""The scheduler, on the event loop that serves."""

import asyncio

from operations.event_loop import loop_factory
from orchestration.loop.admission import Limits
from orchestration.loop.run import Place, Run
from orchestration.loop.scheduler import Scheduler
from tests.loop.stage import new_run
from tests.simulation.simloop import SimLoop, simulate


def test_where_a_run_stands_is_told_that_starts_in_no_time() -> None:
    async def main() -> None:
        started: asyncio.Future[Run] = asyncio.get_running_loop().create_future()
        scheduler = Scheduler(Limits(), started.set_result)
        run = new_run("a", delay=0.0001)
        scheduler.add(run)
        standing = scheduler.standing(run)
        assert (standing.place, standing.why) == (Place.DELAYED, "it starts in 0.0 s")
        assert await started is run

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(main())


def test_nothing_starts_while_nobody_could_execute_it() -> None:
    async def main() -> None:
        started: list[Run] = []
        scheduler = Scheduler(Limits(concurrent_runs=1), started.append)
        scheduler.enable(able=False)
        later, sooner = new_run("later", priority=5), new_run("sooner", priority=1)
        scheduler.add(later, sooner)
        assert (started, scheduler.working) == ([], 0)
        assert scheduler.standing(sooner).why == "no worker process is there to execute it"
        scheduler.enable(able=True)
        assert started == [sooner]
        assert scheduler.standing(later).why == "0 ahead of it in priority 5; 1 of 1 slots busy"

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(main())


def test_a_delayed_run_that_is_cancelled_is_let_go_and_nothing_comes_of_its_time() -> None:
    async def main(_: SimLoop) -> None:
        started: list[Run] = []
        scheduler = Scheduler(Limits(), started.append)
        cancelled, other = (new_run(name, "thread", delay=1.0) for name in ("a", "b"))
        scheduler.add(cancelled, other)
        timer = cancelled.timer
        scheduler.withdraw(cancelled)
        assert timer is not None
        assert timer.cancelled()  # or it would hold the run until then
        assert (cancelled.place, scheduler.waiting) == (Place.GONE, 1)
        await asyncio.sleep(2)
        assert (started, scheduler.waiting, scheduler.working) == ([other], 0, 1)

    simulate(1, main)


def test_a_delayed_run_that_is_due_while_the_service_stops_leaves_its_thread_to_others() -> None:
    async def main(_: SimLoop) -> None:
        scheduler = Scheduler(Limits(), lambda _: None)
        run = new_run("a", delay=1.0)
        scheduler.add(run)
        scheduler.close()
        await asyncio.sleep(2)
        assert (run.place, run.delayed, scheduler.waiting) == (Place.DELAYED, True, 1)

    simulate(1, main)
