"""What the service can say of itself to those who run it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from operations.live import Live

Summary = Callable[[str | None], dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """How runs went (to be called in a thread), the last events, what happens now."""

    identity: Mapping[str, Any]
    summary: Summary
    activity: Callable[[], list[dict[str, Any]]]
    live: Live
