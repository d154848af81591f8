"""The bodies and queries of the operations on messages."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, FiniteFloat

from agents.network.configuration import LONGEST
from agents.network.message import DEFAULT_PRIORITY
from agents.network.network import NAME_LIMIT
from orchestration.api.asked import Body, Query
from orchestration.api.fields import WHOLE, Limit
from orchestration.api.run_models import no_run

LARGEST = 2**63 - 1
MOST = 1_000  # offsets that can be named at once

Name = Annotated[str, Field(min_length=1, max_length=NAME_LIMIT)]
Offset = Annotated[int, Field(ge=0, le=LARGEST), WHOLE]
Status = Literal["pending", "delivered", "dead", "expired", "dropped"]
_PLACE: dict[str, Any] = {
    "oneOf": [
        {"required": ["to"], "properties": {"to": {"type": "string"}, "topic": {"type": "null"}}},
        {
            "required": ["topic"],
            "properties": {"topic": {"type": "string"}, "to": {"type": "null"}},
        },
    ]
}


class Sending(Body):
    """The base of what has messages go, which takes what it takes to begin a run."""

    def shown(self) -> dict[str, Any]:
        """Return what an authorisation is shown: besides, what it would find of a run."""
        return {**no_run(), **super().shown()}


class MessageSend(Sending):
    """A message: to a mailbox, or to all mailboxes of a topic."""

    model_config = ConfigDict(json_schema_extra=_PLACE)

    content: Any
    to: Name | None = None
    topic: Name | None = None
    id: Name | None = None
    priority: Annotated[int, Field(ge=0, le=10), WHOLE] = DEFAULT_PRIORITY
    ttl: Annotated[FiniteFloat, Field(gt=0, le=LONGEST)] | None = None
    correlation_id: Name | None = None


class MessageList(Query):
    """Which messages of a mailbox."""

    after: Offset = 0
    limit: Limit = 100
    status: Status | None = None


class DeadLetterList(Query):
    """Which dead letters of a mailbox."""

    after: Offset = 0
    limit: Limit = 100


class Requeue(Sending):
    """Which dead letters; all if none are named."""

    offsets: Annotated[list[Offset], Field(max_length=MOST)] | None = None


class Replay(Sending):
    """From where on."""

    after: Offset = 0
