"""The bodies of the operations on crons, with LangGraph's names."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field

from orchestration.api.asked import Body
from orchestration.api.fields import (
    EITHER,
    AssistantRef,
    Json,
    Limit,
    Offset,
    RunConfig,
    SortOrder,
    StreamModes,
    UuidText,
    Webhook,
)
from orchestration.api.run_models import Nodes

CronField = Literal[
    "cron_id", "assistant_id", "thread_id", "end_time", "schedule", "timezone", "created_at",
    "updated_at", "user_id", "payload", "next_run_date", "metadata", "now", "on_run_completed",
    "enabled",
]  # fmt: skip
CronSort = Literal[
    "cron_id", "assistant_id", "thread_id", "created_at", "updated_at", "next_run_date", "end_time"
]
Durability = Literal["sync", "async", "exit"]


def _in_utc(time: datetime) -> datetime:
    try:
        return time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)
    except OverflowError:
        raise ValueError("must be a time between the years 1 and 9999") from None


UtcTime = Annotated[datetime, Field(strict=False), AfterValidator(_in_utc)]


class ThreadCronCreate(Body):
    """What to run on a thread, how, and when."""

    model_config = ConfigDict(json_schema_extra=EITHER)

    assistant_id: AssistantRef
    schedule: str
    timezone: str | None = None
    end_time: UtcTime | None = None
    enabled: bool | None = None
    input: Any = None
    metadata: Json | None = None
    config: RunConfig | None = None
    context: Json | None = None
    checkpoint_during: bool | None = None
    interrupt_before: Nodes | None = None
    interrupt_after: Nodes | None = None
    webhook: Webhook | None = None
    multitask_strategy: Literal["reject", "interrupt", "rollback", "enqueue"] | None = None
    if_not_exists: Literal["create", "reject"] | None = None
    stream_mode: StreamModes | None = None
    stream_subgraphs: bool | None = None
    stream_resumable: bool | None = None
    durability: Durability | None = None


class CronCreate(ThreadCronCreate):
    """What to run, each time on a thread of its own, how, and when."""

    on_run_completed: Literal["delete", "keep"] | None = None


class CronPatch(Body):
    """What to change of a cron. A field that is null stays, but ``end_time``: null removes it."""

    model_config = ConfigDict(json_schema_extra=EITHER)

    schedule: str | None = None
    timezone: str | None = None
    end_time: UtcTime | None = None
    enabled: bool | None = None
    on_run_completed: Literal["delete", "keep"] | None = None
    input: Any = None
    metadata: Json | None = None
    config: RunConfig | None = None
    context: Json | None = None
    interrupt_before: Nodes | None = None
    interrupt_after: Nodes | None = None
    webhook: Webhook | None = None
    stream_mode: StreamModes | None = None
    stream_subgraphs: bool | None = None
    stream_resumable: bool | None = None
    durability: Durability | None = None

    def changed(self, value: Mapping[str, Any]) -> Self:
        """Return the request as an authorisation left it.

        Metadata replace those that the cron has. So where none were sent there are none after
        either: what an authorisation adds is in its grant as well.
        """
        return super().changed(value if self.metadata is not None else {**value, "metadata": None})


class CronFilter(Body):
    """Which crons."""

    assistant_id: AssistantRef | None = None
    thread_id: UuidText | None = None
    enabled: bool | None = None
    metadata: Json | None = None


class CronSearch(CronFilter):
    """Which crons, in what order, how many."""

    limit: Limit = 10
    offset: Offset = 0
    sort_by: CronSort = "created_at"
    sort_order: SortOrder = "desc"
    select: list[CronField] | None = None
