"""What every kind of agent does alike."""

import asyncio
from pathlib import Path

import pytest

from agents.agent import Agent, Context, Task
from agents.errors import AgentLost, StartFailed, TaskFailed
from operations.telemetry.traceparent import Span
from orchestration.graphs.jsontext import NotSerialisable
from tests.agents.kinds import (
    Ear,
    Kind,
    Opening,
    commands,
    graphs,
    mcp_over_http,
    mcp_over_stdio,
    processes,
    remotes,
    started,
    task,
)

KINDS = [processes, commands, graphs, remotes, mcp_over_stdio, mcp_over_http]
every_kind = pytest.mark.parametrize("opening", KINDS, ids=lambda opening: opening.__name__)


@every_kind
async def test_it_says_what_it_can_do_and_does_one_task_after_the_other(
    opening: Opening, tmp_path: Path
) -> None:
    async with opening(tmp_path) as kind, started(kind.make) as (agent, losses):
        assert agent.capabilities == {"play"}
        said = [
            kind.said(await agent.invoke(task("echo", text=text), Ear().context))
            for text in ("a", "ünï\n", '{"x"}; $(rm) `rm` "')
        ]
    assert said == ["a", "ünï\n", '{"x"}; $(rm) `rm` "']
    assert losses == []


@every_kind
async def test_it_marks_a_task_as_started_before_it_can_have_an_effect(
    opening: Opening, tmp_path: Path
) -> None:
    async with opening(tmp_path) as kind, started(kind.make) as (agent, _):
        ear = Ear()
        await agent.invoke(task("echo"), ear.context)
        assert ear.context.started


@every_kind
async def test_it_publishes_events_while_it_works(opening: Opening, tmp_path: Path) -> None:
    async with opening(tmp_path) as kind, started(kind.make) as (agent, _):
        ear = Ear()
        work = asyncio.create_task(agent.invoke(task("hang", text="begun"), ear.context))
        await ear.something.wait()
        assert "begun" in str(ear.heard[0])
        assert not work.done()
        await agent.probe()  # it can be counted on, though it is busy
        work.cancel()
        await asyncio.wait({work}, timeout=5)


@every_kind
async def test_it_is_told_the_trace_that_its_task_is_done_in(
    opening: Opening, tmp_path: Path
) -> None:
    """As W3C has it; a graph finds it around its nodes, where its log lines do."""
    span = Span(0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7)
    async with opening(tmp_path) as kind, started(kind.make) as (agent, _):
        ear = Ear()
        ear.context.span = span
        told = kind.said(await agent.invoke(task("trace"), ear.context))
    in_process = opening in (graphs, remotes)
    assert told == (f"{span.trace_id:032x}" if in_process else span.headers()["traceparent"])


@every_kind
async def test_a_failed_task_costs_nothing_but_the_task(opening: Opening, tmp_path: Path) -> None:
    async with opening(tmp_path) as kind, started(kind.make) as (agent, losses):
        with pytest.raises(TaskFailed, match="it failed on purpose"):
            await agent.invoke(task("fail"), Ear().context)
        assert kind.said(await agent.invoke(task("echo", text="a"), Ear().context)) == "a"
        assert losses == []


@pytest.mark.parametrize("opening", [graphs, remotes], ids=lambda opening: opening.__name__)
async def test_a_task_that_asks_a_human_has_failed(opening: Opening, tmp_path: Path) -> None:
    async with opening(tmp_path) as kind, started(kind.make) as (agent, losses):
        with pytest.raises(TaskFailed, match="waits for a human, whom an agent does not have"):
            await agent.invoke(task("ask"), Ear().context)
        assert losses == []


