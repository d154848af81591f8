"""Who works in a folder, and what becomes of what a dead one has left."""

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from operations.folder_lock import NAME, TRIES, TTL, FolderLock, FolderLocked


class Wall:
    """A wall clock that moves as somebody sleeps by it."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def lock(folder: Path, wall: Wall) -> FolderLock:
    return FolderLock(folder, now=wall, sleep=wall.sleep)


def forge(folder: Path, **facts: object) -> None:
    told = orjson.loads((folder / NAME).read_bytes())
    (folder / NAME).write_bytes(orjson.dumps(told | facts))


def test_one_has_the_folder_and_another_is_told_who_after_five_tries(tmp_path: Path) -> None:
    wall = Wall()
    first, second = lock(tmp_path / "new", wall), lock(tmp_path / "new", wall)
    first.take()
    with pytest.raises(FolderLocked, match=f"in use by process {os.getpid()} on"):
        second.take()
    assert wall.slept == [0.1, 0.2, 0.4, 0.8]
    assert len(wall.slept) == TRIES - 1
    assert sum(wall.slept) < 3
    second.release()  # it is not its own
    first.beat()
    first.release()
    second.take()


def test_what_a_dead_process_has_left_is_taken_over_at_once(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from operations.folder_lock import FolderLock
FolderLock(Path({str(tmp_path)!r})).take()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    left = orjson.loads((tmp_path / NAME).read_bytes())
    (tmp_path / f"..lock.{left['pid']}.new").touch()  # it was killed while it wrote
    (tmp_path / "kept.json").touch()
    wall = Wall()
    wall.now = left["at"]
    lock(tmp_path, wall).take()
    assert wall.slept == []
    assert orjson.loads((tmp_path / NAME).read_bytes())["pid"] == os.getpid() != left["pid"]
    assert sorted(file.name for file in tmp_path.iterdir()) == [NAME, "kept.json"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the start of a process is not told")
def test_a_process_that_was_given_the_pid_of_a_dead_one_is_not_it(tmp_path: Path) -> None:
    wall = Wall()
    lock(tmp_path, wall).take()
    forge(tmp_path, began="1")
    lock(tmp_path, wall).take()
    assert wall.slept == []


def test_a_holder_on_another_machine_is_dead_after_its_ttl(tmp_path: Path) -> None:
    wall = Wall()
    lock(tmp_path, wall).take()
    forge(tmp_path, host="elsewhere", pid=1)
    with pytest.raises(FolderLocked, match="process 1 on elsewhere"):
        lock(tmp_path, wall).take()
    wall.now += TTL
    lock(tmp_path, wall).take()


def test_one_dated_far_ahead_of_now_is_dead_unless_its_process_is_seen_to_live(
    tmp_path: Path,
) -> None:
    wall = Wall()
    lock(tmp_path, wall).take()
    wall.now -= 10 * TTL  # the clock is set back
    with pytest.raises(FolderLocked, match=f"process {os.getpid()} on"):
        lock(tmp_path, wall).take()
    forge(tmp_path, host="elsewhere", pid=1, at=wall.now + TTL / 2)
    with pytest.raises(FolderLocked, match="process 1 on elsewhere"):
        lock(tmp_path, wall).take()
    forge(tmp_path, at=wall.now + TTL)
    lock(tmp_path, wall).take()


def test_one_that_slept_past_its_ttl_finds_that_it_has_lost_the_folder(tmp_path: Path) -> None:
    wall = Wall()
    first, second = lock(tmp_path, wall), lock(tmp_path, wall)
    first.take()
    wall.now += TTL
    second.take()
    with pytest.raises(FolderLocked):
        first.beat()
    first.release()
    second.beat()


@pytest.mark.parametrize("left", [b"", b"{", b"[]", b'{"pid": 1}', b"\xff"])
def test_a_lock_that_was_cut_off_is_nobody_s(tmp_path: Path, left: bytes) -> None:
    (tmp_path / NAME).write_bytes(left)
    lock(tmp_path, Wall()).take()
