"""The graphs that every server runs.

A run may carry an index ``i``. Where ``BENCH_MARKS`` names a file, its node writes into place ``i``
when it started and ended and how often, without a system call, so that whoever measures sees when
each run ran without asking the server. A place is 32 bytes: started and ended (seconds of
`time.time`, doubles), starts and finishes (64-bit counts). This file stands alone: it is copied
beside servers whose environments have nothing of Masterloop.
"""

import asyncio
import mmap
import os
import struct
import time
from pathlib import Path
from typing import Any

from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

PLACE = 32  # bytes
STEPS = 5
BURNING_STEPS = 3
BURN = 0.2  # seconds of processor time
TIME = struct.Struct("=d")
COUNT = struct.Struct("=Q")


class State(TypedDict, total=False):
    """What a run is given and gives."""

    i: int
    ms: int
    step: int
    out: int


Node = Any  # a coroutine function of the state


def _opened() -> mmap.mmap | None:
    name = os.environ.get("BENCH_MARKS")
    if not name:
        return None
    with Path(name).open("r+b") as file:
        return mmap.mmap(file.fileno(), 0)


MARKS = _opened()


def _mark(state: State, time_at: int, count_at: int | None) -> None:
    i = state.get("i", -1)
    if MARKS is None or i < 0:
        return
    TIME.pack_into(MARKS, i * PLACE + time_at, time.time())
    if count_at is not None:
        at = i * PLACE + count_at
        COUNT.pack_into(MARKS, at, COUNT.unpack_from(MARKS, at)[0] + 1)


def _started(state: State) -> None:
    _mark(state, 0, 16)


def _finished(state: State) -> None:
    _mark(state, 8, 24)


def _cancelled(state: State) -> None:
    _mark(state, 8, None)


async def do_nothing(state: State) -> dict[str, Any]:
    """Do nothing."""
    _started(state)
    _finished(state)
    return {"out": 1}


async def sleep_a_while(state: State) -> dict[str, Any]:
    """Sleep for ``ms`` milliseconds."""
    _started(state)
    try:
        await asyncio.sleep(state.get("ms", 0) / 1000)
    except asyncio.CancelledError:
        _cancelled(state)
        raise
    _finished(state)
    return {"out": 1}


async def burn_processor(state: State) -> dict[str, Any]:
    """Compute, and let nobody else have the thread."""
    end = time.thread_time() + BURN
    number = state.get("step", 0)
    while time.thread_time() < end:
        number = (number * 69_069 + 1) % 2**32
    return {"step": number, "out": 1}


def _step(number: int) -> Node:
    async def step(state: State) -> dict[str, Any]:
        if number == 1:
            _started(state)
        if number == STEPS:
            _finished(state)
        return {"step": number, "out": 1}

    return step


def chain(*nodes: Node) -> "StateGraph[State]":
    """Return a graph of nodes one after the other, not compiled."""
    graph = StateGraph(State)
    previous = START
    for number, node in enumerate(nodes, 1):
        name = f"step{number}"
        graph.add_node(name, node)
        graph.add_edge(previous, name)
        previous = name
    graph.add_edge(previous, END)
    return graph


five_steps = chain(*(_step(number) for number in range(1, STEPS + 1)))
noop = chain(do_nothing).compile()
sleep = chain(sleep_a_while).compile()
steps5 = five_steps.compile()
burn = chain(*[burn_processor] * BURNING_STEPS).compile()