@every_kind
async def test_a_cancelled_task_stops_and_the_next_one_is_done(
    opening: Opening, tmp_path: Path
) -> None:
    async with opening(tmp_path) as kind, started(kind.make) as (agent, losses):
        ear = Ear()
        work = asyncio.create_task(agent.invoke(task("hang", text="begun"), ear.context))
        await ear.something.wait()
        work.cancel()
        await asyncio.wait({work}, timeout=5)
        assert work.cancelled()
        assert kind.said(await agent.invoke(task("echo", text="a"), Ear().context)) == "a"
        assert losses == []


@every_kind
async def test_a_probe_of_one_that_is_idle_is_answered(opening: Opening, tmp_path: Path) -> None:
    async with opening(tmp_path) as kind, started(kind.make) as (agent, _):
        await agent.probe()


@every_kind
async def test_one_that_cannot_start_says_why_and_can_be_closed(
    opening: Opening, tmp_path: Path
) -> None:
    async with opening(tmp_path) as kind:
        agent = kind.broken()
        with pytest.raises(StartFailed) as caught:
            await agent.start(lambda _: None)
        assert len(str(caught.value)) > 20, "it says nothing"
        await agent.aclose()


@every_kind
async def test_it_can_be_closed_twice(opening: Opening, tmp_path: Path) -> None:
    async with opening(tmp_path) as kind, started(kind.make) as (agent, _):
        await agent.aclose()


MORTAL = [processes, mcp_over_stdio, mcp_over_http]


@pytest.mark.parametrize("opening", MORTAL, ids=lambda opening: opening.__name__)
async def test_one_that_dies_loses_its_task_and_fails_its_probes(
    opening: Opening, tmp_path: Path
) -> None:
    async with opening(tmp_path) as kind:
        await _see_it_die(kind, over_pipes=opening is not mcp_over_http)


async def _see_it_die(kind: Kind, *, over_pipes: bool) -> None:
    async with started(kind.make) as (agent, losses):
        ear = Ear()
        with pytest.raises(AgentLost) as caught:
            await agent.invoke(task("die"), ear.context)
        assert ear.context.started
        with pytest.raises(Exception, match=r"\w"):
            await agent.probe()
        if over_pipes:
            assert "exit code 7" in str(caught.value)
            assert "these are my last words" in str(caught.value)
            assert [lost.reason for lost in losses] == ["it ended with exit code 7"]


WITH_NUMBERS = pytest.mark.parametrize(
    "opening", [processes, graphs, remotes], ids=["processes", "graphs", "remotes"]
)


@WITH_NUMBERS
async def test_an_integer_that_would_lose_its_digits_fails_the_task(
    opening: Opening, tmp_path: Path
) -> None:
    async with opening(tmp_path) as kind, started(kind.make) as (agent, losses):
        for kept in (2**64 - 1, -(2**63)):
            given = task("number", text=str(kept))
            assert str(kept) in str((await agent.invoke(given, Ear().context))["number"])
        for lost in (2**64, -(2**63) - 1, 10**40):
            with pytest.raises((TaskFailed, NotSerialisable), match="more than 64 bits"):
                await agent.invoke(task("number", text=str(lost)), Ear().context)
        await agent.probe()
    assert losses == []


async def _as_in_a_pool(agent: Agent, given: Task, context: Context) -> None:
    await agent.invoke(given, context)
    if context.error is not None:
        raise context.error


@WITH_NUMBERS
async def test_an_event_with_an_integer_that_would_lose_its_digits_fails_the_task(
    opening: Opening, tmp_path: Path
) -> None:
    async with opening(tmp_path) as kind, started(kind.make) as (agent, losses):
        for kept in (2**64 - 1, -(2**63)):
            ear = Ear()
            await agent.invoke(task("tell_number", text=str(kept)), ear.context)
            assert ear.heard == [{"number": kept}]
        for lost in (2**64, -(2**63) - 1, 10**40):
            ear = Ear()
            with pytest.raises(TaskFailed, match="more than 64 bits"):
                await _as_in_a_pool(agent, task("tell_number", text=str(lost)), ear.context)
            assert ear.heard == []
        await agent.probe()
    assert losses == []
