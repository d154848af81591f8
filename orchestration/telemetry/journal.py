"""What the loop and the pools report, in the log: a line per run that ended, more if it matters."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import structlog

from agents import events as agents
from coordinator import events as coordinator
from coordinator.step_events import GraphLeft
from operations.clock import micros
from operations.log_stream import Text, lines_held, write_held
from operations.logs import Past, past_log
from operations.telemetry.record import Record
from operations.telemetry.traceparent import named_span_of_run
from orchestration.loop.events import (
    LeaseLost,
    RunCrashed,
    RunEnded,
    RunRejected,
    RunRequeued,
    RunsRecovered,
    StateUnknown,
    WriteFailed,
    ZombieLeft,
)

_INFO: Mapping[type, str] = {
    RunRequeued: "run requeued",
    RunsRecovered: "runs recovered",
    agents.PoolResized: "pool resized",
    agents.MessageRetried: "message not received",
    coordinator.ToolFellBack: "a tool failed; its fallback was used",
    coordinator.CircuitClosed: "a target of tools works again",
}
_WARNING: Mapping[type, str] = {
    WriteFailed: "the store could not write; trying again",
    StateUnknown: "the state after a run could not be read",
    ZombieLeft: "a run ignores its cancellation",
    RunCrashed: "what executed a run has died",
    LeaseLost: "the end of a run was not written: it was no more this worker's",
    agents.StartMissed: "an agent did not start",
    agents.SeatLost: "an agent was given up",
    agents.PoolDegraded: "a pool restarts its agents too often",
    agents.MessageDead: "a message is a dead letter",
    coordinator.ToolLeft: "a tool ignores its cancellation",
    GraphLeft: "a graph ignores its cancellation",
    coordinator.CircuitOpened: "a target of tools is left alone",
    coordinator.ExperienceLost: "experience was not kept: too much waited to be written",
    coordinator.ExperienceUnwritten: "experience could not be written; trying again",
}


class Journal:
    """Writes down those events that people want to read.

    Of every run there is one line at its end, with all there is to say of it. Refusals, of which
    there are thousands a second just when there is no time for them, are told by their number.
    """

    name = "log"
    kinds = frozenset({RunEnded, RunRejected, *_INFO, *_WARNING})

    def __init__(self) -> None:
        self._log = structlog.get_logger("masterloop").bind()  # once, not for each line

    def prepare(self, batch: Sequence[Record]) -> Sequence[Record]:
        """Make the lines of what is worth it."""
        rejected = Counter[RunRejected]()
        lines: list[Record] = []
        log = past_log()
        for record in batch:
            event = record.event
            if isinstance(event, RunEnded):
                said = _end(log, record.at, event)
            elif isinstance(event, RunRejected):
                rejected[event] += 1
                continue
            else:
                said = self._lines(event)
            if said:
                lines.append(record.telling(said))
        if rejected:
            with lines_held() as held:
                for event, count in rejected.items():
                    self._log.info("runs rejected", **asdict(event), count=count)
            if held:
                lines.append(batch[-1].telling(held))
        return lines

    def take(self, batch: Sequence[Record]) -> None:
        """Write the lines."""
        write_held(text for record in batch for text in record.event)

    def close(self, grace: float) -> None:
        """Do nothing: every line is written when it is taken."""

    def _lines(self, event: Any) -> Sequence[Text]:
        with lines_held() as held:
            if text := _INFO.get(type(event)):
                self._log.info(text, **asdict(event))
            elif text := _WARNING.get(type(event)):
                self._log.warning(text, **asdict(event))
        return held


def _end(log: Past, at: float, event: RunEnded) -> Sequence[Text]:
    told: dict[str, Any] = {
        "run_id": event.run_id,
        "thread_id": event.thread_id,
        "graph_id": event.graph_id,
        "status": event.status,
        "attempt": event.attempt,
        "took": micros(event.took),
        "error": event.error,
    }
    if event.waited is not None:
        told["waited"] = micros(event.waited)
        told |= named_span_of_run(event.run_id, event.attempt, event.waited, event.trace)
    texts = (event.graph_id,) if event.error is None else (event.graph_id, event.error)
    return log(at, "run ended", told, texts)
