"""API keys: one small file each, so that making and revoking one needs no running service.

A key is shown once and never kept: what is kept is its SHA-256, which is enough for 256 random
bits. A key is revoked by deleting its file, which every process notices at once.
"""

import hashlib
import hmac
import json
import os
import re
import secrets
import stat
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from operations.clock import utc_now

KeyScope = Literal["read", "run", "admin"]

FOLDER = "keys"
SCOPES: tuple[KeyScope, ...] = get_args(KeyScope)
_TOKEN = re.compile(r"ml_([0-9a-f]{16})_[A-Za-z0-9_-]{43}")
_KEY_ID = re.compile(r"[0-9a-f]{16}")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_NOTED = 60.0  # seconds for which another use of a key is not noted


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """What is known of a key; the times are UTC in ISO 8601. Keys of one owner share everything."""

    key_id: str
    owner: str
    scope: KeyScope
    sha256: str
    created_at: str
    expires_at: str | None = None

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and datetime.fromisoformat(self.expires_at) <= utc_now()


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A key, and when it was last used; noted once a minute."""

    key: ApiKey
    last_used_at: str | None


class KeyFolder:
    """The keys of a data folder, whoever else reads and writes them at the same time."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / FOLDER
        self._known: dict[str, tuple[int, ApiKey]] = {}

    @property
    def exists(self) -> bool:
        """Whether there ever was a key: from then on, nobody is served without one."""
        return self._folder.is_dir()

    def create(
        self, owner: str, scope: KeyScope, expires_at: datetime | None = None
    ) -> tuple[ApiKey, str]:
        """Make a key; return it, and the token that is never to be seen again."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key_id = secrets.token_hex(8)
        token = f"ml_{key_id}_{secrets.token_urlsafe(32)}"
        key = ApiKey(
            key_id=key_id,
            owner=owner,
            scope=scope,
            sha256=_digest(token),
            created_at=utc_now().isoformat(),
            expires_at=None if expires_at is None else _text(expires_at),
        )
        self._write(key)
        return key, token

    def all(self) -> list[KeyEntry]:
        """Return every key, the oldest first.

        Raises:
            OSError: the folder of the keys cannot be read.
        """
        try:
            paths = [path for path in self._folder.iterdir() if path.suffix == ".json"]
        except FileNotFoundError:  # there never was a key
            return []
        entries = [self._entry(path) for path in paths]
        return sorted((one for one in entries if one), key=lambda one: one.key.created_at)

    def revoke(self, key_id: str) -> bool:
        """Let a key be none from now on; False if there is no such key."""
        if not _KEY_ID.fullmatch(key_id):
            return False
        try:
            self._path(key_id).unlink()
        except FileNotFoundError:
            return False
        return True

    def verify(self, token: str) -> ApiKey | None:
        """Return the key that ``token`` is; None if it is none, or none any more."""
        match = _TOKEN.fullmatch(token)
        key = self._read(match[1]) if match else None
        expected = key.sha256 if key else _digest("")
        if not hmac.compare_digest(_digest(token), expected):
            return None
        return None if key is None or key.expired else key

    def knows(self, key_id: str) -> bool:
        """Return whether there is such a key still; to ask is a use of it."""
        key = self._read(key_id)
        return key is not None and not key.expired

    def _read(self, key_id: str) -> ApiKey | None:
        path = self._path(key_id)
        try:
            found = path.stat()
        except OSError:
            self._known.pop(key_id, None)
            return None
        if found.st_mode & _OTHERS:  # whoever else can write it could make keys
            return None
        known = self._known.get(key_id)
        if known is None or known[0] != found.st_ino:
            entry = self._entry(path)
            if entry is None:
                return None
            known = self._known[key_id] = (found.st_ino, entry.key)
        if time.time() - found.st_mtime > _NOTED:
            with suppress(OSError):  # revoked this very moment, or a disk that takes no more
                os.utime(path)
        return known[1]

    def _entry(self, path: Path) -> KeyEntry | None:
        try:
            fields: dict[str, Any] = json.loads(path.read_text())
            used = path.stat().st_mtime
            key = ApiKey(**fields)
        except (OSError, ValueError, TypeError):
            return None
        return KeyEntry(key, _text(datetime.fromtimestamp(used, UTC)) if used > 0 else None)

    def _write(self, key: ApiKey) -> None:
        unfinished = self._folder / f"{key.key_id}.new"
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump(asdict(key), file)
            file.flush()
            os.fsync(handle)
        os.utime(unfinished, (0, 0))  # never used
        unfinished.rename(self._path(key.key_id))

    def _path(self, key_id: str) -> Path:
        return self._folder / f"{key_id}.json"


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")
