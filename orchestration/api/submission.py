"""From the body of a request to a run."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from uuid import UUID

from uuid_utils import uuid7

from coordinator.checking import WorkflowRefused, checked
from coordinator.plan import Plan
from operations.clock import iso_now
from operations.egress import UrlRefused
from operations.telemetry.traceparent import trace_of
from orchestration.api.backend import Backend
from orchestration.api.checkpoints import require_checkpoint
from orchestration.api.endpoint import Call, as_uuid
from orchestration.api.header_config import configurable_headers
from orchestration.api.meant import meant_question
from orchestration.api.problems import Problem
from orchestration.api.run_models import RunCreate
from orchestration.graphs.arguments import ASSISTANT_METADATA
from orchestration.graphs.workflows import SPEC, WORKFLOW
from orchestration.loop.errors import ThreadNotFound
from orchestration.loop.run import NORMAL_PRIORITY, MultitaskStrategy, Run
from orchestration.store.assistants import PROMPTS, Assistant, default_assistant
from orchestration.store.terms import check_size
from orchestration.store.visibility import Visible, sees

_LATEST = (None, "")  # as ids of checkpoints
_KWARGS = frozenset(
    {
        "input", "command", "context", "stream_mode", "stream_subgraphs", "interrupt_before",
        "interrupt_after", "checkpoint", "checkpoint_id", "durability", "webhook", "feedback_keys",
        "langsmith_tracer",        "strict_resume",
    }
)  # fmt: skip


# What a workflow that is registered nowhere is run as; the spec is in the config of its runs.
_ANY_WORKFLOW = Assistant(
    assistant_id=default_assistant(WORKFLOW),
    graph_id=WORKFLOW,
    name=WORKFLOW,
    description="Does the workflow of a run's config.configurable.workflow.",
    version=1,
    created_at="1970-01-01T00:00:00Z",
    updated_at="1970-01-01T00:00:00Z",
    config={},
    context={},
    metadata={"created_by": "system"},
)


def find_assistant(backend: Backend, assistant_id: str, visible: Visible = None) -> Assistant:
    """Return the assistant of that id, or the default one of the graph of that name.

    Raises:
        Problem: 404, there is none; 422, it is neither an id nor a graph.
    """
    assistant_id = _assistant_uuid(backend, backend.assistant_id(assistant_id))
    if assistant_id == _ANY_WORKFLOW.assistant_id:
        return _ANY_WORKFLOW
    assistant = backend.assistants.get(assistant_id, visible)
    if assistant is None:
        raise Problem(HTTPStatus.NOT_FOUND, f"Assistant {assistant_id} not found")
    return assistant


def require_workflow(backend: Backend, document: Any) -> Plan:
    """Return the plan of a workflow that can be done here.

    Raises:
        Problem: 422, it has mistakes; each is named with its place in the body.
    """
    try:
        return checked(document, backend.known())
    except WorkflowRefused as refused:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"workflow: {refused}",
            errors=[
                {"pointer": f"/workflow{one.pointer}", "detail": one.problem}
                for one in refused.mistakes
            ],
        ) from refused


def require_graph(backend: Backend, graph_id: str) -> None:
    """Refuse what needs a graph that is not served.

    Raises:
        Problem: 404, there is no such graph.
    """
    if graph_id not in backend.graphs:
        graphs = ", ".join(backend.graphs.names)
        detail = f"Graph {graph_id!r} not found; the graphs are {graphs}"
        raise Problem(HTTPStatus.NOT_FOUND, detail)


def _assistant_uuid(backend: Backend, text: str) -> str:
    try:
        return as_uuid(text, "assistant_id")
    except Problem as error:
        graphs = ", ".join(backend.graphs.names)
        detail = (
            f"Invalid assistant_id: {text[:64]!r} is neither the UUID of an assistant "
            f"nor a graph; the graphs are {graphs}"
        )
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail) from error


async def may_run(call: Call, body: RunCreate, thread_id: str | None) -> tuple[Call, RunCreate]:
    """Return the call with the grant for a run that no request of its own asks for, and that run.

    The run is as the authorisation left it, which is shown the same as of a request.

    Raises:
        Problem: 403, the caller may not.
        StorageUnavailable: the thread is not written yet, and cannot be.
    """
    value = body.shown()
    value["thread_id"] = None if thread_id is None else UUID(thread_id)
    granted = await call.may("threads", "create_run", value)
    return granted, body.changed(value)


async def new_run(call: Call, body: RunCreate, thread_id: str | None) -> Run:
    """Return the run that ``body`` asks for; without a thread it gets one of its own.

    Raises:
        ThreadNotFound, TooMuchMetadata: the thread is not theirs, or may not have the run's.
        Problem: the assistant does not exist, the webhook must not be called, or the body
            contradicts itself.
    """
    assistant = await _assistant_to_run(call, body.assistant_id)
    if thread_id is not None and call.visible:
        require_not_anothers(call, thread_id)
    require_graph(call.backend, assistant.graph_id)
    if body.webhook is not None:
        _check_webhook(call.backend, body.webhook)
    config = _told(call, _merged_config(assistant, body))
    configurable = config.get("configurable") or {}
    kwargs = _kwargs(call, body, assistant, config)
    if (
        thread_id is not None
        and configurable.get("checkpoint_id") not in _LATEST
        and not (body.checkpoint or body.checkpoint_id)
    ):
        kwargs["checkpoint_id"] = str(configurable["checkpoint_id"])
    if "checkpoint" in kwargs or "checkpoint_id" in kwargs:
        await _require_start(call, thread_id, kwargs)
    if thread_id is not None and body.command is not None:
        resume = body.command.get("resume")
        kwargs |= await meant_question(call, assistant.graph_id, thread_id, resume)
    return Run(
        run_id=str(uuid7()),
        thread_id=thread_id or str(uuid7()),
        assistant_id=assistant.assistant_id,
        graph_id=assistant.graph_id,
        kwargs=kwargs,
        metadata=_metadata(call, body, assistant, config),
        created_at=iso_now(),
        priority=_priority(body, configurable),
        multitask_strategy=MultitaskStrategy(body.multitask_strategy),
        ephemeral=thread_id is None and body.on_completion == "delete",
        resumable=body.stream_resumable,
        create_thread=thread_id is None or body.if_not_exists == "create",
        tenant=_tenant(call, configurable),
        receipt=call.receipt,
        repeatable=call.receipt is not None,
        delay=body.after_seconds or 0.0,
        timeout=body.timeout,
        stamp=_of_new_thread(call, body, thread_id),
        visible=call.visible,
        principal=call.on_behalf,
    )


def _kwargs(
    call: Call, body: RunCreate, assistant: Assistant, config: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the graph is called with."""
    kwargs: dict[str, Any] = {
        "stream_mode": body.stream_mode,
        "config": config,
        **trace_of(call.headers),
    }
    for name in _KWARGS & body.model_fields_set:
        value = getattr(body, name)
        if value is not None:
            kwargs[name] = value
    if (durability := _durability(body, assistant)) is not None:
        kwargs["durability"] = durability
    if context := _merged_context(assistant, body):
        kwargs["context"] = context
    told = {name: value for name, value in assistant.metadata.items() if name != PROMPTS}
    if told:  # for the graph, and not the run's: it would be whose the assistant is
        kwargs[ASSISTANT_METADATA] = told
    return kwargs


