"""A message as an agent asks for it: JSON, of which nothing is taken on trust."""

from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.agent import Context
from agents.network.errors import MessageRefused
from agents.network.message import DEFAULT_PRIORITY, Draft, Receipt

# Sends a message in the name of the agent that works on the task of the context.
Send = Callable[[Draft, Context], Awaitable[Receipt]]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    content: Any
    to: str | None = None
    topic: str | None = None
    message_id: str | None = Field(None, alias="id")
    priority: int = DEFAULT_PRIORITY
    ttl: float | None = None
    correlation_id: str | None = None


def as_draft(params: Any) -> Draft:
    """Return the message that ``params`` describe.

    Raises:
        MessageRefused: they describe none.
    """
    try:
        asked = _Asked.model_validate(params)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise MessageRefused(f"{place or 'params'}: {first['msg']}") from error
    return Draft(**dict(asked))
