"""W1: clients that run a graph that does nothing, wait for it, and begin anew."""

from load.bench.meter import Meter
from load.bench.summary import milliseconds
from load.bench.workloads.bench import Bench, Measures, closed_loop

AT_ONCE = (1, 10, 50, 200)


async def wait(bench: Bench) -> Measures:
    """Measure runs a second and how long they take, at each number of clients."""
    await bench.warm_up()
    found: Measures = {}
    window = max(bench.pace.window, bench.server.peer.window)
    for at_once in AT_ONCE:
        with Meter(bench.server) as meter:
            took = await closed_loop(
                bench, "noop", at_once=at_once, seconds=window, warm=bench.pace.warm_up / 2
            )
        bench.others = max(bench.others, meter.others)
        found[f"{at_once} at once, runs/s"] = len(took) / window
        found |= milliseconds(f"{at_once} at once,", took)
        if took:
            runs = len(took) * meter.wall / window
            found[f"{at_once} at once, processor ms/run"] = meter.used * 1_000 / runs
    return found
