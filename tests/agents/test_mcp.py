"""The kind `mcp`, with a server from PyPI that knows nothing of us."""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp.server.mcpserver import MCPServer
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agents.agent import Task
from agents.errors import AgentLost, StartFailed, TaskFailed, TaskRejected
from agents.making import maker
from tests.agents.kinds import PLAYERS, Ear, mcp, started, task
from tests.api.client import serving

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
    with pytest.raises(StartFailed, match="no JSON-RPC message: b'hello"):
        await agent.start(lambda _: None)
    await agent.aclose()


async def test_what_a_server_does_wrong_at_its_start_is_told_not_how_we_end_it(
    tmp_path: Path,
) -> None:
    server = {"argv": (sys.executable, str(PLAYERS / "mcp_deaf.py"), "no list")}
    agent = maker("play", mcp(server=server), tmp_path, {})()
    with pytest.raises(StartFailed, match="ListToolsResult"):
        await agent.start(lambda _: None)
    await agent.aclose()


async def test_a_server_that_reads_no_answers_is_given_up(tmp_path: Path) -> None:
    deaf = {"argv": (sys.executable, str(PLAYERS / "mcp_deaf.py"))}
    async with started(maker("play", mcp(server=deaf), tmp_path, {})) as (agent, losses):
        with pytest.raises(AgentLost, match=r"it did not read 2\d{6} bytes that it was answered"):
            await agent.invoke(task("echo", text="x" * 100), Ear().context)
        assert len(losses) == 1


async def test_what_is_no_json_is_rejected_and_ends_no_server(tmp_path: Path) -> None:
    async with started(maker("time", mcp(server=SERVER), tmp_path, {})) as (agent, losses):
        for bad in ("half a character: \ud83d", object()):
            ear = Ear()
            given = {"source_timezone": "UTC", "time": bad, "target_timezone": "UTC"}
            one = Task(task_id="1", capability="convert_time", input=given)
            with pytest.raises(TaskRejected, match="cannot be put into JSON"):
                await agent.invoke(one, ear.context)
            assert not ear.context.started
        assert "12:00" in str(await agent.invoke(convert("Asia/Tokyo"), Ear().context))
        assert losses == []


class Sessions:
    """Has a server speak the protocol of before 2026, which goes by sessions; and start anew."""

    def __init__(self) -> None:
        self.app: ASGIApp

    @asynccontextmanager
    async def started(self) -> AsyncGenerator[None]:
        server = MCPServer("play", log_level="CRITICAL")

        @server.tool()
        def play(do: str, text: str, count: int) -> str:
            return text

        self.app = server.streamable_http_app()
        async with server.session_manager.run():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await Request(scope, receive).body()
        if b'"server/discover"' in body:
            await JSONResponse({"detail": "Missing session ID"}, 400)(scope, receive, send)
            return
        read: list[Message] = [{"type": "http.request", "body": body}]

        async def again() -> Message:
            return read.pop() if read else await receive()

        await self.app(scope, again, send)


async def test_a_server_that_has_forgotten_the_session_is_lost_before_anything_is_done(
    tmp_path: Path,
) -> None:
    server = Sessions()
    async with serving(server) as (host, port):
        make = maker("play", mcp(url=f"http://{host}:{port}/mcp"), tmp_path, {})
        async with server.started(), started(make) as (agent, losses):
            assert (await agent.invoke(task("echo", text="a"), Ear().context))["result"] == "a"
            async with server.started():
                ear = Ear()
                with pytest.raises(AgentLost, match="knows its session no more") as caught:
                    await agent.invoke(task("echo", text="b"), ear.context)
                assert not caught.value.started
                assert not ear.context.started
                with pytest.raises(Exception, match="Session not found"):
                    await agent.probe()
                assert [lost.reason for lost in losses] == ["the server knows its session no more"]


async def test_a_server_that_reads_nothing_more_is_given_up(tmp_path: Path) -> None:
    deaf = {"argv": (sys.executable, str(PLAYERS / "mcp_deaf.py"))}
    async with started(maker("play", mcp(server=deaf), tmp_path, {})) as (agent, losses):
        with pytest.raises(AgentLost, match="it closed its stdin"):
            await agent.invoke(task("close_stdin"), Ear().context)
    assert [one.reason for one in losses] == ["it closed its stdin"]
