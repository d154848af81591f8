"""Resources: runs, threads, and the graphs of assistants as Mermaid."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import mcp_types as wire
import orjson
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS

from orchestration.api.assistants import open_graph
from orchestration.api.documents import thread_document
from orchestration.api.endpoint import Call
from orchestration.api.own_runs import run_row
from orchestration.api.problems import Problem
from orchestration.api.submission import find_assistant
from orchestration.api.threads import thread_row
from orchestration.graphs.registry import GraphNotMade
from orchestration.loop.errors import ThreadNotFound
from orchestration.mcp.catalogue import Catalogue
from orchestration.mcp.views import whole_view
from orchestration.mcp.visit import Context, visit_of

JSON, MERMAID = "application/json", "text/vnd.mermaid"
_PAGE = 100  # resources
_TEMPLATES = [
    wire.ResourceTemplate(
        uri_template="run://{run_id}",
        name="run",
        description="A run: its status, what it asks, what came of it.",
        mime_type=JSON,
    ),
    wire.ResourceTemplate(
        uri_template="thread://{thread_id}",
        name="thread",
        description="A thread: its values and what it waits for.",
        mime_type=JSON,
    ),
    wire.ResourceTemplate(
        uri_template="assistant://{assistant_id}/graph",
        name="graph",
        description="The graph of an assistant, drawn in Mermaid.",
        mime_type=MERMAID,
    ),
]


class Resources:
    """Answers what concerns resources. The graphs are listed; runs and threads have templates."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._readers: dict[str, tuple[str, Callable[[Call, str], Awaitable[str]]]] = {
            "run": (JSON, _run),
            "thread": (JSON, _thread),
            "assistant": (MERMAID, _graph),
        }

    async def list(
        self, ctx: Context, params: wire.PaginatedRequestParams | None
    ) -> wire.ListResourcesResult:
        """List the graphs of the assistants that are tools."""
        start = offset(params)
        tools, more = await self._catalogue.page(visit_of(ctx).call, start)
        listed = [
            wire.Resource(
                uri=f"assistant://{tool.assistant.assistant_id}/graph",
                name=f"{tool.name} graph",
                title=f"The graph of {tool.assistant.name}",
                mime_type=MERMAID,
            )
            for tool in tools
        ]
        return wire.ListResourcesResult(resources=listed, next_cursor=cursor(more))

    async def templates(
        self, ctx: Context, params: wire.PaginatedRequestParams | None
    ) -> wire.ListResourceTemplatesResult:
        """List what else can be read."""
        del ctx  # they are the same for everybody
        only_page(params)
        return wire.ListResourceTemplatesResult(resource_templates=_TEMPLATES)

    async def read(
        self, ctx: Context, params: wire.ReadResourceRequestParams
    ) -> wire.ReadResourceResult:
        """Read one."""
        scheme, _, path = str(params.uri).partition("://")
        media_type, reader = self._readers.get(scheme, (JSON, _nothing))
        try:
            text = await reader(visit_of(ctx).call, path)
        except (LookupError, ValueError, ThreadNotFound, Problem, GraphNotMade) as error:
            raise MCPError(
                INVALID_PARAMS, "Resource not found", {"uri": str(params.uri)}
            ) from error
        contents = wire.TextResourceContents(uri=str(params.uri), mime_type=media_type, text=text)
        return wire.ReadResourceResult(contents=[contents])


def offset(params: wire.PaginatedRequestParams | None) -> int:
    """Return where the page begins that a client asks for.

    Raises:
        MCPError: the cursor is none of ours.
    """
    text = None if params is None else params.cursor
    if text is None:
        return 0
    if not text.isdecimal() or len(text) > 9:  # noqa: PLR2004 - no list is that long
        raise _no_cursor(text)
    return int(text)


def only_page(params: wire.PaginatedRequestParams | None) -> None:
    """Let a client have a list that comes in one page.

    Raises:
        MCPError: it asks for another one.
    """
    if params is not None and params.cursor is not None:
        raise _no_cursor(params.cursor)


def _no_cursor(text: str) -> MCPError:
    return MCPError(INVALID_PARAMS, f"Unknown cursor: {text[:64]}")


def cursor(start: int | None) -> str | None:
    """Return the cursor of a page that begins at ``start``."""
    return None if start is None else str(start)


async def _run(call: Call, path: str) -> str:
    run_id = UUID(path)
    granted = await call.may("threads", "read", {"run_id": run_id})
    row = run_row(granted, str(run_id))
    return orjson.dumps(await whole_view(granted, row)).decode()


async def _thread(call: Call, path: str) -> str:
    thread_id = UUID(path)
    granted = await call.may("threads", "read", {"thread_id": thread_id})
    return orjson.dumps(thread_document(thread_row(granted, str(thread_id)))).decode()


async def _graph(call: Call, path: str) -> str:
    named, _, part = path.partition("/")
    if part != "graph":
        raise LookupError(path)
    assistant_id = call.backend.assistant_id(named)
    reading = await call.may("assistants", "read", {"assistant_id": UUID(assistant_id)})
    assistant = find_assistant(call.backend, assistant_id, reading.visible)
    async with open_graph(call, assistant) as graph:
        return (await graph.aget_graph()).draw_mermaid()


async def _nothing(_: Call, path: str) -> str:
    raise LookupError(path)
