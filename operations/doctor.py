"""Is this machine fit to run the service? Each check looks at one thing and says what to do."""

import re
import resource
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path

from operations.errors import ConfigurationError
from operations.files import is_there
from operations.ports import is_free

# Before it, two connections that checkpoint one WAL at the same time can corrupt the file.
SQLITE_FIXED = (3, 51, 3)
# Security floors, the same as in pyproject.toml.
FLOORS: Mapping[str, str] = {
    "langgraph": "1.0.10",
    "langgraph-checkpoint": "4.0",
    "langgraph-sdk": "0.3.15",
}
FILES_NEEDED = 256  # open files; the service itself takes about fifty
FILES_WANTED = 1_024
ROOM_NEEDED = 64 * 1024**2  # bytes; the write-ahead log after a burst of writes
ROOM_WANTED = 1024**3  # bytes


class Verdict(StrEnum):
    """What a check came to; only a problem keeps the service from working as promised."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    verdict: Verdict
    detail: str


def check_python() -> Finding:
    """Say which Python this is; an older one could not have imported this."""
    return Finding("python", Verdict.OK, sys.version.split(maxsplit=1)[0])


def check_sqlite(version: str = sqlite3.sqlite_version) -> Finding:
    """Warn of the WAL-reset bug."""
    if _numbers(version) >= SQLITE_FIXED:
        return Finding("sqlite", Verdict.OK, version)
    fixed = ".".join(map(str, SQLITE_FIXED))
    return Finding(
        "sqlite",
        Verdict.WARNING,
        f"{version} has the WAL-reset bug, fixed in {fixed}: two connections that write can "
        "corrupt a file. Masterloop writes each file through one connection and is not affected; "
        "do not write to its files with other programs while it runs",
    )


def check_open_files(limit: int | None = None) -> Finding:
    """Compare ``ulimit -n`` with what the service and its clients need."""
    if limit is None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    # No limit at all is given as a negative number on some systems.
    if limit < 0 or limit >= FILES_WANTED:
        return Finding("open files", Verdict.OK, "unlimited" if limit < 0 else str(limit))
    advice = f"{limit}; each client takes one. Raise it: ulimit -n {FILES_WANTED * 4}"
    verdict = Verdict.PROBLEM if limit < FILES_NEEDED else Verdict.WARNING
    return Finding("open files", verdict, advice)


def check_port(host: str, port: int) -> Finding:
    """See whether the service could listen there."""
    try:
        free = is_free(host, port)
    except OSError as error:
        return Finding("port", Verdict.PROBLEM, f"cannot listen on {host}: {error.strerror}")
    if free:
        return Finding("port", Verdict.OK, f"{port} is free")
    return Finding(
        "port", Verdict.WARNING, f"{port} is in use: stop what listens there, or use --port"
    )


def check_data_folder(folder: Path) -> Finding:
    """See whether the data folder, or the one it would be made in, can be written to."""
    place = folder
    try:
        place = _there(folder)
        with tempfile.TemporaryFile(dir=place):
            return Finding("data folder", Verdict.OK, str(folder))
    except OSError as error:
        reason = f"{place} cannot be written to ({error.strerror}). Set MASTERLOOP_DATA_DIR"
        return Finding("data folder", Verdict.PROBLEM, reason)


def check_disk_space(folder: Path, free: int | None = None) -> Finding:
    """Compare the room on the data folder's disk with what the service needs."""
    if free is None:
        try:
            free = shutil.disk_usage(_there(folder)).free
        except OSError as error:
            reason = f"{folder} cannot be looked at ({error.strerror})"
            return Finding("disk space", Verdict.PROBLEM, reason)
    room = f"{free // 1024**2:,} MiB are free"
    if free >= ROOM_WANTED:
        return Finding("disk space", Verdict.OK, room)
    verdict = Verdict.PROBLEM if free < ROOM_NEEDED else Verdict.WARNING
    advice = "without room, nothing is accepted. Make some, or set MASTERLOOP_DATA_DIR"
    return Finding("disk space", verdict, f"{room} where {folder} is: {advice}")


def check_strict_msgpack(*, strict: bool) -> Finding:
    """See whether stored checkpoints may only bring back known types."""
    if strict:
        return Finding("strict msgpack", Verdict.OK, "on")
    return Finding(
        "strict msgpack",
        Verdict.PROBLEM,
        "off: whoever can write to the store can run code. Set LANGGRAPH_STRICT_MSGPACK=true",
    )


def check_package(name: str, version_of: Callable[[str], str] = metadata.version) -> Finding:
    """Compare the installed version of a package with its security floor."""
    floor = FLOORS[name]
    try:
        version = version_of(name)
    except metadata.PackageNotFoundError:
        return Finding(name, Verdict.PROBLEM, f"not installed; {floor} or newer is needed")
    if _numbers(version) < _numbers(floor):
        return Finding(name, Verdict.PROBLEM, f"{version} is older than {floor}: upgrade it")
    return Finding(name, Verdict.OK, version)


def check_loads(check: str, load: Callable[[], str]) -> Finding:
    """See whether ``load`` gets through; it returns what there is to say about its result."""
    try:
        return Finding(check, Verdict.OK, load())
    except ConfigurationError as error:
        return Finding(check, Verdict.PROBLEM, str(error))


def _there(folder: Path) -> Path:
    """Return the folder, or the one that is there of those it would be made in."""
    place = folder.absolute()
    while not is_there(place):
        place = place.parent
    return place


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
