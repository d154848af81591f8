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
from types import FrameType, TracebackType
from typing import Self

import structlog

from operations.telemetry.events import LoopBlocked, LoopTurned

BLOCKED = 0.25  # seconds without a turn of the event loop that count as a block
PERIOD = 0.1  # seconds between two looks
_TOLD_TOGETHER = 10  # looks: each that is told wakes the threads that take it
_KEPT = 600  # looks, a minute of them
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
    """Asks the event loop for a turn ten times a second; when none comes, it says why.

    A line that holds up the loop is told once a minute, and counted each time.
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
        self._turn = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watched = 0
        self.blocks = 0
        self.last_block: Block | None = None

    async def __aenter__(self) -> Self:
        """Watch the running event loop from now on."""
        self._loop = asyncio.get_running_loop()
        self._watched = threading.get_ident()
        self._thread.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Watch no longer."""
        self._closing.set()
        self._turn.set()
        self._thread.join(self._period)

    @property
    def lag(self) -> Lag:
        """How late the loop was."""
        lags = sorted(self._lags.copy()) or [0.0]
        last = self._lags[-1] if self._lags else 0.0
        return Lag(last=last, p99=lags[min(len(lags) - 1, int(len(lags) * 0.99))], most=lags[-1])

    def _watch(self) -> None:
        while not self._closing.wait(self._period):
            self._turn.clear()
            asked = time.monotonic()
            if not self._ask():
                return
            line = None
            if not self._turn.wait(self._blocked_after):
                line = self._name_the_line()
                self._turn.wait()
            took = time.monotonic() - asked
            self._lags.append(took)
            self._untold.append(took)
            if line is not None:
                self.last_block = Block(line, took, time.time())
            self._tell(line, took)

    def _tell(self, line: str | None, took: float) -> None:
        if self._emit is None:
            return
        if line is not None:
            self._emit(LoopBlocked(line, took))
        if line is not None or len(self._untold) >= _TOLD_TOGETHER:
            self._emit(LoopTurned(tuple(self._untold)))
            self._untold.clear()

    def _ask(self) -> bool:
        """Ask the loop for a turn; return whether it can still make one."""
        try:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._turn.set)
        except RuntimeError:  # it is closed
            return False
        return True

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
