"""What `masterloop doctor` says of the database, which a service may be using."""

import os
import sqlite3
import threading
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from operations.database_errors import (
    DatabaseBusy,
    DatabaseCorrupt,
    DatabaseError,
    in_our_words,
)
from operations.database_file import held_by
from operations.doctor import Finding, Verdict
from operations.files import is_there
from operations.migrations import Migration, outstanding
from operations.readers import INTERRUPT_PERIOD, connect_to_read

_READING = 5.0  # seconds that it is read through for
_BUSY_TIMEOUT = 1.0  # seconds


def check_database(
    path: Path, migrations: Sequence[Migration], *, reading: float = _READING
) -> Finding:
    """See whether the database opens, fits ``migrations`` and is whole; nothing is written to it.

    It is read through for ``reading`` seconds at most: so long, what a service that uses it writes
    stays in its write-ahead log.
    """
    try:
        if not is_there(path):
            return Finding("database", Verdict.OK, f"{path} is yet to be made")
        user = held_by(path)
        writable = os.access(path, os.W_OK)
    except OSError as error:
        reason = f"{error.filename or path} cannot be looked at ({error.strerror})"
        return Finding("database", Verdict.PROBLEM, reason)
    try:
        verdict, detail = _looked_at(path, migrations, reading)
    except DatabaseError as error:
        known = not isinstance(error, DatabaseBusy)
        verdict, detail = Verdict.PROBLEM if known else Verdict.WARNING, str(error)
    if verdict is not Verdict.PROBLEM and not writable:
        verdict, detail = Verdict.PROBLEM, f"{path} cannot be written to by this user"
    used = f"; {user} is using it, so it was only read" if user else ""
    return Finding("database", verdict, f"{detail}{used}")


def _looked_at(path: Path, migrations: Sequence[Migration], reading: float) -> tuple[Verdict, str]:
    """Look into the file alone if nobody uses it, for a look beside others leaves files there."""
    before = _unused(path)
    if before is not None:
        try:
            found = _looked_into(path, migrations, reading, alone=True)
        except DatabaseError:
            if _unused(path) == before:
                raise
        else:
            if _unused(path) == before:
                return found
    return _looked_into(path, migrations, reading, alone=False)


def _unused(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when somebody writes to the file, None if it has a log beside it."""
    try:
        file = path.resolve()
        if any(Path(f"{file}{suffix}").exists() for suffix in ("-wal", "-journal")):
            return None
        seen = file.stat()
    except OSError:  # who opens it says why
        return None
    return seen.st_ino, seen.st_size, seen.st_mtime_ns


def _looked_into(
    path: Path, migrations: Sequence[Migration], reading: float, *, alone: bool
) -> tuple[Verdict, str]:
    try:
        with closing(connect_to_read(path, _BUSY_TIMEOUT, alone=alone)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
            if "schema_migrations" not in tables:
                what = "something, but nothing of a service," if tables else "nothing"
                return Verdict.WARNING, f"{path}: {what} is in it; a service would begin anew there"
            missing = outstanding(connection, migrations)
            whole = _is_whole(connection, path, reading)
    except sqlite3.Error as error:
        raise in_our_words(error, path) from error
    schema = "the start brings its schema up to date" if missing else "its schema fits"
    damage = (
        "no damage"
        if whole
        else f"no damage in {reading:g} s, too short for all of it: see masterloop db check"
    )
    return Verdict.OK, f"{path}: {schema}; {damage}"


def _is_whole(connection: sqlite3.Connection, path: Path, reading: float) -> bool:
    """Return True if all of it was read and is whole, False if the time did not suffice.

    Raises:
        DatabaseCorrupt: it is damaged.
    """
    try:
        with _interrupted(connection, reading):
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return False
    if found != "ok":
        raise DatabaseCorrupt(path, found)
    return True


@contextmanager
def _interrupted(connection: sqlite3.Connection, after: float) -> Generator[None]:
    """Interrupt what is read meanwhile after so many seconds.

    By a thread: a progress handler is not asked within the check of a table before SQLite 3.41.
    """
    done = threading.Event()

    def wait() -> None:
        pause = after
        while not done.wait(pause):
            connection.interrupt()
            pause = INTERRUPT_PERIOD  # again: what had not begun yet was not interrupted

    waiting = threading.Thread(target=wait, name="database-check")
    waiting.start()
    try:
        yield
    finally:
        done.set()
        waiting.join()
