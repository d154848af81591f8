"""The composition root: everything is opened, wired and closed here."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import (
    AbstractAsyncContextManager,
    aclosing,
    asynccontextmanager,
)
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random

from starlette.types import ASGIApp

from operations.background import Stop, held, in_background
from operations.clock import iso_now
from operations.database import Database, open_database
from operations.migrations import load_migrations
from operations.outbound import Outbound
from operations.settings import Settings
from operations.shutdown import Shutdown
from operations.status_file import StatusFile, last_words
from operations.telemetry.events import ServiceStopped
from operations.telemetry.trail import FOLDER, Trail
from operations.watchdog import Watchdog
from orchestration.agency import Agency
from orchestration.api.app import build_app
from orchestration.api.auth.opening import open_authority
from orchestration.api.backend import Backend
from orchestration.api.conditions import shutdown_document
from orchestration.api.cron_runs import submit_cron_run
from orchestration.api.custom import open_custom_routes
from orchestration.api.following import keep_events
from orchestration.api.ingress import BODIES, Bodies
from orchestration.api.meta import VERSION
from orchestration.api.operations import Operations
from orchestration.api.submission import default_assistant
from orchestration.commission import known, register_files
from orchestration.conditions import Conditions
from orchestration.coordination import Coordination, cause
from orchestration.crons.timekeeper import Timekeeper
from orchestration.graphs.executor import LangGraphExecutor
from orchestration.graphs.manifest import Manifest
from orchestration.graphs.node_tasks import contain_exits
from orchestration.graphs.node_threads import NodeThreads
from orchestration.graphs.registry import GraphRegistry, load_graphs
from orchestration.graphs.states import ThreadStates
from orchestration.graphs.workflows import WORKFLOW, WorkflowSource
from orchestration.loop.admission import Limits
from orchestration.loop.events import harmless
from orchestration.loop.master import MasterLoop
from orchestration.mcp.host import McpHost
from orchestration.retention.sweeper import Sweeper
from orchestration.retention.threads import ThreadSweeper
from orchestration.shared_store import open_shared_store
from orchestration.stopping import beside, last_records, stop_runs
from orchestration.store import migrations
from orchestration.store.assistants import AssistantStore
from orchestration.store.checkpoints import CheckpointSaver
from orchestration.store.crons import CronStore
from orchestration.store.deliveries import DeliveryStore
from orchestration.store.events import EventStore, OldEvents
from orchestration.store.expiry import ExpiryStore
from orchestration.store.idempotency import KeyStore
from orchestration.store.message_log import MessageLog
from orchestration.store.messages import MessageStore
from orchestration.store.runs import RunStore
from orchestration.store.threads import ThreadStore
from orchestration.store.ttl import Ttl
from orchestration.telemetry.exposition import Exposition
from orchestration.telemetry.gauges import Gauges, Parts
from orchestration.telemetry.live import LiveView
from orchestration.telemetry.manifested_runs import ManifestedRuns
from orchestration.telemetry.manifests import Manifests, open_manifests
from orchestration.telemetry.metrics import Metrics
from orchestration.telemetry.statistics import RunStatistics
from orchestration.telemetry.wiring import (
    aggregator,
    in_the_trail,
    restrict_without,
    steps_watch,
)
from orchestration.webhooks.configuration import headers, url_policy
from orchestration.webhooks.deliverer import Deliverer
from orchestration.webhooks.signature import Signer

DATABASE = "masterloop.db"
STATISTICS = "run-statistics.json"
STATUS = "status.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service that is open: its loop, and the application that faces clients."""

    loop: MasterLoop
    app: ASGIApp
    recovered: int
    shutdown: Shutdown


