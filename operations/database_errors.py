"""What can go wrong with the database. Each error says what is still true afterwards."""

import sqlite3
from pathlib import Path

from operations.errors import StorageFull, StorageUnavailable

_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE})
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_FAILED = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN})
_PRIMARY = 0xFF  # an extended result code holds the primary one in its low byte


class DatabaseError(StorageUnavailable):
    """The base: SQLite refused or failed. A write that raises it has changed nothing."""


class DiskFull(DatabaseError, StorageFull):
    """There is no room for the write. It changed nothing; reads go on, later writes may succeed."""


class DatabaseBusy(DatabaseError):
    """Another process held the write lock for longer than the busy timeout. Nothing was changed."""


class DiskFailed(DatabaseError):
    """The disk failed, or lets nobody write. Later writes may succeed."""


class DatabaseClosed(DatabaseError):
    """The database is closing or closed. Nothing was queued."""

    lasting = True


class DatabaseCorrupt(DatabaseError):
    """The file is damaged, or is no database. It was left as it is."""

    lasting = True

    def __init__(self, path: Path, detail: str) -> None:
        super().__init__(
            f"{path} is damaged ({detail}). It was left as it is. Put a backup in its place, or "
            f"salvage what can be read: sqlite3 '{path}' .recover | sqlite3 recovered.sqlite"
        )
        self.path = path
        self.detail = detail


class DatabaseInUse(DatabaseError):
    """Another server has the database open; ``pid`` is its process, where that is known."""

    def __init__(self, path: Path, pid: int | None) -> None:
        holder = "another process" if pid is None else f"process {pid}"
        super().__init__(
            f"{path.parent} is in use by {holder}. Stop that server, or choose another data folder"
        )
        self.path = path
        self.pid = pid


class DatabaseNotWritable(DatabaseError):
    """The file, or the folder it is to be in, cannot be made or written by this user."""

    lasting = True

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            f"{error.filename or path}: {error.strerror}. Let this user write there, or choose "
            "another data folder (MASTERLOOP_DATA_DIR)"
        )
        self.path = path


def in_our_words(error: sqlite3.Error, path: Path) -> DatabaseError:
    """Return the error of this module that says what ``error`` says."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    if code in _FULL:
        return DiskFull(f"no room to write to {path} ({error})")
    if code & _PRIMARY in _BUSY:
        return DatabaseBusy(f"{path} is locked by another process ({error})")
    if code & _PRIMARY in _CORRUPT:
        return DatabaseCorrupt(path, str(error))
    if code & _PRIMARY in _FAILED:
        return DiskFailed(f"{path} cannot be read or written ({error})")
    return DatabaseError(f"{type(error).__name__}: {error}")
