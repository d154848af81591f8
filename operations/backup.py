"""Copies of a database that is in use, and whether a file is whole."""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from operations.database_errors import DatabaseBusy, DatabaseError, DiskFailed, in_our_words
from operations.files import is_there

_FAULTS = 20  # that are told

SIDE_FILES = ("-wal", "-shm", "-journal")


class BackupFailed(Exception):
    """There is no copy; what was there is as it was."""


def back_up(source: Path, target: Path) -> int:
    """Copy the database at ``source`` as it is at one moment; return the size in bytes.

    The service may be working. The copy is checked before it has its name.

    Raises:
        BackupFailed: there is nothing to copy, something is at ``target``, or it did not work out.
    """
    _require(source, target)
    fresh = target.with_name(f"{target.name}.part")
    try:
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=0o600)
        with (
            closing(_reading(source)) as live,
            closing(sqlite3.connect(fresh)) as copy,
        ):
            # All in one step: in parts, every write of the service would begin it anew.
            live.backup(copy)
            # A copy is one file: readable without those that a log of writes has beside it.
            copy.execute("PRAGMA journal_mode = DELETE")
        if faults := faults_of(fresh):
            raise BackupFailed(f"the copy is damaged, as {source} may be: {faults[0]}")
        fresh.replace(target)
    except (OSError, sqlite3.Error, DatabaseError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BackupFailed(f"{target} cannot be made: {reason}") from error
    finally:
        for suffix in ("", *SIDE_FILES):
            with suppress(OSError):
                fresh.with_name(fresh.name + suffix).unlink(missing_ok=True)
    return target.stat().st_size


def _require(source: Path, target: Path) -> None:
    """Refuse to copy what is not there or is no database, or over what is there."""
    try:
        if not is_there(source):
            raise BackupFailed(f"there is no {source}")
        if is_there(target):
            raise BackupFailed(f"{target} is there already; it was left as it is")
        with closing(_reading(source)) as live:
            live.execute("SELECT count(*) FROM sqlite_schema")
    except OSError as error:
        raise BackupFailed(f"{error.filename} cannot be looked at: {error.strerror}") from error
    except sqlite3.Error as error:
        raise BackupFailed(f"nothing was copied: {in_our_words(error, source)}") from error


def _reading(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)


def faults_of(path: Path) -> list[str]:
    """Return what is wrong with the database at ``path``: nothing, as a rule.

    To SQLite a file without a byte is a database, too. Here it is what a copy left that broke off.
    Whose database it is, is not asked: see ``is_ours``.

    Raises:
        DatabaseBusy, DiskFailed: it cannot be read now, or by this user, which says nothing of it.
    """
    try:
        with closing(_reading(path)) as connection:
            if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,):
                return ["there is nothing in it"]
            rows = connection.execute(f"PRAGMA integrity_check({_FAULTS})").fetchall()
            rows += [
                (f"{table}: row {row} refers to a row of {parent} that is not there",)
                for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check")
            ]
    except sqlite3.Error as error:
        ours = in_our_words(error, path)
        if isinstance(ours, DatabaseBusy | DiskFailed):
            raise ours from error
        return [str(error)]
    return [str(text) for (text,) in rows if text != "ok"][:_FAULTS]


def is_ours(path: Path) -> bool:
    """Return whether a service has worked with the database at ``path``, which is whole.

    Raises:
        DatabaseError: it cannot be read now.
    """
    try:
        with closing(_reading(path)) as connection:
            # Others have a table of that name, too.
            found = connection.execute("SELECT name FROM pragma_table_info('schema_migrations')")
            return {"number", "checksum"} <= {name for (name,) in found}
    except sqlite3.Error as error:
        raise in_our_words(error, path) from error