@asynccontextmanager
async def open_service(manifest: Manifest, settings: Settings) -> AsyncGenerator[Service]:
    """Open the service on its data folder; unfinished runs go on at once.

    Raises:
        ConfigurationError: a graph or the store cannot be loaded, or webhooks cannot be sent as
            configured.
        DatabaseInUse, DatabaseCorrupt, SchemaMismatch: the data folder cannot be used.
    """
    folder: Path = settings.data_dir
    urls = url_policy(manifest)
    view = LiveView(
        lambda: loop.all_live(),  # noqa: PLW0108 - there is none yet
        lambda: agency.pools,
        lambda: conditions.figures(),  # noqa: PLW0108 - as above
    )
    statistics = RunStatistics(folder / STATISTICS)
    metrics = Metrics()
    trail = Trail(folder / FOLDER, total=settings.audit_size)
    async with (
        open_database(folder / DATABASE, load_migrations(migrations.__name__)) as database,
        open_manifests(manifest, database) as manifests,
        aggregator(
            manifest, trail, metrics, statistics, view, *([manifests] if manifests else [])
        ) as telemetry,
        open_shared_store(manifest, database) as items,
        aclosing(Outbound(urls)) as outbound,
        open_authority(manifest, settings) as authority,
        open_custom_routes(manifest, authority) as custom,
    ):
        saver = CheckpointSaver(database)
        graphs = await load_graphs(manifest, checkpointer=saver, store=items)
        contain_exits(asyncio.get_running_loop())
        watchdog = Watchdog(harmless(telemetry.emit))
        shutdown = Shutdown(lambda: view.stopping(shutdown_document(shutdown)))
        mailboxes = MessageStore(database, manifest.masterloop.network)
        agency = Agency(manifest, graphs, mailboxes, harmless(telemetry.emit))
        threads = _node_threads(settings)
        assistants = AssistantStore(database)
        await _name_graphs(graphs, assistants)
        limits = _limits(manifest, settings)
        deliveries = DeliveryStore(database)
        deliverer = _deliverer(manifest, settings, deliveries, outbound)
        ttl = _thread_ttl(manifest)
        wake = None if manifest.http.disable_webhooks else deliverer.wake
        runs = _runs(manifests, database, wake, ttl)
        coordination = Coordination(
            manifest, database, harmless(telemetry.emit), lambda run_id: cause(loop.live(run_id))
        )
        await coordination.remember()
        workflows = WorkflowSource(
            graphs,
            coordination.advisor,
            harmless(telemetry.emit),
            tools=coordination.tools,
            kept=runs.workflow_on,
        )
        graphs.add(WORKFLOW, workflows)
        loop = MasterLoop(
            runs,
            LangGraphExecutor(
                graphs,
                saver.fence,
                agency.client,
                steps_watch(telemetry, kept=manifests is not None),
            ),
            limits,
            telemetry.emit,
            Random(),
        )
        parts = Parts(
            loop=loop,
            limits=limits,
            threads=threads,
            agents=agency.pools,
            telemetry=telemetry,
            trail=trail,
        )
        restrict_without(trail, loop)
        metrics.registry.register(Gauges(parts.read, asyncio.get_running_loop()))
        exposition = Exposition(metrics.registry)
        conditions = Conditions(
            shutdown=shutdown,
            loop=loop,
            database=database,
            threads=threads,
            pools=agency.pools,
            watchdog=watchdog,
        )
        crons = CronStore(database)
        timekeeper = Timekeeper(
            crons, lambda cron, firing: submit_cron_run(backend, cron, firing), rng=Random()
        )
        section = manifest.checkpointer.ttl
        sweeper = ThreadSweeper(
            ExpiryStore(database),
            saver,
            loop.hold,
            loop.gone,
            interval=section.sweep_interval_minutes * 60,
            limit=section.sweep_limit,
            default=ttl,
        )
        identity = {"version": VERSION, "pid": os.getpid(), "started_at": iso_now()}
        backend = Backend(
            settings=settings,
            bodies=Bodies(settings.max_body * BODIES),
            manifest=manifest,
            graphs=graphs,
            loop=loop,
            runs=runs,
            threads=ThreadStore(database, ttl),
            assistants=assistants,
            events=EventStore(database),
            states=ThreadStates(graphs),
            checkpoints=saver,
            items=items,
            deliveries=deliveries,
            crons=crons,
            timekeeper=timekeeper,
            sweeper=sweeper,
            keys=KeyStore(database),
            webhook_urls=urls,
            health=conditions.health(),
            shutdown=shutdown,
            agents=agency.pools,
            network=agency.network,
            messages=MessageLog(database),
            operations=Operations(
                identity=identity,
                summary=statistics.summary,
                activity=view.activity,
                live=view.live,
            ),
            decisions=coordination.advisor.history,
            experience=coordination.experience,
            known=lambda: known(agency.pools, coordination.tools, graphs),
            workflows=await register_files(manifest, assistants),
            emit=harmless(telemetry.emit),
            metrics=exposition,
            authority=authority,
        )
        recovered = await _recover(backend)
        stop_runs(shutdown, loop, view.live, settings)
        shutdown.add(last_records(telemetry, ServiceStopped(None)))
        status = StatusFile(folder / STATUS, lambda: {**identity, **conditions.figures()})
        mcp = McpHost(backend)
        async with (
            last_words(status),
            exposition.listening(settings.admin_port),
            in_the_trail(telemetry),
            beside(
                shutdown,
                webhooks=in_background(deliverer, "webhooks"),
                agents=held(agency.running(), "agents"),
                workflows=held(coordination.running(), "workflows"),
            ),
            _closing(loop, runs, threads),
            beside(
                shutdown,
                status_file=in_background(status, "status file"),
                crons=in_background(timekeeper, "crons"),
                threads=in_background(sweeper, "sweeper of threads"),
                keys=in_background(Sweeper(backend.keys, "idempotency keys"), "sweeper of keys"),
                **_forgetting(manifest, database, mailboxes),
            ),
        ):
            app = build_app(backend, custom, mcp.paths)
            async with in_background(mcp, "mcp"), watchdog:
                yield Service(loop=loop, app=app, recovered=recovered, shutdown=shutdown)