def _metadata(
    call: Call, body: RunCreate, assistant: Assistant, config: Mapping[str, Any]
) -> dict[str, Any]:
    return call.stamped(
        {
            **(config.get("metadata") or {}),
            **(body.metadata or {}),
            "graph_id": assistant.graph_id,
            "assistant_id": assistant.assistant_id,
        }
    )


def _of_new_thread(call: Call, body: RunCreate, thread_id: str | None) -> dict[str, Any]:
    """Return the metadata of a thread that the run makes: those that were given with the run.

    Raises:
        TooMuchMetadata: they hold too many values to look up.
    """
    given = {**((body.config or {}).get("metadata") or {}), **(body.metadata or {})}
    if (body.on_completion if thread_id is None else body.if_not_exists) in ("keep", "create"):
        check_size(given)
    return call.stamped(given)


def _durability(body: RunCreate, assistant: Assistant) -> str | None:
    """Return when checkpoints are to be written; None for LangGraph's own choice."""
    if body.durability is None and body.checkpoint_during is not None:
        return "async" if body.checkpoint_during else "exit"
    # What a step of a workflow gave is to be safe before others build on it.
    return body.durability or ("sync" if assistant.graph_id == WORKFLOW else None)


async def _require_start(call: Call, thread_id: str | None, kwargs: Mapping[str, Any]) -> None:
    """Refuse a run that is to begin at a checkpoint which does not exist."""
    checkpoint = {**kwargs.get("checkpoint", {})}
    if "checkpoint_id" in kwargs:
        checkpoint["checkpoint_id"] = kwargs["checkpoint_id"]
    await require_checkpoint(call.backend, thread_id or "", checkpoint)


