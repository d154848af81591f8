"""The bodies and query strings of what runs."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import ConfigDict, Field, WithJsonSchema, with_config
from typing_extensions import TypedDict

from orchestration.api.asked import Body, Query
from orchestration.api.fields import (
    CLOSED,
    EITHER,
    WHOLE,
    AssistantRef,
    CheckpointRef,
    Command,
    Id,
    Json,
    Limit,
    Offset,
    Page,
    RunConfig,
    StreamMode,
    StreamModes,
    Webhook,
)

RunStatusName = Literal["pending", "running", "error", "success", "timeout", "interrupted"]
Nodes = Literal["*"] | list[str]
RunField = Literal[
    "run_id", "thread_id", "assistant_id", "created_at", "updated_at", "status", "metadata",
    "kwargs", "multitask_strategy", "cancel_reason",
]  # fmt: skip
_OF_A_RUN = frozenset(
    {
        "assistant_id", "metadata", "multitask_strategy", "if_not_exists", "after_seconds",
    }
)  # fmt: skip


@with_config(CLOSED)
class LangSmithTracer(TypedDict, total=False):
    """Where LangSmith is to put the trace of a run."""

    project_name: str | None
    example_id: str | None


class RunCreate(Body):
    """What to run, and how."""

    model_config = ConfigDict(json_schema_extra=EITHER)

    assistant_id: AssistantRef
    input: Any = None
    command: Command | None = None
    config: RunConfig | None = None
    context: Json | None = None
    metadata: Json | None = None
    stream_mode: StreamModes = ["values"]  # noqa: RUF012 - pydantic copies it
    stream_subgraphs: bool = False
    stream_resumable: bool = False
    interrupt_before: Nodes | None = None
    interrupt_after: Nodes | None = None
    checkpoint: CheckpointRef | None = None
    checkpoint_id: str | None = None
    checkpoint_during: bool | None = None
    durability: Literal["sync", "async", "exit"] | None = None
    multitask_strategy: Literal["reject", "interrupt", "rollback", "enqueue"] = "enqueue"
    if_not_exists: Literal["create", "reject"] = "reject"
    on_disconnect: Literal["cancel", "continue"] = "continue"
    on_completion: Literal["delete", "keep"] = "delete"
    after_seconds: Annotated[float, Field(ge=0, le=31_536_000)] | None = None
    webhook: Webhook | None = None
    feedback_keys: list[str] | None = None
    langsmith_tracer: LangSmithTracer | None = None
    strict_resume: bool = False
    priority: Annotated[int, Field(ge=0, le=10), WHOLE] | None = None
    timeout: Annotated[float, Field(gt=0, le=31_536_000)] | None = None

    def shown(self) -> Json:
        """Return what an authorisation is shown: what LangGraph keeps apart is in ``kwargs``."""
        given = super().shown()
        value = {name: given.pop(name) for name in _OF_A_RUN}
        given["config"] = dict(given["config"] or {})
        return {"thread_id": None, **value, "kwargs": given}

    def changed(self, value: Mapping[str, Any]) -> Self:
        """Return the request as an authorisation left it."""
        return super().changed({**value, **value.get("kwargs", {})})


def no_run() -> Json:
    """Return what an authorisation is shown of what takes as much as a run, and is none."""
    return {**RunCreate(assistant_id="-", metadata={}).shown(), "assistant_id": None}


@with_config(CLOSED)
class StatelessCommand(Command, total=False):
    """What to tell a graph; without a thread nothing waits that could be resumed."""

    resume: Annotated[Any, WithJsonSchema({"type": "null"})]


class StatelessRun(RunCreate):
    """What to run without a thread, and how."""

    command: StatelessCommand | None = None  # pyright: ignore[reportIncompatibleVariableOverride] - narrower in what is documented only


class WorkflowRun(RunCreate):
    """Which workflow to do, and how; on a thread, or on a new one that stays."""

    model_config = ConfigDict(
        json_schema_extra={
            **EITHER,
            "anyOf": [  # on a new thread nothing waits that could be resumed
                {"required": ["thread_id"], "properties": {"thread_id": {"type": "string"}}},
                {
                    "properties": {
                        "command": {
                            "type": ["object", "null"],
                            "properties": {"resume": {"type": "null"}},
                        }
                    }
                },
            ],
        }
    )

    assistant_id: Annotated[Literal["_workflow"], Field()] = "_workflow"  # pyright: ignore[reportIncompatibleVariableOverride] - the graph of all workflows
    workflow: Annotated[Json, Field(description="a workflow: see /schemas/workflow.json")]
    thread_id: Id | None = None
    input: Annotated[Json | None, Field()] = None
    on_completion: Literal["delete", "keep"] = "keep"

    def shown(self) -> Json:
        """Return what an authorisation is shown, as of a run."""
        return {**super().shown(), "thread_id": self.thread_id}


class RunsCancel(Body):
    """Which runs to cancel: those named, or all of a status."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["status"], "properties": {"status": {"type": "string"}}},
                {
                    "required": ["run_ids"],
                    "properties": {"run_ids": {"type": "array", "minItems": 1}},
                },
            ]
        }
    )

    thread_id: str | None = None
    run_ids: Annotated[list[str], Field(max_length=1000)] | None = None
    status: Literal["pending", "running", "all"] | None = None


class RunList(Query):
    """Which runs of a thread to show."""

    limit: Limit = 10
    offset: Offset = 0
    status: RunStatusName | None = None
    select: list[RunField] | None = None


class AllRuns(RunList):
    """Which runs to show, whatever thread they are on: all, or one."""

    run_id: UUID | None = None


class CancelHow(Query):
    """How to cancel."""

    wait: bool = False
    action: Literal["interrupt", "rollback"] = "interrupt"


class JoinHow(Query):
    """What a joined stream shows, and whether the run depends on it."""

    stream_mode: list[StreamMode] | None = None
    cancel_on_disconnect: bool = False


class ThreadStreamHow(Query):
    """What the stream of a thread shows."""

    stream_mode: list[Literal["run_modes", "lifecycle", "state_update"]] | None = None


class JoinRunHow(Query):
    """Whether a run depends on who waits for it."""

    cancel_on_disconnect: bool = False


class DeliveryList(Page):
    """Which deliveries of webhooks to show."""

    run_id: UUID | None = None
