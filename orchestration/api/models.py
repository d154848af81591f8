"""The bodies and query strings of the API, with LangGraph's names."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Required, Self
from uuid import UUID

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, with_config
from pydantic.config import JsonDict
from typing_extensions import TypedDict

from orchestration.api.endpoint import Body, Query
from orchestration.api.ingress import parse_json

Json = dict[str, Any]
StreamMode = Literal[
    "values", "messages", "messages-tuple", "updates", "events", "tasks", "checkpoints", "debug",
    "custom",
]  # fmt: skip
RunStatusName = Literal["pending", "running", "error", "success", "timeout", "interrupted"]
ThreadStatusName = Literal["idle", "busy", "interrupted", "error"]
Nodes = Literal["*"] | list[str]


def _whole(value: Any) -> Any:
    """Return a number as an integer if it is one: JSON has only one kind of number."""
    return int(value) if type(value) is float and value.is_integer() else value


WHOLE = BeforeValidator(_whole)  # after the bounds, or they are not described
Id = Annotated[UUID, Field(strict=False)]  # JSON has no UUIDs but as text
UuidText = Annotated[str, WithJsonSchema({"type": "string", "format": "uuid"})]
# The API document puts what it is for the graphs of its service in the place of this.
ANY_ASSISTANT = {"type": "string", "format": "assistant"}
AssistantRef = Annotated[
    str,
    Field(min_length=1, max_length=255),
    WithJsonSchema(ANY_ASSISTANT),
]
Webhook = Annotated[
    str,
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^https?://[a-z]{1,20}(-[a-z0-9]{1,20})?(\.[a-z]{2,20}){1,4}(/[!-~]*)?$",
        }
    ),
]
Limit = Annotated[int, Field(ge=1, le=1000), WHOLE]
Offset = Annotated[int, Field(ge=0, le=2**31), WHOLE]
SortOrder = Literal["asc", "desc"]
RunField = Literal[
    "run_id", "thread_id", "assistant_id", "created_at", "updated_at", "status", "metadata",
    "kwargs", "multitask_strategy", "cancel_reason",
]  # fmt: skip
ThreadField = Literal[
    "thread_id", "created_at", "updated_at", "state_updated_at", "metadata", "config", "context",
    "status", "values", "interrupts", "error",
]  # fmt: skip
ThreadSort = Literal["thread_id", "status", "created_at", "updated_at", "state_updated_at"]
StateField = Annotated[
    str,
    Field(
        pattern=r"^(values(\..+)?|next|tasks|checkpoint|checkpoint_id|metadata|created_at"
        r"|parent_checkpoint|parent_checkpoint_id|interrupts)$"
    ),
]
AssistantField = Literal[
    "assistant_id", "graph_id", "name", "description", "config", "context", "created_at",
    "updated_at", "metadata", "version",
]  # fmt: skip

AssistantSort = Literal["assistant_id", "graph_id", "name", "created_at", "updated_at"]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _joined(text: str) -> str:
    """Return what is separated by commas, as it is or as JSON, as the JS client has it."""
    if not text.startswith("["):
        return text
    parsed = parse_json(text.encode())
    return ",".join(map(str, parsed)) if isinstance(parsed, list) else text


StreamModes = Annotated[list[StreamMode], BeforeValidator(_listed)]


_CONFIGURED: JsonDict = {
    "type": "object",
    "required": ["configurable"],
    "properties": {"configurable": {"type": "object", "minProperties": 1}},
}
EITHER: JsonDict = {  # context or config.configurable
    "not": {
        "type": "object",
        "required": ["context", "config"],
        "properties": {"context": {"type": "object", "minProperties": 1}, "config": _CONFIGURED},
    }
}
_CLOSED = ConfigDict(extra="forbid", strict=True)
_OF_A_RUN = frozenset(
    {
        "assistant_id", "metadata", "multitask_strategy", "if_not_exists", "after_seconds",
    }
)  # fmt: skip


@with_config(_CLOSED)
class Goto(TypedDict, total=False):
    """A node to go to, with its input."""

    node: Required[str]
    input: Any


@with_config(_CLOSED)
class Command(TypedDict, total=False):
    """What to tell a graph that waits: an answer, an update, where to go on."""

    resume: Any
    update: Any
    goto: str | Goto | list[str | Goto] | None


@with_config(_CLOSED)
class RunConfig(TypedDict, total=False):
    """LangGraph's run configuration."""

    tags: list[str] | None
    metadata: Json | None
    recursion_limit: Annotated[int, Field(ge=1, le=100_000), WHOLE] | None
    configurable: Json | None
    max_concurrency: Annotated[int, Field(ge=1), WHOLE] | None
    run_name: str | None


