"""Which question a client means that sends an answer without saying to which."""

from functools import partial
from typing import Any

import orjson

from orchestration.api.checkpoints import caught_up
from orchestration.api.endpoint import Call
from orchestration.graphs.questions import MEANT, is_by_question
from orchestration.loop.run import Run


async def meant_question(call: Call, graph_id: str, thread_id: str, resume: Any) -> dict[str, str]:
    """Return the id of the one question that a thread shows as ``meant``, to be kept with the run.

    Nothing if the answer says itself which is meant, or nobody can say.

    Until the answer's turn has come, that one may have been answered, and the next one be asked.
    Where other runs come first than answers, their questions are not known yet.
    """
    if resume is None or is_by_question(resume):
        return {}
    before = [run for run in call.backend.loop.on_thread(thread_id) if not run.delayed]
    if not all(_answers(run) for run in before):
        return {}
    if before:
        look = partial(call.states.unanswered, graph_id, thread_id)  # as its subgraphs know them
        shown = {*await caught_up(call.backend, thread_id, look, lambda _: True)}
    else:
        row = call.backend.threads.get(thread_id, call.visible)
        stored = {} if row is None else orjson.loads(row["interrupts"])
        shown = {each["id"] for questions in stored.values() for each in questions}
    return {MEANT: shown.pop()} if len(shown) == 1 else {}


def _answers(run: Run) -> bool:
    return (run.kwargs.get("command") or {}).get("resume") is not None
