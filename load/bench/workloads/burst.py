"""W2 and W8: runs in the background on fresh threads, a burst of them, and a server killed amid."""

import asyncio
import signal
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from load.bench.api import GONE, TERMINAL, said
from load.bench.marks import SPARE
from load.bench.meter import Meter
from load.bench.summary import milliseconds
from load.bench.workloads.bench import Bench, Measures, undisturbed, until

CLIENTS = 50
WARMING = 20  # runs
LIMIT = 600.0  # seconds until a burst is done
LOOKERS = 10  # requests at once that ask for the ends of runs
PAUSE = 0.2  # seconds between two looks at runs that have not ended
SLEEP = 2_000  # ms that a run takes that is to be killed
KILL_AFTER = 1.0  # seconds after the first request, at least: all are in flight or queued
SETTLED = 15.0  # seconds without any news, after which no more is expected


@dataclass(slots=True)
class Accepted:
    """A run that was created. Times are those of `time.time`."""

    index: int
    sent: float
    answered: float
    thread_id: str
    run_id: str


async def create_all(
    bench: Bench, count: int, clients: int, given: tuple[str, dict[str, Any]], base: int = 0
) -> list[Accepted]:
    """Create runs of a graph with an input, marked from ``base`` on; return those accepted."""
    graph, state = given
    accepted: list[Accepted] = []
    left = iter(range(count))

    async def client() -> None:
        for index in left:
            sent = time.time()
            answer = await bench.api.create(graph, {"i": base + index, **state})
            if answer.success:
                run, now = answer.json(), time.time()
                accepted.append(Accepted(index, sent, now, run["thread_id"], run["run_id"]))
            else:
                bench.fail(said(answer))

    with undisturbed():
        await asyncio.gather(*(client() for _ in range(clients)))
    return accepted


async def ends(bench: Bench, runs: list[Accepted], limit: float) -> dict[int, dict[str, Any]]:
    """Return what the server says of each run once it has ended, or after ``limit`` seconds."""
    said: dict[int, dict[str, Any]] = {}
    left = runs
    end = time.perf_counter() + limit
    while left and time.perf_counter() < end:
        asked = iter(left)

        async def looker(asked: Any = asked) -> None:
            for run in asked:
                said[run.index] = await bench.api.show(run.thread_id, run.run_id)

        await asyncio.gather(*(looker() for _ in range(LOOKERS)))
        left = [run for run in left if said[run.index]["status"] not in {*TERMINAL, GONE}]
        if left:
            await asyncio.sleep(PAUSE)
    return said


async def burst(bench: Bench) -> Measures:
    """Measure until all of a burst have ended, by when the server says that each did."""
    count, marks = bench.pace.burst, bench.marks
    await create_all(bench, WARMING, 5, ("noop", {}), base=SPARE)
    await until(lambda: all(marks.finishes(WARMING, SPARE)), 30.0)
    await asyncio.sleep(bench.pace.warm_up)
    marks.reset()
    with Meter(bench.server) as meter:
        accepted = await create_all(bench, count, CLIENTS, ("noop", {}))
        if not await until(lambda: sum(map(bool, marks.finishes(count))) >= len(accepted), LIMIT):
            bench.fail(f"only {sum(map(bool, marks.finishes(count)))} runs finished")
    bench.others = meter.others
    said = await ends(bench, accepted, 120.0)
    node_ended = marks.ended(count)
    ended = {
        run.index: max(node_ended[run.index], _moment(said[run.index].get("updated_at")))
        for run in accepted
        if said[run.index]["status"] == "success"
    }
    for run in accepted:
        if run.index not in ended:
            bench.fail(f"a run is {said[run.index]['status']}")
    began = min(run.sent for run in accepted)
    return {
        "accepted/s": len(accepted) / (max(run.answered for run in accepted) - began),
        "runs/s": len(ended) / (max(ended.values()) - began),
        "ran twice": sum(times > 1 for times in marks.starts(count)),
        "processor ms/run": meter.used * 1_000 / len(ended),
        **milliseconds("accepted", [run.answered - run.sent for run in accepted]),
        **milliseconds(
            "ended", [ended[run.index] - run.sent for run in accepted if run.index in ended]
        ),
    }


async def kill(bench: Bench) -> Measures:
    """Kill a server with runs in flight, start it again on the same data, and see what becomes."""
    count, marks = bench.pace.killed, bench.marks
    marks.reset()
    began = time.time()
    accepted = await create_all(bench, count, 20, ("sleep", {"ms": SLEEP}))
    await asyncio.sleep(max(0.0, KILL_AFTER - (time.time() - began)))
    before = sum(map(bool, marks.finishes(count)))
    starts_before = sum(marks.starts(count))
    bench.server.end(signal.SIGKILL)
    restarting = time.time()
    answered = bench.server.start(fresh=False)
    bench.api.close()
    await _settled(bench, count)
    said = await ends(bench, accepted, 5.0)
    later = [at for at in marks.started(count) if at > restarting]
    statuses = Counter(str(run["status"]) for run in said.values())
    for status, number in statuses.items():
        if status != "success":
            bench.fail(f"{number} runs are {status}")
    finishes = marks.finishes(count)
    found: Measures = {
        "accepted": len(accepted),
        "finished before the kill": before,
        "finished %": 100 * sum(map(bool, finishes)) / max(1, len(accepted)),
        "said to be a success %": 100 * statuses["success"] / max(1, len(accepted)),
        "finished twice": sum(times > 1 for times in finishes),
        "started again": sum(marks.starts(count)) - starts_before,
        "answers again after s": answered,
    }
    if later:
        found["recovery begins after s"] = min(later) - restarting
        found["recovered after s"] = max(marks.ended(count)) - restarting
    return found


async def _settled(bench: Bench, count: int) -> None:
    """Return once all runs have finished, or nothing new has happened for long enough."""
    seen = -1
    while sum(map(bool, bench.marks.finishes(count))) < count:
        done = sum(bench.marks.finishes(count))
        if done == seen:
            return
        seen = done
        await until(
            lambda seen=seen: sum(bench.marks.finishes(count)) != seen,  # type: ignore[misc]
            SETTLED,
        )


def _moment(text: Any) -> float:
    if not text:
        return 0.0
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
