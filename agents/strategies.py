"""Which of several free agents gets the work."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from agents.configuration import Strategy
from agents.seat import Seat
from agents.waiting import Request

_THREADS = 10_000  # remembered by the strategy `sticky`

Choose = Callable[[Sequence[Seat], Request], Seat]


def strategy(name: Strategy) -> Choose:
    """Return the strategy of that name. It chooses of seats in the order they became free."""
    match name:
        case "round-robin":
            return lambda free, _: free[0]
        case "least-loaded":
            return lambda free, _: min(free, key=lambda seat: seat.record.busy)
        case "fastest":
            return lambda free, _: min(free, key=lambda seat: seat.record.expected)
        case "sticky":
            return Sticky()


class Sticky:
    """Prefers the seat that last worked for the thread, where its agent may remember something."""

    def __init__(self) -> None:
        self._last: OrderedDict[str, int] = OrderedDict()

    def __call__(self, free: Sequence[Seat], request: Request) -> Seat:
        """Choose, and remember it."""
        thread = request.thread_id
        if thread is None:
            return free[0]
        last = self._last.pop(thread, None)
        chosen = next((seat for seat in free if seat.number == last), free[0])
        self._last[thread] = chosen.number
        if len(self._last) > _THREADS:
            self._last.popitem(last=False)
        return chosen
