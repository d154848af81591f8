"""Assistants: graphs with a name and a configuration."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from itertools import groupby
from operator import itemgetter
from typing import Any, cast
from uuid import UUID, uuid4

from langchain_core.runnables import RunnableConfig
from starlette.responses import Response

from orchestration.api import answers
from orchestration.api.access import Access, Grant
from orchestration.api.assistant_models import (
    AssistantCreate,
    AssistantDelete,
    AssistantFilter,
    AssistantLatest,
    AssistantPatch,
    AssistantSearch,
    AssistantVersions,
    GraphQuery,
    SubgraphsQuery,
)
from orchestration.api.documents import assistant_document, selected, version_document
from orchestration.api.endpoint import Call, Endpoints, json_response, no_content
from orchestration.api.idempotency import Once
from orchestration.api.problems import Problem
from orchestration.api.submission import find_assistant, require_graph
from orchestration.api.threads import delete_threads
from orchestration.graphs.arguments import Graph, reserved
from orchestration.graphs.jsontext import dumps
from orchestration.graphs.schemas import graph_drawing, graph_schemas, subgraph_schemas
from orchestration.graphs.users import auth_configurable
from orchestration.store.assistants import (
    Assistant,
    AssistantExists,
    AssistantQuery,
    default_assistant,
)

endpoint = Endpoints()
NEXT_PAGE = "x-pagination-next"  # the offset to go on from, while there is more


@endpoint(
    "POST",
    "/assistants",
    access=Access("assistants", "create"),
    body=AssistantCreate,
    gives=answers.Assistant,
    refuses=(HTTPStatus.NOT_FOUND,),
    once=Once(assistant_document),
    audited=True,
)
async def create_assistant(call: Call, body: AssistantCreate) -> Response:
    """Create an assistant."""
    require_graph(call.backend, body.graph_id)
    assistant_id = str(body.assistant_id or uuid4())
    fields = {
        "graph_id": body.graph_id,
        "name": body.name or "Untitled",
        "description": body.description,
        "metadata": call.stamped(body.metadata),
        **_configuration(body),
    }
    try:
        await call.backend.assistants.create(assistant_id, fields, call.receipt)
    except AssistantExists:
        if body.if_exists == "raise":
            raise
        assistant = call.backend.assistants.get(assistant_id, call.visible)
    else:
        assistant = call.backend.assistants.get(assistant_id)
    if assistant is None:
        raise AssistantExists(assistant_id)
    return json_response(assistant_document(assistant))


@endpoint(
    "GET",
    "/assistants/{assistant_id}",
    access=Access("assistants", "read"),
    gives=answers.Assistant,
)
async def get_assistant(call: Call) -> Response:
    """Return an assistant."""
    return json_response(assistant_document(_assistant(call)))


@endpoint(
    "PATCH",
    "/assistants/{assistant_id}",
    access=Access("assistants", "update"),
    body=AssistantPatch,
    gives=answers.Assistant,
    audited=True,
)
async def patch_assistant(call: Call, body: AssistantPatch) -> Response:
    """Change an assistant, which makes a new version of it."""
    assistant = _assistant(call)
    fields: dict[str, Any] = {
        name: value
        for name in ("graph_id", "name", "description", "config", "context")
        if (value := getattr(body, name)) is not None
    }
    if body.graph_id is not None:
        require_graph(call.backend, body.graph_id)
    if body.config is not None and (body.context is not None or "configurable" in body.config):
        fields |= _configuration(body)
    if body.metadata is not None:
        fields["metadata"] = call.kept(body.metadata)
    await call.backend.assistants.update(assistant.assistant_id, fields)
    return json_response(assistant_document(_assistant(call)))


@endpoint(
    "POST",
    "/assistants/{assistant_id}/versions",
    access=Access("assistants", "read"),
    body=AssistantVersions,
    optional_body=True,
    gives=list[answers.AssistantVersion],
)
async def list_versions(call: Call, body: AssistantVersions) -> Response:
    """Return what an assistant was at each of its versions, the newest first."""
    assistant_id = _assistant(call).assistant_id
    found = await call.backend.assistants.versions(
        assistant_id, body.metadata, body.limit, body.offset
    )
    return json_response([version_document(version) for version in found])


@endpoint(
    "POST",
    "/assistants/{assistant_id}/latest",
    access=Access("assistants", "update"),
    body=AssistantLatest,
    gives=answers.Assistant,
    audited=True,
)
async def set_latest(call: Call, body: AssistantLatest) -> Response:
    """Make an assistant what it was at a version; later changes are numbered after the highest."""
    assistant_id = _assistant(call).assistant_id
    if not await call.backend.assistants.put_back(assistant_id, body.version):
        detail = f"Assistant {assistant_id} has no version {body.version}"
        raise Problem(HTTPStatus.NOT_FOUND, detail)
    return json_response(assistant_document(_assistant(call)))


@endpoint(
    "DELETE",
    "/assistants/{assistant_id}",
    access=Access("assistants", "delete"),
    query=AssistantDelete,
    gives=None,
    audited=True,
)
async def delete_assistant(call: Call, query: AssistantDelete) -> Response:
    """Delete an assistant; its threads stay unless they are to go too."""
    assistant = _assistant(call)
    if assistant.assistant_id in map(default_assistant, call.backend.graphs.names):
        raise Problem(
            HTTPStatus.CONFLICT, "the assistant that a graph has by itself cannot be deleted"
        )
    if query.delete_threads:  # first: who is interrupted here can ask again
        await _delete_threads(call, assistant.assistant_id)
    await call.backend.assistants.delete(assistant.assistant_id)
    return no_content()


@endpoint(
    "POST",
    "/assistants/search",
    access=Access("assistants", "search"),
    body=AssistantSearch,
    optional_body=True,
    gives=list[answers.FoundAssistant],
)
async def search_assistants(call: Call, body: AssistantSearch) -> Response:
    """Find assistants."""
    query = AssistantQuery(
        graph_id=body.graph_id,
        name=body.name,
        metadata=body.metadata,
        visible=call.visible,
        limit=body.limit + 1,
        offset=body.offset,
        sort_by=body.sort_by or "created_at",
        descending=body.sort_order != "asc",
    )
    rows = await call.backend.assistants.search(query)
    headers = {NEXT_PAGE: str(body.offset + body.limit)} if len(rows) > body.limit else None
    found = [selected(assistant_document(row), body.select) for row in rows[: body.limit]]
    return json_response(found, headers=headers)


@endpoint(
    "POST",
    "/assistants/count",
    access=Access("assistants", "search"),
    body=AssistantFilter,
    optional_body=True,
    gives=int,
)
async def count_assistants(call: Call, body: AssistantFilter) -> Response:
    """Count assistants."""
    query = AssistantQuery(
        graph_id=body.graph_id, name=body.name, metadata=body.metadata, visible=call.visible
    )
    return json_response(await call.backend.assistants.count(query))


@endpoint(
    "GET",
    "/assistants/{assistant_id}/graph",
    access=Access("assistants", "read"),
    query=GraphQuery,
    gives=answers.Drawing,
    refuses=(HTTPStatus.FAILED_DEPENDENCY,),
)
async def draw_graph(call: Call, query: GraphQuery) -> Response:
    """Return the nodes and edges of an assistant's graph."""
    assistant = _assistant(call)
    async with open_graph(call, assistant) as graph:
        return json_response(dumps(await graph_drawing(graph, xray=query.xray)))


