"""An audit trail that is no more as, or where, it was written: what is whole of it is read."""

import shutil
from pathlib import Path

import pytest

from operations.telemetry.segments import SUFFIX, Segments, TrailDamaged, read_segments
from operations.telemetry.trail import Trail, read_trail
from tests.telemetry.test_trail import deeds, numbers


@pytest.mark.parametrize("place", [0, 2, 6, 10])  # in the length, the CRC, the entry
def test_damage_costs_the_entries_that_it_is_in_and_is_told(tmp_path: Path, place: int) -> None:
    trail = Trail(tmp_path, total=1024**2)
    for number in range(3):
        trail.take(trail.prepare(deeds(number)))
    trail.close(0)
    (path,) = tmp_path.glob(f"*{SUFFIX}")
    content = bytearray(path.read_bytes())
    second = len(content) // 3
    content[second + place] ^= 0xFF
    path.write_bytes(content)

    after = Trail(tmp_path, total=1024**2)
    after.take(after.prepare(deeds(3)))
    entries = read_trail(tmp_path)
    assert [next(entries)["what"] for _ in range(3)] == [0, 2, 3]
    with pytest.raises(TrailDamaged, match=f"{path} is damaged: {second} bytes of it are lost"):
        next(entries)
    assert path.stat().st_size == len(content)


@pytest.mark.parametrize("torn", [bytes(5_000), b"\0\0\1\0" * 1_000, b"\0\0\0\5\0\0\0\0{"])
def test_a_torn_end_that_looks_like_frames_is_cut_off_and_no_damage(
    tmp_path: Path, torn: bytes
) -> None:
    segments = Segments(tmp_path, size=1024, total=4096)
    segments.open()
    segments.append([b"one"])
    segments.close()
    (path,) = tmp_path.glob(f"*{SUFFIX}")
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert list(read_segments(tmp_path)) == [b"one"]
    Segments(tmp_path, size=1024, total=4096).open()
    assert path.read_bytes() == whole


def test_what_is_told_after_the_trail_was_deleted_is_in_another(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    trail = Trail(folder, total=1024**2)
    trail.take(trail.prepare(deeds(1)))
    shutil.rmtree(folder)
    trail.take(trail.prepare(deeds(2)))
    assert numbers(folder) == [2]
    shutil.rmtree(folder)
    folder.write_text("no folder")
    again = trail.prepare(deeds(3))
    for _ in range(2):
        with pytest.raises(OSError, match="audit"):
            trail.take(again)
        assert trail.failing
    folder.unlink()
    trail.take(again)
    assert (trail.failing, numbers(folder)) == (False, [3])


def test_what_is_told_after_the_trail_was_moved_is_in_another(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    trail = Trail(folder, total=1024**2)
    trail.take(trail.prepare(deeds(1)))
    [segment] = folder.iterdir()
    segment.rename(segment.with_suffix(".old"))
    trail.take(trail.prepare(deeds(2)))
    assert numbers(folder) == [2]
    folder.rename(tmp_path / "old")
    trail.take(trail.prepare(deeds(3)))
    assert numbers(folder) == [3]
