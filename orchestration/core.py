"""Who does the work of a service: its loop, and the graphs, agents and workflows around it."""

import asyncio
import os
from dataclasses import dataclass
from random import Random

from agents.groups import Groups
from coordinator.advisor import CauseOf
from operations.settings import Settings
from orchestration.agency import Agency
from orchestration.coordination import Coordination, cause
from orchestration.graphs.executor import LangGraphExecutor
from orchestration.graphs.manifest import Manifest
from orchestration.graphs.node_tasks import note_subgraph
from orchestration.graphs.node_threads import NodeThreads
from orchestration.graphs.registry import GraphRegistry, load_graphs
from orchestration.graphs.workflows import WORKFLOW, WorkflowSource
from orchestration.ground import Ground
from orchestration.loop.admission import Limits
from orchestration.loop.master import MasterLoop
from orchestration.processes.child import Orders
from orchestration.processes.crew import Crew
from orchestration.processes.executor import CrewExecutor
from orchestration.processes.lending import Stock
from orchestration.store.assistants import AssistantStore, default_assistant
from orchestration.store.checkpoints import CheckpointSaver
from orchestration.store.deliveries import DeliveryStore
from orchestration.store.messages import MessageStore
from orchestration.store.runs import RunStore
from orchestration.store.ttl import Ttl
from orchestration.store.unwritten_threads import UnwrittenThreads
from orchestration.telemetry.manifested_runs import ManifestedRuns
from orchestration.telemetry.wiring import restrict_without, steps_watch
from orchestration.webhooks.configuration import headers
from orchestration.webhooks.deliverer import Deliverer
from orchestration.webhooks.signature import Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """The parts that work on runs. None of them has begun."""

    saver: CheckpointSaver
    graphs: GraphRegistry
    assistants: AssistantStore
    threads: NodeThreads
    mailboxes: MessageStore
    agency: Agency
    coordination: Coordination
    deliveries: DeliveryStore
    deliverer: Deliverer
    ttl: Ttl | None  # of threads
    runs: RunStore
    crew: Crew | None  # the worker processes; None if graphs run in this one
    loop: MasterLoop


async def make_core(ground: Ground) -> Core:
    """Load the graphs, and make what works on their runs.

    Raises:
        ConfigurationError: a graph, a tool or an agent cannot be made as configured.
    """
    manifest, settings, database = ground.manifest, ground.settings, ground.database
    unwritten = UnwrittenThreads(database)
    allowed = manifest.checkpointer.serde.allowed_types
    saver = CheckpointSaver(database, unwritten, allowed_types=allowed, on_subgraph=note_subgraph)
    graphs = await load_graphs(manifest, checkpointer=saver, store=ground.items)
    mailboxes = MessageStore(database, manifest.masterloop.network)
    groups = Groups(settings.data_dir / "agents")
    agency = Agency(manifest, graphs, mailboxes, ground.emit, groups)
    threads = _node_threads(settings)
    assistants = AssistantStore(database)
    await _name_graphs(graphs, assistants)
    deliveries = DeliveryStore(database)
    deliverer = _deliverer(ground, deliveries)
    ttl = _thread_ttl(manifest)
    runs = _runs(ground, saver, deliverer, ttl, unwritten)
    coordination = _coordination(ground, lambda run_id: cause(loop.live(run_id)))
    await coordination.remember()
    graphs.add(WORKFLOW, _workflows(ground, graphs, coordination, runs))
    watch = steps_watch(ground.telemetry, kept=ground.manifests is not None)
    here = LangGraphExecutor(graphs, saver.fence, agency.client, watch)
    crew = _crew(ground, saver, agency, steps=watch is not None) if settings.workers else None
    limits = limits_of(manifest, settings)
    executor = here if crew is None else CrewExecutor(crew, here, graphs.names)
    loop = MasterLoop(runs, executor, limits, ground.telemetry.emit, Random())
    if crew is not None:
        crew.tell(lambda ready: loop.enable(able=ready))
    restrict_without(ground.trail, loop)
    return Core(
        saver=saver,
        graphs=graphs,
        assistants=assistants,
        threads=threads,
        mailboxes=mailboxes,
        agency=agency,
        coordination=coordination,
        deliveries=deliveries,
        deliverer=deliverer,
        ttl=ttl,
        runs=runs,
        crew=crew,
        loop=loop,
    )


