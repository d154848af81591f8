"""What happens now, told to whoever looks: each thing once, the newest of it to the slow."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

KEPT = 2_000  # things of which the newest is kept for those who look


@dataclass(frozen=True, slots=True)
class News:
    """The newest there is of one thing: of a run, an agent, the figures. ``data`` is JSON text."""

    topic: str
    key: str
    data: bytes


class Looker:
    """Somebody who looks. What they have not taken yet is replaced by what is newer of the same."""

    def __init__(self, live: "Live", topics: frozenset[str], seen: int) -> None:
        self.topics = topics
        self._live = live
        self._seen = seen
        self._waiter: asyncio.Future[None] | None = None
        self.closed = False
        self.lost = False

    def take(self) -> list[News]:
        """Return what is new, without waiting; ``lost`` says whether something is missing."""
        news, self._seen, lost = self._live.since(self._seen)
        self.lost = self.lost or lost
        return [one for one in news if one.topic in self.topics]

    async def wait(self) -> None:
        """Return once there may be something to take, or nothing will come any more."""
        if self.closed or self._seen < self._live.newest:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        """End the wait."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """Take what is left, and then see the end."""
        self.closed = True
        self.wake()


class Live:
    """Keeps the newest of each thing for as long as somebody looks, and nothing otherwise.

    What is told costs the same however many look: they share it, and take it when they can.
    ``snapshot`` says how things are for somebody who begins to look; ``wake`` is called when the
    first does, ``rest`` when the last has gone.
    """

    def __init__(
        self,
        snapshot: Callable[[Collection[str]], Iterable[News]],
        wake: Callable[[], None],
        rest: Callable[[], None],
        kept: int = KEPT,
    ) -> None:
        self._snapshot = snapshot
        self._wake = wake
        self._rest = rest
        self._kept = kept
        self._lookers: set[Looker] = set()
        self._news: OrderedDict[tuple[str, str], tuple[int, News]] = OrderedDict()
        self._forgotten = 0  # the number of the newest that was forgotten
        self._shared: tuple[int, int, list[News]] = (0, 0, [])
        self._closed = False
        self.newest = 0

    @property
    def lookers(self) -> int:
        """How many look; may be asked in any thread."""
        return len(self._lookers)

    def look(self, topics: Collection[str]) -> tuple[Looker, list[News]]:
        """Return somebody who looks from now on, and how things are."""
        looker = Looker(self, frozenset(topics), self.newest)
        if self._closed:
            looker.closed = True
            return looker, []
        before = list(self._snapshot(looker.topics))
        self._lookers.add(looker)
        if len(self._lookers) == 1:
            self._wake()
        return looker, before

    def leave(self, looker: Looker) -> None:
        """Forget somebody who looks no more, and with the last of them all that was told."""
        if looker not in self._lookers:
            return
        self._lookers.discard(looker)
        if not self._lookers:
            self._news.clear()
            self._forgotten = self.newest
            self._rest()

    def publish(self, news: Iterable[News]) -> None:
        """Tell those who look; to be called on the event loop."""
        if not self._lookers:
            return
        for one in news:
            self.newest += 1
            place = (one.topic, one.key)
            self._news[place] = (self.newest, one)
            self._news.move_to_end(place)
            if len(self._news) > self._kept:
                _, (self._forgotten, _) = self._news.popitem(last=False)
        for looker in self._lookers:
            looker.wake()

    def since(self, seen: int) -> tuple[list[News], int, bool]:
        """Return what is newer than ``seen``, the number up to which, and whether some is gone."""
        if self._shared[:2] != (seen, self.newest):
            # Whoever keeps up has seen the same as the others who do: found once for all of them.
            found: list[News] = []
            for number, one in reversed(self._news.values()):
                if number <= seen:
                    break
                found.append(one)
            found.reverse()
            self._shared = (seen, self.newest, found)
        return self._shared[2], self.newest, seen < self._forgotten

    def close(self) -> None:
        """Let everybody take what is left and then see the end."""
        self._closed = True
        for looker in self._lookers:
            looker.close()
        self._rest()
