"""W5: cancel a run that sleeps for a minute."""

import asyncio
import random
import time

from load.bench.api import GONE, TERMINAL, said
from load.bench.summary import milliseconds
from load.bench.workloads.bench import Bench, Measures, until

MINUTE = 60_000  # ms
LIMIT = 20.0  # seconds for each step of it
LOOK = 0.001  # seconds


async def cancel(bench: Bench) -> Measures:
    """Measure until the request is answered, the run has ended, and its node has really stopped."""
    await bench.warm_up()
    bench.marks.reset()
    answers: list[float] = []
    terminal: list[float] = []
    stopped: list[float] = []
    for index in range(bench.pace.cancels):
        answer = await bench.api.create("sleep", {"i": index, "ms": MINUTE})
        if not answer.success:
            bench.fail(said(answer))
            continue
        run = answer.json()
        place = (run["thread_id"], run["run_id"])
        if not await until(lambda i=index: bool(bench.marks.starts(1, i)[0]), LIMIT):  # type: ignore[misc]
            bench.fail("a run never started")
            continue
        await asyncio.sleep(random.uniform(0.05, 0.2))
        began, moment = time.perf_counter(), time.time()
        answer = await bench.api.cancel(*place)
        answers.append(time.perf_counter() - began)
        if not answer.success:
            bench.fail(said(answer))
            continue
        if await _ended(bench, place, began):
            terminal.append(time.perf_counter() - began)
        else:
            bench.fail(f"a run has not ended {LIMIT} s after it was cancelled")
        if await until(lambda i=index: bench.marks.ended(1, i)[0] > 0, LIMIT):  # type: ignore[misc]
            stopped.append(bench.marks.ended(1, index)[0] - moment)
        else:
            bench.fail(f"a node has not stopped {LIMIT} s after its run was cancelled")
    return {
        **milliseconds("answered", answers),
        **milliseconds("ended", terminal),
        **milliseconds("node stopped", stopped),
    }


async def _ended(bench: Bench, place: tuple[str, str], began: float) -> bool:
    while time.perf_counter() - began < LIMIT:
        if (await bench.api.show(*place))["status"] in {*TERMINAL, GONE}:
            return True
        await asyncio.sleep(LOOK)
    return False
