"""All pools of a service, by name and by what their agents can do."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self

from agents.errors import LeaseTimeout, PoolClosed, PoolNotFound, UnknownCapability
from agents.lease import Lease
from agents.network.message import Origin
from agents.pool import DEFAULT_PRIORITY, AgentPool
from operations.errors import nearest


class AgentPools:
    """Finds the pool for a capability: of several that lend, the one with the least to do."""

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
        pool: str | None = None,
        priority: int = DEFAULT_PRIORITY,
        wait: float | None = None,
        thread_id: str | None = None,
        run_id: str | None = None,
        origin: Origin | None = None,
    ) -> AsyncGenerator[Lease]:
        """Have an agent that can do ``capability`` for the block; see ``AgentPool.lease``.

        It is one of the ``pool`` of that name, or of any; ``capability`` can name a pool, see
        ``meant``.
        """
        deadline = None if wait is None else asyncio.get_running_loop().time() + wait
        if pool is None:
            lender, capability = await self.meant(capability, deadline)
        else:
            lender = self[pool]
        async with lender.lease(
            capability,
            priority=priority,
            wait=wait,
            deadline=deadline,
            thread_id=thread_id,
            run_id=run_id,
            origin=origin,
        ) as lease:
            yield lease

    async def meant(self, name: str, deadline: float | None = None) -> tuple[AgentPool, str]:
        """Return the pool to lease an agent from, and what for.

        ``name`` is a capability; or else a pool, whose agents can do it or one thing only.

        Raises:
            UnknownCapability, LeaseTimeout, PoolClosed: as ``find`` does.
        """
        pool = self._pools.get(name)
        if pool is None or any(name in (other.capabilities or ()) for other in self):
            return await self.find(name, deadline), name
        if pool.capabilities is None and pool.lending:
            await _learn([pool], asyncio.get_running_loop().time(), deadline)
        if pool.capabilities is None:
            raise PoolClosed(pool.name)
        abilities = sorted(pool.capabilities)
        if name in abilities:
            return pool, name
        if len(abilities) != 1:
            raise UnknownCapability(name, f"The pool of that name can do: {', '.join(abilities)}.")
        return pool, abilities[0]

    async def find(self, capability: str, deadline: float | None = None) -> AgentPool:
        """Return the pool to lease an agent from that can do ``capability``.

        As long as no pool can, those that lend and have not said yet what they can do are waited
        for.

        Raises:
            UnknownCapability: there is none.
            LeaseTimeout: some have still not said it.
            PoolClosed: one was drained before it could.
        """
        began = asyncio.get_running_loop().time()
        while True:
            known = {pool: pool.capabilities for pool in self if pool.capabilities is not None}
            fitting = [pool for pool, names in known.items() if capability in names]
            if fitting:
                lending = [pool for pool in fitting if pool.lending]
                return min(lending or fitting, key=lambda pool: pool.pressure)
            unknown = [pool for pool in self if pool not in known]
            if not unknown:
                hint = nearest(capability, {name for names in known.values() for name in names})
                raise UnknownCapability(capability, hint)
            learning = [pool for pool in unknown if pool.lending]
            if not learning:
                raise PoolClosed(unknown[0].name)
            await _learn(learning, began, deadline)

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
    """Return once one of the pools says what it can do, or is drained."""
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
