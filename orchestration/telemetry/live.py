"""What happens, for programs that look: as it is told, and the last hundred of it."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from itertools import islice
from re import sub
from typing import Any

import orjson

from agents.pool import AgentPool
from operations.clock import iso
from operations.json_text import dumps
from operations.live import Live, News
from operations.redaction import redacted
from operations.telemetry.record import Importance, Record
from orchestration.loop.run import Run

ACTIVITY = 100  # events that are kept to be asked for
FIGURES = 1.0  # seconds between two figures, while somebody looks
_RUNS = 100  # of those that have not ended, that somebody who begins to look is shown

Figures = Callable[[], Mapping[str, Any]]


class LiveView:
    """A sink that keeps the last hundred events, and shows all to those who look.

    Topics: ``runs`` and ``agents`` with the newest of each, ``activity`` with all that is more than
    a detail, ``metrics`` with figures once a second, ``shutdown`` with the steps of the stop. While
    nobody looks nothing is written as JSON, and no timer is set.
    """

    name = "live"
    kinds = None

    def __init__(
        self,
        runs: Callable[[], Sequence[Run]],
        pools: Callable[[], Iterable[AgentPool]],
        figures: Figures,
    ) -> None:
        self._runs = runs
        self._pools = pools
        self._figures = figures
        self._events = asyncio.get_running_loop()
        self._last: deque[Record] = deque(maxlen=ACTIVITY)
        self._timer: asyncio.TimerHandle | None = None
        self.live = Live(self._snapshot, self._wake, self._rest)

    def take(self, batch: Sequence[Record]) -> None:
        """Keep what is more than a detail, and show everything that has a topic."""
        newest = (one for one in reversed(batch) if one.importance > Importance.DETAIL)
        self._last.extend(reversed([*islice(newest, ACTIVITY)]))
        if not self.live.lookers:
            return
        news = [one for record in batch for one in _news(record)]
        with suppress(RuntimeError):  # the event loop has ended
            self._events.call_soon_threadsafe(self.live.publish, news)

    def close(self, grace: float) -> None:
        """Do nothing: what was taken was shown."""

    def activity(self) -> list[dict[str, Any]]:
        """Return the last events, newest first: copies, without what looks like a secret."""
        return [_entry(record) for record in reversed(self._last.copy())]

    def stopping(self, document: Mapping[str, Any]) -> None:
        """Show how far the stop has come."""
        self.live.publish([_as_news("shutdown", "service", document)])

    def _wake(self) -> None:
        self._timer = self._events.call_later(FIGURES, self._tick)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        self._timer = self._events.call_later(FIGURES, self._tick)
        self.live.publish([_as_news("metrics", "service", self._figures())])

    def _snapshot(self, topics: Collection[str]) -> Iterator[News]:
        if "metrics" in topics:
            yield _as_news("metrics", "service", self._figures())
        if "runs" in topics:
            for run in self._runs()[-_RUNS:]:
                shown = {
                    "run_id": run.run_id,
                    "thread_id": run.thread_id,
                    "graph_id": run.graph_id,
                    "priority": run.priority,
                    "status": run.status,
                    "place": run.place,
                    "attempt": run.attempt,
                }
                yield _as_news("runs", run.run_id, shown)
        if "agents" in topics:
            for pool in self._pools():
                for seat in pool.snapshot().seats:
                    shown = {"pool": pool.name, "seat": seat.seat, "state": seat.state}
                    yield _as_news("agents", f"{pool.name}:{seat.seat}", shown)
        if "activity" in topics:
            for record in self._last.copy():
                yield _as_news("activity", str(record.number), _entry(record))


def _entry(record: Record) -> dict[str, Any]:
    event = record.event
    facts = asdict(event) if is_dataclass(event) and not isinstance(event, type) else {}
    kind = sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
    at = iso(datetime.fromtimestamp(record.at, UTC))
    return {"number": record.number, "at": at, "event": kind, **redacted(facts)}


def _news(record: Record) -> Iterator[News]:
    """Yield what there is to show of a record, which is written as JSON once."""
    event = record.event
    places: list[tuple[str, str]] = []
    if (run_id := getattr(event, "run_id", None)) is not None:
        places.append(("runs", run_id))
    if (pool := getattr(event, "pool", None)) is not None:
        places.append(("agents", f"{pool}:{getattr(event, 'seat', '')}"))
    if record.importance > Importance.DETAIL:
        places.append(("activity", str(record.number)))
    if places:
        entry = orjson.Fragment(dumps(_entry(record)))
        for topic, key in places:
            yield _as_news(topic, key, entry)


def _as_news(topic: str, key: str, data: Any) -> News:
    return News(topic, key, orjson.dumps({"topic": topic, "key": key, "data": data}, default=str))