@endpoint(
    "GET",
    "/assistants/{assistant_id}/schemas",
    access=Access("assistants", "read"),
    gives=answers.Schemas,
    refuses=(HTTPStatus.FAILED_DEPENDENCY,),
)
async def get_schemas(call: Call) -> Response:
    """Return the JSON Schemas of what an assistant takes and gives."""
    assistant = _assistant(call)
    async with open_graph(call, assistant) as graph:
        return json_response({"graph_id": assistant.graph_id, **graph_schemas(graph)})


@endpoint(
    "GET",
    "/assistants/{assistant_id}/subgraphs",
    access=Access("assistants", "read"),
    query=SubgraphsQuery,
    gives=dict[str, answers.Schemas],
    refuses=(HTTPStatus.FAILED_DEPENDENCY,),
)
async def list_subgraphs(call: Call, query: SubgraphsQuery) -> Response:
    """Return the schemas of the subgraphs of an assistant's graph."""
    async with open_graph(call, _assistant(call)) as graph:
        return json_response(await subgraph_schemas(graph, recurse=query.recurse))


@endpoint(
    "GET",
    "/assistants/{assistant_id}/subgraphs/{namespace}",
    access=Access("assistants", "read"),
    query=SubgraphsQuery,
    gives=dict[str, answers.Schemas],
    refuses=(HTTPStatus.FAILED_DEPENDENCY,),
)
async def get_subgraph(call: Call, query: SubgraphsQuery) -> Response:
    """Return the schemas of one subgraph of an assistant's graph."""
    async with open_graph(call, _assistant(call)) as graph:
        return json_response(
            await subgraph_schemas(graph, call.path("namespace"), recurse=query.recurse)
        )


def _assistant(call: Call) -> Assistant:
    return find_assistant(call.backend, call.path("assistant_id"), call.visible)


async def _delete_threads(call: Call, assistant_id: str) -> None:
    """Delete the threads that ran an assistant last, those of them that are the caller's.

    Raises:
        Problem: 403, they may not delete one; nothing is deleted.
    """
    asked: list[tuple[Grant, str]] = []
    for thread_id in await call.backend.threads.of_assistant(assistant_id):
        value = {"thread_id": UUID(thread_id)}
        asked.append(((await call.may("threads", "delete", value)).grant, thread_id))
        await asyncio.sleep(0)  # there may be many, and a handler need not wait for anything
    for grant, alike in groupby(asked, key=itemgetter(0)):
        await delete_threads(replace(call, grant=grant), [thread_id for _, thread_id in alike])


@asynccontextmanager
async def open_graph(call: Call, assistant: Assistant) -> AsyncGenerator[Graph]:
    """Open the graph of an assistant, to be looked at on behalf of the caller.

    Raises:
        Problem: 404, the graph is not served any more.
        GraphNotMade: its factory failed.
    """
    require_graph(call.backend, assistant.graph_id)
    given: Mapping[str, Any] = assistant.config.get("configurable") or {}
    own = {key: value for key, value in given.items() if not reserved(key)}
    configurable = {**own, **auth_configurable(call.on_behalf)}
    config = cast("RunnableConfig", {**assistant.config, "configurable": configurable})
    owner = await call.namespace()
    opening = call.backend.graphs.open(
        assistant.graph_id, config, checkpointed=True, owner=owner, access="assistants.read"
    )
    async with opening as graph:
        yield graph


def _configuration(body: AssistantCreate | AssistantPatch) -> dict[str, Any]:
    """Return the config and the context to store; each mirrors what is only in the other."""
    config: dict[str, Any] = dict(body.config or {})
    context = body.context
    if config.get("configurable") and context:
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            "give either context or config.configurable, not both; context is the newer one",
        )
    if context:
        config["configurable"] = context
    return {"config": config, "context": context or config.get("configurable") or {}}
