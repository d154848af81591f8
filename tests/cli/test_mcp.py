"""``masterloop mcp --stdio``: hosts that start their servers, with the official client."""

import asyncio
import json
import os
import subprocess
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from mcp import Client, StdioServerParameters
from mcp_types import ElicitRequestParams, ElicitResult
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orchestration.mcp.stdio import Bridge
from tests.agents.kinds import free_port
from tests.api.plays import gates
from tests.mcp.client import OLDER, WIRES, open_tools, until


def _starting(folder: Path, url: str) -> StdioServerParameters:
    """Return the command of a host where no service runs yet."""
    config = folder / "langgraph.json"
    config.write_text(json.dumps({"graphs": {"greet": "tests.mcp.plays:greet"}}))
    command = _command("--url", url, "--config", str(config))
    return command.model_copy(
        update={"env": {**(command.env or {}), "MASTERLOOP_DATA_DIR": str(folder / "data")}}
    )


def _command(*arguments: str) -> StdioServerParameters:
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "orchestration", "mcp", "--stdio", *arguments],
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )


@pytest.mark.process
@pytest.mark.timeout(120)
@pytest.mark.parametrize("wire", WIRES)
async def test_a_host_talks_to_the_service_that_runs(tmp_path: Path, wire: str) -> None:
    told: list[str | None] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        told.append(message)

    async def answer(context: Any, params: ElicitRequestParams) -> ElicitResult:
        return ElicitResult(action="accept", content={"name": "Ada"})

    graphs = ("slow_compute", "test_tool_with_task")
    async with (
        open_tools(tmp_path, *graphs) as (_, http),
        Client(
            _command("--url", str(http.base_url)), mode=wire, elicitation_callback=answer
        ) as client,
    ):
        tools = (await client.list_tools()).tools
        arguments = {"seconds": 0.0, "label": "sums"}
        result = await client.call_tool("slow_compute", arguments, progress_callback=tell)
        asked = await client.call_tool("test_tool_with_task", {})
    assert tools[0].name == "slow_compute"
    assert result.structured_content == {"text": "sums done"}
    assert told[:2] == ["step 1 of 4", "step 2 of 4"]
    assert asked.structured_content == {"text": "Hello, Ada!"}


@pytest.mark.process
@pytest.mark.timeout(120)
async def test_a_host_starts_the_service_where_none_runs(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    command = _starting(tmp_path, url)
    async with Client(command, mode=OLDER) as client:
        result = await client.call_tool("greet", {"name": "Ada"})
        assert result.structured_content == {"text": "Hello, Ada!"}
    async with httpx.AsyncClient() as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(f"{url}/ok")


@pytest.mark.process
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("killed", "paused"), [(False, False), (True, False), (False, True), (True, True)]
)
async def test_a_service_that_a_host_has_started_stops_with_the_last_host(
    tmp_path: Path, killed: bool, paused: bool
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    command = _starting(tmp_path, url)
    reading, writing = os.pipe()
    first = subprocess.Popen(  # noqa: ASYNC220 - it is waited for once it ends
        [command.command, *command.args], env=command.env, stdin=PIPE, stderr=writing
    )
    os.close(writing)
    async with httpx.AsyncClient() as http:
        try:
            await _until_answered(http, url, expected=True)
            async with Client(command, mode=OLDER) as second:
                await second.list_tools()
                assert first.stdin is not None
                async with _paused(tmp_path / "data") if paused else nullcontext():
                    first.stdin.close()
                    if killed:
                        first.kill()
                    await asyncio.to_thread(first.wait)
                os.close(reading)
                result = await second.call_tool("greet", {"name": "Ada"})
            await _until_answered(http, url, expected=False)
        finally:
            first.kill()
    assert result.structured_content == {"text": "Hello, Ada!"}


@pytest.mark.process
@pytest.mark.timeout(60)
async def test_where_the_host_starts_it_is_not_where_our_packages_come_from(
    tmp_path: Path,
) -> None:
    (tmp_path / "operations").mkdir()
    (tmp_path / "operations" / "__init__.py").touch()
    (tmp_path / "langgraph.json").touch()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "orchestration", "mcp", "--stdio"),
        *("--url", "http://127.0.0.1:1"),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path.cwd()), "MASTERLOOP_DATA_DRI": "x"},
        stdin=asyncio.subprocess.DEVNULL,
        stderr=PIPE,
    )
    _, said = await process.communicate()
    assert b"MASTERLOOP_DATA_DRI" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "add --stdio"),
        (["--stdio", "--url", "http://127.0.0.1:1", "--config", "none.json"], "no service answers"),
        (["--stdio", "--url", "http://127.0.0.1:1", "--config", "none.json"], "no none.json"),
        (["--stdio", "--url", "http://127.0.0.1:1", "--config", "x" * 300], "File name too long"),
        (["--stdio", "--url", "http://no.invalid"], "on this machine only"),
        (["--stdio", "--url", "127.0.0.1:8123"], "--url 127.0.0.1:8123: say where"),
        (["--stdio", "--url", "http://127.0.0.1:99999"], "--url http://127.0.0.1:99999: Port"),
        (["--stdio", "--url", "http://[::1"], "--url http://[::1: Invalid IPv6"),
    ],
)
async def test_what_cannot_be_done_is_said(arguments: list[str], said: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "orchestration",
        "mcp",
        *arguments,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await process.communicate()
    assert (out, process.returncode == 0) == (b"", False)
    assert (said in err.decode(), "Traceback" in err.decode()) == (True, False)


@pytest.mark.process
@pytest.mark.timeout(60)
@pytest.mark.parametrize("stdin", ["/dev/null", __file__])
async def test_a_stdin_that_is_no_pipe_is_refused(tmp_path: Path, stdin: str) -> None:
    with await asyncio.to_thread(Path(stdin).open, "rb") as given:
        async with open_tools(tmp_path, "greet") as (_, http):
            command = _command("--url", str(http.base_url))
            process = await asyncio.create_subprocess_exec(
                command.command, *command.args, stdin=given, stderr=PIPE
            )
            _, said = await process.communicate()
    assert (process.returncode, b"stdin has to be a pipe" in said) == (2, True)
    assert b"Traceback" not in said


class Host:
    """A host that talks to a bridge in this process."""

    def __init__(self) -> None:
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()
        self.heard: list[dict[str, Any]] = []

    def say(self, **message: Any) -> None:
        self._lines.put_nowait(json.dumps({"jsonrpc": "2.0", **message}).encode())

    def leave(self) -> None:
        self._lines.put_nowait(b"")

    async def lines(self) -> Any:
        while line := await self._lines.get():
            yield line

    async def hear(self, message: bytes) -> None:
        self.heard.append(json.loads(message))


META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
START = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "t", "version": "0"},
}