@asynccontextmanager
async def _closing(loop: MasterLoop, runs: RunStore, threads: NodeThreads) -> AsyncGenerator[None]:
    """Close the loop on leaving. Left by an error, what works is charged with the crash."""
    try:
        yield
    except BaseException:
        await loop.aclose(crashed=True)
        raise
    finally:
        await loop.aclose()
        runs.write_all()
        threads.shutdown(wait=False, cancel_futures=True)


def _forgetting(
    manifest: Manifest, database: Database, mailboxes: MessageStore
) -> dict[str, AbstractAsyncContextManager[Stop]]:
    """Return who forgets what has a time to live that the manifest names."""
    sweepers: dict[str, AbstractAsyncContextManager[Stop]] = {}
    if (minutes := manifest.masterloop.events_ttl) is not None:
        old = OldEvents(database, timedelta(minutes=minutes))
        sweepers["events"] = in_background(Sweeper(old, "events"), "sweeper of events")
    if manifest.masterloop.network.mailboxes:
        sweeper = Sweeper(mailboxes, "messages")
        sweepers["messages"] = in_background(sweeper, "sweeper of messages")
    return sweepers


def _runs(
    manifests: Manifests | None,
    database: Database,
    tell: Callable[[], None] | None,
    ttl: Ttl | None,
) -> RunStore:
    if manifests is None:
        return RunStore(database, tell, ttl)
    return ManifestedRuns(manifests, database, tell, ttl)


def _thread_ttl(manifest: Manifest) -> Ttl | None:
    """Return how long a thread lives that is not told; for ever, unless the manifest says."""
    section = manifest.checkpointer.ttl
    return None if section.default_ttl is None else Ttl(section.default_ttl, section.strategy)


def _node_threads(settings: Settings) -> NodeThreads:
    """Have sync nodes run in as many threads as there are slots, and as many more left behind."""
    most = settings.max_concurrent_runs
    threads = NodeThreads(most, abandoned_limit=most)
    asyncio.get_running_loop().set_default_executor(threads)
    return threads


async def _recover(backend: Backend) -> int:
    """Take up the runs that had not ended; return how many there are."""
    recovered = await backend.loop.recover()
    for run in backend.loop.all_live():  # none has started: nothing was awaited since
        keep_events(backend, run, recovered=True)
    return recovered


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


def _deliverer(
    manifest: Manifest, settings: Settings, deliveries: DeliveryStore, outbound: Outbound
) -> Deliverer:
    secret = settings.webhook_secret
    return Deliverer(
        deliveries,
        outbound,
        headers=headers(manifest, os.environ),
        signer=None if secret is None else Signer(secret.get_secret_value()),
        rng=Random(),
    )


def _limits(manifest: Manifest, settings: Settings) -> Limits:
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
