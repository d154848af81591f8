"""The bodies of answers, for the API document; what is sent is made in `documents`."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from orchestration.api.fields import Json
from orchestration.api.run_models import RunStatusName
from orchestration.api.thread_models import ThreadStatusName


class Run(TypedDict):
    """A run."""

    run_id: str
    thread_id: str
    assistant_id: str
    created_at: str
    updated_at: str
    status: RunStatusName
    metadata: Json
    kwargs: Json
    multitask_strategy: Literal["reject", "interrupt", "rollback", "enqueue"]
    priority: int
    attempt: int
    error: Json | None
    dead_letter: NotRequired[str]


class Standing(TypedDict):
    """Where a run is and what it waits for."""

    place: Literal["delayed", "line", "parked", "ready", "working", "gone"]
    ahead: int
    why: str


class TimeToLive(TypedDict):
    """How long a thread lives, and what becomes of it then."""

    strategy: Literal["delete", "keep_latest"]
    ttl_minutes: float
    expires_at: str


class Thread(TypedDict):
    """A thread."""

    thread_id: str
    created_at: str
    updated_at: str
    state_updated_at: str | None
    metadata: Json
    config: Json
    status: ThreadStatusName
    values: Any
    interrupts: Json
    error: Json | None
    ttl: NotRequired[TimeToLive]


class FoundThread(Thread):
    """A thread that a search found, with what was to be extracted from it."""

    extracted: NotRequired[Json]


class Pruned(TypedDict):
    """How many threads were pruned."""

    pruned_count: int


class ThreadState(TypedDict, total=False):
    """The state of a thread at a checkpoint, or the fields of it that were asked for."""

    values: Any
    next: list[str]
    tasks: list[Json]
    metadata: Json
    created_at: str | None
    checkpoint: Json | None
    parent_checkpoint: Json | None
    interrupts: list[Any]
    checkpoint_id: str | None
    parent_checkpoint_id: str | None


class Updated(TypedDict):
    """Where an update has left a thread; ``configurable`` is what the JavaScript client reads."""

    checkpoint: Json
    configurable: Json
    thread_id: str
    checkpoint_ns: str
    checkpoint_id: str | None


class Assistant(TypedDict):
    """An assistant."""

    assistant_id: str
    graph_id: str
    name: str
    description: str | None
    version: int
    created_at: str
    updated_at: str
    config: Json
    context: Json
    metadata: Json


class FoundAssistant(TypedDict, total=False):
    """An assistant that a search found, with the fields that were asked for."""

    assistant_id: str
    graph_id: str
    name: str
    description: str | None
    version: int
    created_at: str
    updated_at: str
    config: Json
    context: Json
    metadata: Json


class AssistantVersion(TypedDict):
    """What an assistant was at one of its versions."""

    assistant_id: str
    graph_id: str
    name: str
    description: str | None
    version: int
    created_at: str
    config: Json
    context: Json
    metadata: Json


class Drawing(TypedDict):
    """The nodes and edges of a graph."""

    nodes: list[Json]
    edges: list[Json]


class Schemas(TypedDict):
    """The JSON Schemas of what a graph takes, gives and keeps; null where it has none."""

    graph_id: NotRequired[str]
    input_schema: Json | None
    output_schema: Json | None
    state_schema: Json | None
    config_schema: Json | None
    context_schema: Json | None


class Cron(TypedDict):
    """A cron."""

    cron_id: str
    assistant_id: str
    thread_id: str | None
    schedule: str
    timezone: str | None
    end_time: str | None
    enabled: bool
    on_run_completed: Literal["delete", "keep"] | None
    user_id: str | None
    created_at: str
    updated_at: str
    next_run_date: str | None
    metadata: Json
    payload: Json


class FoundCron(TypedDict, total=False):
    """A cron that a search found, with the fields that were asked for."""

    cron_id: str
    assistant_id: str
    thread_id: str | None
    schedule: str
    timezone: str | None
    end_time: str | None
    enabled: bool
    on_run_completed: Literal["delete", "keep"] | None
    user_id: str | None
    created_at: str
    updated_at: str
    next_run_date: str | None
    metadata: Json
    payload: Json
    now: str


class Item(TypedDict):
    """An item of the store."""

    namespace: list[str]
    key: str
    value: Json
    created_at: str
    updated_at: str


class FoundItem(Item):
    """An item that a search found; the score is null unless it was by meaning."""

    score: float | None


class FoundItems(TypedDict):
    """The items that a search found."""

    items: list[FoundItem]


class Namespaces(TypedDict):
    """Namespaces of the store."""

    namespaces: list[list[str]]


class Delivery(TypedDict):
    """A delivery of a webhook."""

    delivery_id: str
    run_id: str
    thread_id: str
    url: str
    status: Literal["pending", "delivered", "failed", "gone"]
    attempts: int
    created_at: str
    last_attempt_at: str | None
    next_attempt_at: str | None
    last_status: int | None
    last_error: str | None


class Ok(TypedDict):
    """That the service answers."""

    ok: Literal[True]


class Component(TypedDict):
    """How a part of the service is."""

    state: Literal["ok", "degraded", "failed"]
    reason: NotRequired[str]
    figures: NotRequired[Json]


class StopStep(TypedDict):
    """How a step of the stop ended."""

    step: str
    result: Literal["done", "failed", "timed out", "cut short"]
    seconds: float
    error: str | None


class Stop(TypedDict):
    """How far the stop has come."""

    phase: str
    steps: list[StopStep]


class Ready(TypedDict):
    """Whether the service takes runs; what is missing stands beside the status."""

    status: Literal["ok", "not ready"]
    components: NotRequired[dict[str, Component]]
    shutdown: NotRequired[Stop]


class Status(TypedDict):
    """How the service and each of its parts are."""

    version: str
    pid: int
    started_at: str
    components: dict[str, Component]
    shutdown: Stop | None
    lookers: int


class Activity(TypedDict):
    """Something that happened, with its facts beside."""

    number: int
    at: str
    event: str
    run_id: NotRequired[str]


class AgentPool(TypedDict):
    """A pool of agents."""

    pool: str
    kind: Literal["graph", "process", "command", "mcp", "remote"]
    state: Literal["healthy", "starting", "degraded", "drained"]
    reason: str | None
    capabilities: list[str]
    strategy: Literal["round-robin", "least-loaded", "fastest", "sticky"]
    min: int
    max: int
    seats: int
    in_flight: int
    waiting: int


class AgentProbe(TypedDict):
    """A probe: when it began, how many seconds it took, what was wrong."""

    at: str
    took: float
    error: str | None


class AgentSeat(TypedDict):
    """A seat of a pool, and how its agents have done; times are seconds."""

    seat: int
    state: Literal["waiting", "starting", "free", "leased", "stopping", "suspect", "ending"]
    retiring: bool
    trouble: str | None
    backoff_until: str | None
    tasks: int
    failures: int
    error_rate: float
    latency: float | None
    restarts: int
    probes: list[AgentProbe]


class AgentPoolDetails(AgentPool):
    """A pool of agents with its seats."""

    agents: list[AgentSeat]


class MessageReceipt(TypedDict):
    """That a message is stored; the offset that it has in each mailbox, by their names."""

    id: str
    sender: str
    offsets: dict[str, int]
    duplicate: bool


class Message(TypedDict):
    """A message in a mailbox, and what became of it."""

    id: str
    offset: int
    mailbox: str
    sender: str
    topic: str | None
    correlation_id: str | None
    priority: int
    hops: int
    content: Any
    sent_at: str
    expires_at: str | None
    status: Literal["pending", "delivered", "dead", "expired", "dropped"]
    failures: int
    next_attempt_at: str | None
    ended_at: str | None
    last_error: str | None


class Mailbox(TypedDict):
    """A mailbox: its bounds, unless it is not configured any more, its messages and trouble."""

    mailbox: str
    agent: str | None
    topics: list[str]
    capacity: int | None
    full: Literal["reject", "drop-oldest"] | None
    pending: int
    in_flight: int
    delivered: int
    dead: int
    expired: int
    dropped: int
    oldest_pending: str | None
    trouble: str | None


class Requeued(TypedDict):
    """How many messages wait again."""

    requeued: int
