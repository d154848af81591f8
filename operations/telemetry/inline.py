"""The way to a sink that only computes: whoever hands records on takes them to it."""

import time
from collections import Counter

from operations.telemetry.failures import Failures
from operations.telemetry.lane import LaneState
from operations.telemetry.record import Batch, Importance, Sink


class Inline:
    """Has records taken at once, in the caller's thread: a thread of its own costs more than that.

    At each waking, such a thread takes the interpreter from the event loop, and gives it back. What
    a sink raises at is given up: part of it is counted already.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._kinds = None if sink.kinds is None else frozenset(sink.kinds)
        self._failures = Failures(sink.name)
        self._dropped: Counter[Importance] = Counter()
        self._delivered_at: float | None = None
        self._begun: float | None = None

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
            waiting=0,
            dropped=dict(self._dropped),
            failures=self._failures.count,
            delivered_at=self._delivered_at,
            oldest_at=None,
            busy=0.0 if begun is None else time.monotonic() - begun,
        )

    def put(self, batch: Batch) -> None:
        """Have what the sink wants of a batch taken."""
        records = batch.of(self._kinds)
        if not records:
            return
        self._begun = time.monotonic()
        try:
            self._sink.take(records)
            self._delivered_at = time.time()
        except Exception as error:  # noqa: BLE001 - whatever a sink raises, the others go on
            self._dropped.update(record.importance for record in records)
            self._failures.add(error, waiting=0, dropped=self._dropped.total())
        finally:
            self._begun = None

    def close(self) -> None:
        """Have the sink closed."""
        try:
            self._sink.close(0.0)
        except Exception as error:  # noqa: BLE001 - as above
            self._failures.add(error, waiting=0, dropped=self._dropped.total())
