"""What the ground floor reports of the process itself."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LoopTurned:
    """The event loop made the turn that it was asked for, so many seconds late."""

    late: float


@dataclass(frozen=True, slots=True)
class LoopBlocked:
    """The event loop was held up for so many seconds, by this line."""

    line: str
    seconds: float
