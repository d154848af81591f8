"""The key that seals what a client carries from one call to the next."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

_FILE = "mcp.key"
_SIZE = 32  # bytes


def state_key(data_dir: Path) -> bytes:
    """Return the key of a data folder, which all who serve from it share; made at its first use."""
    path = data_dir / _FILE
    with suppress(FileNotFoundError):
        return path.read_bytes()
    with suppress(FileExistsError):
        unfinished = path.with_suffix(f".{secrets.token_hex(4)}.new")
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(_SIZE))
                file.flush()
                os.fsync(handle)
            os.link(unfinished, path)  # whoever is first
        finally:
            unfinished.unlink()
    return path.read_bytes()
