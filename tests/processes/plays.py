"""What graphs do in a worker process, as their input says."""

import asyncio
import math
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypedDict

from langgraph.config import get_config, get_store, get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

TICK = 0.01  # seconds


class State(TypedDict, total=False):
    do: str
    given: Any
    marker: str  # a file that says that something was done before
    pid: int
    answer: Any


async def play(state: State) -> State:
    """Do what is asked, and say where."""
    answer = state.get("given")
    if (do := state.get("do")) is not None:
        answer = await PLAYS[do](state)
    return {"pid": os.getpid(), "answer": answer}


async def remember(state: State) -> Any:
    """Use the store in every way that there is."""
    given = state["given"]
    store = get_store()
    await store.aput(("notes", "mine"), "first", {"text": given}, ttl=5)
    await store.aput(("notes", "mine"), "second", {"text": "other"})
    await store.adelete(("notes", "mine"), "second")
    found = await store.asearch(("notes",), filter={"text": given})
    spaces = await store.alist_namespaces(prefix=("notes",))
    refused = ""
    try:
        await store.asearch(("notes",), filter={"text": {"$odd": 1}})
    except ValueError as error:
        refused = type(error).__name__
    nothing = await store.aget(("notes",), "absent")
    times = found[0].created_at <= found[0].updated_at
    return [[one.key for one in found], spaces, refused, nothing, times]


async def ask(state: State) -> Any:
    """Ask a question."""
    return interrupt({"asked": state["given"]})


async def tell(state: State) -> None:
    """Say very much at once."""
    write = get_stream_writer()
    for number in range(state["given"]):
        write({"number": number, "text": "x" * 1_000})


async def fail(_: State) -> None:
    """Raise."""
    raise ValueError("as told")


async def leave(_: State) -> None:
    """End the process, if that were possible."""
    raise SystemExit(3)


async def hang(state: State) -> None:
    """Wait for ever."""
    marker(state).touch()
    await asyncio.Event().wait()


async def wait(state: State) -> None:
    """Wait until the test makes a file."""
    marker(state).touch()
    gate = Path(state["given"])
    while not gate.exists():  # noqa: ASYNC110, ASYNC240 - the test is in another process
        await asyncio.sleep(TICK)


async def defy(state: State) -> None:
    """Wait for the end of the process, the first time; then heed nothing until the test ends it."""
    if not marker(state).exists():
        await hang(state)
    marker(state).with_suffix(".again").touch()
    while not Path(state["given"]).exists():  # noqa: ASYNC240 - as above
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(TICK)


async def block(state: State) -> Any:
    """Hold up the event loop, the first time, and leave word of which process that is."""
    if not marker(state).exists():
        word = marker(state).with_suffix(".tmp")
        word.write_text(str(os.getpid()))
        word.rename(marker(state))
        time.sleep(3_600)  # noqa: ASYNC251 - this is the point of it
    return state.get("given")


async def stall(state: State) -> None:
    """Hold up the event loop until the test makes a file."""
    marker(state).touch()
    while not Path(state["given"]).exists():  # noqa: ASYNC240 - this is the point of it
        time.sleep(TICK)  # noqa: ASYNC251 - as above


async def die(state: State) -> None:
    """Take the process along, the first time; without a marker, every time."""
    if "marker" in state:
        if marker(state).exists():
            return
        marker(state).touch()
    os.kill(os.getpid(), signal.SIGKILL)


async def fork_and_die(state: State) -> None:
    """Leave somebody behind who holds open whatever was open, and die, the first time."""
    if not marker(state).exists():
        marker(state).touch()
        if os.fork() == 0:
            time.sleep(3_600)  # noqa: ASYNC251 - in a process of its own
        os.kill(os.getpid(), signal.SIGKILL)


def linger(state: State) -> State:
    """Hold a thread until the test makes a file, whoever waits for it."""
    marker(state).touch()
    while not Path(state["given"]).exists():
        time.sleep(TICK)
    return {}


async def lease(state: State) -> Any:
    """Have an agent do something, and hear of it meanwhile."""
    heard: list[Any] = []
    client = get_config()["configurable"]["masterloop"]
    async with client.lease("help") as agent:
        if "marker" in state:
            await die(state)
        answer = await agent.invoke({"given": state["given"]}, on_event=heard.append)
        return [agent.pool, answer["answer"], heard]


async def lease_and_choke(state: State) -> Any:
    """Have an agent do something, and raise when it says something."""
    heard: list[Any] = []

    def choke(event: Any) -> None:
        heard.append(event)
        raise {"error": LookupError, "exit": SystemExit}[state["given"]](len(heard))

    async with get_config()["configurable"]["masterloop"].lease("help") as agent:
        await agent.invoke({"given": "twice"}, on_event=choke)


async def lease_for_a_failure(_: State) -> Any:
    """Have an agent do what it cannot."""
    async with get_config()["configurable"]["masterloop"].lease("help") as agent:
        await agent.invoke({"given": "fail"})


async def say_odd(_: State) -> Any:
    """Tell, and return, what few encoders take."""
    odd = {"half": "\ud83d", "large": 2**70, "nan": math.nan}
    get_stream_writer()(odd)
    return odd


async def lease_in_vain(_: State) -> Any:
    """Ask for what nobody can do."""
    async with get_config()["configurable"]["masterloop"].lease("cook", wait=0.1):
        return "cooked"


async def send_in_vain(_: State) -> Any:
    """Send to where nobody is."""
    await get_config()["configurable"]["masterloop"].send("hello", to="nowhere")


async def help_out(state: State) -> State:
    """Do a task, as the agent that is asked to."""
    if state["given"] == "fail":
        raise ValueError("cannot parse \ud83d")
    for _ in range(2 if state["given"] == "twice" else 1):
        get_stream_writer()({"seen": state["given"]})
    return {"answer": [state["given"], os.getpid()]}


def marker(state: State) -> Path:
    """Return the file that says that something was done."""
    return Path(state["marker"])


PLAYS: dict[str, Callable[[State], Awaitable[Any]]] = {
    each.__name__: each
    for each in (
        *(remember, ask, tell, fail, leave, hang, wait, defy, block, stall, die),
        *(fork_and_die, lease, lease_in_vain, send_in_vain),
        *(lease_and_choke, lease_for_a_failure, say_odd),
    )
}


def play_sync(state: State) -> State:
    """Use the store from the thread of a sync node."""
    store = get_store()
    store.put(("sync",), "key", {"value": state.get("given")})
    found = store.get(("sync",), "key")
    return {"answer": None if found is None else found.value["value"]}


def note(state: State) -> State:
    """Leave a line in a file for each time that it is done."""
    with Path(state["given"]).open("a") as file:
        file.write("done\n")
    return {}


def _graph(*nodes: Any) -> Any:
    graph = StateGraph(State)
    graph.add_sequence([(f"step{number}", node) for number, node in enumerate(nodes)])
    graph.add_edge(START, "step0")
    return graph.compile()


player = _graph(play)
threaded = _graph(play_sync)
noting = _graph(note, play)
helper = _graph(help_out)
lingering = _graph(linger)
