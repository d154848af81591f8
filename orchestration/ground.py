"""What a service stands on: its files, its connections, and what it tells of itself."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from langgraph.store.base import BaseStore

from operations.database import Database, open_database
from operations.egress import UrlPolicy
from operations.guests import Guests
from operations.migrations import load_migrations
from operations.outbound import Outbound
from operations.settings import Settings
from operations.telemetry.aggregator import Aggregator
from operations.telemetry.trail import FOLDER, Trail
from orchestration.api.access import Authority
from orchestration.api.auth.opening import open_authority
from orchestration.api.custom import CustomRoutes, open_custom_routes
from orchestration.api.loopback import Loopback
from orchestration.graphs.manifest import Manifest
from orchestration.graphs.namesakes import hidden
from orchestration.graphs.node_tasks import contain_exits
from orchestration.graphs.sdk import found_by_clients
from orchestration.loop.events import harmless
from orchestration.shared_store import open_shared_store
from orchestration.stopping import PART_GRACE
from orchestration.store import migrations
from orchestration.telemetry.live import LiveView
from orchestration.telemetry.manifests import Manifests, open_manifests
from orchestration.telemetry.metrics import Metrics
from orchestration.telemetry.statistics import RunStatistics
from orchestration.telemetry.wiring import open_telemetry
from orchestration.webhooks.configuration import url_policy

DATABASE = "masterloop.db"
STATISTICS = "run-statistics.json"

_log = structlog.get_logger("masterloop")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What is open for as long as the service is."""

    manifest: Manifest
    settings: Settings
    database: Database
    manifests: Manifests | None
    telemetry: Aggregator
    trail: Trail
    metrics: Metrics
    statistics: RunStatistics
    view: LiveView
    items: BaseStore
    urls: UrlPolicy
    outbound: Outbound
    authority: Authority | None
    custom: CustomRoutes | None
    guests: Guests
    inside: Loopback

    @property
    def emit(self) -> Callable[[Any], None]:
        """What tells of an event, and never raises."""
        return harmless(self.telemetry.emit)


@asynccontextmanager
async def open_ground(
    manifest: Manifest, settings: Settings, view: LiveView
) -> AsyncGenerator[Ground]:
    """Open the data folder and all that the manifest names; ``view`` is shown what is told.

    Raises:
        ConfigurationError: something cannot be opened as configured.
        DatabaseInUse, DatabaseCorrupt, SchemaMismatch: the data folder cannot be used.
    """
    folder, urls = settings.data_dir, url_policy(manifest)
    statistics, metrics = RunStatistics(folder / STATISTICS), Metrics()
    trail = Trail(folder / FOLDER, total=settings.audit_size)
    guests = Guests(PART_GRACE)
    contain_exits(asyncio.get_running_loop())
    async with (
        found_by_clients(Loopback(manifest.http.mount_prefix)) as inside,
        open_database(folder / DATABASE, load_migrations(migrations.__name__)) as database,
        open_manifests(manifest, database) as manifests,
        open_telemetry(
            manifest,
            trail,
            metrics,
            *([manifests] if manifests else []),
            writers=[statistics],
            counters=[view],
        ) as telemetry,
        open_shared_store(manifest, database, guests) as items,
        aclosing(Outbound(urls)) as outbound,
        open_authority(manifest, settings) as authority,
        open_custom_routes(manifest, authority, guests) as custom,
    ):
        _warn_of_ignored(manifest)
        yield Ground(
            manifest=manifest,
            settings=settings,
            database=database,
            manifests=manifests,
            telemetry=telemetry,
            trail=trail,
            metrics=metrics,
            statistics=statistics,
            view=view,
            items=items,
            urls=urls,
            outbound=outbound,
            authority=authority,
            custom=custom,
            guests=guests,
            inside=inside,
        )


def _warn_of_ignored(manifest: Manifest) -> None:
    if manifest.ignored:
        _log.warning("nothing is done with some keys of langgraph.json", keys=manifest.ignored)
    if found := hidden(manifest.import_folders):
        event = "some modules cannot be imported: the service has others of their names"
        _log.warning(event, modules=[str(module) for module in found])