@pytest.mark.parametrize("newest", [True, False])
async def test_what_ends_a_line_elsewhere_ends_no_message(tmp_path: Path, newest: bool) -> None:
    host, name = Host(), "A\x85d\u2028a\u2029\x0b\x0c\x1c\r\n"
    meta = {"_meta": META} if newest else {}
    async with open_tools(tmp_path, "greet") as (_, http):
        bridge = asyncio.create_task(Bridge(http, "/mcp", host.hear).run(host.lines()))
        if not newest:
            host.say(id=0, method="initialize", params=START)
            host.say(method="notifications/initialized")
        params = {"name": "greet", "arguments": {"name": name}, **meta}
        host.say(id=1, method="tools/call", params=params)
        await until(lambda: host.heard[-1:] and host.heard[-1].get("id") == 1)
        host.leave()
        await bridge
    assert host.heard[-1]["result"]["structuredContent"] == {"text": f"Hello, {name}!"}


@pytest.mark.parametrize("newest", [True, False])
async def test_a_cancelled_call_is_cancelled_over_http(tmp_path: Path, newest: bool) -> None:
    host, gate = Host(), gates[f"bridge {newest}"]
    meta = {"_meta": META} if newest else {}
    params = {"name": "hold", "arguments": {"name": f"bridge {newest}"}, **meta}
    async with open_tools(tmp_path, "hold") as (service, http):
        bridge = asyncio.create_task(Bridge(http, "/mcp", host.hear).run(host.lines()))
        if not newest:
            host.say(id=0, method="initialize", params=START)
            host.say(method="notifications/initialized")
        host.say(id=1, method="tools/call", params=params)
        await gate.reached.wait()
        run = service.loop.all_live()[0]
        host.say(method="notifications/cancelled", params={"requestId": 1, **meta})
        await until(lambda: run.status == "interrupted")
        host.leave()
        await bridge
    assert [one.get("id") for one in host.heard if "result" in one] == ([] if newest else [0])


async def test_a_session_that_the_service_has_forgotten_is_begun_again(tmp_path: Path) -> None:
    host, sent = Host(), list[str]()

    async def note(request: httpx.Request) -> None:
        if request.method == "POST":
            sent.append(json.loads(request.content)["method"])

    async with open_tools(tmp_path, "greet") as (_, http):
        http.event_hooks["request"].append(note)
        bridge = Bridge(http, "/mcp", host.hear)
        passing = asyncio.create_task(bridge.run(host.lines()))
        host.say(id=0, method="initialize", params=START)
        host.say(method="notifications/initialized")
        await until(lambda: sent[-1:] == ["notifications/initialized"])
        forgotten = dict(bridge._session)  # noqa: SLF001 - the test's own
        assert (await http.delete("/mcp", headers=forgotten)).is_success
        for number in (1, 2):
            arguments = {"name": f"Ada {number}"}
            host.say(
                id=number, method="tools/call", params={"name": "greet", "arguments": arguments}
            )
        await until(lambda: {one.get("id") for one in host.heard} == {0, 1, 2})
        host.leave()
        await passing
    assert sorted(one["id"] for one in host.heard if "result" in one) == [0, 1, 2]
    assert sent.count("initialize") == sent.count("notifications/initialized") == 2


