"""Assistants as tools: listed, called, mistaken, failed; the same on both wires."""

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from orchestration.mcp import progress
from orchestration.service import Service
from tests.api.client import open_socket
from tests.api.plays import cleaned, gates
from tests.mcp.client import ACCEPT, OLDER, WIRES, client_of, open_tools, rpc, until


def _text(result: Any) -> str:
    text: str = result.content[0].text
    return text


@pytest.mark.parametrize("wire", WIRES)
async def test_a_tool_is_listed_with_what_it_takes_and_gives(tmp_path: Path, wire: str) -> None:
    async with open_tools(tmp_path, "greet") as (_, http), client_of(http, wire) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) == {
        "greet", "run_get", "run_wait", "run_resume", "run_cancel", "run_list",
    }  # fmt: skip
    greet = tools["greet"]
    assert greet.input_schema == {
        "type": "object",
        "properties": {"name": {"title": "Name", "type": "string"}},
        "required": ["name"],
        "additionalProperties": False,
    }
    assert greet.output_schema == {
        "type": "object",
        "properties": {"text": {"title": "Text", "type": "string"}},
    }
    assert greet.description == "Runs the assistant 'greet' (graph 'greet')."


@pytest.mark.parametrize("wire", WIRES)
async def test_a_call_answers_with_text_structure_and_a_link(tmp_path: Path, wire: str) -> None:
    async with open_tools(tmp_path, "greet") as (_, http), client_of(http, wire) as client:
        result = await client.call_tool("greet", {"name": "Ada"})
        link = result.content[1]
        run = await client.read_resource(link.uri)
    assert (_text(result), result.structured_content) == ("Hello, Ada!", {"text": "Hello, Ada!"})
    assert not result.is_error
    assert '"status":"success"' in run.contents[0].text
    assert '"output":{"name":"Ada","text":"Hello, Ada!"}' in run.contents[0].text


async def test_its_runs_are_counted_as_those_of_mcp(tmp_path: Path) -> None:
    counted = 'masterloop_runs_created_total{assistant="greet",priority="5",source="mcp"} 1.0'
    async with open_tools(tmp_path, "greet") as (_, http):
        await rpc(http, "tools/call", {"name": "greet", "arguments": {"name": "Ada"}})
        while counted not in (await http.get("/metrics")).text:
            pass  # it is counted aside


async def test_a_call_on_no_session_of_an_older_wire_is_answered_by_itself(tmp_path: Path) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    params = {"name": "greet", "arguments": {"name": "Ada"}}
    async with open_tools(tmp_path, "greet") as (_, http):
        answer = await http.post("/mcp", json={**body, "params": params}, headers=ACCEPT)
        got = await http.get("/mcp", headers=ACCEPT)
    assert "Hello, Ada!" in answer.text
    assert "mcp-session-id" not in answer.headers
    assert (got.status_code, got.headers["allow"]) == (405, "OPTIONS, POST")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": 7}, "name: 7 is not of type 'string'"),
        ({}, "'name' is a required property"),
        ({"name": ["y" * 10_000]}, "yyy … yyy"),
        ({"nam": "Ada", "name": "A"}, "('nam' was unexpected). Did you mean name?"),
    ],
)
async def test_wrong_arguments_are_an_error_that_a_model_can_mend(
    tmp_path: Path, arguments: dict[str, Any], said: str
) -> None:
    async with open_tools(tmp_path, "greet") as (_, http), client_of(http, OLDER) as client:
        result = await client.call_tool("greet", arguments)
    assert result.is_error
    assert said in _text(result)
    assert len(_text(result)) < 2_000
    assert "greet takes: " in _text(result)


async def test_a_tool_that_is_not_there_is_an_error_of_the_protocol(tmp_path: Path) -> None:
    async with open_tools(tmp_path, "greet") as (_, http):
        error = await rpc(http, "tools/call", {"name": "great", "arguments": {}})
    assert error == {"code": -32602, "message": "Unknown tool: great"}


@pytest.mark.parametrize("wire", WIRES)
async def test_a_graph_that_fails_is_an_error_of_the_tool(tmp_path: Path, wire: str) -> None:
    graphs = ("test_error_handling", "protocol_error_job")
    limits = {"assistants": {"protocol_error_job": {"timeout": 0.1}}}
    async with (
        open_tools(tmp_path, *graphs, manifest={"masterloop": limits}) as (_, http),
        client_of(http, wire) as client,
    ):
        failed = await client.call_tool("test_error_handling", {})
        late = await client.call_tool("protocol_error_job", {})
    assert failed.is_error
    assert _text(failed) == "ValueError: failed on purpose"
    assert late.is_error
    assert "Timeout" in _text(late)


