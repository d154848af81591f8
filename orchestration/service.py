"""The composition root: everything is opened, wired and closed here."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

from starlette.types import ASGIApp

from operations.background import Stop, held, in_background
from operations.clock import iso_now
from operations.settings import Settings
from operations.shutdown import Shutdown
from operations.status_file import StatusFile, last_words
from operations.telemetry.events import ServiceStopped
from operations.watchdog import Watchdog
from orchestration.api.answered import Answered
from orchestration.api.app import build_app, build_door
from orchestration.api.backend import Backend
from orchestration.api.conditions import shutdown_document
from orchestration.api.cron_runs import submit_cron_run
from orchestration.api.door import TurnAway
from orchestration.api.following import keep_events
from orchestration.api.ingress import BODIES, Bodies
from orchestration.api.meta import VERSION
from orchestration.api.operations import Operations
from orchestration.api.sse import Streams
from orchestration.commission import known, register_files
from orchestration.conditions import Conditions
from orchestration.core import Core, make_core
from orchestration.crons.timekeeper import Timekeeper
from orchestration.graphs.manifest import Manifest
from orchestration.graphs.states import ThreadStates
from orchestration.ground import DATABASE, Ground, open_ground
from orchestration.loop.master import MasterLoop
from orchestration.mcp.host import McpHost
from orchestration.retention.sweeper import Sweeper
from orchestration.retention.threads import ThreadSweeper
from orchestration.stopping import beside, goodbyes, last_records, stop_messages, stop_runs
from orchestration.store.crons import CronStore
from orchestration.store.events import EventStore, OldEvents
from orchestration.store.expiry import ExpiryStore
from orchestration.store.idempotency import KeyStore
from orchestration.store.message_log import MessageLog
from orchestration.store.threads import ThreadStore
from orchestration.telemetry.exposition import Exposition
from orchestration.telemetry.gauges import Gauges, Parts
from orchestration.telemetry.live import LiveView
from orchestration.telemetry.wiring import in_the_trail

__all__ = ["DATABASE", "Service", "open_service"]

STATUS = "status.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service that is open: its loop, and the application that faces clients.

    ``turn_away`` is asked before that: it answers what is not to be let in, and else nothing.
    ``give_up`` has the status file say that the service ended although its event loop went on.
    """

    loop: MasterLoop
    app: ASGIApp
    turn_away: TurnAway | None
    recovered: int
    shutdown: Shutdown
    give_up: Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operation:
    """How the service is watched, and stopped."""

    identity: Mapping[str, Any]
    shutdown: Shutdown
    answered: Answered
    watchdog: Watchdog
    messages: MessageLog
    streams: Streams
    conditions: Conditions
    exposition: Exposition
    status: StatusFile


@asynccontextmanager
async def open_service(
    manifest: Manifest, settings: Settings, opened: Callable[[], None] = lambda: None
) -> AsyncGenerator[Service]:
    """Open the service on its data folder; unfinished runs go on at once.

    ``opened`` is called when all is open that can fail, and before any run is taken up.

    Raises:
        ConfigurationError: a graph or the store cannot be loaded, or webhooks cannot be sent as
            configured.
        DatabaseInUse, DatabaseCorrupt, SchemaMismatch: the data folder cannot be used.
    """
    view = LiveView(
        lambda: core.loop.all_live(),  # noqa: PLW0108 - there is none yet
        lambda: core.agency.pools,
        lambda: operation.conditions.figures(),  # noqa: PLW0108 - as above
    )
    async with open_ground(manifest, settings, view) as ground:
        core = await make_core(ground)
        operation = _operation(ground, core)
        backend = await _backend(ground, core, operation)
        shutdown, loop = operation.shutdown, core.loop
        stop_runs(shutdown, loop, view.live, settings)
        stop_messages(shutdown, core.agency.network)
        shutdown.add(
            last_records(ground.telemetry, operation.answered.tell, ServiceStopped(None)),
            *goodbyes(ground.guests),
        )
        mcp = McpHost(backend)
        app = build_app(backend, ground.custom, mcp.paths)
        ground.inside.open(app, loop.live)
        # The project's own routes may answer at our paths: they see every request.
        turn_away = None if ground.custom else build_door(backend).refusal
        async with _open(ground, core, operation), operation.watchdog:
            opened()
            recovered = await _recover(backend)
            async with _working(ground, core, operation, backend, mcp):
                yield Service(
                    loop=loop,
                    app=app,
                    turn_away=turn_away,
                    recovered=recovered,
                    shutdown=shutdown,
                    give_up=partial(operation.status.write_now, "crashed", "EventLoopBlocked"),
                )


def _operation(ground: Ground, core: Core) -> _Operation:
    shutdown = Shutdown(lambda: ground.view.stopping(shutdown_document(shutdown)))
    watchdog, messages = Watchdog(ground.emit), MessageLog(ground.database)
    streams = Streams(ground.settings.keep_alive, ground.settings.send_timeout)
    parts = Parts(
        loop=core.loop,
        step_zombies=core.coordination.zombies,
        threads=core.threads,
        agents=core.agency.pools,
        crew=core.crew,
        telemetry=ground.telemetry,
        trail=ground.trail,
        database=ground.database,
        messages=messages,
        streams=streams,
        shutdown=shutdown,
    )
    ground.metrics.registry.register(Gauges(parts.read, asyncio.get_running_loop()))
    identity = {"version": VERSION, "pid": os.getpid(), "started_at": iso_now()}
    conditions = Conditions(parts, watchdog)
    status = ground.settings.data_dir / STATUS
    return _Operation(
        identity=identity,
        shutdown=shutdown,
        answered=Answered(ground.emit),
        watchdog=watchdog,
        messages=messages,
        streams=streams,
        conditions=conditions,
        exposition=Exposition(ground.metrics.text),
        status=StatusFile(status, lambda: {**identity, **conditions.figures()}),
    )


