"""One worker process, from its start to its end, and the runs that it executes."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import orjson

from operations.wire import Wire
from orchestration.graphs.arguments import checkpointed
from orchestration.graphs.steps import Event, NodeEnded, ToolEnded
from orchestration.loop.errors import Drained, WorkerLost
from orchestration.loop.run import Drain, Ending, Failure, Run, ThreadState
from orchestration.processes.child import Orders
from orchestration.processes.child_runs import TOLD
from orchestration.processes.lending import Lender, Stock
from orchestration.processes.pulse import Pulse

START = 60.0  # seconds at least that a process may take to load its graphs
LAST_WORDS = 1.0  # seconds from the end of a process to that of what it said
BEAT = 0.1  # seconds between two pings of a process that has runs
SOON = 0.003  # seconds from a run's beginning until it should have been heard of the process
_STEPS: Mapping[str, type[Event]] = {kind.__name__: kind for kind in (NodeEnded, ToolEnded)}


class RunFailed(Exception):
    """A graph raised in a worker process; ``failure`` are the words for it from there."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass(slots=True)
class _Errand:
    """A run that the process executes."""

    run: Run
    ended: asyncio.Future[ThreadState]
    listened: bool
    letting_on: asyncio.Task[None] | None = None  # waits until its events can be kept again


