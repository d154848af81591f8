"""Messages: what is said, to which mailbox, in whose name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from operations.telemetry.traceparent import Span

HOPS = 16  # messages that may lead one to another
DEFAULT_PRIORITY = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """In whose name messages are sent. The server makes it; a sender cannot say it is another.

    ``metadata`` decide who sees what was sent; ``hops`` is how many messages led here. What is done
    for it sees of the store what is below ``namespace``.
    """

    sender: str
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    namespace: tuple[str, ...] = ()
    hops: int = 0
    span: Span | None = None  # of the trace in which tasks are done for it

    @property
    def owner(self) -> str | None:
        """For whom the sender works, None if nobody was asked."""
        return self.sender.partition("/")[2] or None


def sender_of(role: str, owner: str | None) -> str:
    """Return the name of a sender; ``role``, such as "graph:planner", holds no slash."""
    return role if owner is None else f"{role}/{owner}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What somebody wants to send: to a mailbox, or to all mailboxes of a topic.

    Of several with the same ``message_id`` from one sender to one place, the first counts.
    ``priority`` is 0 (first) to 10; ``ttl`` is for how many seconds it is worth delivering.
    """

    content: Any
    to: str | None = None
    topic: str | None = None
    message_id: str | None = None
    priority: int = DEFAULT_PRIORITY
    ttl: float | None = None
    correlation_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A message as it is stored; ``content`` is a JSON text.

    It is ``named`` if its sender gave it its id, by which it can be known again.
    """

    message_id: str
    named: bool
    sender: str
    recipient: str  # the mailbox, or "#" and the topic
    topic: str | None
    correlation_id: str | None
    priority: int
    hops: int
    content: str
    metadata: Mapping[str, Any]
    namespace: tuple[str, ...]
    sent_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message that waits in a mailbox. Its ``offset`` is its place among all messages.

    Its ``namespace`` is None if it was stored when none was kept.
    """

    offset: int
    mailbox: str
    message_id: str
    sender: str
    topic: str | None
    correlation_id: str | None
    priority: int
    hops: int
    content: Any
    metadata: Mapping[str, Any]
    namespace: tuple[str, ...] | None
    sent_at: datetime
    expires_at: datetime | None
    due_at: datetime | None
    attempts: int  # that failed

    def document(self) -> dict[str, Any]:
        """Return what its receiver is given."""
        return {
            "id": self.message_id,
            "offset": self.offset,
            "mailbox": self.mailbox,
            "sender": self.sender,
            "topic": self.topic,
            "correlation_id": self.correlation_id,
            "content": self.content,
            "sent_at": self.sent_at.isoformat(),
            "hops": self.hops,
            "attempt": self.attempts + 1,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """That a message is stored: its offset in each mailbox that it went to.

    A ``duplicate`` was sent before, and the offsets are those of then.
    """

    message_id: str
    sender: str
    offsets: Mapping[str, int]
    duplicate: bool = False
