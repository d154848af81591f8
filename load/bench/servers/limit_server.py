"""The limit: the least Starlette that serves runs of the same graphs, without checks or threads.

``LIMIT_DURABLE=1``: the rows of runs are committed to SQLite (``synchronous=FULL``, by one thread,
those that wait together) before a run is accepted and before it is shown as ended; at the start,
what had not ended is run again. `POST /runs/wait` and `/runs/stream` store nothing either way.
"""

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

import bench_graphs  # type: ignore[import-not-found] # of ../project, by PYTHONPATH
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

AT_ONCE = 1_000  # runs
BATCH = 512  # writes that share one transaction at most
GRAPHS = {name: getattr(bench_graphs, name) for name in ("noop", "sleep", "steps5", "burn")}
Write = tuple[str, tuple[Any, ...], "asyncio.Future[None]"]


@dataclass(slots=True)
class Run:
    """A run in the background."""

    run_id: str
    thread_id: str
    assistant_id: str
    input: Any
    status: str = "pending"
    updated_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat())
    output: Any = None
    task: "asyncio.Task[None] | None" = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def shown(self) -> dict[str, str]:
        """Return what a client sees of it."""
        return {
            "run_id": self.run_id,
            "thread_id": self.thread_id,
            "assistant_id": self.assistant_id,
            "status": self.status,
            "updated_at": self.updated_at,
        }


class Writer(threading.Thread):
    """The thread that commits what waits, all in one transaction."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._loop = asyncio.get_running_loop()
        self._waiting: SimpleQueue[Write] = SimpleQueue()
        self._database = sqlite3.connect("limit.db", check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS runs"
            " (run_id TEXT PRIMARY KEY, thread_id TEXT, assistant_id TEXT, input BLOB, status TEXT)"
        )

    def unfinished(self) -> list[Run]:
        """Return the runs that had not ended."""
        rows = self._database.execute(
            "SELECT run_id, thread_id, assistant_id, input FROM runs WHERE status = 'pending'"
        )
        return [
            Run(run_id, thread_id, assistant_id, orjson.loads(given))
            for run_id, thread_id, assistant_id, given in rows
        ]

    def write(self, sql: str, *values: Any) -> "asyncio.Future[None]":
        """Return what is done once the write is durable."""
        durable = self._loop.create_future()
        self._waiting.put((sql, values, durable))
        return durable

    def run(self) -> None:
        """Commit, for ever."""
        while True:
            batch = [self._waiting.get()]
            try:
                while len(batch) < BATCH:
                    batch.append(self._waiting.get_nowait())
            except Empty:
                pass
            self._database.execute("BEGIN")
            for sql, values, _ in batch:
                self._database.execute(sql, values)
            self._database.execute("COMMIT")
            self._loop.call_soon_threadsafe(_resolve, [durable for _, _, durable in batch])


def _resolve(futures: "list[asyncio.Future[None]]") -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


class Limit:
    """Runs from a queue."""

    def __init__(self, writer: Writer | None) -> None:
        self.runs: dict[str, Run] = {}
        self._writer = writer
        self._queue: asyncio.Queue[Run] = asyncio.Queue()
        self._slots = asyncio.Semaphore(AT_ONCE)
        for run in writer.unfinished() if writer else []:
            self._take(run)

    async def accept(self, thread_id: str, asked: dict[str, Any]) -> Run:
        """Queue a run."""
        run = Run(str(uuid4()), thread_id, asked["assistant_id"], asked.get("input"))
        if self._writer:
            values = (run.run_id, thread_id, run.assistant_id, orjson.dumps(run.input))
            insert = "INSERT INTO runs VALUES (?, ?, ?, ?, 'pending')"
            await self._writer.write(insert, *values)
        self._take(run)
        return run

    async def work(self) -> None:
        """Start what is queued."""
        while True:
            run = await self._queue.get()
            if run.status != "pending":
                continue
            await self._slots.acquire()
            run.status = "running"
            run.task = asyncio.create_task(self._execute(run))
            run.task.add_done_callback(lambda _: self._slots.release())

    def _take(self, run: Run) -> None:
        self.runs[run.run_id] = run
        self._queue.put_nowait(run)

    async def _execute(self, run: Run) -> None:
        try:
            run.output = await GRAPHS[run.assistant_id].ainvoke(run.input)
            status = "success"
        except asyncio.CancelledError:
            status = "interrupted"
        if self._writer:
            await self._writer.write(
                "UPDATE runs SET status = ? WHERE run_id = ?", status, run.run_id
            )
        run.status, run.updated_at = status, datetime.now(UTC).isoformat()
        run.ended.set()


def _answer(document: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, media_type="application/json")


async def ok(request: Request) -> Response:  # noqa: ARG001 - every endpoint takes it
    """Answer."""
    return _answer({"ok": True})


async def wait(request: Request) -> Response:
    """Run a graph and answer with what it gives."""
    asked = orjson.loads(await request.body())
    return _answer(await GRAPHS[asked["assistant_id"]].ainvoke(asked.get("input")))


async def stream(request: Request) -> Response:
    """Run a graph and send its state after each step."""
    asked = orjson.loads(await request.body())

    async def body() -> AsyncIterator[bytes]:
        yield b'event: metadata\ndata: {"run_id":"%s","attempt":1}\n\n' % str(uuid4()).encode()
        graph = GRAPHS[asked["assistant_id"]]
        async for state in graph.astream(asked.get("input"), stream_mode="values"):
            yield b"event: values\ndata: " + orjson.dumps(state) + b"\n\n"

    return StreamingResponse(body(), media_type="text/event-stream")


async def create(request: Request) -> Response:
    """Queue a run."""
    limit: Limit = request.state.limit
    thread_id = request.path_params.get("thread_id") or str(uuid4())
    return _answer((await limit.accept(thread_id, orjson.loads(await request.body()))).shown())


async def wait_on_thread(request: Request) -> Response:
    """Queue a run and answer with what it gives."""
    limit: Limit = request.state.limit
    asked = orjson.loads(await request.body())
    run = await limit.accept(request.path_params["thread_id"], asked)
    await run.ended.wait()
    return _answer(run.output or {})


async def show(request: Request) -> Response:
    """Answer with a run."""
    run = request.state.limit.runs.get(request.path_params["run_id"])
    return _answer(run.shown()) if run else _answer({"detail": "not found"}, 404)


async def cancel(request: Request) -> Response:
    """Cancel a run."""
    run = request.state.limit.runs.get(request.path_params["run_id"])
    if run is None:
        return _answer({"detail": "not found"}, 404)
    if run.task:
        run.task.cancel()
    elif run.status == "pending":
        run.status = "interrupted"
    return Response(status_code=202)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:  # noqa: ARG001 - Starlette's
    """Work while the server runs."""
    writer = Writer() if os.environ.get("LIMIT_DURABLE") else None
    limit = Limit(writer)
    if writer:
        writer.start()
    work = asyncio.create_task(limit.work())
    yield {"limit": limit}
    work.cancel()


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/ok", ok),
        Route("/runs/wait", wait, methods=["POST"]),
        Route("/runs/stream", stream, methods=["POST"]),
        Route("/runs", create, methods=["POST"]),
        Route("/threads/{thread_id}/runs", create, methods=["POST"]),
        Route("/threads/{thread_id}/runs/wait", wait_on_thread, methods=["POST"]),
        Route("/threads/{thread_id}/runs/{run_id}", show),
        Route("/threads/{thread_id}/runs/{run_id}/cancel", cancel, methods=["POST"]),
    ],
)