class WorkerProcess:
    """A process that executes runs for as long as it lives; ``emit`` hears of their steps.

    One that does not answer for ``patience`` seconds is killed.
    """

    def __init__(
        self, orders: Orders, stock: Stock, emit: Callable[[Event], None], patience: float
    ) -> None:
        loop = asyncio.get_running_loop()
        self._orders = orders
        self._emit = emit
        self._patience = patience
        self._loop = loop
        self._wire = Wire(self._receive, self._fell_silent)
        self._lender = Lender(stock, self._wire, lambda run_id: self._errands[run_id].run)
        self._errands: dict[str, _Errand] = {}
        self._pulse = Pulse()
        self._timer: asyncio.Handle | None = None
        self._beats_at = 0.0  # uvloop's handle of a timer that is due at once does not tell
        self._quiet = True  # whether nothing was heard since a run was sent, or the last beat
        self._doubted = False  # whether it had not answered in time at the last beat
        self._process: asyncio.subprocess.Process | None = None
        self.abandoned = 0  # threads in it that work though nobody waits
        self._why: str | None = None  # it was ended; None if it does that by itself
        self.ready: asyncio.Future[None] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()  # done once it takes no more runs
        self._silent: asyncio.Future[None] = loop.create_future()  # done once it says no more
        self._kinds: Mapping[str, Callable[..., None]] = {
            "event": self._published,
            "log": self._logged,
            "ask": self._lender.ask,
            "withdraw": self._lender.withdraw,
            "done": self._done,
            "drained": self._drained,
            "cancelled": self._cancelled,
            "failed": self._failed,
            "step": self._stepped,
            "pong": self._answered,
            "ready": self._is_ready,
            "unfit": self._is_unfit,
        }

    @property
    def pid(self) -> int | None:
        """The id of the process, and of its group; None before it has started."""
        return None if self._process is None else self._process.pid

    @property
    def working(self) -> int:
        """How many runs it executes."""
        return len(self._errands)

    @property
    def delay(self) -> float:
        """How many seconds it is likely to take to answer."""
        return self._pulse.delay(self._loop.time())

    @property
    def held_up(self) -> bool:
        """Whether it is late with an answer."""
        return self._pulse.held_up(self._loop.time())

    async def live(self) -> str:
        """Start the process; return once it has ended, and why it did.

        Its runs fail with `WorkerLost` when nothing of it, or of what it started, is left.
        """
        why = "it was cancelled"
        try:
            await self._start()
            await self._end_of_life()
        except OSError as error:
            why = f"it cannot be started: {error}"
        finally:
            why = await self._reap(why)
        return why

    def end(self) -> None:
        """Have it end in order, cancelling what it still executes; at once if it is not ready."""
        if self.ready.done():
            self._why = "it was told to end"
            self._wire.send("end")
        else:
            self.kill("it was told to end")

    def kill(self, why: str) -> None:
        """End it, and whatever it started, at once."""
        self._why = self._why or why
        self._fell_silent()
        if self._process is not None:
            _kill_group(self._process)

    async def execute(self, run: Run, drainable: Callable[[Drain], None]) -> ThreadState:
        """Execute a run, which has begun; see the port, `Executor`.

        Raises:
            Drained, WorkerLost: as the port says.
            RunFailed: the graph raised.
        """
        text = orjson.dumps({name: getattr(run, name) for name in TOLD})
        errand = _Errand(run, self._loop.create_future(), listened=run.stream.wanted)
        self._errands[run.run_id] = errand
        self._quiet = True
        self._beat_soon()
        self._wire.send("execute", run.run_id, text, errand.listened, run.log is not None)
        run.stream.watch(partial(self._tell_listened, errand))
        try:
            if checkpointed(run):
                drainable(partial(self._wire.send, "drain", run.run_id))
            return await self._ended(errand)
        finally:
            run.stream.watch(None)
            del self._errands[run.run_id]
            if errand.letting_on is not None:
                errand.letting_on.cancel()

    async def _ended(self, errand: _Errand) -> ThreadState:
        try:
            return await asyncio.shield(errand.ended)
        except asyncio.CancelledError:
            run = errand.run
            self._wire.send("cancel", run.run_id, run.ending or Ending.DRAIN)
            await asyncio.wait({errand.ended})
            raise

    # Its life.

    async def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-P",
                    "-m",
                    "orchestration.processes",
                    str(theirs.fileno()),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
        await self._loop.create_connection(lambda: self._wire, sock=ours)
        self._wire.send("begin", orjson.dumps(asdict(self._orders)))
        self._beat()

    async def _end_of_life(self) -> None:
        """Return when nothing comes any more: by then, or soon after, the process has ended."""
        if self._process is None:
            return
        ended = asyncio.create_task(self._process.wait())
        try:
            either: set[asyncio.Future[Any]] = {ended, self._silent}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            _resolve(self.gone)
            # What it forked may hold its end of the socket open for ever.
            await asyncio.wait({self._silent}, timeout=LAST_WORDS)
        finally:
            ended.cancel()

    async def _reap(self, why: str) -> str:
        """Leave nothing of the process, tell those who wait for its runs, and say why it ended."""
        if self._timer is not None:
            self._timer.cancel()
        self._lender.close()
        self._wire.close()
        if self._process is not None:
            _kill_group(self._process)
            number = await self._process.wait()
            why = self._why or _last_words(number)
        lost = WorkerLost(f"worker process {self.pid}: {why}")
        for errand in self._errands.values():
            _fail(errand, lost)
        if not self.ready.done():
            self.ready.cancel()
        return why

    def _beat_soon(self) -> None:
        soon = self._loop.time() + SOON
        if self._timer is None or self._beats_at > soon:
            if self._timer is not None:
                self._timer.cancel()
            self._beat_at(soon)

    def _beat_at(self, when: float) -> None:
        self._beats_at = when
        self._timer = self._loop.call_at(when, self._beat)

    def _beat(self) -> None:
        """Ask for a sign of life, and give up one that gives none."""
        self._timer = None
        now = self._loop.time()
        patience = self._patience if self.ready.done() else max(self._patience, START)
        late = self._pulse.silence(now) > patience
        # Looked at twice: where the server itself was held up, the answer is there, unread.
        if late and self._doubted:
            self.kill(f"it did not answer for {patience:g} s")
            return
        self._doubted = late
        if (self._quiet or not self._errands) and not self._pulse.asked:
            self._pulse.ask(now)
            self._wire.send("ping")
        self._quiet = True
        if self._errands or late or not self.ready.done():
            self._beat_at(now + BEAT)

    # What it says.

    def _receive(self, message: Sequence[Any]) -> None:
        self._quiet = False
        self._kinds[message[0]](*message[1:])

    def _fell_silent(self) -> None:
        _resolve(self.gone)
        _resolve(self._silent)

    def _answered(self, abandoned: int) -> None:
        self.abandoned = abandoned
        if abandoned and self._timer is None:
            self._beat_at(self._loop.time() + BEAT)
        if self.held_up:  # what has held it up may go on to do so
            self._quiet = True
            self._beat_soon()
        self._pulse.answer(self._loop.time())

    def _is_ready(self) -> None:
        self._pulse = Pulse()  # that it was slow to start says nothing of what it will be
        self.ready.set_result(None)

    def _is_unfit(self, why: str) -> None:
        self.kill(f"it cannot start: {why}")

    def _stepped(self, kind: str, fields: Sequence[Any]) -> None:
        self._emit(_STEPS[kind](*fields))

    def _published(self, run_id: str, name: str, data: bytes) -> None:
        errand = self._errands.get(run_id)
        if errand is None:
            return
        stream = errand.run.stream
        stream.publish(name, data)
        if stream.full and errand.letting_on is None:
            self._wire.send("hold", run_id)
            errand.letting_on = self._loop.create_task(self._let_on(errand))

    async def _let_on(self, errand: _Errand) -> None:
        await errand.run.stream.room()
        errand.letting_on = None
        self._wire.send("resume", errand.run.run_id)

    def _logged(
        self, run_id: str, what: str, namespace: Sequence[str], name: str, how: Mapping[str, Any]
    ) -> None:
        errand = self._errands.get(run_id)
        if errand is None or errand.run.log is None:
            return
        match what:
            case "lifecycle":
                errand.run.log.lifecycle(tuple(namespace), name, **how)
            case "ask":
                errand.run.log.ask(name)
            case _:
                errand.run.log.publish(name, tuple(namespace), **how)

    def _tell_listened(self, errand: _Errand, listened: bool) -> None:  # noqa: FBT001 - a callback's
        if listened != errand.listened:
            errand.listened = listened
            self._wire.send("listen", errand.run.run_id, listened)

    def _done(self, run_id: str, *state: Any) -> None:
        if (errand := self._errands.get(run_id)) is not None and not errand.ended.done():
            errand.ended.set_result(ThreadState(*state))

    def _cancelled(self, run_id: str) -> None:
        if (errand := self._errands.get(run_id)) is not None:
            errand.ended.cancel()

    def _failed(self, run_id: str, error: str, message: str) -> None:
        self._failed_with(RunFailed(Failure(error, message)), run_id)

    def _drained(self, run_id: str) -> None:
        self._failed_with(Drained("the graph stopped as asked"), run_id)

    def _failed_with(self, error: Exception, run_id: str) -> None:
        if (errand := self._errands.get(run_id)) is not None:
            _fail(errand, error)


def _kill_group(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _last_words(number: int) -> str:
    """Say how a process ended that nobody ended here; ``number`` is what it returned."""
    return f"it was ended by signal {-number}" if number < 0 else f"it ended with {number}"


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _fail(errand: _Errand, error: Exception) -> None:
    if not errand.ended.done():
        errand.ended.set_exception(error)
        errand.ended.exception()  # marked as seen: of one that was cancelled nobody asks for it
