"""What the nodes and tools of a run take, told by LangChain's callbacks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langgraph.errors import GraphBubbleUp

from operations.excerpt import excerpt
from operations.surrogates import without_surrogates

_STEP = "graph:step:"  # the tag of what is a node, and not a part of one
OUTPUT = 512  # characters of what comes of a step
_MOST = 10_000  # calls that are under way in one run and known


@dataclass(frozen=True, slots=True)
class NodeEnded:
    """A node is done, after so many seconds; ``parent`` is the step that it is a part of.

    ``output`` is the beginning of what came of it, if somebody keeps that.
    """

    run_id: str
    graph_id: str
    span_id: int
    parent: int | None
    node: str
    step: int
    took: float
    error: str | None
    output: str | None = None


@dataclass(frozen=True, slots=True)
class ToolEnded:
    """A tool is done, after so many seconds; ``parent`` is the step that called it."""

    run_id: str
    span_id: int
    parent: int | None
    tool: str
    call_id: str | None
    took: float
    error: str | None
    output: str | None = None


Event = NodeEnded | ToolEnded


@dataclass(frozen=True, slots=True)
class _Call:
    name: str
    began: float
    span_id: int
    parent: int | None
    step: int = -1  # of a node
    call_id: str | None = None  # of a tool


class StepWatch(BaseCallbackHandler):
    """Hears of one run's nodes and tools; all else that goes on in them is none of its business."""

    run_inline = True

    @property
    def ignore_llm(self) -> bool:
        """Models are left to the instrumentations of their clients."""
        return True

    @property
    def ignore_chat_model(self) -> bool:
        """As above."""
        return True

    def __init__(
        self, run_id: str, graph_id: str, emit: Callable[[Event], None], *, outputs: bool = False
    ) -> None:
        self._run_id = run_id
        self._graph_id = graph_id
        self._emit = emit
        self._outputs = outputs
        self._calls: dict[UUID, _Call] = {}
        self._within: dict[UUID, int | None] = {}  # the step that a call is in

    def on_chain_start(
        self,
        serialized: Mapping[str, Any] | None,  # noqa: ARG002 - LangChain's
        inputs: Any,  # noqa: ARG002 - LangChain's
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **given: Any,
    ) -> None:
        """Note that a node begins, or something in one."""
        known = metadata or {}
        name = given.get("name")
        if name == known.get("langgraph_node") and any(tag.startswith(_STEP) for tag in tags or ()):
            step = known.get("langgraph_step", -1)
            self._begin(run_id, parent_run_id, lambda call: _Call(str(name), *call, step=step))
        elif len(self._within) < _MOST:
            self._within[run_id] = self._parent(parent_run_id)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **_: Any) -> None:
        """Tell of a node that has ended."""
        self._end(run_id, None, outputs)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """Tell of a node that has failed; one that asks something, or hands on, has not."""
        self._end(run_id, None if isinstance(error, GraphBubbleUp) else type(error).__name__)

    def on_tool_start(
        self,
        serialized: Mapping[str, Any] | None,
        input_str: str,  # noqa: ARG002 - LangChain's
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **given: Any,
    ) -> None:
        """Note that a tool begins."""
        named = str(given.get("name") or (serialized or {}).get("name") or "tool")
        asked = given.get("tool_call_id")
        # Both are others' words, and a collector takes UTF-8 only.
        name = without_surrogates(named)
        call_id = None if asked is None else without_surrogates(str(asked))
        self._begin(run_id, parent_run_id, lambda call: _Call(name, *call, call_id=call_id))

    def on_tool_end(self, output: Any, *, run_id: UUID, **_: Any) -> None:
        """Tell of a tool that has ended."""
        self._end(run_id, None, output)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """Tell of a tool that has failed."""
        self._end(run_id, None if isinstance(error, GraphBubbleUp) else type(error).__name__)

    def _begin(
        self,
        run_id: UUID,
        parent_run_id: UUID | None,
        make: "Callable[[tuple[float, int, int | None]], _Call]",
    ) -> None:
        if len(self._within) >= _MOST:
            return
        # Time-ordered ids begin alike: their last bytes are the random ones.
        span_id = run_id.int & 0xFFFF_FFFF_FFFF_FFFF or 1
        self._calls[run_id] = make((perf_counter(), span_id, self._parent(parent_run_id)))
        self._within[run_id] = span_id

    def _parent(self, parent_run_id: UUID | None) -> int | None:
        return None if parent_run_id is None else self._within.get(parent_run_id)

    def _end(self, run_id: UUID, error: str | None, output: Any = None) -> None:
        self._within.pop(run_id, None)
        call = self._calls.pop(run_id, None)
        if call is None:
            return
        took = perf_counter() - call.began
        # Now, and not when it is written: it may be large, and somebody may change it.
        shown = None if output is None or not self._outputs else excerpt(output, OUTPUT)
        if call.step >= 0:
            event: Event = NodeEnded(
                self._run_id, self._graph_id, call.span_id, call.parent,
                call.name, call.step, took, error, shown,
            )  # fmt: skip
        else:
            event = ToolEnded(
                self._run_id, call.span_id, call.parent, call.name, call.call_id, took, error, shown
            )
        self._emit(event)
