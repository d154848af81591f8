"""What the fields of bodies and query strings are made of, with LangGraph's names."""

import re
from typing import Annotated, Any, Literal, Required
from uuid import UUID

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, with_config
from pydantic.config import JsonDict
from typing_extensions import TypedDict

from orchestration.api.asked import Query
from orchestration.api.ingress import parse_json

Json = dict[str, Any]
StreamMode = Literal[
    "values", "messages", "messages-tuple", "updates", "events", "tasks", "checkpoints", "debug",
    "custom",
]  # fmt: skip

_SPELT = re.compile("[._]")  # 1.0, 1_000


def _whole(value: Any) -> Any:
    """Return a number as an integer if it is one: JSON has only one kind of number.

    Raises:
        ValueError: it is a text of a URL, and spelt as only Python reads whole numbers.
    """
    if isinstance(value, str) and _SPELT.search(value):
        raise ValueError("must be a whole number, written in digits")
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


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def joined(text: str) -> str:
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
CLOSED = ConfigDict(extra="forbid", strict=True)


@with_config(CLOSED)
class Goto(TypedDict, total=False):
    """A node to go to, with its input."""

    node: Required[str]
    input: Any


@with_config(CLOSED)
class Command(TypedDict, total=False):
    """What to tell a graph that waits: an answer, an update, where to go on."""

    resume: Any
    update: Any
    goto: str | Goto | Annotated[list[str | Goto], Field(max_length=10_000)] | None


@with_config(CLOSED)
class RunConfig(TypedDict, total=False):
    """LangGraph's run configuration."""

    tags: list[str] | None
    metadata: Json | None
    recursion_limit: Annotated[int, Field(ge=1, le=100_000), WHOLE] | None
    configurable: Json | None
    max_concurrency: Annotated[int, Field(ge=1), WHOLE] | None
    run_name: str | None


@with_config(CLOSED)
class CheckpointRef(TypedDict, total=False):
    """A checkpoint of a thread."""

    thread_id: str | None
    checkpoint_ns: str | None
    checkpoint_id: str | None
    checkpoint_map: Json | None


class Page(Query):
    """A page of a list."""

    limit: Limit = 10
    offset: Offset = 0
