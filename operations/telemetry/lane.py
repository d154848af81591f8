"""The way to one sink: a backlog, a thread, and patience with a sink that fails."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from operations.handover import handover
from operations.telemetry.backlog import Backlog
from operations.telemetry.failures import Failures
from operations.telemetry.record import Batch, Importance, Record, Sink

BATCH = 256  # records that a sink is given at once, at most: it holds up the event loop meanwhile
PREPARED = 4_096  # as many of those of which only the writing is left
Prepare = Callable[[Sequence[Record]], Sequence[Record]]
_PAUSE_FIRST = 0.1  # seconds
_PAUSE_MOST = 30.0  # seconds


@dataclass(frozen=True, slots=True)
class LaneState:
    """How a sink does. ``busy`` is how many seconds it has been at what it was given last."""

    name: str
    waiting: int  # records
    dropped: Mapping[Importance, int]
    failures: int
    delivered_at: float | None  # seconds since 1970
    oldest_at: float | None  # when what is still to be taken was told, in seconds since 1970
    busy: float


class Lane:
    """Takes records to a sink, whatever the others do; all methods return at once.

    ``prepare`` makes of records what the sink is to take, before its own thread is woken: at each
    waking a thread takes the interpreter from the event loop, and gives it back.
    """

    def __init__(
        self, sink: Sink, capacity: int, rng: Random, prepare: Prepare | None = None
    ) -> None:
        self._sink = sink
        self._prepare = prepare
        self._most = BATCH if prepare is None else PREPARED
        self._kinds = None if sink.kinds is None else frozenset(sink.kinds)
        self._backlog = Backlog(capacity)
        self._rng = rng
        self._something = threading.Event()
        self._closing = threading.Event()
        self._deadline = 0.0  # monotonic; of the closing
        self._failures = Failures(sink.name)
        self._delivered_at: float | None = None
        self._begun: float | None = None
        self._in_hand: float | None = None  # when the first of what is being taken was told
        self._thread = threading.Thread(target=self._run, name=f"sink-{sink.name}", daemon=True)

    @property
    def name(self) -> str:
        """The name of the sink."""
        return self._sink.name

    @property
    def state(self) -> LaneState:
        """How the sink does."""
        begun = self._begun
        return LaneState(
            name=self.name,
            waiting=len(self._backlog),
            dropped=dict(self._backlog.dropped),
            failures=self._failures.count,
            delivered_at=self._delivered_at,
            oldest_at=self._backlog.oldest if self._in_hand is None else self._in_hand,
            busy=0.0 if begun is None else time.monotonic() - begun,
        )

    def start(self) -> None:
        """Begin; nothing is taken before."""
        self._thread.start()

    def put(self, batch: Batch) -> None:
        """Have what the sink wants of a batch taken once it is woken, after those before it."""
        records = batch.of(self._kinds)
        if records and self._prepare is not None:
            records = self._prepared(records, self._prepare)
        if records:
            self._backlog.extend(records)

    def wake(self) -> None:
        """Wake the sink, if there is something for it."""
        if self._backlog:
            self._something.set()

    def close(self, deadline: float) -> None:
        """Have what waits taken until then, in monotonic time, and the sink closed."""
        self._deadline = deadline
        self._closing.set()
        self._something.set()

    @property
    def working(self) -> bool:
        """Whether the sink has been started and is not closed yet."""
        return self._thread.is_alive()

    def join(self, patience: float) -> None:
        """Wait until the sink is closed, or for it no longer, in monotonic time."""
        self._thread.join(max(0.0, patience - time.monotonic()))

    def _prepared(self, batch: Sequence[Record], prepare: Prepare) -> Sequence[Record]:
        try:
            return prepare(batch)
        except Exception as error:  # noqa: BLE001 - whatever a sink raises, the others go on
            self._backlog.give_up(batch)
            self._fail(error)
            return ()

    def _run(self) -> None:
        while True:
            self._something.wait()
            self._something.clear()
            closing = self._closing.is_set()  # looked at before the last look at what waits
            while batch := self._backlog.take(self._most):
                self._in_hand = batch[0].at
                self._deliver(batch)
                self._in_hand = None
                if self._backlog:
                    time.sleep(0)  # let the event loop have the interpreter, if it waits for it
            if closing:
                break
        self._attempt(lambda: self._sink.close(max(0.0, self._deadline - time.monotonic())))

    def _deliver(self, batch: Sequence[Record]) -> None:
        """Have a batch taken; given up only when there is no time left to try again."""
        pause = _PAUSE_FIRST
        while not self._attempt(lambda: self._take(batch)):
            wait = pause * self._rng.uniform(0.5, 1.0)
            pause = min(_PAUSE_MOST, pause * 2)
            if not self._closing.is_set():
                self._closing.wait(wait)
            elif time.monotonic() + wait < self._deadline:
                time.sleep(wait)
            else:
                self._backlog.give_up(batch)
                return

    def _take(self, batch: Sequence[Record]) -> None:
        if self._prepare is None:
            with handover:
                self._sink.take(batch)
        else:  # there is nothing left but to write it
            self._sink.take(batch)

    def _attempt(self, work: Callable[[], None]) -> bool:
        self._begun = time.monotonic()
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever a sink raises, the others go on
            self._fail(error)
            return False
        finally:
            self._begun = None
        self._delivered_at = time.time()
        return True

    def _fail(self, error: Exception) -> None:
        dropped = self._backlog.dropped.total()
        self._failures.add(error, waiting=len(self._backlog), dropped=dropped)
