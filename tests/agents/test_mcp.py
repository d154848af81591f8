"""The kind `mcp`, with a server from PyPI that knows nothing of us."""

import sys
from pathlib import Path

import pytest

from agents.agent import Task
from agents.errors import StartFailed, TaskFailed, TaskRejected
from agents.making import maker
from tests.agents.kinds import Ear, mcp, started

SERVER = {"argv": (sys.executable, "-m", "mcp_server_time", "--local-timezone", "UTC")}


def convert(to: str) -> Task:
    given = {"source_timezone": "Asia/Tokyo", "time": "12:00", "target_timezone": to}
    return Task(task_id="1", capability="convert_time", input=given)


async def test_a_real_server_does_its_work(tmp_path: Path) -> None:
    async with started(maker("time", mcp(server=SERVER), tmp_path, {})) as (agent, losses):
        assert agent.capabilities == {"get_current_time", "convert_time"}
        await agent.probe()
        result = await agent.invoke(convert("Asia/Kolkata"), Ear().context)
        assert "08:30" in str(result)
        with pytest.raises(TaskFailed, match="Nowhere"):
            await agent.invoke(convert("Nowhere/Land"), Ear().context)
        assert "12:00" in str(await agent.invoke(convert("Asia/Seoul"), Ear().context))
        assert losses == []


async def test_only_the_tools_that_are_named_are_capabilities(tmp_path: Path) -> None:
    section = mcp(server=SERVER, capabilities=("convert_time",))
    async with started(maker("time", section, tmp_path, {})) as (agent, _):
        assert agent.capabilities == {"convert_time"}


async def test_a_tool_that_the_server_lacks_is_told_at_the_start(tmp_path: Path) -> None:
    agent = maker("time", mcp(server=SERVER, capabilities=("stop_time",)), tmp_path, {})()
    with pytest.raises(StartFailed, match=r"no tool 'stop_time'; it has \['convert_time'"):
        await agent.start(lambda _: None)
    await agent.aclose()


async def test_a_tool_wants_an_object(tmp_path: Path) -> None:
    async with started(maker("time", mcp(server=SERVER), tmp_path, {})) as (agent, _):
        one = Task(task_id="1", capability="convert_time", input="now")
        with pytest.raises(TaskRejected, match="has to be an object"):
            await agent.invoke(one, Ear().context)


async def test_a_server_that_writes_nonsense_is_given_up(tmp_path: Path) -> None:
    nonsense = {"argv": (sys.executable, "-c", "print('hello'); input(); input()")}
    agent = maker("time", mcp(server=nonsense), tmp_path, {})()
    with pytest.raises(StartFailed, match="it wrote what is no JSON-RPC message"):
        await agent.start(lambda _: None)
    await agent.aclose()
