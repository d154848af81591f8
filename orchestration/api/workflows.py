"""Workflows that are registered: each is an assistant, and can do all that assistants can."""

from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID, uuid4

from pydantic import Field
from starlette.responses import Response

from coordinator.spec import Workflow
from orchestration.api import answers
from orchestration.api.access import PUBLIC, Access
from orchestration.api.asked import Body
from orchestration.api.assistants import NEXT_PAGE
from orchestration.api.documents import assistant_document
from orchestration.api.endpoint import Call, Endpoints, json_response, no_content
from orchestration.api.fields import Id, Json, Page
from orchestration.api.idempotency import Once
from orchestration.api.problems import Problem
from orchestration.api.submission import find_assistant, require_workflow
from orchestration.graphs.workflows import SPEC, WORKFLOW
from orchestration.store.assistants import Assistant, AssistantExists, AssistantQuery

endpoint = Endpoints()


class WorkflowCreate(Body):
    """A workflow to register, under the name that it has."""

    named: ClassVar[str] = "assistant_id"

    workflow: Annotated[Json, Field(description="a workflow: see /schemas/workflow.json")]
    assistant_id: Id | None = None
    metadata: Json | None = None
    if_exists: Literal["raise", "replace"] = "raise"


@endpoint(
    "POST",
    "/workflows",
    access=Access("assistants", "create"),
    body=WorkflowCreate,
    gives=answers.Assistant,
    once=Once(assistant_document),
    audited=True,
)
async def register_workflow(call: Call, body: WorkflowCreate) -> Response:
    """Register a workflow as an assistant, or a new version of it."""
    require_workflow(call.backend, body.workflow)
    assistant_id = str(body.assistant_id or uuid4())
    fields = workflow_fields(body.workflow)
    try:
        metadata = call.stamped(body.metadata)
        await call.backend.assistants.create(
            assistant_id, {**fields, "metadata": metadata}, call.receipt
        )
    except AssistantExists:
        if body.if_exists == "raise" or not await _replaced(call, assistant_id, fields, body):
            raise
    return json_response(assistant_document(find_assistant(call.backend, assistant_id)))


@endpoint(
    "GET",
    "/workflows",
    access=Access("assistants", "search"),
    query=Page,
    gives=list[answers.Assistant],
)
async def list_workflows(call: Call, page: Page) -> Response:
    """List the workflows that are registered, the newest first."""
    query = AssistantQuery(
        graph_id=WORKFLOW,
        visible=call.visible,
        limit=page.limit + 1,
        offset=page.offset,
        sort_by="created_at",
        descending=True,
    )
    rows = await call.backend.assistants.search(query)
    headers = {NEXT_PAGE: str(page.offset + page.limit)} if len(rows) > page.limit else None
    found = [assistant_document(row) for row in rows[: page.limit]]
    return json_response(found, headers=headers)


@endpoint(
    "GET",
    "/workflows/{assistant_id}",
    access=Access("assistants", "read"),
    gives=answers.Assistant,
)
async def get_workflow(call: Call) -> Response:
    """Return a workflow that is registered; its spec is in the config."""
    return json_response(assistant_document(_registered(call)))


@endpoint(
    "DELETE",
    "/workflows/{assistant_id}",
    access=Access("assistants", "delete"),
    gives=None,
    audited=True,
)
async def delete_workflow(call: Call) -> Response:
    """Forget a workflow that was registered; its threads and runs stay."""
    assistant_id = _registered(call).assistant_id
    if assistant_id in call.backend.workflows.values():
        raise Problem(
            HTTPStatus.CONFLICT, "the workflow is in a file of langgraph.json: take it out there"
        )
    await call.backend.assistants.delete(assistant_id)
    return no_content()


@endpoint("GET", "/schemas/workflow.json", access=PUBLIC, gives=dict[str, Any])
async def workflow_schema(call: Call) -> Response:  # noqa: ARG001 - every handler takes it
    """Return the JSON Schema of a workflow."""
    return json_response(
        {"$schema": "https://json-schema.org/draft/2020-12/schema", **Workflow.model_json_schema()}
    )


def workflow_fields(document: Json) -> Json:
    """Return what the assistant of a workflow has."""
    return {
        "graph_id": WORKFLOW,
        "name": document["name"],
        "description": document.get("description"),
        "config": {"configurable": {SPEC: document}},
        "context": {},
    }


async def _replaced(call: Call, assistant_id: str, fields: Json, body: WorkflowCreate) -> bool:
    """Change a workflow, which takes what a change of any assistant takes.

    False if there is none for the caller.

    Raises:
        Problem: 403, they may not.
    """
    # What is written into the metadata of what is made is not for what somebody has made before.
    sent = {key: one for key, one in (body.metadata or {}).items() if key not in call.grant.stamp}
    value: Json = {**fields, "metadata": sent, "assistant_id": UUID(assistant_id)}
    changing = await call.may("assistants", "update", value)
    before = call.backend.assistants.get(assistant_id, changing.visible)
    if before is None or before.graph_id != WORKFLOW:
        return False
    changes = {**fields, "metadata": changing.kept(value["metadata"])}
    return await call.backend.assistants.update(assistant_id, changes)


def _registered(call: Call) -> Assistant:
    assistant = find_assistant(call.backend, call.path("assistant_id"), call.visible)
    configurable = assistant.config.get("configurable") or {}
    if assistant.graph_id != WORKFLOW or SPEC not in configurable:
        detail = f"Workflow {assistant.assistant_id} not found"
        raise Problem(HTTPStatus.NOT_FOUND, detail)
    return assistant
