"""Run manifests: a JSON file of each run, beside the database and independent of it."""

import asyncio
import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import orjson
import structlog

from operations.background import in_background
from operations.database import Database
from operations.errors import ConfigurationError
from operations.folder_lock import FolderLock, FolderLocked
from operations.heartbeat import Heartbeat
from operations.persister import Persister
from operations.telemetry.record import Record
from orchestration.graphs.manifest import Manifest
from orchestration.loop.events import RunAccepted, RunEnded, RunStarted
from orchestration.loop.run import Outcome, Run
from orchestration.store.checkpoint_rows import checkpoints_of_run
from orchestration.telemetry.run_manifest import RunManifest

RUNS = 10_000  # that have not ended, or are not written yet, and are known
_REPORTED = 60.0  # seconds for which it is not reported again that there are too many
_LAST_GRACE = 1.0  # seconds to leave the folder
_PATIENCE = 1.0  # seconds for the database to say which checkpoints a run has left
SETTLE = 0.5  # seconds that the end of a run may go unwritten, for the last events of it

Checkpoints = Callable[[str, str], Sequence[str]]

_log = structlog.get_logger("masterloop")


class Manifests:
    """A sink that keeps a manifest of each run.

    How a run ends it is told by whoever has that written to the database, at the same time:
    ``ending`` and ``stored`` return at once. ``checkpoints`` finds those of a thread and a run; it
    is called in a thread.
    """

    name = "manifests"
    kinds = None

    def __init__(self, folder: Path, checkpoints: Checkpoints, *, most: int = RUNS) -> None:
        self._folder = folder
        self._checkpoints = checkpoints
        self._most = most
        self._lock = threading.Lock()
        self._runs: OrderedDict[str, RunManifest] = OrderedDict()
        self._told: deque[tuple[str, Callable[[RunManifest], None]]] = deque(maxlen=2 * most)
        self._lost = False
        self._dropped = 0
        self._report_at = 0.0
        self.persister = Persister(folder, self._content, self._kept)

    def take(self, batch: Sequence[Record]) -> None:
        """Note what happened to runs."""
        if self._lost:
            return
        for record in batch:
            event = record.event
            run_id = getattr(event, "run_id", None)
            if not isinstance(run_id, str):
                continue
            with self._lock:
                self._hear()
                known = isinstance(event, RunAccepted | RunStarted) or (
                    # A dead letter that a start has found.
                    isinstance(event, RunEnded) and self._path(run_id).exists()
                )
                manifest = self._of(run_id) if known else self._runs.get(run_id)
                noted = manifest is not None and manifest.note(record.at, event)
            if manifest is None or not noted:
                continue
            ended = isinstance(event, RunEnded)
            if ended:
                self._find_checkpoints(run_id, manifest)
            self.persister.changed(run_id, 0.0 if ended else None, ended=ended)

    def close(self, grace: float) -> None:
        """Write what is not written."""
        if left := self.persister.close(grace):
            _log.warning("manifests were not written before the end", runs=left)

    def ending(self, run: Run, outcome: Outcome) -> None:
        """Have it written how a run ends, whatever becomes of its row."""
        at = time.time()

        def tell(manifest: RunManifest) -> None:
            manifest.about(run)
            manifest.ending(at, outcome)

        self._tell(run.run_id, tell, ended=False)

    def stored(self, run_id: str, error: str | None, *, last: bool) -> None:
        """Have it written what became of the row of a run; ``last``: no event of it follows."""
        at = time.time()
        self._tell(run_id, lambda manifest: manifest.stored(at, error), ended=last)

    def lose(self) -> None:
        """Write nothing any more: the folder is another process's."""
        self._lost = True

    def _tell(self, run_id: str, tell: Callable[[RunManifest], None], *, ended: bool) -> None:
        if not self._lost:
            self._told.append((run_id, tell))
            self.persister.changed(run_id, SETTLE, ended=ended)

    def _hear(self) -> None:
        while self._told:
            run_id, tell = self._told.popleft()
            tell(self._of(run_id))

    def _of(self, run_id: str) -> RunManifest:
        """Return the manifest of a run: the one at hand, the one in the folder, or a new one."""
        manifest = self._runs.get(run_id)
        if manifest is None:
            manifest = self._runs[run_id] = RunManifest(run_id, self._before(run_id))
            if len(self._runs) > self._most:
                oldest, _ = self._runs.popitem(last=False)
                self.persister.forget(oldest)
                self._report_dropped()
        return manifest

    def _report_dropped(self) -> None:
        self._dropped += 1
        if (now := time.monotonic()) >= self._report_at:
            self._report_at = now + _REPORTED
            _log.warning("manifests are left as they are: too many runs", dropped=self._dropped)

    def _path(self, run_id: str) -> Path:
        return self._folder / f"{run_id}.json"

    def _before(self, run_id: str) -> dict[str, Any] | None:
        try:
            found = orjson.loads(self._path(run_id).read_bytes())
        except (OSError, ValueError):
            return None  # there is none, or none that can be read
        return found if isinstance(found, dict) else None

    def _content(self, run_id: str) -> bytes | None:
        with self._lock:
            self._hear()
            manifest = self._runs.get(run_id)
            return None if manifest is None or self._lost else manifest.content

    def _kept(self, run_id: str) -> None:
        with self._lock:
            self._runs.pop(run_id, None)

    def _find_checkpoints(self, run_id: str, manifest: RunManifest) -> None:
        if manifest.thread_id is None:
            return
        try:
            found = self._checkpoints(manifest.thread_id, run_id)
        except Exception as error:  # noqa: BLE001 - the manifest is written without them
            _log.warning("a manifest lacks its checkpoints", run_id=run_id, error=repr(error))
            return
        with self._lock:
            manifest.checkpoints(found)


@asynccontextmanager
async def open_manifests(
    manifest: Manifest, database: Database
) -> AsyncGenerator[Manifests | None]:
    """Keep manifests in the folder that ``langgraph.json`` names; None if it names none.

    Raises:
        ConfigurationError: the folder cannot be used, or is used by another process.
    """
    if (named := manifest.masterloop.manifests) is None:
        yield None
        return
    folder, where = manifest.folder / named, f"{manifest.file}: masterloop.manifests"
    lock = FolderLock(folder)
    try:
        await anyio.to_thread.run_sync(lock.take)
    except FolderLocked as error:
        raise ConfigurationError(
            where, str(error), "End that process, or name another folder."
        ) from error
    except OSError as error:
        problem = f"{folder} cannot be written to ({error.strerror})"
        raise ConfigurationError(where, problem, "Name a folder that can be.") from error
    events = asyncio.get_running_loop()

    def checkpoints(thread_id: str, run_id: str) -> Sequence[str]:
        read = database.read(partial(checkpoints_of_run, thread_id, run_id))
        return asyncio.run_coroutine_threadsafe(read, events).result(_PATIENCE)

    manifests = Manifests(folder, checkpoints)
    manifests.persister.start()
    try:
        async with in_background(Heartbeat(folder, lock, manifests.lose), "heartbeat"):
            yield manifests
    finally:
        with anyio.move_on_after(_LAST_GRACE, shield=True):

            def leave() -> None:
                manifests.persister.close(0.0)
                lock.release()

            await anyio.to_thread.run_sync(leave, abandon_on_cancel=True)
