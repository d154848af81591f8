"""How the runs of each assistant went in the last minute, hour and day."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import orjson
import structlog
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from operations.files import write_whole
from operations.rolling import STRETCH, Rolling, bin_of, middle_of
from operations.telemetry.labels import OTHER, Guard
from operations.telemetry.record import Record
from orchestration.loop.events import RunEnded
from orchestration.loop.run import RunStatus

ASSISTANTS = 100  # that have figures of their own; further ones are `other`
_DAY = 86_400.0  # seconds without a run, after which an assistant has no figures left to keep
SAVED_EVERY = 60.0  # seconds, while there is something new

_log = structlog.get_logger("masterloop")


class RunStatistics:
    """A writer that keeps figures of runs, in memory and, a minute late at most, in a file."""

    name = "statistics"
    kinds = frozenset({RunEnded})

    def __init__(self, path: Path, *, most: int = ASSISTANTS) -> None:
        self._path = path
        self._lock = Lock()
        self._all = Rolling()
        self._assistants: dict[str, Rolling] = {}
        self._guard = Guard[str](most - 1, _DAY, time.monotonic, self._forget)
        self._saved_at = time.monotonic()
        self._counted = False
        self._given = False  # figures to be written, that are not yet
        self._load()

    def prepare(self, batch: Sequence[Record]) -> Sequence[Record]:
        """Count the runs that ended; once a minute, give the figures to be written.

        Not while others wait for a disk that does not take them: they are large.
        """
        success = RunStatus.SUCCESS
        # Counting into a sketch takes four times as long as finding out what is the same.
        # What was cancelled before it began went neither well nor badly, and took no time.
        runs = Counter(
            (int(one.at) // STRETCH, event.graph_id, event.status is success, bin_of(event.took))
            for one in batch
            if (event := one.event).attempt
        )
        with self._lock:
            for (stretch, assistant, good, number), times in runs.items():
                at, took = stretch * STRETCH, middle_of(number)
                for rolling in (self._all, self._of(assistant)):
                    rolling.add(at, took, success=good, times=times)
        self._counted |= bool(runs)
        if self._given or time.monotonic() - self._saved_at < SAVED_EVERY:
            return ()
        self._saved_at, self._given = time.monotonic(), True
        last = batch[-1]
        return [Record(last.number, last.at, last.importance, self._dump(), last.common)]

    def take(self, batch: Sequence[Record]) -> None:
        """Write the figures down.

        Raises:
            OSError: they could not be written.
        """
        write_whole(self._path, batch[-1].event)
        self._given = False

    def close(self, grace: float) -> None:  # noqa: ARG002 - one write
        """Write down what is new."""
        if not self._counted:
            return
        try:
            write_whole(self._path, self._dump())
        except OSError as error:
            _log.warning("the figures of runs could not be written", error=str(error))

    def summary(self, assistant: str | None = None) -> dict[str, Any]:
        """Return the figures, of one assistant or of all; to be called in a thread."""
        now = time.time()
        with self._lock:
            names = [assistant] if assistant is not None else list(self._assistants)
            total = self._all.summary(now)
        found: dict[str, Any] = {}
        for name in names:
            with self._lock:  # for each anew, so that what takes long holds nobody up
                if (rolling := self._assistants.get(name)) is not None:
                    found[name] = rolling.summary(now)
        return {"runs": total, "assistants": found}

    def _of(self, assistant: str) -> Rolling:
        name = OTHER if assistant == OTHER else self._guard(assistant) or OTHER
        rolling = self._assistants.get(name)
        if rolling is None:
            rolling = self._assistants[name] = Rolling()
        return rolling

    def _forget(self, assistant: str) -> None:
        self._assistants.pop(assistant, None)

    def _dump(self) -> bytes:
        with self._lock:
            dumped = {
                "runs": self._all.dump(),
                "assistants": {name: one.dump() for name, one in self._assistants.items()},
            }
        return orjson.dumps(dumped)

    def _load(self) -> None:
        try:
            dumped = orjson.loads(self._path.read_bytes())
            self._all = Rolling.load(dumped["runs"])
            for name, one in dumped["assistants"].items():
                if name == OTHER or self._guard(name):
                    self._assistants[name] = Rolling.load(one)
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, DecodeError) as error:
            _log.warning("the figures of runs could not be read; they begin anew", error=str(error))
