"""W3: many runs that each sleep for a second; how much longer than the second do they take?"""

import asyncio
import time

from load.bench.meter import Meter
from load.bench.summary import milliseconds
from load.bench.workloads.bench import Bench, Measures, answered, undisturbed

SECOND = 1_000  # ms


async def at_once(bench: Bench) -> Measures:
    """Send all of them at once."""
    await bench.warm_up()
    count = bench.pace.sleepers
    bench.marks.reset()
    over: list[float] = []
    connections = [await bench.api.connect() for _ in range(count)]

    async def client(index: int) -> None:
        request = bench.api.wait_request("sleep", {"i": index, "ms": SECOND})
        answer, connection = await answered(bench, connections[index], request)
        connection.close()
        if answer is not None:
            over.append(answer.seconds - SECOND / 1_000)

    with Meter(bench.server) as meter, undisturbed():
        await asyncio.gather(*(client(index) for index in range(count)))
    bench.others = meter.others
    return {"runs/s": count / meter.wall, **milliseconds("over", over)}


async def staggered(bench: Bench) -> Measures:
    """Have each client run one after the other, the clients spread over a second."""
    await bench.warm_up()
    count = bench.pace.sleepers
    over: list[float] = []
    connections = [await bench.api.connect() for _ in range(count)]
    counted = time.perf_counter() + 2 * SECOND / 1_000
    end = counted + max(SECOND / 1_000, bench.pace.window, bench.server.peer.window)

    async def client(index: int) -> None:
        await asyncio.sleep(index / count * SECOND / 1_000)
        connection = connections[index]
        while time.perf_counter() < end:
            request = bench.api.wait_request("sleep", {"i": -1, "ms": SECOND})
            answer, connection = await answered(bench, connection, request)
            if answer is not None and counted <= answer.ended <= end:
                over.append(answer.seconds - SECOND / 1_000)
        connection.close()

    with Meter(bench.server) as meter, undisturbed():
        await asyncio.gather(*(client(index) for index in range(count)))
    bench.others = meter.others
    return {"runs/s": len(over) / (end - counted), **milliseconds("over", over)}
