"""The port: where mailboxes are kept. What is told here as done is durable."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from agents.network.message import Letter, Message, Receipt


@dataclass(frozen=True, slots=True)
class Place:
    """A mailbox that a message is to go into, and what its bound is."""

    mailbox: str
    capacity: int
    drop_oldest: bool


@dataclass(frozen=True, slots=True, order=True)
class Rank:
    """What goes first among messages: what is more urgent, then what is older."""

    priority: int
    offset: int


@dataclass(frozen=True, slots=True)
class Lane:
    """The messages of one sender that wait in one mailbox, and the first of them."""

    mailbox: str
    sender: str
    first: Rank


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of an attempt. ``due_at`` is when to try again, None if never."""

    status: Literal["pending", "delivered", "dead", "expired"]
    at: datetime
    due_at: datetime | None = None
    error: str | None = None


class Mailboxes(Protocol):
    """Keeps messages, each until there is a verdict, and for a while after it."""

    async def append(self, letter: Letter, places: Sequence[Place]) -> Receipt:
        """Put a message into all of these mailboxes, or nowhere.

        Raises:
            MailboxFull: one of them is, and does not drop its oldest message.
        """
        ...

    async def lanes(self) -> Sequence[Lane]:
        """Return where messages wait."""
        ...

    async def head(self, mailbox: str, sender: str) -> Message | None:
        """Return the first message of a sender that waits in a mailbox, due or not."""
        ...

    async def settle(self, offset: int, verdict: Verdict) -> None:
        """Keep what came of an attempt, if the message still waits.

        One that was dropped meanwhile, and is delivered all the same, was not dropped.
        """
        ...
