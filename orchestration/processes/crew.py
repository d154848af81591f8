"""The worker processes of a service: so many are kept alive, and share the runs."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from random import Random

import structlog

from agents.configuration import Restarts
from agents.restarts import Backoff
from orchestration.graphs.steps import Event
from orchestration.processes.child import Orders
from orchestration.processes.lending import Stock
from orchestration.processes.worker import WorkerProcess

ENDING = 1.0  # seconds that a process has to end in order
RESTARTS = Restarts(first=0.2, most=30.0, reset=60.0)

_log = structlog.get_logger("masterloop")


class Crew:
    """Keeps ``size`` worker processes alive; one that ends is replaced, later and later."""

    def __init__(
        self,
        size: int,
        orders: Orders,
        stock: Stock,
        emit: Callable[[Event], None],
        *,
        patience: float,
        rng: Random,
    ) -> None:
        self.size = size
        self.restarts = 0
        self.last_end: str | None = None  # why the last one ended that was not told to
        self._orders = orders
        self._stock = stock
        self._emit = emit
        self._patience = patience
        self._rng = rng
        self._ready: list[WorkerProcess] = []
        self._more = asyncio.Event()
        self._alive: list[WorkerProcess] = []  # those that are still starting, too
        self._over = asyncio.Event()
        self._heard: Callable[[bool], None] = lambda _: None

    def tell(self, heard: Callable[[bool], None]) -> None:
        """Have ``heard`` told, now too, whether there is one that can execute runs."""
        self._heard = heard
        heard(bool(self.ready))

    @property
    def ready(self) -> Sequence[WorkerProcess]:
        """Those that can execute runs."""
        return [worker for worker in self._ready if not worker.gone.done()]

    @property
    def abandoned(self) -> int:
        """How many of their threads work though nobody waits."""
        return sum(worker.abandoned for worker in self.ready)

    async def choose(self) -> WorkerProcess:
        """Return the process in which one more run is likely to wait least; one is waited for.

        That is one that is not held up now, if there is one, and of those the one of least delay,
        times the runs that it would have ("Peak EWMA").
        """
        while not (ready := self.ready):
            self._more.clear()
            await self._more.wait()
        return min(
            ready,
            key=lambda worker: (worker.held_up, worker.delay * (worker.working + 1)),
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Have them work meanwhile. On leaving they have a little time to end in order."""
        async with asyncio.TaskGroup() as group:
            places = [
                group.create_task(self._keep(), name=f"worker process {number}")
                for number in range(self.size)
            ]
            try:
                yield
            finally:
                self._over.set()
                for worker in self._alive:
                    worker.end()
                _, left = await asyncio.wait(places, timeout=ENDING)
                for place in left:
                    place.cancel()

    async def _keep(self) -> None:
        """Have one process live after the other."""
        backoff = Backoff(RESTARTS, self._rng)
        clock = asyncio.get_running_loop().time
        while not self._over.is_set():
            worker = WorkerProcess(self._orders, self._stock, self._emit, self._patience)
            worker.ready.add_done_callback(partial(self._enter, worker))
            began = clock()
            self._alive.append(worker)
            try:
                why = await worker.live()
            finally:
                self._leave(worker)
            if self._over.is_set():
                return
            self.restarts += 1
            self.last_end = why
            pause = backoff.next(clock() - began)
            _log.warning(
                "a worker process has ended",
                worker=worker.pid,
                why=why,
                runs=worker.working,
                retry_in=round(pause, 3),
            )
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), pause)

    def _enter(self, worker: WorkerProcess, ready: "asyncio.Future[None]") -> None:
        if not (ready.cancelled() or worker.gone.done()):
            self._ready.append(worker)
            worker.gone.add_done_callback(lambda _: self._heard(bool(self.ready)))
            self._more.set()
            self._heard(bool(self.ready))

    def _leave(self, worker: WorkerProcess) -> None:
        self._alive.remove(worker)
        if worker in self._ready:
            self._ready.remove(worker)
            self._heard(bool(self.ready))
