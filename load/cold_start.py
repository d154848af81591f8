"""How long a pool of agents takes to be ready: many at a time, beside one.

    .venv/bin/python load/cold_start.py [AGENTS]

Each agent is a subprocess that takes a second to answer `initialize`, and next to no processor.
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from random import Random
from statistics import median
from time import monotonic

import uvloop

from agents.configuration import ProcessPool
from agents.events import Event, SeatReady
from agents.making import maker
from agents.pool import AgentPool

ROUNDS = 5
AGENT = """
sleep 1
while read -r line; do
    id=${line#*'"id":'}
    echo '{"jsonrpc":"2.0","id":'"${id%%,*}"',"result":{}}'
done
"""


async def cold_start(count: int) -> tuple[float, float]:
    """Return how many seconds ``count`` agents took to be ready, and to be gone."""
    argv = ["sh", "-c", AGENT]
    section = ProcessPool.model_validate(
        {"kind": "process", "argv": argv, "seats": count, "restart": {"starts": count}}
    )
    ready = asyncio.Event()
    left = count

    def emit(event: Event) -> None:
        nonlocal left
        left -= isinstance(event, SeatReady)
        if left == 0:
            ready.set()

    make = maker("bench", section, Path(tempfile.gettempdir()), {})
    began = monotonic()
    async with AgentPool("bench", section, make, emit, Random()).running():
        await ready.wait()
        started = monotonic()
    return started - began, monotonic() - started


def main() -> None:
    """Measure one and many in turn, and print the medians."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    one, many, ends = [], [], []
    for _ in range(ROUNDS):
        one.append(uvloop.run(cold_start(1))[0])
        took, end = uvloop.run(cold_start(count))
        many.append(took)
        ends.append(end)
    print(f"1 agent: {median(one):.2f} s")
    print(f"{count} agents: {median(many):.2f} s, {median(many) / median(one):.2f} times as long")
    print(f"gone in {median(ends):.2f} s")


if __name__ == "__main__":
    main()
