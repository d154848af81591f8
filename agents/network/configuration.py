"""``masterloop.network`` in ``langgraph.json``: the mailboxes, and what holds for all of them."""

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat

from agents.configuration import name_of
from operations.sections import Count, Names, Section

LONGEST = 315_360_000.0  # seconds: ten years

Seconds = Annotated[FiniteFloat, Field(gt=0, le=LONGEST)]


class Retry(Section):
    """When a message that was not taken is tried again: full jitter below a limit that doubles."""

    first: Seconds = 1.0  # the first limit
    most: Seconds = 300.0  # the last limit
    attempts: Count = 8  # after which it is a dead letter


class MailboxSection(Section):
    """A mailbox, and who receives what comes into it."""

    agent: str | None = None  # the capability it takes; the mailbox's name if left out
    topics: Names = ()  # that it gets the messages of, too
    capacity: Count = 10_000  # messages that wait
    full: Literal["reject", "drop-oldest"] = "reject"
    at_once: Count = 16  # messages that are being received, each of another sender
    retry: Retry = Retry()


class NetworkSection(Section):
    """What holds for all mailboxes."""

    mailboxes: dict[Annotated[str, name_of("a mailbox")], MailboxSection] = Field(
        default_factory=dict
    )
    dedup_window: Seconds = 86_400.0  # in which a message id is known again
    keep_for: Seconds = 604_800.0  # what is over, dead letters included
    keep: Count = 100_000  # messages of a mailbox that are over
    size: Count = 1024 * 1024  # bytes of a message's content
