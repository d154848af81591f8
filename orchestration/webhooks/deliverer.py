"""Delivers webhooks: as soon as a run has ended, again and again where nobody takes them."""

import math
import sqlite3
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from random import Random

import anyio
import orjson
import structlog
from anyio.abc import TaskGroup

from operations.alarm import Alarm, Sleep
from operations.clock import Clock, iso, utc_now
from operations.egress import UrlRefused
from operations.errors import StorageUnavailable
from operations.outbound import Outbound, RequestFailed
from orchestration.store.deliveries import Attempt, DeliveryStore, receiver_of
from orchestration.webhooks.retries import asked_wait, next_wait
from orchestration.webhooks.signature import Signer

AT_ONCE = 64  # deliveries
AT_ONCE_PER_RECEIVER = 8  # deliveries, so that one that does not answer holds up no other
LONGEST_REST = 60.0  # seconds until the wall clock is looked at again, in case it was set
_STORE_PAUSE = 5.0  # seconds until a store that failed is tried again

_log = structlog.get_logger("masterloop")


class Deliverer:
    """Sends every delivery that the store has when it is due, each at least once.

    A delivery keeps its ``webhook-id`` over all attempts, by which a receiver knows it again. An
    answer of 2xx ends it, 410 too; anything else, silence included, is tried again later.
    """

    def __init__(
        self,
        store: DeliveryStore,
        outbound: Outbound,
        *,
        headers: Mapping[str, str],
        signer: Signer | None,
        rng: Random,
        clock: Clock = utc_now,
        sleep: Sleep = anyio.sleep,
    ) -> None:
        self._store = store
        self._outbound = outbound
        self._headers = headers
        self._signer = signer
        self._rng = rng
        self._clock = clock
        self._sleep = sleep
        self._alarm = Alarm(sleep)
        self._closed = False
        self._under_way: dict[str, str] = {}  # the receiver of each

    def expect(self, url: str) -> None:
        """Look again: there is something new for the receiver at ``url``."""
        # One that has all it may have is looked at when it has taken something: it may be dead,
        # and then each look goes through all that waits for it.
        if self._busy(receiver_of(url)) < AT_ONCE_PER_RECEIVER:
            self._alarm.ring()

    def close(self) -> None:
        """Begin nothing more; ``run`` returns once what is under way has ended."""
        self._closed = True
        self._alarm.ring()

    async def run(self) -> None:
        """Deliver what is due, whenever it is, until closed."""
        async with anyio.create_task_group() as deliveries:
            while not self._closed:
                at = self._clock()
                try:
                    while await self._begin_due(at, deliveries):
                        pass
                    pause = self._until_next(at)
                except StorageUnavailable as error:
                    _log.warning("webhooks cannot be read; trying again", error=str(error))
                    pause = _STORE_PAUSE
                await self._alarm.rest(pause)

    async def _begin_due(self, at: datetime, deliveries: TaskGroup) -> bool:
        """Begin what is due and there is room for; return whether that was anything."""
        room = AT_ONCE - len(self._under_way)
        if room == 0 or self._closed:
            return False
        busy = Counter(self._under_way.values())
        due = await self._store.due(
            at,
            without=self._under_way.keys(),
            avoiding=[to for to, count in busy.items() if count >= AT_ONCE_PER_RECEIVER],
            limit=room,
        )
        begun = False
        for row in due:
            receiver: str = row["receiver"]
            if busy[receiver] < AT_ONCE_PER_RECEIVER:
                busy[receiver] += 1
                self._under_way[row["delivery_id"]] = receiver
                deliveries.start_soon(self._deliver, row)
                begun = True
        return begun

    def _until_next(self, at: datetime) -> float:
        """Return the seconds until something is due that was not yet at ``at``."""
        due_at = self._store.next_due(at)
        if due_at is None:
            return math.inf
        return min(max(0.0, (due_at - self._clock()).total_seconds()), LONGEST_REST)

    def _busy(self, receiver: str) -> int:
        return sum(one == receiver for one in self._under_way.values())

    async def _deliver(self, row: sqlite3.Row) -> None:
        try:
            attempt = await self._tried(row)
            while not await self._recorded(row["delivery_id"], attempt):
                await self._sleep(_STORE_PAUSE)
        finally:
            del self._under_way[row["delivery_id"]]
            self._alarm.ring()

    async def _recorded(self, delivery_id: str, attempt: Attempt) -> bool:
        try:
            await self._store.record(delivery_id, attempt)
        except StorageUnavailable as error:
            _log.warning("webhooks cannot be recorded; trying again", error=str(error))
            return False
        return True

    async def _tried(self, row: sqlite3.Row) -> Attempt:
        """Return what came of an attempt, whatever that was: it holds up no other."""
        at = self._clock()
        try:
            return await self._attempt(row, at)
        except Exception as error:  # noqa: BLE001 - as said
            _log.exception("a webhook could not be sent", run_id=row["run_id"])
            return self._failed(row, at, type(error).__name__)

    async def _attempt(self, row: sqlite3.Row, at: datetime) -> Attempt:
        body = _stamped(row["payload"].encode(), at)
        try:
            head = self._head(row["delivery_id"], at, body) | orjson.loads(row["trace"] or "{}")
            answer = await self._outbound.post(row["url"], body, head)
        except (UrlRefused, RequestFailed) as error:
            return self._failed(row, at, str(error))
        if answer.status // 100 == HTTPStatus.OK // 100:
            return Attempt("delivered", at, answer=answer.status)
        asked = asked_wait(answer.headers.get("retry-after"), at)
        return self._failed(row, at, f"the answer was {answer.status}", answer.status, asked)

    def _failed(
        self,
        row: sqlite3.Row,
        at: datetime,
        error: str,
        answer: int | None = None,
        asked: float = 0.0,
    ) -> Attempt:
        attempts = row["attempts"] + 1
        _log.info(
            "webhook not delivered",
            run_id=row["run_id"],
            receiver=row["receiver"],
            attempt=attempts,
            error=error,
        )
        if answer == HTTPStatus.GONE:
            return Attempt("gone", at, answer=answer, error=error)
        wait = next_wait(attempts, asked, self._rng)
        if wait is None:
            return Attempt("failed", at, answer=answer, error=error)
        return Attempt("pending", at, at + timedelta(seconds=wait), answer, error)

    def _head(self, delivery_id: str, at: datetime, body: bytes) -> dict[str, str]:
        timestamp = int(at.timestamp())
        head = {
            **self._headers,
            "content-type": "application/json",
            "webhook-id": delivery_id,
            "webhook-timestamp": str(timestamp),
        }
        if self._signer is not None:
            head["webhook-signature"] = self._signer.sign(delivery_id, timestamp, body)
        return head


def _stamped(payload: bytes, at: datetime) -> bytes:
    """Return the document with the time it is sent as its last field."""
    sent_at = iso(at).encode()
    return b'%b,"webhook_sent_at":"%b"}' % (payload[:-1], sent_at)
