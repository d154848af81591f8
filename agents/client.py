"""What a node of a graph is given: the agents, as its run may use them."""

import asyncio
from contextlib import AbstractAsyncContextManager

from agents.lease import Lease
from agents.pool import DEFAULT_PRIORITY
from agents.pools import AgentPools


class AgentClient:
    """Leases agents in the name of one run.

    A node finds it in its config, under ``configurable.masterloop``, and needs to import nothing.
    """

    def __init__(
        self,
        pools: AgentPools,
        *,
        run_id: str | None = None,
        thread_id: str | None = None,
        priority: int = DEFAULT_PRIORITY,
    ) -> None:
        self._pools = pools
        self._run_id = run_id
        self._thread_id = thread_id
        self._priority = priority

    def lease(
        self, capability: str, *, priority: int | None = None, wait: float | None = None
    ) -> AbstractAsyncContextManager[Lease]:
        """Return an agent for an ``async with`` block, as soon as one is free.

        ``priority`` is 0 (first) to 10, the run's own if None; ``wait`` is how many seconds to
        wait at most, as long as the pool says if None.

        Raises:
            NotLeased: (on entering) there is none; its kinds say why.
        """
        return self._pools.lease(
            capability,
            priority=self._priority if priority is None else priority,
            deadline=None if wait is None else asyncio.get_running_loop().time() + wait,
            thread_id=self._thread_id,
            run_id=self._run_id,
        )
