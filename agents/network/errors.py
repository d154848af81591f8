"""Why a message is not sent. Nothing was stored then."""

from agents.errors import AgentsError


class MessageRefused(AgentsError):
    """The message cannot be sent as it was given."""


class MailboxNotFound(AgentsError):
    """There is no mailbox or topic of that name."""

    def __init__(self, kind: str, name: str, hint: str) -> None:
        super().__init__(f"there is no {kind} {name[:64]!r}. {hint}")
        self.name = name


class MailboxFull(AgentsError):
    """As many messages wait in a mailbox as may; the sender may try again later."""

    def __init__(self, mailbox: str, capacity: int) -> None:
        super().__init__(f"the mailbox {mailbox!r} is full: {capacity} messages wait in it")
        self.mailbox = mailbox
        self.capacity = capacity
