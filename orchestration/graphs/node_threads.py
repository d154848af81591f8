"""The threads in which sync nodes run. They cannot be stopped, only left behind."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, ParamSpec, TypeVar

from operations.handover import handover

P = ParamSpec("P")
T = TypeVar("T")


class TooManyAbandoned(RuntimeError):
    """Too many threads work for runs that are over. Nothing was started."""

    def __init__(self, abandoned: int) -> None:
        super().__init__(
            f"{abandoned} threads still work for runs that were cancelled, as sync code cannot be "
            "stopped; no sync node is started until some of them end"
        )
        self.abandoned = abandoned


class NodeExit(RuntimeError):
    """A node asked for the end of the process, which takes more than a node."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"a node raised {error!r}; a node cannot end the server")


class NodeThreads(ThreadPoolExecutor):
    """The event loop's default executor: a thread for each sync node, up to ``max_workers``.

    A future cancelled while its function works leaves a thread behind that goes on to the end of
    the function. Up to ``abandoned_limit`` of those take no place from the others; beyond it new
    work is refused until some end.
    """

    def __init__(self, max_workers: int, *, abandoned_limit: int) -> None:
        super().__init__(max_workers + abandoned_limit, thread_name_prefix="node")
        self.abandoned_limit = abandoned_limit
        self._abandoned = 0
        self._waiting = 0
        self._lock = Lock()

    @property
    def abandoned(self) -> int:
        """How many threads work on although nobody waits for them."""
        return self._abandoned

    @property
    def waiting(self) -> int:
        """How many functions wait for a thread."""
        return self._waiting

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Have a thread call ``fn``.

        Raises:
            TooManyAbandoned: more threads than allowed were left behind.
            RuntimeError: the executor was shut down.
        """
        if self._abandoned > self.abandoned_limit:
            raise TooManyAbandoned(self._abandoned)
        errand: _Errand[T] = _Errand(self._count)
        self._count(waiting=+1)
        try:
            errand.place = super().submit(errand.work, lambda: fn(*args, **kwargs))
        except BaseException:
            self._count(waiting=-1)
            raise
        return errand

    def _count(self, *, waiting: int = 0, abandoned: int = 0) -> None:
        with self._lock:
            self._waiting += waiting
            self._abandoned += abandoned


class _Errand(Future[T]):
    """A future that tells when it is cancelled too late."""

    def __init__(self, count: Callable[..., None]) -> None:
        super().__init__()
        self._count = count
        self._working = Lock()
        self._left_behind = False
        self.place: Future[Any] | None = None

    def work(self, function: Callable[[], T]) -> None:
        self._count(waiting=-1)
        if not self.set_running_or_notify_cancel():
            return
        try:
            with handover:
                result = function()
        except (SystemExit, KeyboardInterrupt) as error:
            # The event loop lets these two through to whoever runs it.
            self.set_exception(NodeExit(error))
        except StopIteration as error:
            # A future of the event loop takes none: whoever waits would wait for ever.
            self.set_exception(_in_other_words(error))
        except BaseException as error:  # noqa: BLE001 - it is for whoever waits to judge
            self.set_exception(error)
        else:
            self.set_result(result)
        with self._working:
            if self._left_behind:
                self._count(abandoned=-1)

    def cancel(self) -> bool:
        if self.cancelled():
            return True
        if super().cancel():
            if self.place is not None and self.place.cancel():
                self._count(waiting=-1)
            return True
        with self._working:
            if self.running() and not self._left_behind:
                self._left_behind = True
                self._count(abandoned=+1)
        return False


def _in_other_words(error: StopIteration) -> RuntimeError:
    """Return an error as Python says it where a coroutine raises this one."""
    raised = RuntimeError("the function raised StopIteration")
    raised.__cause__ = error
    return raised
