"""What telemetry costs a run: a service as it is, beside one whose events are dropped unseen.

    .venv/bin/python -m load.telemetry_cost [ROUNDS]

Two services at once, with the telemetry that is on by default (no collector), started anew for each
round: two processes of one program differ by up to a tenth for as long as they live. Each is used
in turn, in random order: runs waited for, one, ten and fifty at a time, and bursts of runs in the
background on fresh threads. Told are the medians, and the median of the ratios of a round.
"""

import asyncio
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from load.bench.api import TERMINAL, Api, said
from load.service import open_service

WINDOW = 1.5  # seconds
WINDOWS = 4  # of each workload in a round
BURST = 700  # runs
CLIENTS = 50
LOOK = 0.005  # seconds
WITHOUT = """
from operations.telemetry.backlog import Inbox
from orchestration.cli import main

Inbox.put = lambda self, event: None
main()
"""
GIVEN = {"text": "x"}


async def waited(api: Api, at_once: int) -> float:
    """Return how many runs a second are waited for."""
    end = time.perf_counter() + WINDOW
    done = 0

    async def client() -> None:
        nonlocal done
        message = api.wait_request("nothing", GIVEN)
        while time.perf_counter() < end:
            answer = await api.send(message)
            if not answer.success:
                raise RuntimeError(said(answer))
            done += 1

    begun = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(at_once)))
    return done / (time.perf_counter() - begun)


async def burst(api: Api) -> float:
    """Return how many runs a second are created and done, to the end of the last created."""
    left = iter(range(BURST))
    last: dict[str, str] = {}

    async def client() -> None:
        nonlocal last
        for _ in left:
            answer = await api.create("nothing", GIVEN)
            if not answer.success:
                raise RuntimeError(said(answer))
            last = answer.json()

    begun = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    while (await api.show(last["thread_id"], last["run_id"]))["status"] not in TERMINAL:  # noqa: ASYNC110 - in another process
        await asyncio.sleep(LOOK)
    return BURST / (time.perf_counter() - begun)


WORKLOADS: Mapping[str, Callable[[Api], Awaitable[float]]] = {
    "waited for, 1 at once": partial(waited, at_once=1),
    "waited for, 10 at once": partial(waited, at_once=10),
    "waited for, 50 at once": partial(waited, at_once=50),
    "burst on fresh threads": burst,
}


async def measure_round(found: dict[str, list[dict[str, float]]], work: Path) -> None:
    """Start both services, and add what they do to what was found of each workload."""
    program = work / "without.py"
    program.write_text(WITHOUT)
    programs = {"with": ("-m", "orchestration"), "without": (str(program),)}
    apis: dict[str, Api] = {}
    async with AsyncExitStack() as stack:
        for name in random.sample(sorted(programs), len(programs)):
            opening = open_service({}, work / f"{name}.log", program=programs[name])
            service = await stack.enter_async_context(opening)
            apis[name] = Api(service.port, stateless=True)
        for what, measure in WORKLOADS.items():
            figures: dict[str, list[float]] = {name: [] for name in apis}
            for api in apis.values():
                await measure(api)
            for _ in range(WINDOWS):
                for name in random.sample(sorted(apis), len(apis)):
                    figures[name].append(await measure(apis[name]))
            found[what].append({name: statistics.median(all_) for name, all_ in figures.items()})
        for api in apis.values():
            api.close()


def tell(what: str, rounds: list[dict[str, float]]) -> None:
    """Print the figures of a workload."""
    ratios = sorted(one["with"] / one["without"] for one in rounds)
    quarter = len(ratios) // 4
    print(
        f"{what}: {statistics.median(one['with'] for one in rounds):.0f} runs/s, "
        f"without {statistics.median(one['without'] for one in rounds):.0f}; "
        f"ratio {statistics.median(ratios):.3f} (half of the rounds between "
        f"{ratios[quarter]:.2f} and {ratios[-1 - quarter]:.2f})",
        flush=True,
    )


async def main() -> None:
    """Measure, and tell."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    found: dict[str, list[dict[str, float]]] = {what: [] for what in WORKLOADS}
    with TemporaryDirectory() as folder:
        for _ in range(rounds):
            await measure_round(found, Path(folder))
    for what, figures in found.items():
        tell(what, figures)


if __name__ == "__main__":
    asyncio.run(main())