async def test_a_graph_that_takes_no_object_is_given_it_under_a_name(tmp_path: Path) -> None:
    async with open_tools(tmp_path, "shout") as (_, http), client_of(http, OLDER) as client:
        tool = (await client.list_tools()).tools[0]
        result = await client.call_tool("shout", {"input": "loud"})
    assert tool.input_schema["properties"] == {"input": {"type": "string"}}
    assert (_text(result), result.structured_content) == ("LOUD", {"output": "LOUD"})


async def test_a_chat_takes_messages_and_answers_with_its_last_words(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "hi"}]
    async with open_tools(tmp_path, "chat") as (_, http), client_of(http, OLDER) as client:
        tool = (await client.list_tools()).tools[0]
        result = await client.call_tool("chat", {"messages": messages})
    items = tool.input_schema["properties"]["messages"]["items"]
    assert items["required"] == ["role", "content"]
    assert "$defs" not in tool.input_schema
    assert _text(result) == "You said: hi"
    assert [one["type"] for one in result.structured_content["messages"]] == ["human", "ai"]


async def test_what_a_node_gives_against_its_schema_is_left_out_of_the_structure(
    tmp_path: Path,
) -> None:
    async with open_tools(tmp_path, "lying") as (_, http), client_of(http, OLDER) as client:
        await client.list_tools()  # from here on the client holds results to their schemas
        result = await client.call_tool("lying", {})
    assert result.structured_content == {"text": "true"}


@pytest.mark.parametrize("wire", WIRES)
async def test_progress_is_told_as_the_graph_counts_it(tmp_path: Path, wire: str) -> None:
    told: list[tuple[float, float | None, str | None]] = []

    async def tell(value: float, total: float | None, message: str | None) -> None:
        told.append((value, total, message))

    arguments = {"seconds": 0.04, "label": "sums"}
    async with open_tools(tmp_path, "slow_compute") as (_, http), client_of(http, wire) as client:
        result = await client.call_tool("slow_compute", arguments, progress_callback=tell)
    assert _text(result) == "sums done"
    assert told[:4] == [(n, 4, f"step {n} of 4") for n in (1, 2, 3, 4)]
    assert told[4][2] == "work"  # the node
    assert [value for value, _, _ in told] == sorted({value for value, _, _ in told})


@pytest.mark.parametrize("wire", WIRES)
async def test_progress_that_cannot_be_told_ends_no_run(tmp_path: Path, wire: str) -> None:
    told: list[float] = []

    async def tell(value: float, total: float | None, message: str | None) -> None:
        told.append(value)

    async with open_tools(tmp_path, "count_far") as (_, http), client_of(http, wire) as client:
        result = await client.call_tool("count_far", {}, progress_callback=tell)
    assert _text(result) == "counted"
    assert told[0] == 1


async def test_a_run_that_is_silent_is_told_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "HEARTBEAT", 0.01)
    beats = asyncio.Event()

    async def tell(value: float, total: float | None, message: str | None) -> None:
        if message and message.endswith("goes on"):
            beats.set()

    async with open_tools(tmp_path, "hold") as (_, http), client_of(http, OLDER) as client:
        calling = asyncio.create_task(
            client.call_tool("hold", {"name": "silent"}, progress_callback=tell)
        )
        await beats.wait()
        gates["silent"].opened.set()
        assert _text(await calling) == "held"


@pytest.mark.parametrize("wire", WIRES)
async def test_a_client_that_cancels_its_call_ends_the_run_at_once(
    tmp_path: Path, wire: str
) -> None:
    async def cancelled(service: Service, client: Client, name: str) -> float:
        calling = asyncio.create_task(client.call_tool("hold", {"name": name}))
        await gates[name].reached.wait()
        run = service.loop.all_live()[0]
        begun = time.perf_counter()
        calling.cancel()
        await until(lambda: run.status == "interrupted")
        return time.perf_counter() - begun

    async with (
        open_tools(tmp_path, "hold") as (service, http),
        client_of(http, wire) as client,
    ):
        # Of several the fastest: a busy machine holds one up, and no code is faster by chance.
        took = [await cancelled(service, client, f"cancelled {wire} {n}") for n in range(5)]
    assert min(took) < 0.1


