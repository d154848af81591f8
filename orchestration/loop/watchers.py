"""Those who watch threads, whatever runs on them."""

from collections.abc import Sequence

from orchestration.loop.streams import Listener


class Watchers:
    """The listeners of each thread that is watched, for as long as the thread is there."""

    def __init__(self) -> None:
        self._of: dict[str, list[Listener]] = {}

    def of(self, thread_id: str) -> Sequence[Listener]:
        """Return who watches a thread."""
        return self._of.get(thread_id, ())

    def enter(self, thread_id: str) -> Listener:
        """Return a new listener of a thread."""
        listener = Listener()
        self._of.setdefault(thread_id, []).append(listener)
        return listener

    def leave(self, thread_id: str, listener: Listener) -> bool:
        """Forget a listener; return False if it was already, with its thread."""
        watching = self._of.get(thread_id, [])
        if listener not in watching:
            return False
        watching.remove(listener)
        if not watching:
            del self._of[thread_id]
        return True

    def discard(self, thread_id: str) -> None:
        """Forget those of a thread that is gone: its id may be another's next."""
        for listener in self._of.pop(thread_id, ()):
            listener.close()

    def close(self) -> None:
        """Let all of them take what is left and then see the end."""
        for listeners in self._of.values():
            for listener in listeners:
                listener.close()
