"""The network: takes messages for mailboxes and topics, and has them delivered."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from random import Random
from typing import Self

import anyio
import orjson
import structlog
from uuid_utils import uuid7

from agents.events import Emit
from agents.network.configuration import LONGEST, NetworkSection
from agents.network.delivery import Delivery, Receive
from agents.network.errors import MailboxNotFound, MessageRefused
from agents.network.message import HOPS, Draft, Letter, Origin, Receipt
from agents.network.port import Mailboxes, Place, Rank
from operations.clock import Clock, utc_now
from operations.errors import nearest

NAME_LIMIT = 255  # characters of an id
LAST_GRACE = 1.0  # seconds for what is being received when the service stops

_log = structlog.get_logger("masterloop")


class AgentNetwork:
    """Delivers each message at least once, in order per sender, and acknowledges it after that."""

    def __init__(
        self,
        section: NetworkSection,
        store: Mailboxes,
        receive: Receive,
        *,
        emit: Emit,
        rng: Random,
        clock: Clock = utc_now,
    ) -> None:
        self._section = section
        self._store = store
        self._clock = clock
        self._deliveries: Mapping[str, Delivery] = {
            name: Delivery(name, mailbox, store, receive, emit=emit, rng=rng, clock=clock)
            for name, mailbox in section.mailboxes.items()
        }
        self._topics: dict[str, list[str]] = {}
        for name, mailbox in section.mailboxes.items():
            for topic in mailbox.topics:
                self._topics.setdefault(topic, []).append(name)

    def __iter__(self) -> Iterator[Delivery]:
        return iter(self._deliveries.values())

    def __len__(self) -> int:
        return len(self._deliveries)

    def __contains__(self, mailbox: str) -> bool:
        return mailbox in self._deliveries

    def __getitem__(self, mailbox: str) -> Delivery:
        """Return what delivers a mailbox.

        Raises:
            MailboxNotFound: there is none.
        """
        if mailbox not in self._deliveries:
            raise MailboxNotFound("mailbox", mailbox, nearest(mailbox, self._deliveries))
        return self._deliveries[mailbox]

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Self]:
        """Deliver meanwhile, first what waited before."""
        await self.recover()
        try:
            yield self
        finally:
            with anyio.CancelScope(shield=True):
                await self.aclose()

    async def aclose(self) -> None:
        """Deliver nothing more; what is taken until the end of ``running`` waits in the store."""
        async with anyio.create_task_group() as closing:
            for delivery in self:
                closing.start_soon(delivery.aclose, LAST_GRACE)

    async def recover(self) -> None:
        """Take up what waits in the store; what nobody is to receive any more goes on waiting."""
        lanes = await self._store.lanes()
        for lane in lanes:
            if lane.mailbox in self:
                self[lane.mailbox].arrived(lane.sender, lane.first)
        for name in sorted({lane.mailbox for lane in lanes if lane.mailbox not in self}):
            _log.warning("messages wait in a mailbox that is not configured", mailbox=name)

    async def send(self, draft: Draft, origin: Origin) -> Receipt:
        """Return once the message is durable; it is delivered after that.

        Cancelled meanwhile, it may have been sent all the same.

        Raises:
            MessageRefused: it cannot be sent as it was given.
            MailboxNotFound: there is no such mailbox or topic.
            MailboxFull: a mailbox that it was to go into is.
        """
        places = [self._place(name) for name in self._recipients(draft)]
        letter = self._letter(draft, origin)
        # Shielded: a sender that goes away stops no write, and what is written is to be delivered.
        return await asyncio.shield(self._sent(letter, places))

    def somebody_is_back(self) -> None:
        """Try at once what found nobody to receive it."""
        for delivery in self:
            delivery.somebody_is_back()

    def somebody_is_idle(self, abilities: Collection[str]) -> None:
        """Try at once what found nobody of those who can do that, as all were at work."""
        for delivery in self:
            if delivery.capability in abilities:
                delivery.somebody_is_back()

    async def _sent(self, letter: Letter, places: Sequence[Place]) -> Receipt:
        receipt = await self._store.append(letter, places)
        if not receipt.duplicate:
            for mailbox, offset in receipt.offsets.items():
                rank = Rank(letter.priority, offset)
                self._deliveries[mailbox].arrived(letter.sender, rank)
        return receipt

    def _recipients(self, draft: Draft) -> list[str]:
        if (draft.to is None) == (draft.topic is None):
            raise MessageRefused("a message goes either to a mailbox (to) or to a topic")
        if draft.to is not None:
            return [self[draft.to].name]
        topic = draft.topic or ""
        if topic not in self._topics:
            raise MailboxNotFound("topic", topic, nearest(topic, self._topics))
        return self._topics[topic]

    def _place(self, name: str) -> Place:
        section = self._section.mailboxes[name]
        return Place(name, section.capacity, section.full == "drop-oldest")

    def _letter(self, draft: Draft, origin: Origin) -> Letter:
        self._examine(draft, origin)
        now = self._clock()
        return Letter(
            message_id=draft.message_id or str(uuid7()),
            named=draft.message_id is not None,
            sender=origin.sender,
            recipient=draft.to if draft.to is not None else f"#{draft.topic}",
            topic=draft.topic,
            correlation_id=draft.correlation_id,
            priority=draft.priority,
            hops=origin.hops + 1,
            content=self._text(draft),
            metadata=origin.metadata,
            namespace=origin.namespace,
            sent_at=now,
            expires_at=None if draft.ttl is None else now + timedelta(seconds=draft.ttl),
        )

    def _text(self, draft: Draft) -> str:
        try:
            content = orjson.dumps(draft.content)
        except TypeError as error:
            raise MessageRefused(f"the content is no JSON: {error}") from error
        if len(content) > self._section.size:
            raise MessageRefused(
                f"the content has {len(content)} bytes of JSON; {self._section.size} are the limit"
            )
        return content.decode()

    def _examine(self, draft: Draft, origin: Origin) -> None:
        for name, text in (("id", draft.message_id), ("correlation_id", draft.correlation_id)):
            if text is not None and not 0 < len(text) <= NAME_LIMIT:
                raise MessageRefused(f"{name} has {len(text)} characters; it takes 1 to 255")
        if not 0 <= draft.priority <= 10:  # noqa: PLR2004 - as runs have it
            raise MessageRefused(f"the priority is {draft.priority}; it takes 0 (first) to 10")
        if draft.ttl is not None and not 0 < draft.ttl <= LONGEST:
            raise MessageRefused(
                f"ttl is {draft.ttl} seconds; it takes more than 0, at most ten years"
            )
        if origin.hops >= HOPS:
            raise MessageRefused(
                f"{origin.hops} messages led to this one, one by the other, which is the limit"
            )
