"""Those who watch threads, whatever runs on them."""

from collections.abc import Callable, Iterable

from orchestration.loop.run import Run
from orchestration.loop.streams import Listener, StreamEvent


class Watchers:
    """The listeners of each thread that is watched, for as long as the thread is there.

    ``on_thread`` gives the runs of a thread that have not ended.
    """

    def __init__(self, on_thread: Callable[[str], Iterable[Run]]) -> None:
        self._on_thread = on_thread
        self._of: dict[str, dict[Listener, None]] = {}
        self._closed = False

    def watch(self, thread_id: str) -> Listener:
        """Return a listener for the events of all runs of a thread, those to come included."""
        listener = Listener()
        if self._closed:
            listener.close()
        self._of.setdefault(thread_id, {})[listener] = None
        for run in self._on_thread(thread_id):
            run.stream.tap(listener.put_nowait)
        return listener

    def unwatch(self, thread_id: str, listener: Listener) -> None:
        """Forget a listener that ``watch`` returned, unless it was already, with its thread."""
        watching = self._of.get(thread_id, {})
        if listener not in watching:
            return
        del watching[listener]
        if not watching:
            del self._of[thread_id]
        for run in self._on_thread(thread_id):
            run.stream.untap(listener.put_nowait)

    def enter(self, run: Run) -> None:
        """Show a new run to those who watch its thread."""
        for listener in self._of.get(run.thread_id, ()):
            run.stream.tap(listener.put_nowait)

    def tell(self, thread_id: str, event: StreamEvent) -> None:
        """Give an event that is no run's to those who watch a thread."""
        for listener in self._of.get(thread_id, ()):
            listener.put_nowait(event)

    def discard(self, thread_id: str) -> None:
        """Forget those of a thread that is gone: its id may be another's next."""
        for listener in self._of.pop(thread_id, ()):
            listener.close()

    def close(self) -> None:
        """Let all of them take what is left and then see the end, as does who comes later."""
        self._closed = True
        for listeners in self._of.values():
            for listener in listeners:
                listener.close()
