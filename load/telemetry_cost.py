"""What telemetry costs a run: a service as it is, beside one whose events are dropped unseen.

    .venv/bin/python -m load.telemetry_cost [ROUNDS]

Two services at once, with the telemetry that is on by default (no collector). Each is used in turn,
in random order: runs waited for, one, ten and fifty at a time, and bursts of runs in the background
on fresh threads. Told are the medians, and the median of the ratios of a round.
"""

import asyncio
import random
import statistics
import sys
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from load.bench.api import TERMINAL, Api, said
from load.service import open_service

WINDOW = 2.0  # seconds
BURST = 400  # runs
CLIENTS = 50
LOOK = 0.005  # seconds
WITHOUT = """
from operations.telemetry.aggregator import Aggregator
from orchestration.cli import main

Aggregator.emit = lambda self, event: None
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


async def compare(apis: Mapping[str, Api], rounds: int) -> None:
    """Measure and tell."""
    workloads = {f"waited for, {n} at once": (lambda api, n=n: waited(api, n)) for n in (1, 10, 50)}
    for what, measure in {**workloads, "burst on fresh threads": burst}.items():
        found: dict[str, list[float]] = {name: [] for name in apis}
        for api in apis.values():
            await measure(api)
        for _ in range(rounds):
            for name in random.sample(sorted(apis), len(apis)):
                found[name].append(await measure(apis[name]))
        pairs = zip(found["with"], found["without"], strict=True)
        ratios = sorted(ours / bare for ours, bare in pairs)
        quarter = len(ratios) // 4
        print(
            f"{what}: {statistics.median(found['with']):.0f} runs/s, "
            f"without {statistics.median(found['without']):.0f}; "
            f"ratio {statistics.median(ratios):.3f} (half of the rounds between "
            f"{ratios[quarter]:.2f} and {ratios[-1 - quarter]:.2f})",
            flush=True,
        )


async def main() -> None:
    """Start both services, and measure."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    with TemporaryDirectory() as folder:
        work = Path(folder)
        program = work / "without.py"
        program.write_text(WITHOUT)
        apis = {}
        async with AsyncExitStack() as stack:
            for name, starts in (("with", ("-m", "orchestration")), ("without", (str(program),))):
                opening = open_service({}, work / f"{name}.log", program=starts)
                service = await stack.enter_async_context(opening)
                apis[name] = Api(service.port, stateless=True)
            await compare(apis, rounds)
            for api in apis.values():
                api.close()


if __name__ == "__main__":
    asyncio.run(main())
