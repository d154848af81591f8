"""The bodies and query strings of threads and their state."""

from typing import Annotated, Any, ClassVar, Literal, final

from pydantic import BeforeValidator, ConfigDict, Field, with_config
from typing_extensions import TypedDict

from orchestration.api.asked import Body, Query
from orchestration.api.fields import (
    CLOSED,
    CheckpointRef,
    Command,
    Id,
    Json,
    Limit,
    Offset,
    SortOrder,
    joined,
)

ThreadStatusName = Literal["idle", "busy", "interrupted", "error"]
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


@with_config(CLOSED)
class SuperstepUpdate(TypedDict, total=False):
    """What a node is to have written in a superstep."""

    values: Any
    command: Command | None
    as_node: str | None


@with_config(CLOSED)
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


Ttl = Annotated[
    TimeToLive, BeforeValidator(_in_minutes, json_schema_input_type=Minutes | TimeToLive)
]


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

    include: Annotated[str, Field(pattern=r"^(|ttl)(,ttl)*$"), BeforeValidator(joined)] | None = (
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


CheckpointFilter = Annotated[
    dict[Annotated[str, Field(pattern="^[A-Za-z0-9_.-]{1,64}$")], bool | int | float | str | None],
    Field(max_length=16, json_schema_extra={"additionalProperties": False}),
]


class HistoryQuery(Query):
    """Which checkpoints of a thread."""

    limit: Limit = 10
    before: str | None = None
    select: list[StateField] | None = None


# What else clients send of a checkpoint is not looked at.
@final
@with_config(ConfigDict(strict=True))
class Place(TypedDict):
    """A checkpoint, as LangGraph's clients have it."""

    checkpoint_id: str


@final
@with_config(ConfigDict(strict=True))
class ConfiguredPlace(TypedDict):
    """A checkpoint, as LangGraph's configurations have it."""

    configurable: Place


class HistorySearch(Body):
    """Which checkpoints of a thread."""

    limit: Limit = 10
    before: str | Place | ConfiguredPlace | None = None
    metadata: CheckpointFilter | None = None
    checkpoint: CheckpointRef | None = None
    select: list[StateField] | None = None

    def shown(self) -> Json:
        """Return what an authorisation is shown: nothing, for these are no thread's metadata."""
        return {}
