"""Which questions of a thread have no answer yet; LangGraph shows some that have one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from langgraph.checkpoint.serde.types import INTERRUPT, RESUME
from langgraph.types import Interrupt, PregelTask, StateSnapshot

from orchestration.graphs.arguments import Graph
from orchestration.graphs.breakpoints import subgraphs
from orchestration.graphs.snapshots import read_state

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import BaseCheckpointSaver

# The argument of a run with the id of the question that was pending when its answer came.
MEANT = "meant"
# A write of our own beside LangGraph's, with the answers of a run: by questions, how many answers
# each task that asks it kept before there was one to it.
KEPT_BEFORE = "masterloop:kept"
_ID_DIGITS = frozenset("0123456789abcdef")
_ID_LENGTH = 32

Write = tuple[str, str, Any]  # task, channel, value


@dataclass(frozen=True)
class Questions:
    """The questions that a thread shows, and all that is written where they were asked.

    ``shown`` are those of nodes without such whose answer the node itself keeps.
    """

    shown: Sequence[str]
    writes: Sequence[Write]

    @property
    def unanswered(self) -> list[str]:
        """The questions to which no task keeps an answer, not one that a node calls either."""
        shown = dict.fromkeys(self.shown)
        return [each for each in shown if not self._taken(self._before.get(each, {}))]

    def kept_before(self, questions: Sequence[str]) -> dict[str, dict[str, int]]:
        """Return what is to be written before these have their first answers."""
        return {
            question: {
                task: self._kept.get(task, 0)
                for task, channel, value in self.writes
                if channel == INTERRUPT and any(each.id == question for each in value)
            }
            for question in questions
            if question not in self._before
        }

    def _taken(self, before: Mapping[str, int]) -> bool:
        return any(self._kept.get(task, 0) > count for task, count in before.items())

    @cached_property
    def _kept(self) -> dict[str, int]:
        return _kept_answers(self.writes)

    @cached_property
    def _before(self) -> dict[str, dict[str, int]]:
        stored = [value for _, channel, value in self.writes if channel == KEPT_BEFORE]
        return {question: kept for each in stored for question, kept in each.items()}


def is_by_question(resume: Any) -> bool:
    """Whether an answer is one by the ids of questions: 32 hexadecimal digits each."""
    return isinstance(resume, dict) and all(
        isinstance(key, str) and len(key) == _ID_LENGTH and _ID_DIGITS.issuperset(key)
        for key in resume
    )


async def find_questions(graph: Graph, snapshot: StateSnapshot) -> Questions:
    """Return the pending questions as the subgraphs know them that have asked them.

    What is around one is told of its next question later, and may not have been. A question is
    shown still whose node failed with the answer: LangGraph keeps that, so it is asked no more.
    """
    return await _questions_within(graph, graph, snapshot)


async def _questions_within(root: Graph, graph: Graph, snapshot: StateSnapshot) -> Questions:
    saver = cast("BaseCheckpointSaver[Any]", root.checkpointer)
    saved = await saver.aget_tuple(snapshot.config)
    writes: list[Write] = list((saved.pending_writes if saved else None) or [])
    kept = _kept_answers(writes)
    shown: list[str] = []
    for task in snapshot.tasks:
        inner = subgraphs(graph).get(task.name) if task.interrupts and task.state else None
        if inner is not None:
            state = await read_state(root, cast("RunnableConfig", task.state))
            if state.interrupts:
                within = await _questions_within(root, inner, state)
                shown += within.shown
                writes += within.writes
                continue
        answered = _ids(snapshot, task, kept.get(task.id, 0))
        shown += [each.id for each in task.interrupts if each.id not in answered]
    return Questions(shown, writes)


def _kept_answers(writes: Sequence[Write]) -> dict[str, int]:
    """Return how many answers LangGraph keeps for each task that took any."""
    return {
        task: len(value)
        for task, channel, value in writes
        if channel == RESUME and isinstance(value, list)
    }


def _ids(snapshot: StateSnapshot, task: PregelTask, count: int) -> set[str]:
    """Return the ids that LangGraph gives the first questions of a task, so many of them."""
    around = snapshot.config.get("configurable", {}).get("checkpoint_ns")
    place = "|".join([*([around] if around else []), f"{task.name}:{task.id}"])
    places = [place, *(f"{place}|{number}" for number in range(1, count))]
    return {Interrupt.from_ns(None, each).id for each in places[:count]}
