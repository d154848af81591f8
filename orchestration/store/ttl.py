"""How long a thread lives, as it is kept with the thread.

The time counts from when the thread was last updated. To keep that off the way of a run, the
column ``expires_at`` only says before when there is no need to look; it is moved when it has come.
"""

import sqlite3
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from operations.clock import iso

_GIVE = "UPDATE threads SET ttl_minutes = ?, ttl_strategy = ?, expires_at = ? WHERE thread_id = ?"


@dataclass(frozen=True, slots=True)
class Ttl:
    """A time to live in minutes, and what to do after it: ``delete`` or ``keep_latest``."""

    minutes: float
    strategy: str = "delete"

    def after(self, at: str) -> str:
        """Return when it is over if it begins at ``at``; both in ISO 8601."""
        end = datetime.fromisoformat(at) + timedelta(minutes=self.minutes)
        return iso(end)


Change = Ttl | Literal["never", "same"]  # of how long a thread lives


def give_ttl(connection: sqlite3.Connection, thread_id: str, ttl: Ttl | None, at: str) -> None:
    """Let a thread live for so long from ``at`` on; None: for ever."""
    fields = (None, None, None) if ttl is None else (ttl.minutes, ttl.strategy, ttl.after(at))
    connection.execute(_GIVE, (*fields, thread_id))
