"""What a scrape takes when every series is there that there can be, and how late the loop is then.

    PYTHONPATH=. .venv/bin/python load/scrape.py

Ten thousand assistants, and of everything else more than has series of its own; then scrapes, one
after the other, while a task asks the event loop for a turn every two milliseconds.
"""

import asyncio
import statistics
import time
from collections.abc import Iterator
from typing import Any

from agents import events as agents
from operations.telemetry.record import Importance, Record
from orchestration.api.events import RequestsAnswered
from orchestration.graphs.steps import NodeEnded
from orchestration.loop.events import RunAccepted, RunEnded, RunStarted
from orchestration.loop.transitions import TERMINAL
from orchestration.telemetry.exposition import Exposition
from orchestration.telemetry.metrics import Metrics

ASSISTANTS = 10_000
SCRAPES = 50
PAUSE = 0.002  # seconds


def everything() -> Iterator[Any]:
    """Yield events that have all series made that there can be."""
    for number in range(ASSISTANTS):
        name = f"assistant-{number}"
        for priority in range(11):
            yield RunAccepted("r", "t", "a", name, priority, "api", None)
        for status in TERMINAL:
            yield RunEnded("r", "t", name, status, 1, 0.1)
        yield NodeEnded("r", name, 1, None, f"node-{number}", 1, 0.1, None)
    for priority in range(11):
        yield RunStarted("r", "g", 1, 0.1, "t", priority, None)
    for number in range(300):
        for method in ("GET", "POST", "DELETE"):
            for code in (200, 404, 500):
                yield RequestsAnswered(f"/route-{number}", method, code, (0.1,))
        pool = f"pool-{number}"
        yield agents.SeatReady(pool, 1, 0.1)
        yield agents.ProbeDone(pool, 1, 0.1, "TimeoutError")
        yield agents.LeaseGranted(pool, 1, "c", 0.1)
        yield agents.LeaseRefused(pool, "c", "LeaseTimeout")
        for error in (None, "TaskFailed"):
            yield agents.TaskEnded(pool, 1, "c", 0.1, error, 0, None)
        yield agents.MessageDelivered(pool, 1, 1, 0.1)


async def main() -> None:
    """Fill, scrape, and tell."""
    metrics = Metrics()
    metrics.take([Record(1, 0.0, Importance.DETAIL, event, {}) for event in everything()])
    exposition = Exposition(metrics.text)
    late: list[float] = []

    async def turn() -> None:
        while True:
            asked = time.perf_counter()
            await asyncio.sleep(PAUSE)
            late.append(time.perf_counter() - asked - PAUSE)

    turning = asyncio.create_task(turn())
    for compressed in (False, True):
        late.clear()
        took: list[float] = []
        size = lines = 0
        for _ in range(SCRAPES):
            begun = time.perf_counter()
            text = await exposition(compressed=compressed)
            took.append(time.perf_counter() - begun)
            size, lines = len(text), text.count(b"\n")
        took.sort()
        late.sort()
        print(
            f"{'gzip' if compressed else f'{lines} lines'}: {size / 1e6:.1f} MB; a scrape p50 "
            f"{statistics.median(took) * 1e3:.0f} ms, longest {took[-1] * 1e3:.0f} ms; the event "
            f"loop is late p50 {statistics.median(late) * 1e3:.1f} ms, "
            f"p99 {late[int(len(late) * 0.99)] * 1e3:.1f} ms"
        )
    turning.cancel()


if __name__ == "__main__":
    asyncio.run(main())
