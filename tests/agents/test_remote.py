"""The kind `remote`, with a real server at the other end."""

import asyncio
import json
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import RedirectResponse
from starlette.routing import Route

from agents.configuration import RemotePool
from agents.errors import AgentLost, StartFailed, TaskRejected
from agents.making import maker
from agents.provisioning import Make
from operations.keys import KeyFolder
from tests.agents.kinds import GRAPH, Ear, free_port, started, task
from tests.agents.players.langgraph_server import ASSISTANT, peer
from tests.api.client import open_socket, serving
from tests.process.server import Server

ROOT = Path(__file__).parents[2]
PLAY = {"graphs": {"play": GRAPH}}


def remote(url: object, folder: Path, key: str = "", assistant: str = "play") -> Make:
    headers = {"x-api-key": "${{ env.PEER_KEY }}"} if key else {}
    section = RemotePool(kind="remote", url=str(url), assistant=assistant, headers=headers)
    return maker("play", section, folder, {"PEER_KEY": key})


async def refused(make: Make) -> str:
    agent = make()
    with pytest.raises(StartFailed) as caught:
        await agent.start(lambda _: None)
    await agent.aclose()
    return str(caught.value)


async def test_it_shows_the_key_that_the_environment_has(tmp_path: Path) -> None:
    _, key = KeyFolder(tmp_path / "data").create("bob", "run")
    async with open_socket(tmp_path, manifest=PLAY) as (_, client):
        assert "the server answers 401" in await refused(remote(client.base_url, tmp_path))
        async with started(remote(client.base_url, tmp_path, key)) as (agent, _):
            result = await agent.invoke(task("echo", text="a"), Ear().context)
    assert result["said"] == "a"


async def test_an_assistant_that_the_server_does_not_have_is_told(tmp_path: Path) -> None:
    async with open_socket(tmp_path, manifest=PLAY) as (_, client):
        said = await refused(remote(client.base_url, tmp_path, assistant="paly"))
    assert "for 'paly'" in said


async def test_a_server_that_sends_elsewhere_is_told(tmp_path: Path) -> None:
    away = Starlette(routes=[Route("/{path:path}", lambda _: RedirectResponse("https://a.test/"))])
    async with serving(away) as (host, port):
        said = await refused(remote(f"http://{host}:{port}", tmp_path))
    assert "the server answers 307 for 'play'" in said


async def test_what_the_server_refuses_is_a_rejected_task(tmp_path: Path) -> None:
    async with (
        open_socket(tmp_path, manifest=PLAY, max_body=1024) as (_, client),
        started(remote(client.base_url, tmp_path)) as (agent, _),
    ):
        ear = Ear()
        with pytest.raises(TaskRejected, match="1024"):
            await agent.invoke(task("echo", text="x" * 2000), ear.context)
        assert not ear.context.started
        assert (await agent.invoke(task("echo", text="a"), ear.context))["said"] == "a"


async def test_a_server_that_is_gone_had_not_started_the_task(tmp_path: Path) -> None:
    agent = remote(f"http://127.0.0.1:{free_port()}", tmp_path)()
    ear = Ear()
    with pytest.raises(AgentLost) as caught:
        await agent.invoke(task("echo"), ear.context)
    assert not caught.value.started
    await agent.aclose()


async def test_a_server_that_is_busy_is_asked_again_when_it_says(tmp_path: Path) -> None:
    busy = [{"retry-after": "0"}, {"retry-after": "1"}]
    async with (
        serving(peer(over=True, busy=busy)) as (host, port),
        started(remote(f"http://{host}:{port}", tmp_path)) as (agent, _),
    ):
        began = asyncio.get_running_loop().time()
        result = await agent.invoke(task("echo", text="a"), Ear().context)
        assert asyncio.get_running_loop().time() - began >= 2
    assert result["said"] == "a"


async def test_a_task_ends_at_once_that_is_cancelled_while_its_server_is_busy(
    tmp_path: Path,
) -> None:
    async with (
        serving(peer(over=True, busy=[{"retry-after": "9" * 400}])) as (host, port),
        started(remote(f"http://{host}:{port}", tmp_path)) as (agent, _),
    ):
        ear = Ear()
        work = asyncio.create_task(agent.invoke(task("echo"), ear.context))
        while not ear.context.started:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)
        while ear.context.started:  # noqa: ASYNC110 - until it is refused
            await asyncio.sleep(0)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work


@pytest.mark.parametrize("headers", [{}, {"retry-after": "soon"}])
async def test_a_server_that_is_not_there_for_nobody_knows_how_long_loses_the_task(
    headers: dict[str, str], tmp_path: Path
) -> None:
    async with (
        serving(peer(over=True, busy=[headers])) as (host, port),
        started(remote(f"http://{host}:{port}", tmp_path)) as (agent, _),
    ):
        with pytest.raises(AgentLost) as caught:
            await agent.invoke(task("echo"), Ear().context)
    assert not caught.value.started


@pytest.mark.parametrize("assistant", ["play", ASSISTANT])
async def test_langgraphs_own_server_tells_no_end_of_a_run(tmp_path: Path, assistant: str) -> None:
    async with serving(peer(over=True)) as (host, port):
        make = remote(f"http://{host}:{port}", tmp_path, assistant=assistant)
        async with started(make) as (agent, _):
            ear = Ear()
            result = await agent.invoke(task("echo", text="a"), ear.context)
    assert result["said"] == "a"
    assert ear.heard == [{"step": 0}]


async def test_a_stream_without_an_end_of_a_run_that_goes_on_loses_the_task(tmp_path: Path) -> None:
    async with (
        serving(peer(over=False)) as (host, port),
        started(remote(f"http://{host}:{port}", tmp_path)) as (agent, _),
    ):
        ear = Ear()
        with pytest.raises(AgentLost, match="broke off"):
            await agent.invoke(task("echo", text="a"), ear.context)
    assert ear.context.started


async def test_an_assistant_that_langgraphs_own_server_does_not_have_is_told(
    tmp_path: Path,
) -> None:
    async with serving(peer(over=True)) as (host, port):
        said = await refused(remote(f"http://{host}:{port}", tmp_path, assistant="paly"))
    assert "the server answers 404 for 'paly'" in said


@pytest.mark.process
@pytest.mark.timeout(60)
async def test_a_server_that_is_killed_under_a_task_loses_it(tmp_path: Path) -> None:
    file = tmp_path / "langgraph.json"
    file.write_text(json.dumps({**PLAY, "dependencies": [str(ROOT)]}))
    server = Server(tmp_path, file)
    try:
        await asyncio.to_thread(server.start)
        async with started(remote(server.url, tmp_path)) as (agent, _):
            ear = Ear()
            work = asyncio.create_task(agent.invoke(task("hang"), ear.context))
            await ear.something.wait()
            await asyncio.to_thread(server.kill9)
            with pytest.raises(AgentLost) as caught:
                await work
            assert caught.value.started
    finally:
        server.close()
