"""More than the service can do: what it can, then many times that, then how it recovers."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any

from load.openloop import CONNECTIONS, Arrival, OpenLoop
from load.recorder import Outcome, Recorder, new_histogram, percentile, record
from load.scenario import Overload
from load.service import HOST
from load.summary import WAIT
from load.wire import Client, request

_WARM_UP = 0.2  # of the time in which the capacity is measured, before that
_TURN = 1.0  # seconds of a line of the record
_REST = 0.5  # of the capacity, offered after the overload


@dataclass(slots=True)
class Stage:
    """A part of the test: what came of the requests that were due in it."""

    name: str
    seconds: float
    begun: float = 0.0  # on the clock of `perf_counter`
    at: float = 0.0  # Unix seconds
    arrivals: list[Arrival] = field(default_factory=list[Arrival])
    lateness: Any = field(default_factory=new_histogram)

    def note(self, arrival: Arrival) -> None:
        """Count a request."""
        self.arrivals.append(arrival)

    def begin(self) -> None:
        """Begin."""
        self.begun, self.at = perf_counter(), time.time()

    def count(self, outcome: Outcome) -> int:
        """Return how many requests came to that."""
        return sum(arrival.outcome == outcome for arrival in self.arrivals)

    @property
    def goodput(self) -> float:
        """Runs a second that were done while it lasted."""
        end = self.begun + self.seconds
        return sum(a.outcome == "done" and a.ended <= end for a in self.arrivals) / self.seconds

    def percentile(self, outcome: Outcome, percent: float) -> float | None:
        """Return within how many seconds that many of the requests came to that."""
        times = new_histogram()
        for arrival in self.arrivals:
            if arrival.outcome == outcome:
                record(times, arrival.took)
        return percentile(times, percent) if times.get_total_count() else None

    def row(self) -> dict[str, Any]:
        """Return what the report shows of it."""
        return {
            "stage": self.name,
            "seconds": self.seconds,
            "offered a second": len(self.arrivals) / self.seconds,
            "done a second": self.goodput,
            "refused a second": self.count("refused") / self.seconds,
            "failed": self.count("failed"),
            "accepted p50, s": self.percentile("done", 50),
            "accepted p99, s": self.percentile("done", 99),
            "refused p99, s": self.percentile("refused", 99),
            "generator late p99, s": percentile(self.lateness, 99),
        }


class Overloading:
    """Goes through the stages, and has every request recorded."""

    def __init__(self, plan: Overload, duration: float, port: int, recorder: Recorder) -> None:
        self._plan = plan
        self._recorder = recorder
        self._client = Client(HOST, port, CONNECTIONS)
        body = {"assistant_id": plan.assistant, "input": plan.input}
        self._message = request("/runs/wait", body, f"{HOST}:{port}")
        self._offered = 0
        self.capacity = Stage("capacity", plan.calibration)
        self.offered = Stage("just the capacity", plan.calibration)
        self.over = Stage(f"{plan.times:g} times that", duration)
        self.after = Stage("half of it, afterwards", plan.recovery)

    @property
    def stages(self) -> Sequence[Stage]:
        """Return them, in their order."""
        return self.capacity, self.offered, self.over, self.after

    async def run(self) -> None:
        """Do them all."""
        turns = asyncio.create_task(self._turns())
        try:
            await self._closed(Stage("warm-up", self._plan.calibration * _WARM_UP))
            await self._closed(self.capacity)
            capacity = self.capacity.goodput
            print(f"it can do {capacity:.1f} a second", flush=True)
            await self._open(self.offered, capacity)
            async with asyncio.TaskGroup() as together:
                together.create_task(self._open(self.over, capacity * self._plan.times))
                # What is left of the overload is there while it recovers.
                await asyncio.sleep(self.over.seconds)
                await self._open(self.after, capacity * _REST)
        finally:
            turns.cancel()
            self._client.close()
            self._turn()

    def measures(self) -> dict[str, float]:
        """Return what is bounded, as far as it could be measured."""
        at_capacity, accepted = (
            stage.percentile("done", 99) for stage in (self.offered, self.over)
        )
        found = {
            "capacity": self.capacity.goodput,
            "goodput": self.over.goodput / max(self.capacity.goodput, 1e-9),
            "recovery": recovery(self.after, at_capacity or 0.0),
            "refused_p99": self.over.percentile("refused", 99),
        }
        if at_capacity and accepted:
            found["accepted_p99"] = accepted / at_capacity
        return {name: value for name, value in found.items() if value is not None}

    async def _closed(self, stage: Stage) -> None:
        """Have as many clients as the plan says send one request after the other."""
        stage.begin()
        loop = OpenLoop(self._send, self._note(stage))

        async def client() -> None:
            while (due := perf_counter()) < stage.begun + stage.seconds:
                await loop.exchange(0, due)

        async with asyncio.TaskGroup() as clients:
            for _ in range(self._plan.clients):
                clients.create_task(client())

    async def _open(self, stage: Stage, rate: float) -> None:
        stage.begin()
        loop = OpenLoop(self._send, self._note(stage))
        stage.lateness = loop.lateness
        await loop.run(rate, stage.seconds)

    def _send(self, _: int) -> Any:
        self._offered += 1
        return self._client.send(self._message)

    def _note(self, stage: Stage) -> Callable[[Arrival], None]:
        def note(arrival: Arrival) -> None:
            stage.note(arrival)
            self._recorder.record(WAIT, arrival.outcome, arrival.took, arrival.problem)

        return note

    async def _turns(self) -> None:
        while True:
            await asyncio.sleep(_TURN)
            self._turn()

    def _turn(self) -> None:
        self._recorder.turn(time.time(), offered=self._offered)
        self._offered = 0


def recovery(after: Stage, limit: float) -> float:
    """Return how many seconds it took until it was as before.

    That is, until no second any more had a request that was not done, or a median above ``limit``.
    """
    seconds: Mapping[int, list[Arrival]] = defaultdict(list)
    for arrival in after.arrivals:
        seconds[int(arrival.due - after.begun)].append(arrival)
    bad = [
        second
        for second, arrivals in seconds.items()
        if any(arrival.outcome != "done" for arrival in arrivals)
        or median(arrival.took for arrival in arrivals) > limit
    ]
    return max(bad) + 1.0 if bad else 0.0
