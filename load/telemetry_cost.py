"""What telemetry costs a run: a service as it is, and the same one while its events are dropped.

    .venv/bin/python -m load.telemetry_cost [ROUNDS]

One service, with the telemetry that is on by default (no collector), started anew for each round:
two processes of one program differ by up to a tenth for as long as they live. A signal has it drop
what it is told, unseen, before anything is kept. Runs are waited for, one, ten and fifty at a time,
and made in bursts in the background on fresh threads: in windows with telemetry, without it,
without and with it, or the other way round, for the machine is not as fast from one second to the
next. What is told is taken up to half a second later: each window is measured after as long a
lead of the same work, or a good part of the work would be done outside. The clients keep to one
processor, as those of `load/bench`: else they and the service push each other around.
Told are the medians, and the median of the ratios of all fours, with how sure that is.
"""

import asyncio
import os
import random
import signal
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from load.bench.api import TERMINAL, Api, said
from load.service import Service, open_service

WINDOW = 1.0  # seconds
LEAD = 0.6  # seconds of the same work before each
FOURS = 6  # of windows of each workload in a round
BURST = 500  # runs, and as many before as a lead
CLIENTS = 50
LOOK = 0.005  # seconds
WITH, WITHOUT = signal.SIGUSR1, signal.SIGUSR2
PROGRAM = f"""
import signal

from operations.telemetry.backlog import Inbox
from orchestration.cli import main

put, told = Inbox.put, True

def switch(number, frame):
    global told
    told = number == {WITH:d}

def switched(self, event):
    if told:
        put(self, event)

signal.signal({WITH:d}, switch)
signal.signal({WITHOUT:d}, switch)
Inbox.put = switched
main()
"""
GIVEN = {"text": "x"}


async def waited(api: Api, at_once: int) -> float:
    """Return how many runs a second are waited for."""
    begin = time.perf_counter() + LEAD
    end = begin + WINDOW
    done = 0

    async def client() -> None:
        nonlocal done
        message = api.wait_request("nothing", GIVEN)
        while time.perf_counter() < end:
            answer = await api.send(message)
            if not answer.success:
                raise RuntimeError(said(answer))
            done += begin < time.perf_counter() < end

    await asyncio.gather(*(client() for _ in range(at_once)))
    return done / WINDOW


async def burst(api: Api) -> float:
    """Return how many runs a second are created and done, to the end of the last created."""
    await create(api, BURST)
    begun = time.perf_counter()
    await create(api, BURST)
    return BURST / (time.perf_counter() - begun)


async def create(api: Api, runs: int) -> None:
    """Create so many runs; return when the last one is done."""
    left = iter(range(runs))
    last: dict[str, str] = {}

    async def client() -> None:
        nonlocal last
        for _ in left:
            answer = await api.create("nothing", GIVEN)
            if not answer.success:
                raise RuntimeError(said(answer))
            last = answer.json()

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    while (await api.show(last["thread_id"], last["run_id"]))["status"] not in TERMINAL:  # noqa: ASYNC110 - in another process
        await asyncio.sleep(LOOK)


WORKLOADS: Mapping[str, Callable[[Api], Awaitable[float]]] = {
    "waited for, 1 at once": partial(waited, at_once=1),
    "waited for, 10 at once": partial(waited, at_once=10),
    "waited for, 50 at once": partial(waited, at_once=50),
    "burst on fresh threads": burst,
}
Four = Mapping[signal.Signals, float]  # runs a second, of two windows with and two without


@contextmanager
def clients_on_one_processor() -> Generator[None]:
    """Keep this process to one processor; one that it has started before has all of them."""
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(usable)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, usable)


async def measure_round(found: Mapping[str, list[Four]], work: Path) -> None:
    """Start a service, and add what it does to what was found of each workload."""
    program = work / "switched.py"
    program.write_text(PROGRAM)
    async with open_service({}, work / "log", program=(str(program),)) as service:
        with clients_on_one_processor():
            await measure_fours(found, service)


async def measure_fours(found: Mapping[str, list[Four]], service: Service) -> None:
    """Add what a service does in all workloads to what was found of each."""
    api = Api(service.port, stateless=True)
    for what, measure in WORKLOADS.items():
        await measure(api)
        for _ in range(FOURS):
            one, other = random.sample((WITH, WITHOUT), 2)
            four = {WITH: 0.0, WITHOUT: 0.0}
            for which in (one, other, other, one):
                service.process.send_signal(which)
                four[which] += await measure(api) / 2
            found[what].append(four)
    api.close()


def tell(what: str, fours: list[Four]) -> None:
    """Print the figures of a workload."""
    ratios = sorted(four[WITH] / four[WITHOUT] for four in fours)
    # The ranks that bound the median of all in nineteen of twenty cases, by the binomial law.
    aside = max(0, int(len(ratios) / 2 - 0.98 * len(ratios) ** 0.5))
    print(
        f"{what}: {statistics.median(four[WITH] for four in fours):.0f} runs/s, "
        f"without {statistics.median(four[WITHOUT] for four in fours):.0f}; "
        f"ratio {statistics.median(ratios):.3f} "
        f"(95 %: {ratios[aside]:.3f} to {ratios[-1 - aside]:.3f}; {len(fours)} fours)",
        flush=True,
    )


async def main() -> None:
    """Measure, and tell."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    found: dict[str, list[Four]] = {what: [] for what in WORKLOADS}
    with TemporaryDirectory() as folder:
        for _ in range(rounds):
            await measure_round(found, Path(folder))
    for what, fours in found.items():
        tell(what, fours)


if __name__ == "__main__":
    asyncio.run(main())