@with_config(_CLOSED)
class LangSmithTracer(TypedDict, total=False):
    """Where LangSmith is to put the trace of a run."""

    project_name: str | None
    example_id: str | None


@with_config(_CLOSED)
class CheckpointRef(TypedDict, total=False):
    """A checkpoint of a thread."""

    thread_id: str | None
    checkpoint_ns: str | None
    checkpoint_id: str | None
    checkpoint_map: Json | None


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


@with_config(_CLOSED)
class StatelessCommand(Command, total=False):
    """What to tell a graph; without a thread nothing waits that could be resumed."""

    resume: Annotated[Any, WithJsonSchema({"type": "null"})]


class StatelessRun(RunCreate):
    """What to run without a thread, and how."""

    command: StatelessCommand | None = None  # pyright: ignore[reportIncompatibleVariableOverride] - narrower in what is documented only


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
    run_ids: list[str] | None = None
    status: Literal["pending", "running", "all"] | None = None


class RunList(Query):
    """Which runs of a thread to show."""

    limit: Limit = 10
    offset: Offset = 0
    status: RunStatusName | None = None
    select: list[RunField] | None = None


class CancelHow(Query):
    """How to cancel."""

    wait: bool = False
    action: Literal["interrupt", "rollback"] = "interrupt"


class JoinHow(Query):
    """What a joined stream shows, and whether the run depends on it."""

    stream_mode: list[str] | None = None
    cancel_on_disconnect: bool = False


class ThreadStreamHow(Query):
    """What the stream of a thread shows."""

    stream_mode: list[Literal["run_modes", "lifecycle", "state_update"]] | None = None


class JoinRunHow(Query):
    """Whether a run depends on who waits for it."""

    cancel_on_disconnect: bool = False


class Page(Query):
    """A page of a list."""

    limit: Limit = 10
    offset: Offset = 0


class DeliveryList(Page):
    """Which deliveries of webhooks to show."""

    run_id: UUID | None = None


@with_config(_CLOSED)
class SuperstepUpdate(TypedDict, total=False):
    """What a node is to have written in a superstep."""

    values: Any
    command: Command | None
    as_node: str | None


@with_config(_CLOSED)
class Superstep(TypedDict):
    """What nodes are to have written side by side."""

    updates: Annotated[list[SuperstepUpdate], Field(min_length=1)]


Supersteps = Annotated[list[Superstep], Field(min_length=1, max_length=1000)]


class SuperstepsUpdate(Body):
    """Supersteps that a thread is to have gone through."""

    supersteps: Supersteps


Minutes = Annotated[float, Field(strict=True, gt=0, le=52_560_000)]


class TimeToLive(Body):
    """How long a thread lives from its last update on, and what becomes of it then."""

    ttl: Minutes
    strategy: Literal["delete", "keep_latest"] = "delete"


def _in_minutes(value: Any) -> Any:
    return {"ttl": value} if isinstance(value, int | float) else value


Ttl = Annotated[TimeToLive, BeforeValidator(_in_minutes)]


class ThreadCreate(Body):
    """A new thread; one with ``supersteps`` has gone through them already."""

    named: ClassVar[str] = "thread_id"
    thread_id: Id | None = None
    metadata: Json | None = None
    if_exists: Literal["raise", "do_nothing"] = "raise"
    supersteps: Supersteps | None = None
    ttl: Ttl | None = None


