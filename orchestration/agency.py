"""The pools of agents of a service, as its configuration and its graphs make them."""

import os
from collections.abc import Callable
from random import Random

from agents.agent import Context
from agents.client import AgentClient
from agents.configuration import AnyPool, GraphPool
from agents.events import Emit
from agents.making import maker
from agents.pool import AgentPool
from agents.pools import AgentPools
from agents.provisioning import Make
from orchestration.graphs.agents import GraphAgent
from orchestration.graphs.manifest import Manifest
from orchestration.graphs.registry import GraphRegistry
from orchestration.loop.run import Run


class Agency:
    """The pools, and what nodes are given to reach them. Nothing runs until the pools do."""

    def __init__(self, manifest: Manifest, graphs: GraphRegistry, emit: Emit) -> None:
        """Make the pools that the manifest names.

        Raises:
            ConfigurationError: one cannot be made as configured.
        """
        self._manifest = manifest
        self._graphs = graphs
        self.pools = AgentPools(
            {
                name: AgentPool(name, section, self._maker(name, section), emit, Random())
                for name, section in manifest.masterloop.agents.items()
            }
        )

    @property
    def client(self) -> Callable[[Run], AgentClient] | None:
        """What makes the client for the nodes of a run; None if there are no agents."""
        return self._client_of_run if len(self.pools) else None

    def _maker(self, name: str, section: AnyPool) -> Make:
        if isinstance(section, GraphPool):
            return lambda: GraphAgent(section, name, self._graphs, self._client_of_task)
        return maker(name, section, self._manifest.folder, os.environ)

    def _client_of_run(self, run: Run) -> AgentClient:
        return AgentClient(
            self.pools, run_id=run.run_id, thread_id=run.thread_id, priority=run.priority
        )

    def _client_of_task(self, context: Context) -> AgentClient:
        return AgentClient(self.pools, run_id=context.run_id, thread_id=context.thread_id)
