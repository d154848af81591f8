"""All workloads, by the names of the issue that asked for them."""

from dataclasses import dataclass

from load.bench.peers import ANY
from load.bench.workloads.bench import Measure
from load.bench.workloads.blocking import beside
from load.bench.workloads.burst import burst, kill
from load.bench.workloads.cancelling import cancel
from load.bench.workloads.checkpoints import checkpoints
from load.bench.workloads.lasting import memory, start
from load.bench.workloads.sleeping import at_once, staggered
from load.bench.workloads.streaming import stream
from load.bench.workloads.waiting import wait


@dataclass(frozen=True, slots=True)
class Workload:
    """What is measured; of all peers, unless ``only`` names some.

    ``rounds`` is how many are done at most; ``served`` whether a server is measured.
    """

    name: str
    what: str
    measure: Measure
    only: tuple[str, ...] = ()
    rounds: int = ANY
    served: bool = True


ALL = (
    Workload("W1", "runs that do nothing, waited for, without a thread", wait),
    Workload("W2", "a burst of runs in the background on fresh threads", burst),
    Workload("W3", "500 runs at once that sleep for a second", at_once),
    Workload("W3s", "500 clients whose runs sleep for a second, staggered over one", staggered),
    Workload("W4", "streams of five steps", stream),
    Workload("W5", "cancel a run that runs", cancel),
    Workload("W6", "memory after 10,000 runs", memory, rounds=1),
    Workload("W7", "cold start", start),
    Workload("W8", "kill -9 with 100 runs in flight, and start again", kill),
    Workload(
        "checkpoints",
        "savers beside LangGraph's in memory: five steps, 50 runs at once",
        checkpoints,
        only=("masterloop",),
        served=False,
    ),
    Workload(
        "blocking",
        "100 light runs a second beside a graph that blocks",
        beside,
        only=("masterloop", "masterloop-workers-2"),
    ),
)
WORKLOADS = {workload.name: workload for workload in ALL}