class ThreadInclude(Query):
    """What to show of a thread besides: a list with commas between; there is ``ttl``."""

    include: Annotated[str, Field(pattern=r"^(|ttl)(,ttl)*$"), BeforeValidator(_joined)] | None = (
        None
    )


class ThreadPatch(Body):
    """What to merge into a thread, and how long it lives; ``ttl`` of null: for ever."""

    metadata: Json | None = None
    ttl: Ttl | None = None


class ThreadFilter(Body):
    """Which threads."""

    ids: list[Id] | None = None
    metadata: Json | None = None
    values: Json | None = None
    status: ThreadStatusName | None = None


class ThreadSearch(ThreadFilter):
    """Which threads, in what order, how many."""

    limit: Limit = 10
    offset: Offset = 0
    sort_by: ThreadSort | None = None
    sort_order: SortOrder | None = None
    select: list[ThreadField] | None = None
    extract: Annotated[dict[str, str], Field(max_length=10)] | None = None


class ThreadsPrune(Body):
    """Threads to delete, or to keep only the latest checkpoint of."""

    thread_ids: Annotated[list[Id], Field(max_length=1000)]
    strategy: Literal["delete", "keep_latest"] = "delete"


class StateQuery(Query):
    """How much of a thread's state."""

    subgraphs: bool = False
    select: list[StateField] | None = None


class StateAt(Body):
    """A thread's state at a checkpoint."""

    checkpoint: CheckpointRef
    subgraphs: bool | None = False
    select: list[StateField] | None = None


class StateUpdate(Body):
    """A change of a thread's state from outside."""

    values: Any = None
    as_node: str | None = None
    checkpoint: CheckpointRef | None = None
    checkpoint_id: str | None = None


class HistoryQuery(Query):
    """Which checkpoints of a thread."""

    limit: Limit = 10
    before: str | None = None
    select: list[StateField] | None = None


class HistorySearch(Body):
    """Which checkpoints of a thread."""

    limit: Limit = 10
    before: str | Json | None = None
    metadata: Json | None = None
    checkpoint: CheckpointRef | None = None
    select: list[StateField] | None = None

    def shown(self) -> Json:
        """Return what an authorisation is shown: nothing, for these are no thread's metadata."""
        return {}


class AssistantCreate(Body):
    """A new assistant."""

    model_config = ConfigDict(json_schema_extra=EITHER)
    named: ClassVar[str] = "assistant_id"

    graph_id: Annotated[str, Field(min_length=1, max_length=255)]
    assistant_id: Id | None = None
    name: Annotated[str, Field(max_length=255)] | None = None
    description: str | None = None
    config: RunConfig | None = None
    context: Json | None = None
    metadata: Json | None = None
    if_exists: Literal["raise", "do_nothing"] = "raise"


class AssistantPatch(Body):
    """What to change of an assistant."""

    model_config = ConfigDict(json_schema_extra=EITHER)

    graph_id: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    name: Annotated[str, Field(max_length=255)] | None = None
    description: str | None = None
    config: RunConfig | None = None
    context: Json | None = None
    metadata: Json | None = None


class AssistantFilter(Body):
    """Which assistants."""

    graph_id: str | None = None
    name: str | None = None
    metadata: Json | None = None


class AssistantSearch(AssistantFilter):
    """Which assistants, in what order, how many."""

    limit: Limit = 10
    offset: Offset = 0
    sort_by: AssistantSort | None = None
    sort_order: SortOrder | None = None
    select: list[AssistantField] | None = None


class AssistantVersions(Body):
    """Which versions of an assistant."""

    metadata: Json | None = None
    limit: Limit = 10
    offset: Offset = 0


class AssistantLatest(Body):
    """The version that an assistant is to have."""

    version: Annotated[int, Field(ge=1, le=2**53), WHOLE]


class AssistantDelete(Query):
    """Whether the threads that ran an assistant last go with it."""

    delete_threads: bool = False


class GraphQuery(Query):
    """How deep to draw a graph: subgraphs opened to that many levels, or all."""

    xray: int | bool = False


class SubgraphsQuery(Query):
    """Whether to list the subgraphs of subgraphs."""

    recurse: bool = False
