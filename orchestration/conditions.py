"""What the service looks at to say how it is, from its own stop to what is told of it."""

import asyncio
import time
from collections.abc import Sequence
from functools import partial

from operations.errors import StorageFull
from operations.health import Check, Component, State
from operations.shutdown import Tier
from operations.telemetry.lane import LaneState
from operations.watchdog import Watchdog
from orchestration.processes.crew import Crew
from orchestration.telemetry.gauges import Parts

LAG = 0.25  # seconds of lag, p99 of a minute, from which the event loop counts as overloaded
LATE = 30.0  # seconds that a sink has not taken what was told, from which telemetry is degraded


class Conditions:
    """The checks of a service."""

    def __init__(self, parts: Parts, watchdog: Watchdog) -> None:
        self._parts = parts
        self._watchdog = watchdog

    def checks(self) -> dict[str, Check]:
        """Return them all."""
        crew = self._parts.crew
        return {
            "loop": self._stopping,
            "database": self._storage,
            "queue": self._queue,
            "threads": self._left_behind,
            "agents": self._agents,
            "event_loop": self._lag,
            "telemetry": self._sinks,
            **({} if crew is None else {"workers": partial(_workers, crew)}),
        }

    def figures(self) -> dict[str, float]:
        """Return what changes all the time."""
        loop, lag = self._parts.loop, self._watchdog.lag
        return {
            "waiting": loop.waiting,
            "working": loop.working,
            "zombie_runs": loop.zombies,
            "zombie_tools": len(self._parts.step_zombies),
            "abandoned_threads": self._parts.abandoned,
            "lag": round(lag.last, 6),
            "lag_p99": round(lag.p99, 6),
            "blocks": self._watchdog.blocks,
        }

    async def _stopping(self) -> Component:
        if self._parts.shutdown.phase is Tier.READINESS or self._parts.loop.draining:
            return Component(State.FAILED, "the service is stopping")
        return Component()

    async def _storage(self) -> Component:
        self._parts.database.get("SELECT 1 FROM runs LIMIT 1")
        refusal = await self._parts.database.refusal()
        if isinstance(refusal, StorageFull):
            reason = "there is no room left in the data folder; reads go on"
            return Component(State.FAILED, reason)
        return Component() if refusal is None else Component(State.FAILED, str(refusal))

    async def _queue(self) -> Component:
        loop = self._parts.loop
        figures = {
            "waiting": loop.waiting,
            "capacity": loop.limits.queue_capacity,
            "working": loop.working,
            "slots": loop.limits.concurrent_runs,
        }
        if loop.full:
            return Component(State.DEGRADED, "the queue is full; new runs are refused", figures)
        return Component(figures=figures)

    async def _left_behind(self) -> Component:
        parts = self._parts
        zombies, abandoned, tools = parts.loop.zombies, parts.abandoned, len(parts.step_zombies)
        figures = {"zombie_runs": zombies, "zombie_tools": tools, "abandoned_threads": abandoned}
        if parts.threads.abandoned > parts.threads.abandoned_limit:
            reason = "too many threads work for runs that are over; no sync node is started"
            return Component(State.DEGRADED, reason, figures)
        if zombies or abandoned:
            return Component(State.DEGRADED, "code of runs that are over does not stop", figures)
        if tools:
            reason = "tools or graphs of steps that are over do not stop"
            return Component(State.DEGRADED, reason, figures)
        return Component(figures=figures)

    async def _agents(self) -> Component:
        pools = [pool.snapshot() for pool in self._parts.agents]
        figures = {pool.pool: pool.state for pool in pools}
        reasons = [f"{one.pool}: {one.reason}" for one in pools if one.state == "degraded"]
        if reasons:
            return Component(State.DEGRADED, "; ".join(reasons), figures)
        return Component(figures=figures)

    async def _lag(self) -> Component:
        lag, last = self._watchdog.lag, self._watchdog.last_block
        figures = {
            "lag": round(lag.last, 6),
            "lag_p99": round(lag.p99, 6),
            "lag_max": round(lag.most, 6),
            "blocks": self._watchdog.blocks,
            "tasks": len(asyncio.all_tasks()),
            "last_block": None if last is None else last.line,
        }
        if lag.p99 > LAG:
            return Component(State.DEGRADED, f"it is {lag.p99:.2f} s late (p99)", figures)
        return Component(figures=figures)

    async def _sinks(self) -> Component:
        sinks, failing = self._parts.telemetry.sinks, self._parts.trail.failing
        return telemetry_condition(sinks, failing=failing, now=time.time())


def telemetry_condition(sinks: Sequence[LaneState], *, failing: bool, now: float) -> Component:
    """Return how telemetry is; ``failing`` says whether the disk does not take the audit trail."""
    figures = {
        one.name: {
            "waiting": one.waiting,
            "dropped": sum(one.dropped.values()),
            "failures": one.failures,
        }
        for one in sinks
    }
    if failing:
        reason = "the disk does not take the audit trail; runs of low priority are refused"
        return Component(State.DEGRADED, reason, figures)
    late = [one.name for one in sinks if one.oldest_at is not None and now - one.oldest_at > LATE]
    if late:
        reason = f"not taken for more than {LATE:.0f} s: {', '.join(late)}"
        return Component(State.DEGRADED, reason, figures)
    return Component(figures=figures)


async def _workers(crew: Crew) -> Component:
    figures = {
        "processes": crew.size,
        "ready": len(crew.ready),
        "restarts": crew.restarts,
        "last_end": crew.last_end,
        "each": [
            {"pid": worker.pid, "working": worker.working, "delay": round(worker.delay, 6)}
            for worker in crew.ready
        ],
    }
    if not crew.ready:
        return Component(State.FAILED, "no worker process is ready to execute runs", figures)
    if len(crew.ready) < crew.size:
        return Component(State.DEGRADED, "not all worker processes are ready", figures)
    return Component(figures=figures)
