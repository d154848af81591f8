"""All pools of a service, by name and by what their agents can do."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self

from agents.errors import LeaseTimeout, PoolNotFound, UnknownCapability
from agents.lease import Lease
from agents.network.message import Origin
from agents.pool import DEFAULT_PRIORITY, AgentPool
from operations.errors import nearest


class AgentPools:
    """Finds the pool for a capability: of several, the one with the least to do."""

    def __init__(self, pools: Mapping[str, AgentPool]) -> None:
        self._pools = pools

    def __iter__(self) -> Iterator[AgentPool]:
        return iter(self._pools.values())

    def __len__(self) -> int:
        return len(self._pools)

    def __getitem__(self, name: str) -> AgentPool:
        """Return the pool of that name.

        Raises:
            PoolNotFound: there is none.
        """
        if name not in self._pools:
            raise PoolNotFound(name, nearest(name, self._pools))
        return self._pools[name]

    @asynccontextmanager
    async def lease(
        self,
        capability: str,
        *,
        priority: int = DEFAULT_PRIORITY,
        deadline: float | None = None,
        thread_id: str | None = None,
        run_id: str | None = None,
        origin: Origin | None = None,
    ) -> AsyncGenerator[Lease]:
        """Have an agent that can do ``capability`` for the block; see ``AgentPool.lease``."""
        pool = await self.find(capability, deadline)
        async with pool.lease(
            capability,
            priority=priority,
            deadline=deadline,
            thread_id=thread_id,
            run_id=run_id,
            origin=origin,
        ) as lease:
            yield lease

    async def find(self, capability: str, deadline: float | None = None) -> AgentPool:
        """Return the pool to lease an agent from that can do ``capability``.

        As long as no pool can, those that have not said yet what they can do are waited for.

        Raises:
            UnknownCapability: there is none.
            LeaseTimeout: some have still not said it.
        """
        began = asyncio.get_running_loop().time()
        while True:
            known = {pool: pool.capabilities for pool in self if pool.capabilities is not None}
            fitting = [pool for pool, names in known.items() if capability in names]
            if fitting:
                return min(fitting, key=lambda pool: pool.pressure)
            unknown = [pool for pool in self if pool not in known]
            if not unknown:
                hint = nearest(capability, {name for names in known.values() for name in names})
                raise UnknownCapability(capability, hint)
            await _learn(unknown, began, deadline)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Self]:
        """Provision all pools meanwhile, at the same time; in the end close them so, too."""
        async with AsyncExitStack() as stack:
            for pool in self:
                await stack.enter_async_context(pool.running())
            try:
                yield self
            finally:
                for pool in self:  # begins to; leaving the stack waits for the end
                    pool.close()


async def _learn(unknown: Sequence[AgentPool], began: float, deadline: float | None) -> None:
    """Return once one of the pools says what it can do."""
    now = asyncio.get_running_loop().time()
    if deadline is None:
        deadline = began + max(pool.lease_timeout for pool in unknown)
    known, _ = await asyncio.wait(
        {pool.known for pool in unknown},
        timeout=deadline - now,
        return_when=asyncio.FIRST_COMPLETED,
    )
    if not known:
        reason = unknown[0].snapshot().reason or "nobody knows yet what its agents can do"
        raise LeaseTimeout(unknown[0].name, deadline - began, reason)
