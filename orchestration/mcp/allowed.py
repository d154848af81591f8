"""The names of assistants that ``masterloop.mcp`` has: which of them are nobody's."""

from collections.abc import Iterable
from contextlib import suppress

import structlog

from operations.errors import StorageUnavailable, nearest
from orchestration.api.backend import Backend
from orchestration.mcp.names import tool_name
from orchestration.store.assistants import AssistantQuery, default_assistant
from orchestration.store.bounded import SearchTooWide

_MOST = 1_000  # assistants that have a name within theirs, or are tools

_log = structlog.get_logger("masterloop")


async def warn_of_unknown(backend: Backend) -> None:
    """Log a warning of each name that no graph and no assistant has, nor the tool of one.

    It may be no mistake: assistants are made over the API too, and later.
    """
    section = backend.manifest.masterloop.mcp
    await _warn(backend, "assistants", section.assistants or ())
    await _warn(backend, "tasks", section.tasks)


async def _warn(backend: Backend, key: str, names: Iterable[str]) -> None:
    graphs = backend.manifest.graphs
    tools = None
    for name in names:
        with suppress(SearchTooWide, StorageUnavailable):  # then nobody can say
            if name in graphs or await _is_anybodys(backend, name):
                continue
            if key == "tasks" and name in (tools := tools or await _tools(backend)):
                continue
            _log.warning(
                f"masterloop.mcp.{key} names what is not there",
                name=name,
                hint=nearest(name, [*graphs, *backend.workflows]),
            )


async def _is_anybodys(backend: Backend, name: str) -> bool:
    if backend.assistants.get(name) is not None:
        return True
    found = await backend.assistants.search(AssistantQuery(name=name, limit=_MOST))
    return any(assistant.name == name for assistant in found)


async def _tools(backend: Backend) -> frozenset[str]:
    """Return what assistants are called as tools, beside those that are called like a graph."""
    query = AssistantQuery(limit=_MOST, descending=False)
    return frozenset(
        tool_name(one.graph_id if own else one.name, one.assistant_id, own=own)
        for one in await backend.assistants.search(query)
        for own in [one.assistant_id == default_assistant(one.graph_id)]
    )
