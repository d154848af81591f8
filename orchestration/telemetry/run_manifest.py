"""The manifest of one run: who asked for what, and what became of it."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any

import orjson

from agents.events import TaskEnded
from coordinator.events import ToolFellBack, ToolLeft
from coordinator.step_events import GraphLeft
from operations.clock import iso_of
from operations.redaction import redact, redacted
from orchestration.graphs.steps import NodeEnded, ToolEnded
from orchestration.loop.events import (
    RunAccepted,
    RunCrashed,
    RunEnded,
    RunRequeued,
    RunStarted,
    StateUnknown,
    WriteFailed,
    ZombieLeft,
)
from orchestration.loop.run import Outcome, Run
from orchestration.loop.worker import POISON

ATTEMPTS = 100  # the latest
STEPS = 1_000  # the first; further ones are counted
ERRORS = 100  # the latest
TEXT = 4_096  # characters of an output or a message; the rest is cut off
_OPEN = frozenset({"pending", "running"})
_READ = 1024**2  # bytes of an output that is looked through for secrets; of a larger one no text


def _blank() -> dict[str, Any]:
    return {
        "principal": None,
        "source": None,
        "thread_id": None,
        "assistant_id": None,
        "graph_id": None,
        "priority": None,
        "status": "pending",
        "database": "written",
        "accepted_at": None,
        "ended_at": None,
        "attempts": [],
        "steps": [],
        "steps_left_out": 0,
        "errors": [],
        "checkpoints": [],
        "result": None,
    }


class RunManifest:
    """What is known of a run, as JSON; everything in it is bounded and without secrets."""

    def __init__(self, run_id: str, before: Mapping[str, Any] | None = None) -> None:
        """Begin, or go on with what was written ``before`` the process ended."""
        self._told: dict[str, Any] = {"run_id": run_id}
        for key, blank in _blank().items():
            found = (before or {}).get(key, blank)
            fits = blank is None or isinstance(found, type(blank))
            self._told[key] = found if fits else blank
        self._told["attempts"] = [one for one in self._told["attempts"] if isinstance(one, dict)]

    @property
    def content(self) -> bytes:
        """The text of it."""
        return orjson.dumps(self._told, default=str, option=orjson.OPT_INDENT_2)

    @property
    def thread_id(self) -> str | None:
        """The thread of the run."""
        thread_id: str | None = self._told["thread_id"]
        return thread_id

    def about(self, run: Run) -> None:
        """Note what a run says of itself."""
        self._told |= {
            "thread_id": run.thread_id,
            "assistant_id": run.assistant_id,
            "graph_id": run.graph_id,
            "priority": run.priority,
        }

    def ending(self, at: float, outcome: Outcome) -> None:
        """Note how the run ends; its row is being written meanwhile."""
        self._told |= {
            "status": "rolled back" if outcome.rolled_back else outcome.status.value,
            "ended_at": iso_of(at),
            "database": "being written",
            "result": _result(outcome.answer),
        }
        if (failure := outcome.failure) is not None:
            self._error(at, failure.error, failure.message)

    def stored(self, at: float, error: str | None) -> None:
        """Note what became of the row."""
        self._told["database"] = "written" if error is None else f"not written: {error}"
        if error is not None:
            self._error(at, error, "the end of the run was not written to the database")

    def checkpoints(self, found: Sequence[str]) -> None:
        """Note what the run has left, oldest first."""
        self._told["checkpoints"] = list(found)

    def note(self, at: float, event: object) -> bool:
        """Note an event of the run; return whether there is anything of it here."""
        match event:
            case RunAccepted():
                for key in ("thread_id", "assistant_id", "graph_id", "priority", "source"):
                    self._told[key] = getattr(event, key)
                self._told |= {"principal": event.principal, "accepted_at": iso_of(at)}
            case RunStarted():
                self._start(at, event)
            case RunEnded():
                self._note_end(at, event)
            case RunRequeued():
                self._told["status"] = "pending"
                self._end(at, "requeued", None)
            case RunCrashed():
                self._told["status"] = "pending"
                self._end(at, "crashed", "WorkerLost")
            case NodeEnded() | ToolEnded() | TaskEnded():
                self._step(at, event)
            case _:
                return self._note_trouble(at, event)
        return True

    def _note_trouble(self, at: float, event: object) -> bool:
        match event:
            case ZombieLeft():
                self._error(at, "ZombieLeft", "the run ignored its cancellation")
            case StateUnknown() | WriteFailed():
                self._error(at, type(event).__name__, event.reason)
            case ToolFellBack():
                self._error(at, event.error, f"{event.tool}: used {event.fallback} instead")
            case GraphLeft():
                self._error(at, "GraphLeft", f"{event.graph} ignored its cancellation")
            case ToolLeft():
                self._error(at, "ToolLeft", f"{event.tool} ignored its cancellation")
            case _:
                return False
        return True

    def _start(self, at: float, event: RunStarted) -> None:
        self._told |= {
            "thread_id": event.thread_id,
            "graph_id": event.graph_id,
            "priority": event.priority,
        }
        ended_at = self._told["ended_at"]
        if not isinstance(ended_at, str) or ended_at < iso_of(at):  # its end may be told before
            self._told |= {"status": "running", "ended_at": None}
        self._end(at, "broken off", None)  # the one before, if the process died in it
        self._told["attempts"].append(
            {
                "attempt": event.attempt,
                "waited": round(event.waited, 6),
                "started_at": iso_of(at),
                "ended_at": None,
                "status": "running",
                "error": None,
            }
        )
        del self._told["attempts"][:-ATTEMPTS]

    def _note_end(self, at: float, event: RunEnded) -> None:
        if self._told["status"] in _OPEN and event.error == POISON.error:  # found at a start
            self._told |= {"status": event.status.value, "ended_at": iso_of(at)}
            self._error(at, POISON.error, POISON.message)
            self._end(at, "broken off", event.error)
        else:
            self._end(at, event.status.value, event.error)

    def _end(self, at: float, status: str, error: str | None) -> None:
        last = self._told["attempts"][-1:]
        if last and last[0].get("status") == "running":
            last[0] |= {"status": status, "ended_at": iso_of(at), "error": error and redact(error)}

    def _step(self, at: float, event: NodeEnded | ToolEnded | TaskEnded) -> None:
        if len(self._told["steps"]) >= STEPS:
            self._told["steps_left_out"] += 1
            return
        named: dict[str, Any]
        output = None if isinstance(event, TaskEnded) else event.output
        match event:
            case NodeEnded():
                named = {"kind": "node", "name": event.node, "step": event.step}
            case ToolEnded():
                named = {"kind": "tool", "name": event.tool}
            case TaskEnded():
                named = {"kind": "agent", "name": event.pool, "seat": event.seat}
                named["capability"] = event.capability
        self._told["steps"].append(
            redacted(named)
            | {
                "started_at": iso_of(at - event.took),
                "took": round(event.took, 6),
                "error": event.error and redact(event.error),
                "output": output and redact(output),
            }
        )

    def _error(self, at: float, error: str, message: str) -> None:
        told = {"at": iso_of(at), "error": redact(error), "message": redact(message[:TEXT])}
        self._told["errors"].append(told)
        del self._told["errors"][:-ERRORS]


def _result(answer: bytes) -> dict[str, Any]:
    text = None
    if len(answer) <= _READ:
        with suppress(ValueError):  # as large numbers make it
            text = orjson.dumps(redacted(orjson.loads(answer))).decode()
    return {
        "sha256": sha256(answer).hexdigest(),
        "bytes": len(answer),
        "output": None if text is None else text[:TEXT],
        "cut": text is None or len(text) > TEXT,
    }
