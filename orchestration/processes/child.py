"""A worker process, as the server starts it: ``python -m orchestration.processes FD``."""

import asyncio
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import orjson

from operations.errors import ConfigurationError
from operations.event_loop import open_runner, tune_the_collector
from operations.leaving import leave, left_behind
from operations.logs import configure_logs
from operations.watchdog import Watchdog
from operations.wire import Wire
from orchestration.graphs.executor import LangGraphExecutor
from orchestration.graphs.manifest import apply_environment, load_manifest
from orchestration.graphs.node_tasks import contain_exits, note_subgraph, whereabouts
from orchestration.graphs.node_threads import NodeThreads
from orchestration.graphs.registry import load_graphs
from orchestration.graphs.sdk import found_by_clients
from orchestration.graphs.steps import Event, StepWatch
from orchestration.loop.run import Run
from orchestration.processes.borrowed import (
    BorrowedAgents,
    BorrowedSaver,
    BorrowedStore,
    NoService,
)
from orchestration.processes.child_runs import ChildRuns
from orchestration.processes.server import Server

_PR_SET_PDEATHSIG = 1  # of Linux' prctl
_ORPHANED = 1  # exit code


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What a worker process is told at its start; all else it finds where the server found it."""

    manifest: str  # the file
    log_level: str
    log_json: bool
    max_concurrent_runs: int
    agents: bool  # whether there are any, or mailboxes
    steps: bool  # whether somebody wants to hear of nodes and tools
    outputs: bool  # and of what comes of them
    store_ttl: bool  # whether items of the store can expire
    store_ttl_config: Mapping[str, Any] | None


def main() -> None:
    """Work until the server says that it is over, or has gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGTERM):
        # The server says when. Not SIG_IGN, which what the nodes start would inherit.
        signal.signal(number, _disregard)
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.set_inheritable(False)
    with open_runner() as runner:
        runner.run(_work_inside(connection))
        if left := runner.run(left_behind()):
            leave(0, left)


async def _work_inside(connection: socket.socket) -> None:
    async with found_by_clients(NoService()):
        await _work(connection)


async def _work(connection: socket.socket) -> None:
    over = asyncio.Event()
    ordered: asyncio.Future[Orders] = asyncio.get_running_loop().create_future()
    kinds: dict[str, Callable[..., None]] = {}
    wire = Wire(lambda message: kinds[message[0]](*message[1:]), _orphaned)
    server = Server(wire)
    kinds |= {
        "begin": lambda text: ordered.set_result(Orders(**orjson.loads(text))),
        "answer": server.answered,
        "refuse": server.refused,
        "heard": server.heard,
        "ping": partial(server.tell, "pong", 0),
        "end": over.set,
    }
    await asyncio.get_running_loop().create_connection(lambda: wire, sock=connection)
    orders = await ordered
    threads = NodeThreads(orders.max_concurrent_runs, abandoned_limit=orders.max_concurrent_runs)
    asyncio.get_running_loop().set_default_executor(threads)
    kinds["ping"] = lambda: server.tell("pong", threads.abandoned)
    level, json = orders.log_level, orders.log_json
    configure_logs(level, json=json, context=lambda: {"worker": os.getpid(), **whereabouts()})
    try:
        executor = await _executor(orders, server)
    except ConfigurationError as error:
        server.tell("unfit", str(error))
    else:
        runs = ChildRuns(executor, server)
        kinds |= {
            "execute": runs.execute,
            "cancel": runs.cancel,
            "drain": runs.drain,
            "listen": runs.listen,
            "hold": runs.hold,
            "resume": runs.resume,
        }
        tune_the_collector(orders.max_concurrent_runs)
        server.tell("ready")
    async with Watchdog():
        await over.wait()
    threads.shutdown(wait=False, cancel_futures=True)


async def _executor(orders: Orders, server: Server) -> LangGraphExecutor:
    """Load the graphs, and return what executes them with what the server lends."""
    manifest = load_manifest(Path(orders.manifest))
    apply_environment(manifest)
    ttl: Any = orders.store_ttl_config
    store = BorrowedStore(server, supports_ttl=orders.store_ttl, ttl=ttl)
    allowed = manifest.checkpointer.serde.allowed_types
    saver = BorrowedSaver(server, allowed_types=allowed, on_subgraph=note_subgraph)
    graphs = await load_graphs(manifest, checkpointer=saver, store=store)
    loop = asyncio.get_running_loop()
    contain_exits(loop)

    def agents(run: Run) -> BorrowedAgents:
        return BorrowedAgents(server, run.run_id, run.priority)

    def tell(event: Event) -> None:
        fields = [getattr(event, name) for name in event.__slots__]
        # From the thread of a sync node, too.
        loop.call_soon_threadsafe(server.tell, "step", type(event).__name__, fields)

    def watch(run: Run) -> StepWatch:
        return StepWatch(run.run_id, run.graph_id, tell, outputs=orders.outputs)

    return LangGraphExecutor(
        graphs,
        _unfenced,
        agents if orders.agents else None,
        watch if orders.steps else None,
    )


def _unfenced(run_id: str) -> NoReturn:
    raise RuntimeError(f"only the server fences runs: {run_id}")


def _disregard(number: int, frame: object) -> None:
    """Do nothing."""


def _orphaned() -> NoReturn:
    """End at once: nothing that goes on here could be told, or kept."""
    os._exit(_ORPHANED)
