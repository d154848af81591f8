"""W4: streams of a graph of five steps; when come the first and the last event?"""

import asyncio
import time
from collections.abc import Iterator

from load.bench.meter import Meter
from load.bench.summary import milliseconds
from load.bench.workloads.bench import Bench, Measures, exchanged, undisturbed
from load.wire import Connection, Event, events

AT_ONCE = (1, 50)
AT_REST = 30  # streams, when there is one at a time
STEPS = 5
LIMIT = 60.0  # seconds for all of them


async def stream(bench: Bench) -> Measures:
    """Measure at each number of clients."""
    await bench.warm_up("steps5")
    found: Measures = {}
    for at_once in AT_ONCE:
        count = AT_REST if at_once == 1 else bench.pace.streams
        with Meter(bench.server) as meter, undisturbed():
            took = await _streams(bench, at_once, count)
        bench.others = max(bench.others, meter.others)
        found[f"{at_once} at once, streams/s"] = len(took) / meter.wall
        found |= milliseconds(f"{at_once} at once, first event", [first for first, _ in took])
        found |= milliseconds(f"{at_once} at once, last event", [last for _, last in took])
    return found


async def _streams(bench: Bench, at_once: int, count: int) -> list[tuple[float, float]]:
    """Return when the first event came and when the last value, in seconds, of each stream."""
    left = iter(range(count))
    took: list[tuple[float, float]] = []
    end = time.perf_counter() + LIMIT
    connections = [await bench.api.connect() for _ in range(at_once)]
    clients = (_client(bench, connection, left, took, end) for connection in connections)
    await asyncio.gather(*clients)
    return took


async def _client(
    bench: Bench,
    connection: Connection,
    left: Iterator[int],
    took: list[tuple[float, float]],
    end: float,
) -> None:
    for _ in left:
        if time.perf_counter() > end:
            break
        request = bench.api.stream_request("steps5", {"i": -1})
        answer, connection = await exchanged(bench, connection, request)
        if answer is None:
            continue
        came = events(answer)
        values = [event for event in came if event.name == "values"]
        if answer.success and _whole(came, values):
            took.append((came[0].at - answer.sent, values[-1].at - answer.sent))
        else:
            bench.fail(f"{answer.status} {[event.name for event in came]}")
    connection.close()


def _whole(came: list[Event], values: list[Event]) -> bool:
    return len(values) >= STEPS and all(event.name != "error" for event in came)