@pytest.mark.parametrize("wire", WIRES)
async def test_a_client_that_cancels_its_call_while_the_service_stops_ends_the_run(
    tmp_path: Path, wire: str
) -> None:
    name = f"cancelled in a stop {wire}"
    async with (
        open_tools(tmp_path, "hold") as (service, http),
        client_of(http, wire) as client,
    ):
        calling = asyncio.create_task(client.call_tool("hold", {"name": name}))
        await gates[name].reached.wait()
        run = service.loop.all_live()[0]
        service.loop.close_intake()
        calling.cancel()
        await until(lambda: run.status == "interrupted")


@pytest.mark.parametrize("configured", ["cancel", "continue"])
async def test_the_run_of_a_client_that_goes_away_is_cancelled_or_left_as_configured(
    tmp_path: Path, configured: str
) -> None:
    name = f"gone {configured}"
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "hold", "arguments": {"name": name}},
    }
    async with open_tools(tmp_path, "hold", mcp={"on_disconnect": configured}) as (service, http):
        calling = asyncio.create_task(http.post("/mcp", json=body, headers=ACCEPT))
        await gates[name].reached.wait()
        run = service.loop.all_live()[0]
        calling.cancel()
        if configured == "cancel":
            await until(lambda: run.status == "interrupted")
        else:
            await asyncio.wait({calling})
            assert (await http.get("/ok")).is_success  # a whole round: the server has seen it go
            gates[name].opened.set()
            await until(lambda: run.status == "success")


async def test_a_hundred_calls_at_once_have_each_its_own_answer(tmp_path: Path) -> None:
    names = [f"n{number}" for number in range(100)]
    async with open_tools(tmp_path, "greet") as (_, http):
        calls = [
            rpc(http, "tools/call", {"name": "greet", "arguments": {"name": name}})
            for name in names
        ]
        results = await asyncio.gather(*calls)
    assert [one["content"][0]["text"] for one in results] == [f"Hello, {name}!" for name in names]


async def test_a_full_queue_is_an_error_that_says_when_to_try_again(tmp_path: Path) -> None:
    limits: dict[str, Any] = {"queue_capacity": 1, "max_concurrent_runs": 1}
    async with open_tools(tmp_path, "hold", **limits) as (service, http):
        params = {"name": "hold", "arguments": {"name": "full"}}
        calls = [asyncio.create_task(rpc(http, "tools/call", params)) for _ in range(2)]
        await until(lambda: service.loop.waiting == service.loop.working == 1)
        refused = await rpc(http, "tools/call", params)
        gates["full"].opened.set()
        done = await asyncio.gather(*calls)
    assert refused["isError"]
    assert "the run queue is full (1 runs); try again in " in refused["content"][0]["text"]
    assert [one["isError"] for one in done] == [False, False]


async def test_a_service_that_stops_says_so_to_new_calls_and_to_those_that_wait(
    tmp_path: Path,
) -> None:
    async with open_tools(tmp_path, "hold", drain_grace=0.0) as (service, http):
        params = {"name": "hold", "arguments": {"name": "stopping"}}
        waiting = asyncio.create_task(rpc(http, "tools/call", params))
        await gates["stopping"].reached.wait()
        run = service.loop.all_live()[0]
        await service.loop.drain()
        cut, refused = await waiting, await rpc(http, "tools/call", params)
    assert cut["isError"]
    told = f"The service is stopping. The run {run.run_id} is kept: see run_get."
    assert cut["content"][0]["text"] == told
    assert refused["isError"]
    assert re.fullmatch(
        r"the service is stopping; try again in \d+ s", refused["content"][0]["text"]
    )
    assert run.status != "interrupted"


async def test_runs_of_calls_say_where_they_come_from(tmp_path: Path) -> None:
    async with open_tools(tmp_path, "greet") as (_, http):
        result = await rpc(http, "tools/call", {"name": "greet", "arguments": {"name": "Ada"}})
        run_id, thread_id = (
            result["_meta"][f"masterloop/{key}"] for key in ("run_id", "thread_id")
        )
        run = (await http.get(f"/threads/{thread_id}/runs/{run_id}")).json()
    assert run["metadata"]["source"] == "mcp"


async def test_a_factory_that_cannot_make_its_graph_is_a_tool_that_takes_anything(
    tmp_path: Path,
) -> None:
    cleaned.clear()  # of what others have left there
    async with open_socket(tmp_path, "broken", "holder") as (_, http):
        tools = (await rpc(http, "tools/list"))["tools"]
        result = await rpc(http, "tools/call", {"name": "broken", "arguments": {"x": 1}})
    shown = {tool["name"]: tool["inputSchema"] for tool in tools}
    assert shown["broken"] == {"type": "object"}
    assert result["isError"]
    assert not cleaned