def _crew(ground: Ground, saver: CheckpointSaver, agency: Agency, *, steps: bool) -> Crew:
    """Make the worker processes, with all that they may ask of the server."""
    settings, items = ground.settings, ground.items
    orders = Orders(
        manifest=str(ground.manifest.file.resolve()),
        log_level=settings.log_level,
        log_json=settings.log_format != "console",
        max_concurrent_runs=settings.max_concurrent_runs,
        agents=agency.client is not None,
        steps=steps,
        outputs=ground.manifests is not None,
        store_ttl=items.supports_ttl,
        store_ttl_config=items.ttl_config,
    )
    stock = Stock(checkpoints=saver.rows, items=items, agents=agency.client)
    return Crew(
        settings.workers,
        orders,
        stock,
        ground.emit,
        patience=settings.worker_timeout,
        rng=Random(),
    )


def _node_threads(settings: Settings) -> NodeThreads:
    """Have sync nodes run in as many threads as there are slots, and as many more left behind."""
    most = settings.max_concurrent_runs
    threads = NodeThreads(most, abandoned_limit=most)
    asyncio.get_running_loop().set_default_executor(threads)
    return threads


async def _name_graphs(graphs: GraphRegistry, assistants: AssistantStore) -> None:
    """Give every graph the assistant that it has by itself."""
    for name in graphs.names:
        assistant_id = default_assistant(name)
        if assistants.get(assistant_id) is None:
            fields = {
                "graph_id": name,
                "name": name,
                "description": graphs.description(name),
                "metadata": {"created_by": "system"},
            }
            await assistants.create(assistant_id, fields)


def _deliverer(ground: Ground, deliveries: DeliveryStore) -> Deliverer:
    secret = ground.settings.webhook_secret
    return Deliverer(
        deliveries,
        ground.outbound,
        headers=headers(ground.manifest, os.environ),
        signer=None if secret is None else Signer(secret.get_secret_value()),
        rng=Random(),
    )


def _thread_ttl(manifest: Manifest) -> Ttl | None:
    """Return how long a thread lives that is not told; for ever, unless the manifest says."""
    section = manifest.checkpointer.ttl
    return None if section.default_ttl is None else Ttl(section.default_ttl, section.strategy)


def _runs(
    ground: Ground,
    saver: CheckpointSaver,
    deliverer: Deliverer,
    ttl: Ttl | None,
    threads: UnwrittenThreads,
) -> RunStore:
    tell = None if ground.manifest.http.disable_webhooks else deliverer.expect
    rows = saver.rows
    known = ground.database, tell, ttl, rows.begin, rows.forget
    if ground.manifests is None:
        return RunStore(*known, threads=threads)
    return ManifestedRuns(ground.manifests, *known, threads=threads)


def _coordination(ground: Ground, cause_of: CauseOf) -> Coordination:
    grace = ground.settings.cancel_grace
    return Coordination(ground.manifest, ground.database, ground.emit, cause_of, grace)


def _workflows(
    ground: Ground, graphs: GraphRegistry, coordination: Coordination, runs: RunStore
) -> WorkflowSource:
    return WorkflowSource(
        graphs,
        coordination.advisor,
        ground.emit,
        tools=coordination.tools,
        zombies=coordination.zombies,
        kept=runs.workflow_on,
    )


def limits_of(manifest: Manifest, settings: Settings) -> Limits:
    """Return the limits of the loop, those of single assistants included."""
    named = manifest.masterloop.assistants.items()
    return Limits(
        concurrent_runs=settings.max_concurrent_runs,
        queue_capacity=settings.queue_capacity,
        ageing=settings.ageing,
        cancel_grace=settings.cancel_grace,
        drain_grace=max(0.0, settings.drain_grace - settings.drain_delay),
        drain_grace_critical=max(0.0, settings.drain_grace_critical - settings.drain_delay),
        crash_limit=settings.crash_limit,
        run_timeout=settings.run_timeout,
        submit_rate=settings.submit_rate,
        runs_per_assistant=settings.runs_per_assistant,
        runs_per_tenant=settings.runs_per_tenant,
        assistant_runs={
            name: one.max_concurrent_runs for name, one in named if one.max_concurrent_runs
        },
        assistant_timeouts={name: one.timeout for name, one in named if one.timeout},
    )
