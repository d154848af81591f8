"""Cancelling: once, through the task, and nothing works on."""

import asyncio
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from orchestration.loop.run import Run, ThreadState
from tests.graphs import plays
from tests.graphs.stage import Stage, new_run, record


async def cancelled(stage: Stage, run: Run, *gates: plays.Gate) -> None:
    """Cancel an attempt when all ``gates`` are reached; open them; let whatever is left go on."""
    await stage.cut_off(run, *gates)
    for gate in gates:
        gate.opened.set()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others, return_exceptions=True)


@pytest.mark.parametrize("modes", [["values"], ["updates", "custom"], ["messages"], ["events"]])
@pytest.mark.parametrize("subgraphs", [False, True])
async def test_a_node_in_a_nested_subgraph_works_on_no_more(
    modes: list[str], *, subgraphs: bool
) -> None:
    gate, log = plays.Gate(), list[str]()
    stage = Stage(outer=plays.nested(plays.nested(plays.gated(gate, log))))
    run = new_run("outer", {"log": []}, stream_mode=modes, stream_subgraphs=subgraphs)
    await cancelled(stage, run, gate)
    assert log == ["begin"]


@pytest.mark.parametrize("modes", [["values"], ["updates", "custom"], ["events"]])
async def test_parallel_nodes_work_on_no_more(modes: list[str]) -> None:
    log = list[str]()
    gates = [plays.Gate() for _ in range(5)]
    stage = Stage(fan=parallel(gates, log))
    await cancelled(stage, new_run("fan", {"log": []}, stream_mode=modes), *gates)
    assert log == []


def parallel(gates: list[plays.Gate], log: list[str]) -> Any:
    async def wait(state: dict[str, int]) -> plays.State:
        await gates[state["number"]].wait()
        log.append("worked on")
        return {"log": []}

    return plays.fan("wait", wait, [{"number": number} for number in range(len(gates))])


async def test_no_error_is_published_for_a_cancellation() -> None:
    gate = plays.Gate()
    stage = Stage(work=plays.gated(gate, []))
    run = new_run("work", {"log": []})
    events = record(run)
    await cancelled(stage, run, gate)
    assert "error" not in [name for name, _ in events]


async def test_a_cancelled_run_settles_on_its_last_finished_step() -> None:
    gate = plays.Gate()
    stage = Stage(work=plays.gated(gate, []))
    run = new_run("work", {"log": []})
    await cancelled(stage, run, gate)
    state = await stage.executor.settle(run)
    assert state == ThreadState(b'{"log":["begin"]}', interrupted=True)


async def test_a_cancelled_run_settles_in_sqlite_too() -> None:
    gate = plays.Gate()
    async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
        stage = Stage(saver=saver, work=plays.gated(gate, []))
        run = new_run("work", {"log": []})
        await stage.cut_off(run, gate)
        state = await stage.executor.settle(run)
        assert state == ThreadState(b'{"log":["begin"]}', interrupted=True)


async def test_settling_waits_until_the_saver_has_settled() -> None:
    class Slow(InMemorySaver):
        has_settled = False

        async def settled(self) -> None:
            self.has_settled = True

    saver = Slow()
    stage = Stage(saver=saver, echo=plays.echo())
    run = new_run("echo", {"text": "x"})
    await stage.play(run)
    await stage.executor.settle(run)
    assert saver.has_settled