async def _backend(ground: Ground, core: Core, operation: _Operation) -> Backend:
    settings, database, graphs = ground.settings, ground.database, core.graphs
    pools, coordination = core.agency.pools, core.coordination
    crons = CronStore(database)
    timekeeper = Timekeeper(
        crons, lambda cron, firing: submit_cron_run(backend, cron, firing), rng=Random()
    )
    threads = ThreadStore(database, core.ttl)
    backend = Backend(
        settings=settings,
        bodies=Bodies(settings.max_body * BODIES),
        manifest=ground.manifest,
        graphs=graphs,
        loop=core.loop,
        runs=core.runs,
        threads=threads,
        assistants=core.assistants,
        events=EventStore(database),
        states=ThreadStates(graphs, core.runs.latest_on),
        checkpoints=core.saver,
        items=ground.items,
        deliveries=core.deliveries,
        crons=crons,
        timekeeper=timekeeper,
        sweeper=_thread_sweeper(ground, core, threads),
        keys=KeyStore(database),
        webhook_urls=ground.urls,
        checks=operation.conditions.checks(),
        shutdown=operation.shutdown,
        agents=pools,
        network=core.agency.network,
        messages=operation.messages,
        operations=Operations(
            identity=operation.identity,
            summary=ground.statistics.summary,
            activity=ground.view.activity,
            live=ground.view.live,
        ),
        decisions=coordination.advisor.history,
        experience=coordination.experience,
        known=lambda: known(pools, coordination.tools, graphs),
        workflows=await register_files(ground.manifest, core.assistants),
        emit=ground.emit,
        answered=operation.answered,
        metrics=operation.exposition,
        streams=operation.streams,
        authority=ground.authority,
    )
    return backend


def _thread_sweeper(ground: Ground, core: Core, threads: ThreadStore) -> ThreadSweeper:
    section = ground.manifest.checkpointer.ttl
    return ThreadSweeper(
        ExpiryStore(ground.database, threads.unfinished),
        core.saver,
        core.loop.hold,
        core.loop.gone,
        interval=section.sweep_interval_minutes * 60,
        limit=section.sweep_limit,
        default=core.ttl,
    )


async def _recover(backend: Backend) -> int:
    """Take up the runs that had not ended; return how many there are."""
    recovered = await backend.loop.recover()
    for run in backend.loop.all_live():  # none has started: nothing was awaited since
        keep_events(backend, run, recovered=True)
    return recovered


@asynccontextmanager
async def _open(ground: Ground, core: Core, operation: _Operation) -> AsyncGenerator[None]:
    """Open what runs need, and what is told of them; a start that fails here begins no run."""
    shutdown = operation.shutdown
    try:
        async with (
            last_words(operation.status),
            operation.exposition.listening(ground.settings.admin_port),
            in_the_trail(ground.telemetry),
            beside(
                shutdown,
                **_workers(core),
                webhooks=in_background(core.deliverer, "webhooks"),
                agents=held(core.agency.running(), "agents"),
                workflows=held(core.coordination.running(), "workflows"),
            ),
            _closing(core),
        ):
            yield
    finally:  # after a stop in order there is nothing left to tell
        operation.answered.tell()


@asynccontextmanager
async def _working(
    ground: Ground, core: Core, operation: _Operation, backend: Backend, mcp: McpHost
) -> AsyncGenerator[None]:
    """Let everything work meanwhile that works by itself."""
    async with beside(
        operation.shutdown,
        status_file=in_background(operation.status, "status file"),
        crons=in_background(backend.timekeeper, "crons"),
        threads=in_background(backend.sweeper, "sweeper of threads"),
        keys=in_background(Sweeper(backend.keys, "idempotency keys"), "sweeper of keys"),
        deliveries=in_background(
            Sweeper(core.deliveries, "deliveries of webhooks"), "sweeper of deliveries"
        ),
        mcp=in_background(mcp, "mcp"),
        **_forgetting(ground, core),
    ):
        yield


def _workers(core: Core) -> dict[str, AbstractAsyncContextManager[Stop]]:
    return {} if core.crew is None else {"workers": held(core.crew.running(), "workers")}


@asynccontextmanager
async def _closing(core: Core) -> AsyncGenerator[None]:
    """Close the loop on leaving. Left by an error, what works is charged with the crash."""
    try:
        yield
    except BaseException:
        await core.loop.aclose(crashed=True)
        raise
    finally:
        await core.loop.aclose()
        core.runs.write_all()
        core.threads.shutdown(wait=False, cancel_futures=True)


def _forgetting(ground: Ground, core: Core) -> dict[str, AbstractAsyncContextManager[Stop]]:
    """Return who forgets what has a time to live that the manifest names."""
    section = ground.manifest.masterloop
    sweepers: dict[str, AbstractAsyncContextManager[Stop]] = {}
    if (minutes := section.events_ttl) is not None:
        old = OldEvents(ground.database, timedelta(minutes=minutes))
        sweepers["events"] = in_background(Sweeper(old, "events"), "sweeper of events")
    if section.network.mailboxes:
        sweeper = Sweeper(core.mailboxes, "messages")
        sweepers["messages"] = in_background(sweeper, "sweeper of messages")
    return sweepers
