"""Files that are there whole, or as they were before."""

import os
from contextlib import suppress
from pathlib import Path

PARTS = ".*.new"  # the pattern of files that are not whole yet
_PRIVATE = 0o600


def is_there(path: Path) -> bool:
    """Return whether there is such a file or folder.

    From Python 3.14 on, `Path.exists` takes what cannot be looked at for what is not there.

    Raises:
        OSError: it cannot be looked at.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def write_whole(path: Path, content: bytes) -> None:
    """Put ``content`` in the place of what is at ``path``, durably; readers see one or the other.

    Raises:
        OSError: it could not be written. What was there still is.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        with suppress(OSError):
            fresh.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have on the disk which files are in a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
