"""Graphs that leave traces in ``$EFFECTS_FOLDER``, and wait there for the test to let them go on.

Every run has a ``name`` of its own, given in its input. ``effects.log`` gets a line per side
effect. ``gate-<name>``, if it is there, holds how many of the run's steps may go on.
"""

import asyncio
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt
from langgraph_sdk import get_client

FOLDER = Path(os.environ["EFFECTS_FOLDER"])
PAUSE = 0.005  # seconds between two looks at a gate
TICK = 0.01  # seconds


class State(TypedDict, total=False):
    name: str
    steps: int
    done: int
    pause: float
    dies: Literal["once", "always"]
    ballast: str
    left: str
    right: str
    answer: str
    url: str


def record(name: str, what: object) -> None:
    """Append a line; one write to a file opened to append is never torn, kill -9 or not."""
    log = os.open(FOLDER / "effects.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(log, f"{name} {what}\n".encode())
    os.close(log)


def may_go_on(name: str, step: int) -> bool:
    """Say whether the gate of a run is open for a step."""
    try:
        return int((FOLDER / f"gate-{name}").read_text() or 0) >= step
    except FileNotFoundError:
        return True


async def passed(name: str, step: int) -> None:
    """Wait for the gate to be open for a step; a file tells the test if there is a wait."""
    if not may_go_on(name, step):
        (FOLDER / f"held-{name}-{step}").touch()
    while not may_go_on(name, step):  # noqa: ASYNC110 - the test is in another process
        await asyncio.sleep(PAUSE)


async def count(state: State) -> State:
    name, step = state["name"], state.get("done", 0) + 1
    await passed(name, step)
    record(name, step)
    if step == state["steps"]:
        die(state)
    await asyncio.sleep(state.get("pause", 0.0))
    return {"done": step, "ballast": "x" * len(state.get("ballast", ""))}


async def stumble(state: State) -> State:
    name = state["name"]
    log = FOLDER / "effects.log"
    tries = log.read_text().split().count(name) if log.exists() else 0
    await passed(name, tries + 1)
    record(name, "tried")
    raise ValueError("on purpose")


def die(state: State) -> None:
    """Take the server down, if the run was submitted to do that."""
    match state.get("dies"):
        case "always":
            os._exit(139)
        case "once":
            marker = FOLDER / f"died-{state['name']}"
            if not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        case None:
            pass


async def tick(name: str) -> None:
    """Have a side effect every few milliseconds until the gate opens."""
    (FOLDER / f"gate-{name}").touch()
    while not may_go_on(name, 1):
        record(name, "tick")
        await asyncio.sleep(TICK)


async def tick_once(state: State) -> State:
    await tick(state["name"])
    return {"answer": "ticked"}


async def tick_left(state: State) -> State:
    await tick(state["name"])
    return {"left": "ticked"}


async def tick_right(state: State) -> State:
    await tick(state["name"])
    return {"right": "ticked"}


async def swallow(state: State) -> State:
    record(state["name"], "began")
    while not (FOLDER / f"release-{state['name']}").exists():
        with suppress(BaseException):  # this is the point of it
            await asyncio.sleep(TICK)
    return {"answer": "gave in"}


def block(state: State) -> State:
    record(state["name"], "began")
    while not (FOLDER / f"release-{state['name']}").exists():
        time.sleep(TICK)
    record(state["name"], "ended")
    return {"answer": "woke up"}


async def prepare(state: State) -> State:
    record(state["name"], "prepared")
    return {"done": 1}


async def ask(state: State) -> State:
    return {"answer": interrupt("how?")}


async def act(state: State) -> State:
    record(state["name"], f"acted:{state['answer']}")
    return {"done": 2}


async def look(state: State, config: RunnableConfig) -> State:
    """Look at the thread and the run that this is as a client does, and change the thread."""
    ids = config["configurable"]
    thread_id, run_id = ids["thread_id"], ids["run_id"]
    client = get_client(url=state["url"])
    thread = await client.threads.get(thread_id)
    run = await client.runs.get(thread_id, run_id)
    await client.threads.update(thread_id, metadata={"seen": run["status"]})
    return {"answer": f"{thread['status']} {run['status']}"}


async def recall(state: State, config: RunnableConfig) -> State:
    """Look at the thread that this is through the graph, once its input is there."""
    place = {**config["configurable"], "checkpoint_ns": "", "checkpoint_id": None}
    found = await recalling.aget_state({"configurable": place})
    while not found.values:
        await asyncio.sleep(0)
        found = await recalling.aget_state({"configurable": place})
    return {"answer": f"{sorted(found.values)}"}


def is_done(state: State) -> str:
    return END if state["done"] >= state["steps"] else "count"


_counter = StateGraph(State)
_counter.add_node("count", count)
_counter.add_edge(START, "count")
_counter.add_conditional_edges("count", is_done, ["count", END])
counter = _counter.compile()

_failing = StateGraph(State)
_failing.add_node("stumble", stumble)
_failing.add_edge(START, "stumble")
failing = _failing.compile()

_ticking = StateGraph(State)
_ticking.add_node("tick", tick_once)
_ticking.add_edge(START, "tick")
ticking = _ticking.compile()

_parallel = StateGraph(State)
_parallel.add_node("tick_left", tick_left)
_parallel.add_node("tick_right", tick_right)
_parallel.add_edge(START, "tick_left")
_parallel.add_edge(START, "tick_right")
parallel = _parallel.compile()

_middle = StateGraph(State)
_middle.add_node("inner", parallel)
_middle.add_edge(START, "inner")
_nested = StateGraph(State)
_nested.add_node("middle", _middle.compile())
_nested.add_edge(START, "middle")
nested = _nested.compile()

_stubborn = StateGraph(State)
_stubborn.add_node("swallow", swallow)
_stubborn.add_edge(START, "swallow")
stubborn = _stubborn.compile()

_threaded = StateGraph(State)
_threaded.add_node("block", block)
_threaded.add_edge(START, "block")
threaded = _threaded.compile()

_looking = StateGraph(State)
_looking.add_node("look", look)
_looking.add_edge(START, "look")
looking = _looking.compile()

_recalling = StateGraph(State)
_recalling.add_node("recall", recall)
_recalling.add_edge(START, "recall")
recalling = _recalling.compile()

_asking = StateGraph(State)
_asking.add_node("prepare", prepare)
_asking.add_node("ask", ask)
_asking.add_node("act", act)
_asking.add_edge(START, "prepare")
_asking.add_edge("prepare", "ask")
_asking.add_edge("ask", "act")
asking = _asking.compile()
