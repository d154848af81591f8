"""Breakpoints that are compiled into subgraphs: a run stops there, is seen to, and stays."""

from collections.abc import Callable
from typing import Any

import pytest

from orchestration.graphs.arguments import Graph
from orchestration.graphs.breakpoints import has_breakpoints
from tests.graphs import plays
from tests.graphs.stage import Stage, new_run, read, record

STOPS: list[dict[str, Any]] = [{"interrupt_before": ["b"]}, {"interrupt_after": ["a"]}]


def twice_nested(inner: Graph) -> Graph:
    return plays.nested(plays.nested(inner))


def called_in_a_nested(inner: Graph) -> Graph:
    return plays.nested(plays.calling(inner))


def beside_another(inner: Graph) -> Graph:
    """Return a graph in which ``inner`` has a neighbour that is done when it stops."""

    async def tell(_: plays.State) -> plays.State:
        return {"text": "told"}

    builder: Any = plays.chain(("child", inner)).builder  # type: ignore[attr-defined]
    builder.add_node("tell", tell)
    builder.add_edge("__start__", "tell")
    graph: Graph = builder.compile()
    return graph


FOUND = [plays.nested, twice_nested, plays.calling, called_in_a_nested, beside_another]

Around = Callable[[Graph], Graph]


def stopping(around: Around, log: list[str], **stop: Any) -> Graph:
    """Return a graph around one of a, b and c, which write to ``log``, with breakpoints."""

    def node(name: str) -> Any:
        async def note(_: plays.State) -> plays.State:
            log.append(name)
            return {"log": [name]}

        return note

    return around(plays.chain(*((name, node(name)) for name in "abc"), **stop))


@pytest.mark.parametrize("mode", ["values", "updates", "events"])
@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("around", FOUND)
async def test_a_run_that_stops_there_leaves_the_thread_interrupted(
    around: Around, stop: dict[str, Any], mode: str
) -> None:
    log = list[str]()
    stage = Stage(log=stopping(around, log, **stop))
    run = new_run("log", {"log": []}, stream_mode=mode)
    record(run)
    assert ((await stage.play(run)).interrupted, log) == (True, ["a"])


@pytest.mark.parametrize("attempt", [0, 1], ids=["drained", "crashed"])
@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("around", FOUND)
async def test_a_run_that_had_come_there_does_not_pass(
    around: Around, stop: dict[str, Any], attempt: int
) -> None:
    log = list[str]()
    stage = Stage(log=stopping(around, log, **stop))
    run = new_run("log", {"log": []})
    before = await stage.play(run)
    run.attempt = attempt
    assert (await stage.play(run), log) == (before, ["a"])


@pytest.mark.parametrize("around", FOUND)
async def test_the_next_run_passes_and_stays_at_the_next_breakpoint(around: Around) -> None:
    log = list[str]()
    stage = Stage(log=stopping(around, log, interrupt_before=["b", "c"]))
    first = new_run("log", {"log": []})
    await stage.play(first)
    second = new_run("log", thread_id=first.thread_id)
    before = await stage.play(second)
    again = await stage.play(second)
    assert (before.interrupted, again, log) == (True, before, ["a", "b"])


@pytest.mark.parametrize("around", FOUND)
async def test_a_run_ends_that_passes_the_last_breakpoint(around: Around) -> None:
    stage = Stage(log=stopping(around, [], interrupt_before=["b"]))
    first = new_run("log", {"log": []})
    await stage.play(first)
    state = await stage.play(new_run("log", thread_id=first.thread_id))
    assert (read(state.values)["log"], state.interrupted) == (["a", "b", "c"], False)


async def test_a_run_short_of_a_breakpoint_goes_on_to_it() -> None:
    gate, log = plays.Gate(), list[str]()
    inner = plays.gated(gate, log)
    inner.interrupt_after_nodes = ["work"]
    stage = Stage(work=plays.nested(inner))
    run = new_run("work", {"log": []})
    await stage.cut_off(run, gate)
    gate.opened.set()
    state = await stage.play(run)
    assert (log, state.interrupted) == (["begin", "work"], True)


@pytest.mark.parametrize("around", FOUND)
def test_a_graph_without_any_is_not_looked_at(around: Around) -> None:
    assert not has_breakpoints(stopping(around, []))
