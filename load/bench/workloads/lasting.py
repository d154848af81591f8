"""W6 and W7: what a server holds after many runs, and how long it takes to start."""

import asyncio
import time
from statistics import median

from load.bench.api import good, said
from load.bench.workloads.bench import Bench, Measures, closed_loop

FIRST = 200  # runs before memory is first looked at
CLIENTS = 50
LIMIT = 420.0  # seconds for a leg
REST = 2.0  # seconds without runs before memory is looked at
MEGA = 1e6


async def memory(bench: Bench) -> Measures:
    """Measure memory after 200 runs, a fifth and all of so many, without threads and on fresh ones.

    The slope is that of the last leg: what is kept for good, not what is filled once.
    """
    found: Measures = {}
    kinds = (
        {"stateless": True, "on threads": False} if bench.api.stateless else {"on threads": False}
    )
    for kind, stateless in kinds.items():
        bench.server.end()
        bench.server.start()
        bench.api.close()
        points: list[tuple[int, int]] = []
        done = 0
        for goal in (FIRST, bench.pace.kept // 5, bench.pace.kept):
            took = await closed_loop(
                bench,
                "noop",
                at_once=10 if goal == FIRST else CLIENTS,
                seconds=LIMIT,
                most=goal - done,
                stateless=stateless,
            )
            done += len(took)
            await asyncio.sleep(REST)
            points.append((done, bench.server.resident()))
        (_, first), (fifth, between), (last, end) = points
        found[f"{kind}, MB at first"] = first / MEGA
        found[f"{kind}, MB more"] = (end - first) / MEGA
        found[f"{kind}, bytes/run at the end"] = (end - between) / (last - fifth)
    return found


async def start(bench: Bench) -> Measures:
    """Measure from the start of the process to the first answer, and to the first finished run."""
    answers: list[float] = []
    runs: list[float] = []
    for number in range(bench.pace.starts):
        bench.server.end()
        began = time.perf_counter()
        answers.append(bench.server.start(fresh=number == 0))
        bench.api.close()
        answer = await bench.api.send(bench.api.wait_request("noop", {"i": -1}))
        runs.append(time.perf_counter() - began)
        if not good(answer):
            bench.fail(said(answer))
    return {
        "answers after s": median(answers),
        "first run after s": median(runs),
        "MB": bench.server.resident() / MEGA,
    }
