"""Entries in files that survive the death of the process: framed, checked, and on the disk."""

import fcntl
import os
import re
import struct
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from operations.files import sync_folder

SUFFIX = ".segment"
_FRAME = struct.Struct(">II")  # how long an entry is, and its CRC-32
_LONGEST = 1024**2  # bytes of an entry; more is a torn frame
_BEGIN = re.compile(rb"\0(?!\0{3})[\0-\x10]")  # of a frame: its length is neither 0 nor more
_TIME = re.compile(r"[0-9]{20}")  # nanoseconds since 1970


class TrailDamaged(OSError):
    """Between whole entries there is what is none. All whole ones were read."""

    def __init__(self, damaged: Mapping[Path, int]) -> None:
        told = (f"{path} is damaged: {lost} bytes of it are lost" for path, lost in damaged.items())
        super().__init__("; ".join(told))
        self.damaged = damaged


class Segments:
    """A folder of segments, of which each process that writes has one of its own at a time.

    Its name begins with the time when it was begun, or that of the one before it if the clock was
    set back meanwhile, so that names sort by age. All methods raise OSError when the disk does not
    do its part; nothing was appended then.
    """

    def __init__(self, folder: Path, *, size: int, total: int) -> None:
        self._folder = folder
        self._size = size  # bytes, after which another segment is begun
        self._total = total  # bytes, beyond which the oldest segments are deleted
        self._file: int | None = None
        self._path = folder  # of what is being written
        self._written = 0
        self._kept = 0  # bytes of the segments that others have written

    def open(self) -> None:
        """Make the folder, and cut off what was torn when a writer died."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Only the last of a writer can be torn: it had the others on the disk before.
        last = {path.stem.rpartition("-")[2]: path for path in self._others()}
        for path in last.values():
            with path.open("r+b") as file:
                *_, whole = 0, *(end for end, _ in _entries(file.read()))
                if whole < path.stat().st_size:
                    file.truncate(whole)
                    os.fsync(file.fileno())
        self._kept = sum(path.stat().st_size for path in self._folder.glob(f"*{SUFFIX}"))

    @property
    def held(self) -> int:
        """How many bytes there are in the folder, as far as this process knows."""
        return self._kept + self._written

    def append(self, entries: Sequence[bytes]) -> None:
        """Return once all ``entries`` are on the disk, or none is."""
        file = self._file
        if file is None or self._written >= self._size or not self._in_place(file):
            file = self._begin()
        frames = b"".join(_FRAME.pack(len(one), zlib.crc32(one)) + one for one in entries)
        try:
            _write(file, frames)
        except OSError:
            # Another segment follows: what the disk kept of this one is not known.
            with suppress(OSError):
                os.ftruncate(file, self._written)
                if not self._written:  # or a disk that stays full gathers empty ones
                    self._path.unlink()
            self.close()
            raise
        self._written += len(frames)

    def close(self) -> None:
        """Let go of the segment that is being written."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _in_place(self, file: int) -> bool:
        """Return whether nobody has moved or deleted what is being written."""
        try:
            return os.path.samestat(os.fstat(file), self._path.stat())
        except OSError:
            return False

    def _begin(self) -> int:
        """Begin another segment, and return its file."""
        self.close()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        newest = max((_begun(path) for path in self._folder.glob(f"*{SUFFIX}")), default=0)
        begun = max(time.time_ns(), newest + 1)
        path = self._folder / f"{begun:020d}-{os.getpid()}{SUFFIX}"
        # A write returns once it is on the disk: one call, where a sync of its own would be two,
        # and after each a thread waits for the interpreter.
        how = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_DSYNC
        file = os.open(path, how, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        self._file, self._path, self._written = file, path, 0
        sync_folder(self._folder)
        self._forget()
        return file

    def _forget(self) -> None:
        """Delete the oldest segments, if there is more than there may be."""
        paths = self._others()
        sizes = {path: path.stat().st_size for path in paths}
        self._kept = sum(sizes.values())
        left = self._kept + self._size
        for path in paths:
            if left <= self._total:
                break
            path.unlink()
            left -= sizes[path]
            self._kept -= sizes[path]

    def _others(self) -> list[Path]:
        """Return those that are ours to change and that nobody writes any more, oldest first."""
        return [path for path in sorted(self._folder.glob(f"*{SUFFIX}")) if _unused(path)]


def read_segments(folder: Path) -> Iterator[bytes]:
    """Yield all whole entries of a folder, those of one segment after those of the other.

    What a writer is writing at this moment may be left out.

    Raises:
        PermissionError: some segments, or the folder, may not be read; all others were.
        TrailDamaged: some are not as they were written; what is whole of them was read.
    """
    refused: list[str] = []
    damaged: dict[Path, int] = {}
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == SUFFIX)
    except FileNotFoundError:
        return
    except PermissionError:
        raise PermissionError(f"{folder} may not be read") from None
    for path in paths:
        try:
            data = path.read_bytes()
        except FileNotFoundError:  # forgotten meanwhile
            continue
        except PermissionError:  # another user's
            refused.append(str(path))
            continue
        whole = 0
        for end, entry in _entries(data):
            whole += _FRAME.size + len(entry)
            yield entry
            if whole < end:
                damaged[path] = end - whole
    if refused:
        raise PermissionError(f"{', '.join(refused)} may not be read")
    if damaged:
        raise TrailDamaged(damaged)


def _entries(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the whole entries, each after where its frame ends; what is damaged is passed over."""
    at = 0
    while at + _FRAME.size <= len(data):
        length, crc = _FRAME.unpack_from(data, at)
        begin, end = at + _FRAME.size, at + _FRAME.size + length
        if 0 < length <= _LONGEST and end <= len(data) and zlib.crc32(data[begin:end]) == crc:
            yield end, data[begin:end]
            at = end
            continue
        found = _BEGIN.search(data, at + 1)
        if found is None:
            return
        at = found.start()


def _begun(path: Path) -> int:
    """Return when a segment was begun, in nanoseconds since 1970; 0 if its name does not say."""
    begun, _, _ = path.stem.partition("-")
    return int(begun) if _TIME.fullmatch(begun) else 0


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _unused(path: Path) -> bool:
    # Another user's is left alone: root has a segment of its own when it revokes a key.
    with suppress(FileNotFoundError, PermissionError):
        file = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(file)
        return True
    return False
