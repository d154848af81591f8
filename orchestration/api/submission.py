"""From the body of a request to a run."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from uuid import UUID, uuid4, uuid5

import orjson
from uuid_utils import uuid7

from orchestration.api.backend import Backend
from orchestration.api.endpoint import Call, as_uuid
from orchestration.api.models import RunCreate
from orchestration.api.problems import Problem
from orchestration.loop.run import MultitaskStrategy, Run
from orchestration.store.runs import now

_DEFAULT_ASSISTANTS = UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")  # LangGraph's name space
_NORMAL_PRIORITY = 5
_KWARGS = frozenset(
    {
        "input", "command", "context", "stream_mode", "stream_subgraphs", "interrupt_before",
        "interrupt_after", "checkpoint", "checkpoint_id", "durability", "webhook", "feedback_keys",
        "strict_resume",
    }
)  # fmt: skip


def default_assistant(graph_id: str) -> str:
    """Return the id of the assistant that every graph has by itself."""
    return str(uuid5(_DEFAULT_ASSISTANTS, graph_id))


def find_assistant(backend: Backend, assistant_id: str) -> Mapping[str, Any]:
    """Return the assistant of that id, or the default one of the graph of that name.

    Raises:
        Problem: 404, there is none; 422, it is neither an id nor a graph.
    """
    if assistant_id in backend.graphs:
        assistant_id = default_assistant(assistant_id)
    else:
        assistant_id = _assistant_uuid(backend, assistant_id)
    row = backend.assistants.get(assistant_id)
    if row is None:
        raise Problem(HTTPStatus.NOT_FOUND, f"Assistant {assistant_id} not found")
    return row


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


def new_run(call: Call, body: RunCreate, thread_id: str | None) -> Run:
    """Return the run that ``body`` asks for; without a thread it gets one of its own.

    Raises:
        Problem: the assistant does not exist, or the body contradicts itself.
    """
    assistant = find_assistant(call.backend, body.assistant_id)
    given = body.model_dump(exclude_unset=True, exclude_none=True)
    config = _merged_config(assistant, given)
    kwargs: dict[str, Any] = {name: given[name] for name in _KWARGS & given.keys()}
    kwargs["stream_mode"] = body.stream_mode
    kwargs["config"] = config
    if body.checkpoint_during is not None and body.durability is None:
        kwargs["durability"] = "async" if body.checkpoint_during else "exit"
    context = _merged_context(assistant, body, config)
    if context:
        kwargs["context"] = context
    configurable = config.get("configurable", {})
    ephemeral = thread_id is None and body.on_completion == "delete"
    metadata = {
        **config.get("metadata", {}),
        **(body.metadata or {}),
        "graph_id": assistant["graph_id"],
        "assistant_id": assistant["assistant_id"],
    }
    return Run(
        run_id=str(uuid7()),
        thread_id=thread_id or str(uuid4()),
        assistant_id=assistant["assistant_id"],
        graph_id=assistant["graph_id"],
        kwargs=kwargs,
        metadata=metadata,
        created_at=now(),
        priority=_priority(body, configurable),
        multitask_strategy=MultitaskStrategy(body.multitask_strategy),
        ephemeral=ephemeral,
        resumable=body.stream_resumable,
        create_thread=thread_id is None or body.if_not_exists == "create",
        tenant=_tenant(configurable),
        delay=body.after_seconds or 0.0,
        timeout=body.timeout,
    )


def _merged_config(assistant: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = orjson.loads(assistant["config"])
    asked = given.get("config")
    if not asked:
        return config
    merged = {**config, **asked}
    for part in ("configurable", "metadata"):
        if part in config and part in asked:
            merged[part] = {**config[part], **asked[part]}
    if "tags" in config and "tags" in asked:
        merged["tags"] = [*config["tags"], *asked["tags"]]
    return merged


def _merged_context(
    assistant: Mapping[str, Any], body: RunCreate, config: Mapping[str, Any]
) -> dict[str, Any]:
    if body.context and body.config is not None and body.config.configurable:
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            "give either context or config.configurable, not both; context is the newer one",
        )
    return {**orjson.loads(assistant["context"]), **(body.context or {})}


def _priority(body: RunCreate, configurable: Mapping[str, Any]) -> int:
    if body.priority is not None:
        return body.priority
    priority = configurable.get("priority", _NORMAL_PRIORITY)
    if not isinstance(priority, int) or not 0 <= priority <= 10:  # noqa: PLR2004 - the documented range
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"config.configurable.priority: must be 0 (first) to 10, found {priority!r}",
        )
    return priority


def _tenant(configurable: Mapping[str, Any]) -> str | None:
    tenant = configurable.get("tenant")
    return tenant[:255] if isinstance(tenant, str) else None
