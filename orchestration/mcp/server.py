"""The server of the protocol: which methods there are, and who answers them."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from importlib import metadata
from typing import Any

import mcp_types as wire
from mcp.server._otel import OpenTelemetryMiddleware
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from opentelemetry import trace

from orchestration.api.backend import Backend
from orchestration.mcp import results
from orchestration.mcp.aside import Aside
from orchestration.mcp.calls import AssistantCalls
from orchestration.mcp.catalogue import Catalogue
from orchestration.mcp.changes import Changes
from orchestration.mcp.client import TASKS
from orchestration.mcp.farewell import Farewell
from orchestration.mcp.prompts import Prompts
from orchestration.mcp.resources import Resources, cursor, offset
from orchestration.mcp.results import Result
from orchestration.mcp.run_tools import DESCRIBED, RunTools
from orchestration.mcp.running import Runs
from orchestration.mcp.state_key import state_key
from orchestration.mcp.tasks import TaskParams, Tasks, UpdateParams
from orchestration.mcp.visit import Context, visit_of

NAME = "masterloop"

_INSTRUCTIONS = (
    "Each tool runs an agent, and may take long. A run is shown by run_get and run://{run_id}. "
    "One that asks something is answered with run_resume, if its user could not be asked."
)


class Tools:
    """Answers ``tools/list`` and ``tools/call``."""

    def __init__(self, catalogue: Catalogue, calls: AssistantCalls, runs: RunTools) -> None:
        self._catalogue = catalogue
        self._calls = calls
        self._runs = runs

    async def list(
        self, ctx: Context, params: wire.PaginatedRequestParams | None
    ) -> wire.ListToolsResult:
        """List the assistants, and after them the tools for runs."""
        tools, more = await self._catalogue.page(visit_of(ctx).call, offset(params))
        described = [tool.described for tool in tools]
        if more is None:
            described += DESCRIBED
        return wire.ListToolsResult(tools=described, next_cursor=cursor(more))

    async def call(self, ctx: Context, params: wire.CallToolRequestParams) -> Result:
        """Call one."""
        if self._runs.has(params.name):
            return await self._runs.answer(ctx, params)
        tool = await self._catalogue.find(visit_of(ctx).call, params.name)
        if tool is None:
            raise results.no_such("tool", params.name)
        return await self._calls.answer(ctx, tool, params)


@asynccontextmanager
async def open_server(
    backend: Backend, farewell: Farewell
) -> AsyncGenerator[tuple[Server[Any], Callable[[str], None]]]:
    """Open the server of the protocol that speaks for ``backend``, until ``farewell`` is said.

    With it comes what is to be told of each session that ends.
    """
    section = backend.manifest.masterloop.mcp
    catalogue, changes, aside = Catalogue(backend), Changes(), Aside()
    runs = Runs(backend, section.on_disconnect)
    calls = AssistantCalls(runs, section.task_after, farewell, aside)
    tools = Tools(catalogue, calls, RunTools(runs, aside))
    resources, prompts = Resources(catalogue), Prompts(catalogue)
    server = _Server(
        NAME,
        version=metadata.version("masterloop"),
        instructions=_INSTRUCTIONS,
        # No argument is to be repeated in a header. Unless told, the SDK lists all tools to see.
        get_tool_input_schema=lambda _: None,
        on_list_tools=tools.list,
        on_call_tool=tools.call,  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - dictionaries pass too
        on_list_resources=resources.list,
        on_list_resource_templates=resources.templates,
        on_read_resource=resources.read,
        on_subscribe_resource=changes.subscribe,
        on_unsubscribe_resource=changes.unsubscribe,
        on_subscriptions_listen=changes.listen,
        on_list_prompts=prompts.list,
        on_get_prompt=prompts.get,
    )
    server.add_notification_handler(
        "notifications/initialized", wire.NotificationParams, changes.initialized
    )
    tasks = Tasks(runs, catalogue, aside)
    server.extensions[TASKS] = {}
    server.add_request_handler("tasks/get", TaskParams, tasks.get)
    server.add_request_handler("tasks/update", UpdateParams, tasks.update)
    server.add_request_handler("tasks/cancel", TaskParams, tasks.cancel)
    _set_middleware(server, backend)
    untell = backend.assistants.tell(changes.assistants_changed)
    with farewell.hearing(changes.close):
        try:
            yield server, changes.forget
        finally:
            untell()


def _set_middleware(server: Server[Any], backend: Backend) -> None:
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        # Nobody takes the spans that the SDK makes of each message, a fiftieth of a call. Of ours
        # a run is one, which goes on with the trace of whoever called.
        server.middleware = [
            one for one in server.middleware if not isinstance(one, OpenTelemetryMiddleware)
        ]
    security = RequestStateSecurity(
        keys=[state_key(backend.settings.data_dir)],
        bind_principal=lambda ctx: visit_of(ctx).call.principal.identity,
    )
    server.middleware.append(RequestStateBoundary(security, default_audience=NAME))


class _Server(Server[Any]):
    """Says on the older wires, too, that it tells of changes."""

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        told = NotificationOptions(prompts_changed=True, resources_changed=True, tools_changed=True)
        return super().create_initialization_options(
            notification_options or told, experimental_capabilities, extensions
        )