async def test_a_session_that_could_not_be_begun_again_is_with_the_next_message(
    tmp_path: Path,
) -> None:
    host, sent, unreachable = Host(), list[str](), False

    async def refuse(request: httpx.Request) -> None:
        if request.method == "POST":
            sent.append(json.loads(request.content)["method"])
            if unreachable and sent[-1] == "initialize":
                raise httpx.ConnectError("nobody there", request=request)

    async with open_tools(tmp_path, "greet") as (_, http):
        http.event_hooks["request"].append(refuse)
        bridge = Bridge(http, "/mcp", host.hear)
        passing = asyncio.create_task(bridge.run(host.lines()))
        host.say(id=0, method="initialize", params=START)
        host.say(method="notifications/initialized")
        await until(lambda: bool(bridge._others))  # noqa: SLF001 - it listens, so it has begun
        await http.delete("/mcp", headers=dict(bridge._session))  # noqa: SLF001 - the test's own
        for number, unreachable in ((1, True), (2, False)):  # noqa: B007 - `refuse` reads it
            host.say(id=number, method="tools/list")
            await until(lambda: len(host.heard) > number)  # noqa: B023 - awaited here
        host.leave()
        await passing
    assert sent[-5:] == [
        "initialize",  # in vain
        "tools/list",
        "initialize",
        "notifications/initialized",
        "tools/list",
    ]
    failed, listed = host.heard[1:]
    assert failed["error"]["message"] == "the service at /mcp does not answer: nobody there"
    assert listed["result"]["tools"]


@pytest.mark.parametrize("said", [b"<html>", b"[]", b""])
async def test_a_service_that_answers_no_message_is_an_error_of_the_call(said: bytes) -> None:
    async def answer(_: Request) -> Response:
        return Response(said, media_type="application/json")

    host, app = Host(), Starlette(routes=[Route("/mcp", answer, methods=["POST"])])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as http:
        passing = asyncio.create_task(Bridge(http, "/mcp", host.hear).run(host.lines()))
        host.say(id=1, method="tools/list")
        host.say(method="notifications/initialized")  # which needs no answer
        host.say(id=2, method="tools/list")
        await until(lambda: len(host.heard) == 2)
        host.leave()
        await passing
    assert {one["id"] for one in host.heard} == {1, 2}
    reasons = [one["error"]["message"] for one in host.heard]
    assert all(reason.startswith("what /mcp answers is no message: ") for reason in reasons)


async def test_what_goes_wrong_is_an_answer(tmp_path: Path) -> None:
    host = Host()
    async with open_tools(tmp_path, "greet", mcp={"hosts": ["other"]}) as (_, http):
        bridge = asyncio.create_task(Bridge(http, "/mcp", host.hear).run(host.lines()))
        uri = {"uri": "run://größe", "_meta": META}
        host.say(id=1, method="resources/read", params=uri)
        host.say(method="notifications/cancelled", params=[])
        host.say(method="notifications/cancelled", params={"requestId": []})
        host.say(id=[1], method="tools/list")
        host.say(id=3, method=["tools/list"])
        host._lines.put_nowait(b"{nonsense")  # noqa: SLF001 - the test's own
        await until(lambda: len(host.heard) == 4)
        host.leave()
        await bridge
    errors = {one["id"]: one["error"] for one in host.heard}
    assert errors[1]["message"] == "Resource not found"
    assert errors[None]["code"] == -32700
    odd = [one["error"]["message"] for one in host.heard if one["id"] is None]
    assert odd[:2] == [
        "this is no message: its id is neither a text nor a number",
        "this is no message: its method is no text",
    ]
    host.heard.clear()
    async with httpx.AsyncClient(base_url="http://127.0.0.1:1") as nobody:
        bridge = asyncio.create_task(Bridge(nobody, "/mcp", host.hear).run(host.lines()))
        host.say(id=2, method="tools/list")
        host.say(method="notifications/initialized")
        await until(lambda: len(host.heard) == 1)
        host.leave()
        await bridge
    assert "does not answer" in host.heard[0]["error"]["message"]


@asynccontextmanager
async def _paused(data: Path) -> AsyncGenerator[None]:
    """Have the service of that folder stand still meanwhile."""
    service = psutil.Process(int((data / "masterloop.db.lock").read_text()))
    service.suspend()
    await until(lambda: service.status() == psutil.STATUS_STOPPED)
    yield
    service.resume()


async def _until_answered(http: httpx.AsyncClient, url: str, *, expected: bool) -> None:
    """Wait until a service answers at ``url``, or none does any more."""
    found = not expected
    while found is not expected:
        try:
            found = (await http.get(f"{url}/livez")).is_success
        except httpx.HTTPError:
            found = False
        await asyncio.sleep(0.01)
