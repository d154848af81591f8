"""The heartbeat: written at every tick, and what becomes of a tick that fails."""

from datetime import datetime
from pathlib import Path

import orjson
from structlog.testing import capture_logs

from operations.background import in_background
from operations.folder_lock import NAME as LOCK
from operations.folder_lock import FolderLock
from operations.heartbeat import EVERY, NAME, Heartbeat
from tests.operations.clock import Clock


def beat_at(folder: Path) -> datetime:
    return datetime.fromisoformat(orjson.loads((folder / NAME).read_bytes())["at"])


async def test_every_tick_is_a_beat_and_one_that_fails_is_told_and_made_up_for(
    tmp_path: Path,
) -> None:
    clock, lock = Clock(), FolderLock(tmp_path)
    lock.take()
    heart = Heartbeat(tmp_path, lock, lock.release, clock=clock, sleep=clock.sleep)
    async with in_background(heart, "heartbeat"):
        assert await clock.next_alarm() == EVERY
        first = beat_at(tmp_path)
        with capture_logs() as logs:
            (tmp_path / LOCK).unlink()
            (tmp_path / LOCK).mkdir()  # nothing can be written there
            clock.move(EVERY)
            await clock.next_alarm()
        assert [entry["event"] for entry in logs] == ["the heartbeat could not be written"]
        assert beat_at(tmp_path) == first
        (tmp_path / LOCK).rmdir()
        clock.move(EVERY)
        await clock.next_alarm()
        assert (beat_at(tmp_path) - first).total_seconds() == 2 * EVERY


async def test_a_folder_that_another_has_taken_is_left_to_it(tmp_path: Path) -> None:
    clock, lock = Clock(), FolderLock(tmp_path)
    lock.take()
    other = FolderLock(tmp_path)
    (tmp_path / LOCK).unlink()
    other.take()
    lost: list[bool] = []
    heart = Heartbeat(tmp_path, lock, lambda: lost.append(True), clock=clock, sleep=clock.sleep)
    with capture_logs() as logs:
        await heart.run()
    assert lost == [True]
    assert logs[0]["log_level"] == "error"
    assert not (tmp_path / NAME).exists()
