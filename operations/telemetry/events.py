"""What the ground floor reports of the process itself."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class ServiceStarted:
    """The service takes work."""

    version: str
    process: int


@dataclass(frozen=True, slots=True)
class ServiceStopped:
    """The service takes no more work: it was told to end, or (``error``) broke."""

    error: str | None


@dataclass(frozen=True, slots=True)
class KeyChanged:
    """An API key was made or revoked on the command line, by somebody with an account there."""

    change: Literal["made", "revoked"]
    key_id: str
    account: str


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line was logged: a JSON object, as machines are shown it."""

    line: str


@dataclass(frozen=True, slots=True)
class LoopTurned:
    """The event loop made the turns that it was asked for lately, each so many seconds late."""

    late: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LoopBlocked:
    """The event loop was held up for so many seconds, by this line."""

    line: str
    seconds: float
