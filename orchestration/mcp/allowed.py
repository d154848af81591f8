"""The allow-list of tools, ``masterloop.mcp.assistants``: which of its names are nobody's."""

from contextlib import suppress

import structlog

from operations.errors import StorageUnavailable, nearest
from orchestration.api.backend import Backend
from orchestration.store.assistants import AssistantQuery
from orchestration.store.bounded import SearchTooWide

_MOST = 1_000  # assistants that have a name within theirs

_log = structlog.get_logger("masterloop")


async def warn_of_unknown(backend: Backend) -> None:
    """Log a warning of each name that no graph and no assistant has.

    It may be no mistake: assistants are made over the API too, and later.
    """
    graphs = backend.manifest.graphs
    for name in backend.manifest.masterloop.mcp.assistants or ():
        with suppress(SearchTooWide, StorageUnavailable):  # then nobody can say
            if name not in graphs and not await _is_anybodys(backend, name):
                _log.warning(
                    "masterloop.mcp.assistants names what is not there",
                    name=name,
                    hint=nearest(name, [*graphs, *backend.workflows]),
                )


async def _is_anybodys(backend: Backend, name: str) -> bool:
    if backend.assistants.get(name) is not None:
        return True
    found = await backend.assistants.search(AssistantQuery(name=name, limit=_MOST))
    return any(assistant.name == name for assistant in found)