async def _assistant_to_run(call: Call, assistant_id: str) -> Assistant:
    """Return an assistant that the caller may run: the server's own, or one they may read."""
    backend = call.backend
    if backend.authority is None or assistant_id in backend.graphs:
        return find_assistant(backend, assistant_id)
    assistant = find_assistant(backend, assistant_id)
    own = {default_assistant(assistant.graph_id), *backend.workflows.values()}
    if assistant.assistant_id in own:
        return assistant
    try:
        reading = await call.may("assistants", "read", {"assistant_id": UUID(assistant_id)})
    except Problem as refused:
        detail = f"Assistant {assistant_id} not found"
        raise Problem(HTTPStatus.NOT_FOUND, detail) from refused
    return find_assistant(backend, assistant_id, reading.visible)


def require_not_anothers(call: Call, thread_id: str) -> None:
    """Refuse a thread that is there, but not for the caller; a run without one has its id.

    Raises:
        ThreadNotFound: it is another's.
    """
    row = call.backend.threads.get(thread_id)
    if row is not None:
        own = sees(call.visible, row["metadata"])
    else:
        runs = call.backend.loop.on_thread(thread_id)
        own = all(sees(call.visible, run.metadata) for run in runs)
    if not own:
        raise ThreadNotFound(thread_id)


def _check_webhook(backend: Backend, url: str) -> None:
    try:
        backend.webhook_urls.check_url(url)
    except UrlRefused as error:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"webhook: {error}",
            errors=[{"pointer": "/webhook", "detail": str(error)}],
        ) from error


def _told(call: Call, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a config with the headers of the request that runs are to know."""
    wanted = call.backend.manifest.http.configurable_headers
    if wanted is None:
        return config
    headers = configurable_headers(call.headers, wanted)
    return {**config, "configurable": {**(config.get("configurable") or {}), **headers}}


def _merged_config(assistant: Assistant, body: RunCreate) -> Mapping[str, Any]:
    """Return the assistant's config, changed by the parts of a run's that say something.

    The assistant's configurable mirrors its context, so a run's context changes that as well.
    """
    config = assistant.config
    asked: dict[str, Any] = {**(body.config or {})}
    said = {part: value for part, value in asked.items() if value not in (None, {}, [])}
    merged = {**asked, **config, **said}
    for part in ("configurable", "metadata"):
        if config.get(part) and said.get(part):
            merged[part] = {**config[part], **said[part]}
    if config.get("tags") and said.get("tags"):
        merged["tags"] = [*config["tags"], *said["tags"]]
    if body.context and (own := config.get("configurable")):
        mirrored = (own.keys() & body.context.keys()) - {SPEC}  # ours: no part of a context
        told = {key: body.context[key] for key in mirrored}
        merged["configurable"] = {**own, **(asked.get("configurable") or {}), **told}
    return merged


def _merged_context(assistant: Assistant, body: RunCreate) -> Mapping[str, Any]:
    configurable = (body.config or {}).get("configurable")
    if configurable and SPEC in configurable:  # ours, of a workflow that is given with the run
        configurable = {key: value for key, value in configurable.items() if key != SPEC}
    if body.context and configurable:
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            "give either context or config.configurable, not both; context is the newer one",
        )
    if configurable and assistant.context:  # which mirrors what the run's configurable changes
        return {**assistant.context, **configurable}
    return {**assistant.context, **body.context} if body.context else assistant.context


def _priority(body: RunCreate, configurable: Mapping[str, Any]) -> int:
    if body.priority is not None:
        return body.priority
    priority = configurable.get("priority", NORMAL_PRIORITY)
    if type(priority) is not int or not 0 <= priority <= 10:  # noqa: PLR2004 - the documented range
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"config.configurable.priority: must be 0 (first) to 10, found {priority!r}",
        )
    return priority


def _tenant(call: Call, configurable: Mapping[str, Any]) -> str | None:
    """Return whose limits a run counts against: the caller's, where it is asked who that is."""
    if call.backend.authority is not None:
        return call.principal.identity[:255]
    tenant = configurable.get("tenant")
    return tenant[:255] if isinstance(tenant, str) else None
