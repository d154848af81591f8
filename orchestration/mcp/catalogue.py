"""The assistants as tools: which there are for a caller, and what they take and give."""

import asyncio
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

import mcp_types as wire

from orchestration.api.assistant_models import AssistantSearch
from orchestration.api.assistants import open_graph
from orchestration.api.backend import Backend
from orchestration.api.endpoint import Call
from orchestration.api.problems import Problem
from orchestration.graphs.registry import GraphNotMade
from orchestration.mcp.names import tool_name
from orchestration.mcp.schemas import Input, Output, open_shapes, shapes
from orchestration.store.assistants import Assistant, AssistantQuery, default_assistant

TaskSupport = Literal["optional", "required", "forbidden"]

_PAGE = 100  # tools
_MOST = 1_000  # assistants that are shown beside those of the graphs, the oldest
_REMEMBERED = 1_000  # assistants whose shapes are known, and names


@dataclass(frozen=True, slots=True, kw_only=True)
class AssistantTool:
    """An assistant as a tool."""

    name: str
    assistant: Assistant
    input: Input
    output: Output
    support: TaskSupport

    @property
    def described(self) -> wire.Tool:
        """The tool as clients see it."""
        assistant = self.assistant
        own = f"Runs the assistant {assistant.name!r} (graph {assistant.graph_id!r})."
        return wire.Tool(
            name=self.name,
            title=assistant.name,
            description=assistant.description or own,
            input_schema=self.input.schema,
            output_schema=self.output.schema,
            annotations=wire.ToolAnnotations(title=assistant.name),
        )


class Catalogue:
    """Finds assistants for callers. Looking at a graph takes its time, so shapes are remembered."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._section = backend.manifest.masterloop.mcp
        self._shapes: dict[tuple[Any, ...], tuple[Input, Output]] = {}
        self._ids: dict[str, str] = {}

    async def page(self, call: Call, start: int) -> tuple[list[AssistantTool], int | None]:
        """Return the tools of a page that begins at ``start``, and where the next one begins."""
        seen = 0
        tools: list[AssistantTool] = []
        async for assistant in self.assistants(call):
            seen += 1
            if seen <= start:
                continue
            if len(tools) == _PAGE:
                return tools, start + _PAGE
            tools.append(await self._tool(call, assistant))
        return tools, None

    async def find(self, call: Call, name: str) -> AssistantTool | None:
        """Return the tool of that name, if it is there for the caller."""
        known = self._ids.get(name)
        if known is not None and (assistant := await self._get(call, known)) is not None:
            return await self._tool(call, assistant)
        async for assistant in self.assistants(call):
            if self.name(assistant) == name:
                return await self._tool(call, assistant)
        return None

    async def of(self, call: Call, assistant_id: str) -> AssistantTool | None:
        """Return the tool that an assistant is, whether it is shown or not."""
        assistant = self._backend.assistants.get(assistant_id)
        if assistant is None or assistant.graph_id not in self._backend.graphs:
            return None
        return await self._tool(call, assistant)

    def name(self, assistant: Assistant) -> str:
        """Return what an assistant is called as a tool."""
        own = self._is_own(assistant)
        text = assistant.graph_id if own else assistant.name
        return tool_name(text, assistant.assistant_id, own=own)

    async def assistants(self, call: Call) -> AsyncIterator[Assistant]:
        """Yield the assistants that are tools for a caller: those of the graphs, then the others.

        The order is that of their creation, so that pages do not shift.
        """
        for graph in self._backend.graphs.names:
            own = self._backend.assistants.get(default_assistant(graph))
            if own is not None and self._is_shown(own):
                yield own
        for assistant in await self._others(call):
            if not self._is_own(assistant) and self._is_shown(assistant):
                yield assistant

    async def _others(self, call: Call) -> list[Assistant]:
        granted = await self._granted(call)
        if granted is None:
            return []
        query = AssistantQuery(visible=granted.visible, limit=_MOST, descending=False)
        return await self._backend.assistants.search(query)

    async def _granted(self, call: Call) -> Call | None:
        """Return the call as it may look for assistants; None if it may not."""
        try:
            return await call.may("assistants", "search", AssistantSearch().shown())
        except Problem as refused:
            if refused.status != HTTPStatus.FORBIDDEN:
                raise
            return None

    async def _get(self, call: Call, assistant_id: str) -> Assistant | None:
        """Return an assistant that was shown to somebody, if it is for this caller too."""
        assistant = self._backend.assistants.get(assistant_id)
        if assistant is None or not self._is_shown(assistant):
            return None
        if self._is_own(assistant) or self._backend.authority is None:
            return assistant
        granted = await self._granted(call)
        if granted is None:
            return None
        return self._backend.assistants.get(assistant_id, granted.visible)

    def _is_own(self, assistant: Assistant) -> bool:
        return assistant.assistant_id == default_assistant(assistant.graph_id)

    def _is_shown(self, assistant: Assistant) -> bool:
        return assistant.graph_id in self._backend.graphs and _names_one(
            self._section.assistants, assistant, own=self._is_own(assistant)
        )

    async def _tool(self, call: Call, assistant: Assistant) -> AssistantTool:
        name = self.name(assistant)
        if len(self._ids) >= _REMEMBERED:
            self._ids.clear()
        self._ids[name] = assistant.assistant_id
        taken, given = await self._shape(call, assistant)
        tasks = self._section.tasks
        keys = (assistant.assistant_id, name, assistant.name)
        found: list[TaskSupport] = [tasks[key] for key in keys if key in tasks]
        return AssistantTool(
            name=name,
            assistant=assistant,
            input=taken,
            output=given,
            support=found[0] if found else "optional",
        )

    async def _shape(self, call: Call, assistant: Assistant) -> tuple[Input, Output]:
        key = self._shape_key(call, assistant)
        known = self._shapes.get(key)
        if known is not None:
            return known
        try:
            async with open_graph(call, assistant) as graph:
                found = shapes(graph)
        except GraphNotMade:
            return open_shapes()
        if len(self._shapes) >= _REMEMBERED:
            self._shapes.clear()
        self._shapes[key] = found
        await asyncio.sleep(0)  # there may be a hundred to look at
        return found

    def _shape_key(self, call: Call, assistant: Assistant) -> tuple[Any, ...]:
        """Return what the shapes of an assistant depend on."""
        graph = assistant.graph_id
        if self._backend.graphs.fixed(graph, checkpointed=True, owner=()) is not None:
            return (graph,)
        # What a factory makes may depend on who asks. The versions of an assistant that is made
        # anew under the same id begin at 1 again.
        whose = call.principal.identity
        return (assistant.assistant_id, assistant.created_at, assistant.version, whose)


def _names_one(allowed: Collection[str] | None, assistant: Assistant, *, own: bool) -> bool:
    """Return whether the allow-list has an assistant: its id, its name, or the graph it is of."""
    if allowed is None:
        return True
    names = {assistant.assistant_id, assistant.graph_id if own else assistant.name}
    return not names.isdisjoint(allowed)
