"""What nodes log names the run, its attempt, its trace and the node, in whatever thread."""

from typing import Any, TypedDict

import pytest
from langgraph.graph import START, StateGraph

from orchestration.graphs.node_tasks import enter_run, whereabouts
from tests.loop.stage import new_run


class State(TypedDict, total=False):
    seen: dict[str, Any]


async def waiting(state: State) -> State:
    return {"seen": whereabouts()}


def threaded(state: State) -> State:
    return {"seen": whereabouts()}


@pytest.mark.parametrize("node", [waiting, threaded])
async def test_a_node_knows_where_it_is(node: Any) -> None:
    builder = StateGraph(State)
    builder.add_node("plan", node)
    builder.add_edge(START, "plan")
    run = new_run("r", "t", attempt=2)
    assert whereabouts() == {}
    enter_run(run)
    seen = (await builder.compile().ainvoke({}))["seen"]
    assert (len(seen.pop("trace_id")), len(seen.pop("span_id"))) == (32, 16)
    assert seen == {"run_id": "r", "thread_id": "t", "attempt": 2, "node": "plan"}
