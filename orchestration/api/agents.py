"""The pools of agents: how they do, and to drain and restart them."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.responses import Response

from agents.pool import AgentPool
from agents.snapshot import PoolSnapshot, SeatSnapshot
from orchestration.api import answers
from orchestration.api.access import SOMEBODY
from orchestration.api.endpoint import Call, Endpoints, json_response

endpoint = Endpoints()


@endpoint("GET", "/agents", access=SOMEBODY, gives=list[answers.AgentPool])
async def list_agents(call: Call) -> Response:
    """List the pools of agents, in the order of the configuration."""
    return json_response([_summary(pool.snapshot()) for pool in call.backend.agents])


@endpoint("GET", "/agents/{pool}", access=SOMEBODY, gives=answers.AgentPoolDetails)
async def get_agents(call: Call) -> Response:
    """Show a pool and each of its seats."""
    return json_response(_details(_pool(call).snapshot()))


@endpoint(
    "POST",
    "/agents/{pool}/drain",
    access=SOMEBODY,
    gives=answers.AgentPoolDetails,
    refuses=(403,),
    audited=True,
)
async def drain_agents(call: Call) -> Response:
    """Lend no more agents of a pool; each ends with the lease that it has."""
    pool = _managed(call)
    pool.drain()
    return json_response(_details(pool.snapshot()))


@endpoint(
    "POST",
    "/agents/{pool}/restart",
    access=SOMEBODY,
    gives=answers.AgentPoolDetails,
    refuses=(403,),
    audited=True,
)
async def restart_agents(call: Call) -> Response:
    """Replace the agents of a pool, each once its lease has ended; end a drain."""
    pool = _managed(call)
    pool.restart()
    return json_response(_details(pool.snapshot()))


def _pool(call: Call) -> AgentPool:
    return call.backend.agents[call.path("pool")]


def _managed(call: Call) -> AgentPool:
    call.require_admin()
    return _pool(call)


def _summary(pool: PoolSnapshot) -> dict[str, Any]:
    return {
        "pool": pool.pool,
        "kind": pool.kind,
        "state": pool.state,
        "reason": pool.reason,
        "capabilities": pool.capabilities,
        "strategy": pool.strategy,
        "min": pool.least,
        "max": pool.most,
        "seats": len(pool.seats),
        "in_flight": pool.in_flight,
        "waiting": pool.waiting,
    }


def _details(pool: PoolSnapshot) -> dict[str, Any]:
    clock = _Clock()
    return {**_summary(pool), "agents": [_seat(seat, clock) for seat in pool.seats]}


def _seat(seat: SeatSnapshot, clock: "_Clock") -> dict[str, Any]:
    return {
        "seat": seat.seat,
        "state": seat.state,
        "retiring": seat.retired,
        "trouble": seat.trouble,
        "backoff_until": clock.date(seat.resting_until),
        "tasks": seat.tasks,
        "failures": seat.failures,
        "error_rate": seat.error_rate,
        "latency": seat.latency,
        "restarts": seat.restarts,
        "probes": [
            {"at": clock.date(probe.at), "took": probe.took, "error": probe.error}
            for probe in seat.probes
        ],
    }


class _Clock:
    """Turns times of the event loop into dates."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop().time()
        self._now = datetime.now(UTC)

    def date(self, time: float | None) -> str | None:
        if time is None:
            return None
        return (self._now + timedelta(seconds=time - self._loop)).isoformat()
