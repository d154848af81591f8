"""The pending runs: which is next, and what each of the others waits for."""

import heapq
from collections import Counter, deque
from collections.abc import Callable
from itertools import count

from orchestration.loop.run import Place, Run

_Heap = list[tuple[float, int, Run]]


class RunQueue:
    """By priority, then arrival; one run per thread at a time; so many per limit.

    A run waits in exactly one place: in the *line* of its thread, *parked* at a limit that is
    reached, or *ready*. Every operation costs O(log n) of what waits in that one place.

    ``ageing`` is how many seconds of waiting weigh as much as one level of priority. A ready run
    is ordered by ``arrived + priority * ageing``, which never changes while it waits.
    """

    def __init__(self, ageing: float, limit: Callable[[str], int]) -> None:
        self._ageing = ageing
        self._limit = limit
        self._ready: _Heap = []
        self._parked: dict[str, _Heap] = {}
        self._lines: dict[str, deque[Run]] = {}
        self._working: Counter[str] = Counter()
        self._sequence = count()
        self._waiting = 0
        self._stale = 0

    def __len__(self) -> int:
        """Return how many runs wait here."""
        return self._waiting

    @property
    def held(self) -> int:
        """How many runs the heaps hold, removed ones that are not forgotten yet included."""
        return len(self._ready) + sum(map(len, self._parked.values()))

    def put(self, run: Run) -> None:
        """Let ``run`` wait: behind those of its thread, else for a slot."""
        self._waiting += 1
        line = self._lines.get(run.thread_id)
        if line is not None:
            line.append(run)
            run.place = Place.LINE
        else:
            self._lines[run.thread_id] = deque()
            self._push(run)

    def take(self) -> Run | None:
        """Return the run to work on next, its thread and limits occupied; None if none can."""
        while self._ready:
            run = heapq.heappop(self._ready)[2]
            if run.place is not Place.READY:
                self._stale -= 1
                continue
            reached = self.reached(run)
            if reached is not None:
                self._push(run, reached)
                self._offer(run)
                continue
            self._working.update(run.limits)
            self._waiting -= 1
            run.place = Place.WORKING
            return run
        return None

    def release(self, run: Run, *, put_back: bool = False) -> None:
        """Free the limits of a run that was taken, and its thread unless it is ``put_back``."""
        run.place = Place.GONE
        for limit in run.limits:
            self._working[limit] -= 1
            if not self._working[limit]:
                del self._working[limit]
        self._offer(run)
        if not put_back:
            self.let_go(run.thread_id)

    def put_first(self, run: Run) -> None:
        """Let a run that was ``put_back`` wait once more, before the others of its thread."""
        self._waiting += 1
        self._push(run)

    def hold(self, thread_id: str) -> bool:
        """Occupy a thread without a run; False if it is occupied."""
        if thread_id in self._lines:
            return False
        self._lines[thread_id] = deque()
        return True

    def let_go(self, thread_id: str) -> None:
        """Free a thread that ``hold`` occupied, or a run: it is the next one's in line."""
        line = self._lines[thread_id]
        if line:
            self._push(line.popleft())
        else:
            del self._lines[thread_id]

    def remove(self, run: Run) -> bool:
        """Take a waiting run out, wherever it waits; return whether it occupies its thread still.

        One in line does not.
        """
        place, run.place = run.place, Place.GONE
        self._waiting -= 1
        if place is Place.LINE:
            self._lines[run.thread_id].remove(run)
            return False
        self._stale += 1
        self._offer(run)
        self._compact()
        return True

    def before(self, run: Run) -> int:
        """Return how many ready runs go before a ready one. O(ready runs): for people who ask."""
        weight = self._weight(run)
        return sum(
            1
            for key, _, other in self._ready
            if other.place is Place.READY and other is not run and key <= weight
        )

    def in_line(self, run: Run) -> int:
        """Return how many of its thread go before a run in line, the current one included."""
        return self._lines[run.thread_id].index(run) + 1

    def reached(self, run: Run) -> str | None:
        """Return the limit that keeps ``run`` from starting, if there is one."""
        for limit in run.limits:
            if self._working[limit] >= self._limit(limit):
                return limit
        return None

    def _weight(self, run: Run) -> float:
        return run.arrived + run.priority * self._ageing

    def _push(self, run: Run, limit: str | None = None) -> None:
        heap = self._ready if limit is None else self._parked.setdefault(limit, [])
        run.place = Place.READY if limit is None else Place.PARKED
        heapq.heappush(heap, (self._weight(run), next(self._sequence), run))

    def _offer(self, run: Run) -> None:
        """Offer what room there is at the limits of ``run`` to those who are parked at them."""
        for limit in run.limits:
            heap = self._parked.get(limit)
            while heap and self._working[limit] < self._limit(limit):
                parked = heapq.heappop(heap)[2]
                if parked.place is Place.PARKED:
                    self._push(parked)
                    break
                self._stale -= 1
            if heap is not None and not heap:
                del self._parked[limit]

    def _compact(self) -> None:
        """Forget removed runs once they are most of what the heaps hold."""
        if self._stale <= max(64, self._waiting):
            return
        self._ready = [entry for entry in self._ready if entry[2].place is Place.READY]
        heapq.heapify(self._ready)
        for limit, heap in list(self._parked.items()):
            kept = [entry for entry in heap if entry[2].place is Place.PARKED]
            heapq.heapify(kept)
            if kept:
                self._parked[limit] = kept
            else:
                del self._parked[limit]
        self._stale = 0
