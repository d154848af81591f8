"""Places where a test can make the process die, fail or wait, named in MASTERLOOP_FAILPOINTS.

``MASTERLOOP_FAILPOINTS="claim.after_commit=kill,finish.before=raise:OSError,accept.before_commit=sleep:2"``.
Each acts once: the first time, or with ``=3*kill`` the third. Without the variable a failpoint
costs one look-up in an empty dictionary.
"""

import builtins
import os
import signal
import time

VARIABLE = "MASTERLOOP_FAILPOINTS"
NAMES = (
    "accept.before_commit",
    "accept.after_commit",
    "claim.after_commit",
    "checkpoint.before_commit",
    "checkpoint.after_commit",
    "finish.before",
    "finish.after",
)


class UnknownFailpoint(ValueError):
    """The variable names a place that does not exist."""


def _parse(text: str) -> dict[str, str]:
    active = dict(entry.strip().split("=", 1) for entry in text.split(",") if entry.strip())
    for name in active:
        if name not in NAMES:
            message = f"{VARIABLE}: there is no failpoint {name!r}; there are {', '.join(NAMES)}"
            raise UnknownFailpoint(message)
    return active


_active = _parse(os.environ.get(VARIABLE, ""))


def failpoint(name: str) -> None:
    """Do what the environment asks for at ``name``; nothing, as a rule.

    Raises:
        OSError, RuntimeError, …: the built-in exception that ``raise:NAME`` asks for.
    """
    if not _active:
        return
    action, _, argument = _due(name).partition(":")
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "raise":
        raise getattr(builtins, argument)(name)
    elif action == "sleep":
        time.sleep(float(argument))


def _due(name: str) -> str:
    """Return what is to be done at ``name`` now, and count the times it is not yet."""
    entry = _active.pop(name, "")
    times, _, action = entry.rpartition("*")
    if not times or int(times) == 1:
        return action
    _active[name] = f"{int(times) - 1}*{action}"
    return ""
