"""What a node of a graph is given: the agents and the mailboxes, as its run may use them."""

from contextlib import AbstractAsyncContextManager
from typing import Any

from agents.lease import Lease
from agents.network.message import DEFAULT_PRIORITY as MESSAGE_PRIORITY
from agents.network.message import Draft, Origin, Receipt
from agents.network.network import AgentNetwork
from agents.pool import DEFAULT_PRIORITY
from agents.pools import AgentPools
from agents.snapshot import PoolSnapshot


class AgentClient:
    """Leases agents and sends messages in the name of one run, or of an agent's task.

    A node finds it in its config, under ``configurable.masterloop``, and needs to import nothing.
    """

    def __init__(
        self,
        pools: AgentPools,
        network: AgentNetwork,
        origin: Origin,
        *,
        run_id: str | None = None,
        thread_id: str | None = None,
        priority: int = DEFAULT_PRIORITY,
    ) -> None:
        self._pools = pools
        self._network = network
        self._origin = origin
        self._run_id = run_id
        self._thread_id = thread_id
        self.priority = priority  # of the run

    def lease(
        self,
        capability: str,
        *,
        priority: int | None = None,
        wait: float | None = None,
        pool: str | None = None,
    ) -> AbstractAsyncContextManager[Lease]:
        """Return an agent for an ``async with`` block, as soon as one is free.

        ``capability`` may be the name of a pool whose agents can do one thing only, if nobody can
        do something of that name; ``pool`` is whose agent it has to be, any that can if None.
        ``priority`` is 0 (first) to 10, the run's own if None; ``wait`` is how many seconds to
        wait at most, for another one anew if the agent is lost; as long as the pool says if None.

        Raises:
            NotLeased: (on entering) there is none; its kinds say why.
        """
        return self._pools.lease(
            capability,
            pool=pool,
            priority=self.priority if priority is None else priority,
            wait=wait,
            thread_id=self._thread_id,
            run_id=self._run_id,
            origin=self._origin,
        )

    def able(self, capability: str) -> list[PoolSnapshot]:
        """Return what the pools show of themselves that are known to be able to do that."""
        return [pool.snapshot() for pool in self._pools if capability in (pool.capabilities or ())]

    async def send(
        self,
        content: Any,
        *,
        to: str | None = None,
        topic: str | None = None,
        message_id: str | None = None,
        priority: int = MESSAGE_PRIORITY,
        ttl: float | None = None,
        correlation_id: str | None = None,
    ) -> Receipt:
        """Send a message to the mailbox ``to``, or to all mailboxes of ``topic``.

        It is durable then, and delivered later. A node that may be done again gives a
        ``message_id``: of several with the same one, the first counts. ``ttl`` is seconds.

        Raises:
            MessageRefused, MailboxNotFound, MailboxFull: it was not sent.
        """
        draft = Draft(
            content=content,
            to=to,
            topic=topic,
            message_id=message_id,
            priority=priority,
            ttl=ttl,
            correlation_id=correlation_id,
        )
        return await self._network.send(draft, self._origin)
