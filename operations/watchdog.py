"""Watches the event loop from a thread: how late it is, and which line holds it up."""

import asyncio
import sys
import sysconfig
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from traceback import StackSummary, extract_stack, walk_stack
from types import FrameType
from typing import Self

import structlog

from operations.telemetry.events import LoopBlocked, LoopTurned

BLOCKED = 0.25  # seconds without a turn of the event loop that count as a block
PERIOD = 0.1  # seconds between two turns that are told
_TOLD_TOGETHER = 10  # turns: what is told wakes the threads that take it
_KEPT = 600  # turns, a minute of them
_LINES = 100  # lines that hold up the loop of which it is known when they were told
_QUIET = 60.0  # seconds for which the same line is not told again
_DEPTH = 12  # frames of the stack that are told
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})

_log = structlog.get_logger("masterloop")


@dataclass(frozen=True, slots=True)
class Block:
    """The event loop made no turn for a while. ``at`` is seconds since 1970, UTC."""

    line: str
    seconds: float
    at: float


@dataclass(frozen=True, slots=True)
class Lag:
    """How late the event loop was in the last minute, in seconds."""

    last: float
    p99: float
    most: float


class Watchdog:
    """Has the event loop tell ten times a second that it turns; when it does not, it says why.

    A line that holds up the loop is told once a minute, and counted each time. A thread looks for
    it, which sleeps for as long as the loop cannot be late: each time it wakes, it has to wait for
    the interpreter, and every turn of a busy loop wakes who waits for that, mostly for nothing.
    """

    def __init__(
        self,
        emit: Callable[[LoopTurned | LoopBlocked], None] | None = None,
        *,
        blocked_after: float = BLOCKED,
        period: float = PERIOD,
    ) -> None:
        self._emit = emit
        self._blocked_after = blocked_after
        self._period = period
        self._lags: deque[float] = deque(maxlen=_KEPT)
        self._untold: list[float] = []
        self._told: OrderedDict[str, float] = OrderedDict()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # when the loop is to tell again, in monotonic time
        self._line: str | None = None  # that holds up the loop
        self._watched = 0
        self.blocks = 0
        self.last_block: Block | None = None

    async def __aenter__(self) -> Self:
        """Watch the running event loop from now on."""
        self._loop = asyncio.get_running_loop()
        self._watched = threading.get_ident()
        self._tell_again()
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Watch no longer."""
        if self._timer is not None:
            self._timer.cancel()
        self._closing.set()
        self._thread.join(self._period)

    @property
    def lag(self) -> Lag:
        """How late the loop was."""
        lags = sorted(self._lags.copy()) or [0.0]
        last = self._lags[-1] if self._lags else 0.0
        return Lag(last=last, p99=lags[min(len(lags) - 1, int(len(lags) * 0.99))], most=lags[-1])

    def _tell_again(self) -> None:
        if self._loop is not None:
            self._due = time.monotonic() + self._period
            self._timer = self._loop.call_later(self._period, self._turned)

    def _turned(self) -> None:
        """Say, in the loop, that it turns: by how much too late."""
        late = max(0.0, time.monotonic() - self._due)
        line, self._line = self._line, None
        if late < self._blocked_after:
            line = None  # it was found just as the loop went on
        self._tell_again()
        self._lags.append(late)
        self._untold.append(late)
        if line is not None:
            self.last_block = Block(line, late, time.time())
        if self._emit is None:
            return
        if line is not None:
            self._emit(LoopBlocked(line, late))
        if line is not None or len(self._untold) >= _TOLD_TOGETHER:
            self._emit(LoopTurned(tuple(self._untold)))
            self._untold.clear()

    def _watch(self) -> None:
        named = 0.0  # when the loop was to tell, where it was found not to have
        while self._loop is not None and not self._loop.is_closed():
            due = self._due
            early = due + self._blocked_after - time.monotonic()
            if early <= 0 and due != named:
                named = due
                self._line = self._name_the_line()
            elif self._closing.wait(early if early > 0 else self._blocked_after):
                return

    def _name_the_line(self) -> str:
        # There is no other way to see what another thread is at.
        frame = sys._current_frames().get(self._watched)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        stack = _stack(frame)
        line = _culprit(stack)
        self.blocks += 1
        now = time.monotonic()
        if now - self._told.get(line, -_QUIET) >= _QUIET:
            self._told[line] = now
            self._told.move_to_end(line)
            if len(self._told) > _LINES:
                self._told.popitem(last=False)
            with suppress(Exception):  # a log that fails is no reason to watch no longer
                _log.warning(
                    "a line holds up the event loop",
                    line=line,
                    blocks=self.blocks,
                    frames=[f"{one.filename}:{one.lineno} {one.name}" for one in stack[-_DEPTH:]],
                )
        return line


def _stack(frame: FrameType | None) -> StackSummary:
    if frame is None:
        return extract_stack(limit=1)
    summary = StackSummary.extract(walk_stack(frame), lookup_lines=False)
    summary.reverse()
    return summary


def _culprit(stack: StackSummary) -> str:
    """Return the innermost line that is of no library, as far as there is one."""
    own = [one for one in stack if not one.filename.startswith((*_LIBRARIES, "<"))]
    one = (own or list(stack))[-1]
    return f"{Path(one.filename)}:{one.lineno} in {one.name}: {one.line or ''}".rstrip(": ")
