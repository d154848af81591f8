"""Light runs and probes at a constant rate, alone and beside a graph that blocks its event loop."""

import asyncio

from load.bench.summary import milliseconds, percentile
from load.bench.workloads.bench import Bench, Measures, closed_loop
from load.openloop import Arrival, OpenLoop

RATE = 100  # light runs a second
PROBES = 20  # a second
MORE = 60.0  # seconds that a blocking run may take


async def beside(bench: Bench) -> Measures:
    """Measure both. Latencies are from when a request was due, so that no delay hides another."""
    await bench.warm_up()
    seconds = bench.pace.beside
    light, probes = await asyncio.gather(_light(bench, seconds), _probes(bench, seconds))
    found = milliseconds("alone, light run", light) | milliseconds("alone, /livez", probes)
    blocked = asyncio.create_task(closed_loop(bench, "burn", at_once=1, seconds=seconds + MORE))
    try:
        light, probes = await asyncio.gather(_light(bench, seconds), _probes(bench, seconds))
    finally:
        blocked.cancel()
        await asyncio.wait({blocked})
    return found | {
        **milliseconds("beside, light run", light),
        **milliseconds("beside, /livez", probes),
        "alone, light runs": float(len(light)),
        "beside, /livez worst ms": percentile(probes, 100) * 1_000,
    }


async def _light(bench: Bench, seconds: float) -> list[float]:
    request = bench.api.wait_request("noop", {"i": -1}, stateless=True)
    return await _constantly(bench, request, RATE, seconds)


async def _probes(bench: Bench, seconds: float) -> list[float]:
    return await _constantly(bench, bench.api.build("/livez", None, method="GET"), PROBES, seconds)


async def _constantly(bench: Bench, request: bytes, rate: int, seconds: float) -> list[float]:
    """Send a request at a constant rate, and return how long after it was due each was answered."""
    took: list[float] = []

    def note(arrival: Arrival) -> None:
        if arrival.outcome == "done":
            took.append(arrival.took)
        else:
            bench.fail(arrival.problem or arrival.outcome)

    await OpenLoop(lambda _: bench.api.send(request), note).run(rate, seconds)
    return took
