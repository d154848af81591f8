"""In which order the service stops, and how long each part of it may take.

Every part that takes all of its time included, a stop takes 25 s with the settings as they come:
15 for runs, 3 for those that have to be cancelled, the rest for what is below.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from agents.network.network import LAST_GRACE, AgentNetwork
from operations.background import Stop
from operations.guests import Guests
from operations.live import Live
from operations.settings import Settings
from operations.shutdown import Shutdown, Step, Tier
from operations.telemetry.aggregator import GRACE, Aggregator
from orchestration.loop.draining import drain_budget
from orchestration.loop.master import MasterLoop

PART_GRACE = 2.5  # seconds for agents, connections, and what works in the background
_AFTER_RUNS = 10.0  # seconds from when the last runs are cancelled to the end
_MARGIN = 0.5  # seconds that a step has beyond what it should take
_FORCED = 1.0  # seconds for what must be done even in a stop that is forced
_CURT = 0.3  # seconds for the project's own code in one


def stop_limit(settings: Settings) -> float:
    """Return how many seconds a stop takes at most."""
    runs = settings.drain_delay, settings.drain_grace, settings.drain_grace_critical
    return max(runs) + _AFTER_RUNS


def stop_runs(shutdown: Shutdown, loop: MasterLoop, live: Live, settings: Settings) -> None:
    """Have ``shutdown`` take the service out of the way, and let go of its runs and lookers."""

    async def close_intake() -> None:
        loop.close_intake()

    async def close_live() -> None:
        live.close()

    if delay := settings.drain_delay:
        shutdown.add(
            Step("readiness", Tier.READINESS, lambda: asyncio.sleep(delay), delay + _MARGIN)
        )
    shutdown.add(
        Step("intake", Tier.INTAKE, close_intake, _MARGIN),
        Step("runs", Tier.RUNS, loop.drain, drain_budget(loop.limits) + _MARGIN),
        Step("streams", Tier.STREAMS, loop.aclose, _MARGIN, forced=_FORCED),
        Step("live view", Tier.STREAMS, close_live, _MARGIN, forced=_FORCED),
    )


def stop_messages(shutdown: Shutdown, network: AgentNetwork) -> None:
    """Have ``shutdown`` end their delivery before the agents end, who then have all of their time.

    It goes on beside the runs, and has no time of its own.
    """
    if len(network):
        shutdown.add(Step("messages", Tier.RUNS, network.aclose, LAST_GRACE + _MARGIN))


def last_records(telemetry: Aggregator, tell: Callable[[], None], last: object) -> Step:
    """Return the step that writes down what was told, what ``tell`` tells, and ``last``."""

    async def close() -> None:
        tell()
        telemetry.emit(last)
        await telemetry.aclose()

    return Step("telemetry", Tier.RECORDS, close, GRACE + _MARGIN, forced=_FORCED)


def goodbyes(guests: Guests) -> Iterable[Step]:
    """Return the steps that close what the project has opened, which nobody uses by then.

    They go on beside the last records, and have no time of their own.
    """
    return [
        Step(name, Tier.RECORDS, close, PART_GRACE, forced=_CURT)
        for name, close in guests.closings.items()
    ]


@asynccontextmanager
async def beside(
    shutdown: Shutdown, **parts: AbstractAsyncContextManager[Stop]
) -> AsyncGenerator[None]:
    """Have ``parts`` work meanwhile; a stop that is in order ends them before, all at once."""
    async with AsyncExitStack() as stack:
        for name, part in parts.items():
            stop = await stack.enter_async_context(part)
            shutdown.add(Step(name.replace("_", " "), Tier.PARTS, stop, PART_GRACE))
        yield
