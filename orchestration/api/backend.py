"""What the endpoints work with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from langgraph.store.base import BaseStore

from agents.network.network import AgentNetwork
from agents.pools import AgentPools
from coordinator.checking import Known
from coordinator.history import History
from operations.egress import UrlPolicy
from operations.health import Check
from operations.settings import Settings
from operations.shutdown import Shutdown
from orchestration.api.access import Authority
from orchestration.api.answered import Answered
from orchestration.api.events import Emit
from orchestration.api.ingress import Bodies
from orchestration.api.operations import Operations
from orchestration.api.sse import Streams
from orchestration.api.turns import Turns
from orchestration.crons.timekeeper import Timekeeper
from orchestration.graphs.manifest import Manifest
from orchestration.graphs.registry import GraphRegistry
from orchestration.graphs.states import ThreadStates
from orchestration.loop.master import MasterLoop
from orchestration.retention.threads import ThreadSweeper
from orchestration.store.assistants import AssistantStore, default_assistant
from orchestration.store.checkpoints import CheckpointSaver
from orchestration.store.crons import CronStore
from orchestration.store.deliveries import DeliveryStore
from orchestration.store.events import EventStore
from orchestration.store.experience import SqliteExperience
from orchestration.store.idempotency import KeyStore
from orchestration.store.message_log import MessageLog
from orchestration.store.runs import RunStore
from orchestration.store.threads import ThreadStore


class Metrics(Protocol):
    """Shows all metrics."""

    async def __call__(self, *, compressed: bool) -> bytes:
        """Return them as Prometheus reads them, in gzip if they are to be compressed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """The parts of the service that the API translates to."""

    settings: Settings
    manifest: Manifest
    graphs: GraphRegistry
    loop: MasterLoop
    runs: RunStore
    threads: ThreadStore
    assistants: AssistantStore
    events: EventStore
    states: ThreadStates
    checkpoints: CheckpointSaver
    items: BaseStore
    deliveries: DeliveryStore
    crons: CronStore
    timekeeper: Timekeeper
    sweeper: ThreadSweeper
    keys: KeyStore
    webhook_urls: UrlPolicy
    bodies: Bodies
    checks: Mapping[str, Check]  # of the parts, by name
    shutdown: Shutdown
    agents: AgentPools
    network: AgentNetwork
    messages: MessageLog
    decisions: History
    experience: SqliteExperience
    known: Callable[[], Known]
    workflows: Mapping[str, str]  # the assistants of those in files, by name
    emit: Emit
    answered: Answered
    metrics: Metrics
    operations: Operations
    streams: Streams
    authority: Authority | None = None
    turns: Turns = field(default_factory=Turns)

    def assistant_id(self, named: str) -> str:
        """Return the id of the assistant of a graph or a workflow of that name; or else the name.

        That is an id then, or nothing.
        """
        if named in self.graphs:
            return default_assistant(named)
        return self.workflows.get(named, named)
