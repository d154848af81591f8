"""Delivery: each mailbox hands on what waits in it, the messages of one sender one by one."""

import asyncio
import contextvars
import heapq
from collections.abc import Awaitable, Callable
from datetime import timedelta
from random import Random
from time import monotonic

import structlog

from agents.errors import AgentsError, NotLeased
from agents.events import Emit, MessageDead, MessageDelivered, MessageRetried
from agents.network.backoff import backoff
from agents.network.configuration import MailboxSection
from agents.network.message import Message
from agents.network.port import Mailboxes, Rank, Verdict
from agents.network.resting import Resting
from operations.clock import Clock
from operations.errors import StorageUnavailable
from operations.surrogates import without_surrogates

STORE_PAUSE = 5.0  # seconds until a store that failed is tried again
ERROR_LIMIT = 8_192  # characters of an error that are kept

# Hands a message to whoever can do the capability; returns once it is taken.
Receive = Callable[[str, Message], Awaitable[None]]

_log = structlog.get_logger("masterloop")


class Sender:
    """One sender's messages in one mailbox, as far as delivery has to know of them."""

    __slots__ = ("first", "fresh", "misses", "name", "offered", "serving")

    def __init__(self, name: str, first: Rank) -> None:
        self.name = name
        self.first = first
        self.offered: Rank | None = None  # with which it has its turn
        self.serving = False
        self.fresh = False  # something came while it was served
        self.misses = 0  # in a row


