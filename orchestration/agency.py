"""The agents of a service and their network, as its configuration and its graphs make them."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from random import Random

import structlog

from agents.agent import Context
from agents.client import AgentClient
from agents.configuration import AnyPool, GraphPool
from agents.events import Emit, Event, SeatReady
from agents.groups import Groups
from agents.making import maker
from agents.network.message import Draft, Message, Origin, Receipt, sender_of
from agents.network.network import AgentNetwork
from agents.network.port import Mailboxes
from agents.pool import AgentPool
from agents.pools import AgentPools
from agents.provisioning import Make
from orchestration.api.auth.namespaces import namespace_of
from orchestration.graphs.agents import GraphAgent
from orchestration.graphs.manifest import Manifest
from orchestration.graphs.registry import GraphRegistry
from orchestration.graphs.users import namespace_for
from orchestration.loop.run import Run

_log = structlog.get_logger("masterloop")


class Agency:
    """The pools, their network, and what nodes are given to reach them."""

    def __init__(
        self,
        manifest: Manifest,
        graphs: GraphRegistry,
        mailboxes: Mailboxes,
        emit: Emit,
        groups: Groups,
    ) -> None:
        """Make the pools and mailboxes that the manifest names. Nothing runs yet.

        ``groups`` are the process groups of agents, and those that an earlier server has left.

        Raises:
            ConfigurationError: one cannot be made as configured.
        """
        self._manifest = manifest
        self._graphs = graphs
        self._emit = emit
        self._groups = groups
        self.network = AgentNetwork(
            manifest.masterloop.network, mailboxes, self._receive, emit=emit, rng=Random()
        )
        self.pools = AgentPools(
            {
                name: AgentPool(
                    name,
                    section,
                    self._maker(name, section),
                    self._heard,
                    Random(),
                    idle=self.network.somebody_is_idle,
                )
                for name, section in manifest.masterloop.agents.items()
            }
        )

    @property
    def client(self) -> Callable[[Run], AgentClient] | None:
        """What makes the client for the nodes of a run; None if there are no agents."""
        return self._client_of_run if len(self.pools) or len(self.network) else None

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Provision the pools and deliver messages meanwhile."""
        if left := await asyncio.to_thread(self._groups.end_left):
            _log.warning("ended what agents of a killed server had left", processes=left)
        async with self.pools.running(), self.network.running():
            yield

    def _heard(self, event: Event) -> None:
        self._emit(event)
        if isinstance(event, SeatReady):
            self.network.somebody_is_back()

    async def _receive(self, capability: str, message: Message) -> None:
        """Have an agent do a task that is the message; what it returns is its acknowledgement."""
        origin = _origin_of(message)
        async with self.pools.lease(capability, priority=message.priority, origin=origin) as agent:
            await agent.invoke(message.document())

    def _maker(self, name: str, section: AnyPool) -> Make:
        if isinstance(section, GraphPool):
            return lambda: GraphAgent(
                section, name, self._graphs, partial(self._client_of_task, name)
            )
        send = partial(self._send_for, name)
        return maker(name, section, self._manifest.folder, os.environ, send, groups=self._groups)

    def _client_of_run(self, run: Run) -> AgentClient:
        return AgentClient(
            self.pools,
            self.network,
            Origin(
                sender=sender_of(f"graph:{run.graph_id}", _owner(run)),
                metadata=run.metadata,
                namespace=namespace_for(run.principal),
                span=run.span,
            ),
            run_id=run.run_id,
            thread_id=run.thread_id,
            priority=run.priority,
        )

    def _client_of_task(self, pool: str, context: Context) -> AgentClient:
        return AgentClient(
            self.pools,
            self.network,
            _origin(pool, context),
            run_id=context.run_id,
            thread_id=context.thread_id,
        )

    async def _send_for(self, pool: str, draft: Draft, context: Context) -> Receipt:
        return await self.network.send(draft, _origin(pool, context))


def _origin_of(message: Message) -> Origin:
    """Return in whose name a message is received: its sender's."""
    origin = Origin(sender=message.sender, metadata=message.metadata, hops=message.hops)
    namespace = message.namespace
    if namespace is None and origin.owner is not None:
        # Stored when none was kept, maybe for somebody who shares the store. It must not be taken
        # for that: they see what is theirs alone.
        namespace = namespace_of(origin.owner)
    return replace(origin, namespace=namespace or ())


def _origin(pool: str, context: Context) -> Origin:
    """Return in whose name an agent sends: its pool's, for whoever its task is done for."""
    cause = context.origin or Origin(sender="")
    return replace(cause, sender=sender_of(f"agent:{pool}", cause.owner), span=context.span)


def _owner(run: Run) -> str | None:
    """Return whom the run is for, None if nobody was asked."""
    return None if run.principal is None else str(run.principal["user"]["identity"])
