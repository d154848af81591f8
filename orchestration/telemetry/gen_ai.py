"""How long workflows, agents and tools take, by OpenTelemetry's names for generative AI."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from time import monotonic
from typing import NamedTuple

from agents.events import TaskEnded
from operations.durations import Counted, Durations
from operations.telemetry import semconv
from operations.telemetry.labels import OTHER, Guard
from operations.telemetry.record import Record
from orchestration.graphs.steps import ToolEnded
from orchestration.loop.events import RunEnded

BOUNDS = tuple(0.01 * 2**step for step in range(14))  # seconds, as the conventions have them
_MOST = 200  # names of each kind that have figures of their own
_ERRORS = 50
_TTL = 3_600.0  # seconds without being seen, after which a name gives up its figures


class Series(NamedTuple):
    """One histogram, of seconds."""

    name: str
    attributes: Mapping[str, str]
    counted: Counted


class GenAi:
    """A sink that counts durations, to be sent to who expects them under these names."""

    name = "gen_ai"
    kinds = frozenset({RunEnded, TaskEnded, ToolEnded})

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._all: dict[tuple[str, str, str | None], Durations] = {}
        self._names = {
            operation: Guard[str](_MOST, _TTL, clock, self._forget(operation))
            for operation in _OPERATIONS
        }
        self._errors = Guard[str](_ERRORS, _TTL, clock, lambda _: None)

    def take(self, batch: Sequence[Record]) -> None:
        """Count what has ended."""
        for record in batch:
            match record.event:
                case RunEnded(attempt=0):
                    pass  # cancelled before it began: it took no time
                case RunEnded() as event:
                    failed = event.error or ("timeout" if event.status == "timeout" else None)
                    self._add(semconv.INVOKE_WORKFLOW, event.graph_id, event.took, failed)
                case TaskEnded() as event:
                    self._add(semconv.INVOKE_AGENT, event.pool, event.took, event.error)
                case ToolEnded() as event:
                    self._add(semconv.EXECUTE_TOOL, event.tool, event.took, event.error)
                case _:
                    pass

    def close(self, grace: float) -> None:
        """Do nothing: nothing is held."""

    def series(self) -> Iterator[Series]:
        """Yield what was counted until now; from any thread."""
        for (operation, name, error), durations in list(self._all.items()):
            metric, attribute = _OPERATIONS[operation]
            attributes = {semconv.OPERATION: operation, attribute: name}
            if error is not None:
                attributes[semconv.ERROR_TYPE] = error
            yield Series(metric, attributes, durations.counted())

    def _add(self, operation: str, name: str, seconds: float, error: str | None) -> None:
        failed = None if error is None else self._errors(error) or OTHER
        key = (operation, self._names[operation](name) or OTHER, failed)
        durations = self._all.get(key)
        if durations is None:
            durations = self._all[key] = Durations(BOUNDS)
        durations.add(seconds)

    def _forget(self, operation: str) -> Callable[[str], None]:
        def forget(name: str) -> None:
            for key in [key for key in self._all if key[:2] == (operation, name)]:
                del self._all[key]

        return forget


_OPERATIONS = {
    semconv.INVOKE_WORKFLOW: ("gen_ai.workflow.duration", semconv.WORKFLOW),
    semconv.INVOKE_AGENT: ("gen_ai.invoke_agent.duration", semconv.AGENT),
    semconv.EXECUTE_TOOL: ("gen_ai.execute_tool.duration", semconv.TOOL),
}
