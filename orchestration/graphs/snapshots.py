"""What a thread shows, read off LangGraph's snapshot of its state."""

from collections.abc import Iterable
from typing import Any

from langgraph.types import Interrupt, StateSnapshot

from orchestration.graphs.jsontext import dumps
from orchestration.loop.run import ThreadState

INTERRUPT_KEY = "__interrupt__"


def thread_state(snapshot: StateSnapshot) -> ThreadState:
    """Return what a thread shows whose latest checkpoint is ``snapshot``.

    Raises:
        NotSerialisable: its values have no JSON text.
    """
    waiting = {
        task.id: [_question(interrupt) for interrupt in task.interrupts]
        for task in snapshot.tasks
        if task.interrupts
    }
    return ThreadState(
        values=dumps(snapshot.values),
        interrupts=dumps(waiting),
        interrupted=bool(snapshot.next),
        output=answer(snapshot.values, snapshot.interrupts),
    )


def answer(values: Any, interrupts: Iterable[Interrupt]) -> bytes | None:
    """Return the JSON text that tells a waiter of interrupts beside the values; None if none are.

    Raises:
        NotSerialisable: the values have no JSON text.
    """
    waiting = list(interrupts)
    return dumps(with_interrupts(values, waiting)) if waiting else None


def with_interrupts(values: Any, interrupts: Iterable[Interrupt]) -> dict[str, Any]:
    """Return values as LangGraph streams them while questions wait: beside them."""
    return {**(values if isinstance(values, dict) else {}), INTERRUPT_KEY: tuple(interrupts)}


def _question(interrupt: Interrupt) -> dict[str, Any]:
    question = {"id": interrupt.id, "value": interrupt.value}
    schema = getattr(interrupt, "response_schema", None)
    return question if schema is None else {**question, "response_schema": schema}
