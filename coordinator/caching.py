"""What steps and tools have given, for as long as it counts; bounded, the least used go first."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import orjson

MOST = 10_000  # answers
MOST_BYTES = 64 * 1024 * 1024  # of all answers
MOST_OF_ONE = 1024 * 1024  # bytes; what is larger is not kept


@dataclass(frozen=True, slots=True)
class _Answer:
    body: bytes
    until: float


class AnswerCache:
    """Keeps answers as JSON, so that nobody changes what another one gets.

    ``time`` is in seconds, of any clock.
    """

    def __init__(
        self, time: Callable[[], float], *, most: int = MOST, most_bytes: int = MOST_BYTES
    ) -> None:
        self._time = time
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._answers: OrderedDict[Hashable, _Answer] = OrderedDict()

    def get(self, key: Hashable) -> tuple[Any, bool]:
        """Return an answer that still counts, and whether there is one."""
        answer = self._answers.get(key)
        if answer is None:
            return None, False
        if answer.until <= self._time():
            self._drop(key)
            return None, False
        self._answers.move_to_end(key)
        return orjson.loads(answer.body), True

    def put(self, key: Hashable, value: Any, ttl: float) -> None:
        """Keep an answer for so many seconds, unless it is too large or no JSON."""
        try:
            body = orjson.dumps(value)
        except TypeError:
            return
        if key in self._answers:
            self._drop(key)
        if len(body) > MOST_OF_ONE:
            return
        self._answers[key] = _Answer(body, self._time() + ttl)
        self._bytes += len(body)
        while len(self._answers) > self._most or self._bytes > self._most_bytes:
            self._drop(next(iter(self._answers)))

    def _drop(self, key: Hashable) -> None:
        self._bytes -= len(self._answers.pop(key).body)