class Delivery:
    """Delivers what waits in one mailbox.

    The store has the messages; here is only who has some, in which order they take turns, and who
    rests until something is tried again.
    """

    def __init__(
        self,
        name: str,
        section: MailboxSection,
        store: Mailboxes,
        receive: Receive,
        *,
        emit: Emit,
        rng: Random,
        clock: Clock,
    ) -> None:
        self.name = name
        self.section = section
        self.trouble: str | None = None  # why nobody receives
        self.capability = section.agent or name
        self._store = store
        self._receive = receive
        self._emit = emit
        self._rng = rng
        self._clock = clock
        self._senders: dict[str, Sender] = {}
        self._unheard: dict[Sender, None] = {}  # those for whom nobody was there
        self._ready: list[tuple[Rank, str]] = []
        self._resting: Resting[Sender] = Resting(self._offer)
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def in_flight(self) -> int:
        """How many messages are being received."""
        return len(self._tasks)

    def arrived(self, sender: str, first: Rank) -> None:
        """Know that something of ``sender`` waits."""
        known = self._senders.get(sender)
        if known is None:
            known = self._senders[sender] = Sender(sender, first)
        known.first = min(known.first, first)
        known.fresh = True
        if not known.serving and known not in self._unheard:
            self._offer(known)

    def somebody_is_back(self) -> None:
        """Try at once what found nobody."""
        for sender in tuple(self._unheard):
            if not sender.serving:
                self._offer(sender)

    async def aclose(self, grace: float) -> None:
        """Begin nothing more; what is being received has ``grace`` seconds, and is kept."""
        self._closed = True
        self._resting.clear()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._resting.clear()

    def _offer(self, sender: Sender) -> None:
        self._resting.discard(sender)
        self._unheard.pop(sender, None)
        if sender.offered != sender.first:
            sender.offered = sender.first
            heapq.heappush(self._ready, (sender.first, sender.name))
        self._pump()

    def _pump(self) -> None:
        while self._ready and len(self._tasks) < self.section.at_once and not self._closed:
            rank, name = heapq.heappop(self._ready)
            sender = self._senders.get(name)
            if sender is None or sender.offered != rank:
                continue  # it had an earlier turn
            sender.offered = None
            sender.serving = True
            # Not part of whoever sent it: a run that ends must not take its messages along.
            task = asyncio.get_running_loop().create_task(
                self._serve(sender), name=f"mailbox-{self.name}", context=contextvars.Context()
            )
            self._tasks.add(task)
            task.add_done_callback(self._served)

    def _served(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a message could not be delivered", mailbox=self.name, exc_info=error)
        self._pump()

    async def _serve(self, sender: Sender) -> None:
        """Deliver the first message of ``sender``, if it is due, and see what is next."""
        pause: float | None = STORE_PAUSE  # unless it gets to say otherwise
        try:
            sender.fresh = False
            pause = await self._served_one(sender)
        except StorageUnavailable as error:
            _log.warning("a mailbox cannot be read", mailbox=self.name, error=str(error))
        finally:
            sender.serving = False
            if sender.fresh and sender not in self._unheard and pause != STORE_PAUSE:
                pause = 0.0  # what came may be due, or more urgent
            if pause is None:
                del self._senders[sender.name]
            elif pause > 0:
                self._resting.put(sender, pause)
            else:
                self._offer(sender)

    async def _served_one(self, sender: Sender) -> float | None:
        """Return in how many seconds to look again, None if nothing is left."""
        message = await self._store.head(self.name, sender.name)
        if message is not None and self._until(message) <= 0:
            if not await self._delivered(sender, message):
                return self._missed(sender)
            message = await self._store.head(self.name, sender.name)
        if message is None:
            return None
        sender.first = Rank(message.priority, message.offset)
        return self._until(message)

    def _until(self, message: Message) -> float:
        """Return in how many seconds a message is due, or over."""
        if message.due_at is None:
            return 0.0
        over = message.due_at if message.expires_at is None else message.expires_at
        wait = (min(message.due_at, over) - self._clock()).total_seconds()
        # Nothing is told to wait for longer: the clock was set back since.
        return max(0.0, wait) if wait <= self.section.retry.most else 0.0

    def _missed(self, sender: Sender) -> float:
        sender.misses += 1
        self._unheard[sender] = None
        retry = self.section.retry
        return backoff(sender.misses, first=retry.first, most=retry.most, rng=self._rng)

    async def _delivered(self, sender: Sender, message: Message) -> bool:
        """Hand on a message and keep what came of it; return whether somebody was there."""
        now = self._clock()
        if message.expires_at is not None and message.expires_at <= now:
            await self._settled(message, Verdict("expired", now))
            return True
        began = monotonic()
        try:
            await self._receive(self.capability, message)
        except NotLeased as error:
            self.trouble = str(error)
            return False
        except AgentsError as error:
            verdict = self._failed(message, error)
        except Exception as error:  # noqa: BLE001 - or it would be tried for ever, others behind it
            _log.error("a message was not received", mailbox=self.name, exc_info=error)
            verdict = self._failed(message, error)
        else:
            verdict = Verdict("delivered", self._clock())
            took = monotonic() - began
            self._emit(MessageDelivered(self.name, message.offset, message.attempts + 1, took))
        self.trouble = None
        sender.misses = 0
        await self._settled(message, verdict)
        return True

    def _failed(self, message: Message, failure: Exception) -> Verdict:
        now, attempt, retry = self._clock(), message.attempts + 1, self.section.retry
        error = without_surrogates(f"{type(failure).__name__}: {failure}"[:ERROR_LIMIT])
        if attempt >= retry.attempts:
            self._emit(MessageDead(self.name, message.offset, attempt, error))
            return Verdict("dead", now, error=error)
        wait = backoff(attempt, first=retry.first, most=retry.most, rng=self._rng)
        self._emit(MessageRetried(self.name, message.offset, attempt, error, wait))
        return Verdict("pending", now, now + timedelta(seconds=wait), error)

    async def _settled(self, message: Message, verdict: Verdict) -> None:
        """Keep a verdict, however long that takes: without it, the message would come again."""
        while True:
            try:
                await self._store.settle(message.offset, verdict)
            except StorageUnavailable as error:
                _log.warning("a verdict cannot be kept", mailbox=self.name, error=str(error))
                await asyncio.sleep(STORE_PAUSE)
            else:
                return
