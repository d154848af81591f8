"""The store that graphs and clients share: ours, or the project's own."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from langchain_core.embeddings import Embeddings
from langgraph.store.base import BaseStore, TTLConfig

from operations.background import in_background
from operations.database import Database
from operations.guests import Guests
from orchestration.graphs.custom_store import open_custom_store
from orchestration.graphs.embedding import load_embeddings, release
from orchestration.graphs.manifest import Manifest
from orchestration.retention.sweeper import Sweeper
from orchestration.store.item_vectors import MeaningIndex
from orchestration.store.items import ItemStore

SWEEP_INTERVAL = 5.0  # minutes, unless store.ttl.sweep_interval_minutes says otherwise


@asynccontextmanager
async def open_shared_store(
    manifest: Manifest, database: Database, guests: Guests
) -> AsyncGenerator[BaseStore]:
    """Open the store that ``store`` of the manifest describes; what expires is swept meanwhile.

    One of the project's own is among ``guests`` of the service.

    Raises:
        ConfigurationError: what it names cannot be loaded, or is no such thing.
    """
    if manifest.store.path is not None:
        own = open_custom_store(manifest, manifest.store.path)
        async with guests.open("store", own) as custom:
            yield custom
        return
    embeddings = load_embeddings(manifest)
    items = _item_store(manifest, database, embeddings)
    minutes = manifest.store.ttl.sweep_interval_minutes or SWEEP_INTERVAL
    sweeper = Sweeper(items, "items", rest=minutes * 60)
    try:
        async with in_background(sweeper, "sweeper of items"):
            yield items
    finally:
        release(embeddings)


def _item_store(manifest: Manifest, database: Database, embeddings: Embeddings | None) -> ItemStore:
    section = manifest.store
    index = None
    if section.index is not None and embeddings is not None:
        index = MeaningIndex(embeddings, dims=section.index.dims, fields=section.index.fields)
    ttl: TTLConfig = {
        "refresh_on_read": section.ttl.refresh_on_read,
        "default_ttl": section.ttl.default_ttl,
    }
    return ItemStore(database, index=index, ttl=ttl)
