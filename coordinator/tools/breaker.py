"""A circuit breaker: a target that fails is left alone for a while, and then tried once."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from coordinator.errors import CoordinatorError
from coordinator.events import CircuitClosed, CircuitOpened, Emit
from coordinator.tools.configuration import Breaker


class CircuitOpen(CoordinatorError):
    """A target has failed too often; it was not tried."""

    def __init__(self, target: str, retry_in: float) -> None:
        super().__init__(f"{target} has failed too often; it is tried again in {retry_in:.3g} s")
        self.target = target
        self.retry_in = retry_in


class CircuitBreaker:
    """Counts the failures of ``target`` in a row; ``time`` is in seconds, of any clock."""

    def __init__(
        self, target: str, section: Breaker, time: Callable[[], float], emit: Emit
    ) -> None:
        self._target = target
        self._section = section
        self._time = time
        self._emit = emit
        self._failures = 0
        self._opened: float | None = None  # when it was left alone; None: closed
        self._probing = False

    @property
    def open(self) -> bool:
        """Whether it would be refused now."""
        return self._opened is not None and (self._probing or self._rest > 0)

    def require(self) -> None:
        """Return if it may be tried now.

        Raises:
            CircuitOpen: it may not.
        """
        if self.open:
            raise CircuitOpen(self._target, max(0.0, self._rest))

    @contextmanager
    def attempt(self) -> Generator[None]:
        """Surround one attempt: an error is a failure, unless nobody could tell (a cancel).

        Raises:
            CircuitOpen: it is not to be tried now.
        """
        self.require()
        probing = self._probing = self._opened is not None
        try:
            yield
        except Exception as error:
            self._failed(error)
            raise
        else:
            self._succeeded()
        finally:
            if probing:
                self._probing = False

    @property
    def _rest(self) -> float:
        opened = self._opened if self._opened is not None else self._time()
        return opened + self._section.rest - self._time()

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        tried = self._opened is None or self._probing  # and not begun before it was left alone
        if self._failures >= self._section.failures and tried:
            self._opened = self._time()
            rest = self._section.rest
            self._emit(CircuitOpened(self._target, self._failures, str(error), rest))

    def _succeeded(self) -> None:
        self._failures = 0
        if self._opened is not None:
            self._opened = None
            self._emit(CircuitClosed(self._target))
