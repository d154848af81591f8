"""The database's file: held by one server, checked, brought up to date, opened to write."""

import fcntl
import os
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from operations.database_errors import (
    DatabaseCorrupt,
    DatabaseInUse,
    DatabaseNotWritable,
    DiskFailed,
    in_our_words,
)
from operations.migrations import Migration, migrate
from operations.readers import STATEMENTS, connect_to_read

QUICK_CHECK_LIMIT = 256 * 1024**2  # bytes; a larger file is not read through at each start
JOURNAL_LIMIT = 64 * 1024**2  # bytes of write-ahead log kept after a burst of writes
_LOG_HEADER, _FRAME_HEADER = 32, 24  # bytes


class Hold:
    """The lock on a database; ``crashed`` says that whoever held it before died with it."""

    def __init__(self, lock: int) -> None:
        self._lock = lock
        self.crashed = bool(os.pread(lock, 1, 0))

    def sign(self) -> None:
        """Name this process as the holder.

        Raises:
            OSError: there is no room for it. What an earlier one that died has left is still there.
        """
        name = f"{os.getpid()}\n".encode()
        os.pwrite(self._lock, name, 0)
        os.ftruncate(self._lock, len(name))

    def leave(self) -> None:
        """Let the next holder know that this one left in order. It takes no room on the disk."""
        os.ftruncate(self._lock, 0)


@contextmanager
def hold(path: Path) -> Generator[Hold]:
    """Hold the database at ``path`` for this server, by a lock on ``<path>.lock``.

    The folder is made with mode 0700 if it is missing. The lock goes with the process that holds
    it, however that ends; the lock file stays, and names its holder until that ``leave``s.

    Raises:
        DatabaseInUse: another server holds it.
        DatabaseNotWritable: the folder or the file cannot be made.
        DiskFailed: the file cannot be written, as there is no room.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise DatabaseNotWritable(path, error) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 20, 0).strip()
            raise DatabaseInUse(path, int(holder) if holder.isdigit() else None) from None
        held = Hold(lock)
        try:
            held.sign()
        except OSError as error:
            raise DiskFailed(f"{path}.lock cannot be written ({error.strerror})") from error
        yield held
    finally:
        os.close(lock)


def held_by(path: Path) -> str | None:
    """Return which process holds the database at ``path``, None if none does.

    The lock is tried only where somebody signed it who may have died: a server that starts in the
    moment that it is ours would find it taken.

    Raises:
        OSError: the lock file cannot be read.
    """
    try:
        lock = os.open(f"{path}.lock", os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        name = os.pread(lock, 20, 0).strip()
        if not name:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return f"process {name.decode('ascii', 'replace')}"
        return None
    finally:
        os.close(lock)


@contextmanager
def open_to_write(
    path: Path, migrations: Sequence[Migration], busy_timeout: float
) -> Generator[sqlite3.Connection]:
    """Open the one connection that writes and checkpoints; for the thread that calls.

    A file of up to 256 MiB is read through first (``quick_check``, which a kill -9 never makes
    fail); of a larger one the header and the schema are read. Leaving folds the write-ahead log
    into the file.

    Raises:
        DatabaseCorrupt: the file is damaged or no database. It is left as it is.
        SchemaMismatch: the file does not fit ``migrations``.
        DatabaseNotWritable: it cannot be made, or not be written.
        DatabaseError: it could not be opened for another reason.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # -wal and -shm take its mode
        path.chmod(0o600)
    except OSError as error:
        raise DatabaseNotWritable(path, error) from error
    _check(path, busy_timeout)
    connection = sqlite3.connect(
        path, timeout=busy_timeout, isolation_level=None, cached_statements=STATEMENTS
    )
    with closing(connection):
        connection.row_factory = sqlite3.Row
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_LIMIT}")
            migrate(connection, migrations)
            connection.execute("PRAGMA foreign_keys = ON")
            _lengthen_log(connection, Path(f"{path.resolve()}-wal"))
        except sqlite3.Error as error:
            raise in_our_words(error, path) from error
        yield connection
        # Whoever still reads must not hold up the end: what is not folded in now is at the start.
        with suppress(sqlite3.Error):
            connection.execute("PRAGMA busy_timeout = 0")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _lengthen_log(connection: sqlite3.Connection, log: Path) -> None:
    """Fill the write-ahead log with zeros up to where SQLite begins it anew.

    A commit to a file that grows also waits for its new length: measured, for twice as long. Zeros
    are no valid header nor frame of a log (section 4.1 of SQLite's file format). Without room for
    them, the log grows as it is written.
    """
    if not log.exists():  # a file system that cannot share memory has none
        return
    pages: int = connection.execute("PRAGMA wal_autocheckpoint").fetchone()[0]
    page_size: int = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.execute("BEGIN IMMEDIATE")  # nobody else writes meanwhile
    length = log.stat().st_size
    missing = _LOG_HEADER + pages * (_FRAME_HEADER + page_size) - length
    try:
        with log.open("ab") as file:
            file.write(bytes(max(0, missing)))
    except OSError:
        with suppress(OSError):
            os.truncate(log, length)
    connection.execute("ROLLBACK")


def _check(path: Path, busy_timeout: float) -> None:
    # Read-only: a connection that can write folds the log into the file when it is closed, and
    # of a damaged file nothing may be changed.
    with closing(connect_to_read(path, busy_timeout)) as connection:
        try:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            if path.stat().st_size <= QUICK_CHECK_LIMIT:
                found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
                if found != "ok":
                    raise DatabaseCorrupt(path, found)
        except sqlite3.Error as error:
            raise in_our_words(error, path) from error
