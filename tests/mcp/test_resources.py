"""Resources, prompts, and who is told that there are others."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp_types import ResourceUpdatedNotification, ToolListChangedNotification

from orchestration.mcp import catalogue
from orchestration.mcp.schemas import shapes
from tests.api.plays import gates
from tests.mcp.client import NEWEST, OLDER, WIRES, client_of, open_tools, rpc

PROMPT = {
    "name": "review",
    "text": "Review {text}, {not_mine}",
    "description": "Reviews",
    "arguments": [{"name": "text", "required": True}],
}


async def _read(http: httpx.AsyncClient, uri: str) -> dict[str, Any]:
    return await rpc(http, "resources/read", {"uri": uri})


@pytest.mark.parametrize("wire", WIRES)
async def test_graphs_are_listed_and_drawn(tmp_path: Path, wire: str) -> None:
    async with open_tools(tmp_path, "greet") as (_, http), client_of(http, wire) as client:
        (listed,) = (await client.list_resources()).resources
        templates = (await client.list_resource_templates()).resource_templates
        drawn = await client.read_resource(listed.uri)
        by_name = await client.read_resource("assistant://greet/graph")
    assert drawn.contents[0].text.startswith("---\nconfig:")
    assert "__start__ --> work" in drawn.contents[0].text
    assert by_name.contents[0].text == drawn.contents[0].text
    assert {one.uri_template for one in templates} == {
        "run://{run_id}", "thread://{thread_id}", "assistant://{assistant_id}/graph",
    }  # fmt: skip


async def test_a_thread_can_be_read_and_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    nobody = "00000000-0000-4000-8000-000000000000"
    async with open_tools(tmp_path, "greet") as (_, http):
        result = await rpc(http, "tools/call", {"name": "greet", "arguments": {"name": "Ada"}})
        thread = await _read(http, f"thread://{result['_meta']['masterloop/thread_id']}")
        missing = [
            f"run://{nobody}", f"thread://{nobody}", "run://x", "assistant://greet/source",
            f"assistant://{nobody}/graph", "file:///etc/passwd",
        ]  # fmt: skip
        refused = [await _read(http, uri) for uri in missing]
    assert '"status":"idle"' in thread["contents"][0]["text"]
    assert [one["data"]["uri"] for one in refused] == missing
    assert {one["code"] for one in refused} == {-32602}


async def test_runs_are_shown_listed_waited_for_and_cancelled(tmp_path: Path) -> None:
    async def call(tool: str, /, **arguments: Any) -> Any:
        return await rpc(http, "tools/call", {"name": tool, "arguments": arguments})

    async with open_tools(tmp_path, "hold", mcp={"on_disconnect": "continue"}) as (service, http):
        calling = asyncio.create_task(call("hold", name="shown"))
        await gates["shown"].reached.wait()
        run_id = service.loop.all_live()[0].run_id
        shown = await call("run_get", run_id=run_id)
        listed = await call("run_list", status="running", limit=5)
        none = await call("run_list", status="error")
        waited = await call("run_wait", run_id=run_id, seconds=0.01)
        cancelled = await call("run_cancel", run_id=run_id)
        again = await call("run_cancel", run_id=run_id)
        by_case = await call("run_get", run_id=run_id.upper())
        made_up = await call("run_get", run_id="the-run")
        wrong = await call("run_get", run_id=7)
        result = await calling
    assert [one["run_id"] for one in listed["structuredContent"]["runs"]] == [run_id]
    assert none["structuredContent"] == {"runs": []}
    assert shown["structuredContent"]["why"].startswith("working for ")
    assert waited["structuredContent"]["status"] == "running"
    assert cancelled["structuredContent"]["status"] == "interrupted"
    assert "has ended: interrupted" in again["content"][0]["text"]
    assert by_case["structuredContent"]["run_id"] == run_id
    assert made_up["content"][0]["text"] == "run_id: 'the-run' is no UUID"
    assert wrong["content"][0]["text"].startswith("Invalid arguments: run_id: 7 is not of type")
    assert result["isError"]
    assert result["content"][0]["text"] == f"The run {run_id} was cancelled."


async def test_runs_are_listed_by_status_however_many_came_after_them(tmp_path: Path) -> None:
    async def listed(**asked: Any) -> list[str]:
        found = await rpc(http, "tools/call", {"name": "run_list", "arguments": asked})
        return [run["status"] for run in found["structuredContent"]["runs"]]

    graphs = ("greet", "hold", "test_error_handling")
    async with open_tools(tmp_path, *graphs) as (service, http):
        holding = {"name": "hold", "arguments": {"name": "listed"}}
        calling = asyncio.create_task(rpc(http, "tools/call", holding))
        await gates["listed"].reached.wait()
        named = {"run_id": service.loop.all_live()[0].run_id}  # and so it is stored by now
        await rpc(http, "tools/call", {"name": "run_get", "arguments": named})
        await rpc(http, "tools/call", {"name": "test_error_handling", "arguments": {}})
        for name in "abc":
            await rpc(http, "tools/call", {"name": "greet", "arguments": {"name": name}})
        found = [await listed(status=one, limit=2) for one in ("running", "error", "success")]
        last = await listed(limit=2)
        gates["listed"].opened.set()
        await calling
    assert found == [["running"], ["error"], ["success"] * 2]
    assert last == ["success"] * 2


@pytest.mark.parametrize("wire", WIRES)
async def test_prompts_are_what_assistants_declare(tmp_path: Path, wire: str) -> None:
    async with open_tools(tmp_path, "greet") as (_, http), client_of(http, wire) as client:
        for prompts in ([PROMPT], "nonsense"):
            metadata = {"prompts": prompts}
            body = {"graph_id": "greet", "name": "Editor", "metadata": metadata}
            assert (await http.post("/assistants", json=body)).is_success
        (listed,) = (await client.list_prompts()).prompts
        got = await client.get_prompt(listed.name, {"text": "{text}"})
        refused = await rpc(http, "prompts/get", {"name": listed.name, "arguments": {}})
        unknown = await rpc(http, "prompts/get", {"name": "none"})
    assert listed.name.startswith("Editor_")
    assert listed.name.endswith("_review")
    assert got.messages[0].content.text == "Review {text}, {not_mine}"
    assert refused["message"] == "Missing arguments: text"
    assert unknown["message"] == "Unknown prompt: none"


@pytest.mark.filterwarnings("ignore:resources/:mcp.shared.exceptions.MCPDeprecationWarning")
async def test_a_session_is_told_of_other_tools_and_of_the_end_of_a_run(tmp_path: Path) -> None:
    changed, updated = asyncio.Event(), asyncio.Event()
    uris: list[str] = []

    async def told(message: Any) -> None:
        if isinstance(message, ToolListChangedNotification):
            changed.set()
        if isinstance(message, ResourceUpdatedNotification):
            uris.append(str(message.params.uri))
            updated.set()

    async with (
        open_tools(tmp_path, "hold") as (service, http),
        client_of(http, OLDER, message_handler=told) as client,
    ):
        while not changed.is_set():  # the client's stream may not be open yet
            await http.post("/assistants", json={"graph_id": "hold"})
            await asyncio.wait({asyncio.create_task(changed.wait())}, timeout=0.1)
        calls: list[asyncio.Task[Any]] = []
        runs: list[str] = []
        for name in ("untold", "told"):
            calls.append(asyncio.create_task(client.call_tool("hold", {"name": name})))
            await gates[name].reached.wait()
            runs += [f"run://{run.run_id}" for run in service.loop.all_live()][len(runs) :]
            await client.subscribe_resource(runs[-1])
            await client.subscribe_resource(runs[-1])
        await client.unsubscribe_resource(runs[0])
        await client.unsubscribe_resource("run://x")
        for name, calling in zip(("untold", "told"), calls, strict=True):
            gates[name].opened.set()
            await calling
        await updated.wait()
    assert uris == [runs[1]]


async def test_who_listens_is_told_of_other_tools_and_of_the_end_of_a_run(tmp_path: Path) -> None:
    async with (
        open_tools(tmp_path, "hold") as (service, http),
        client_of(http, NEWEST) as client,
    ):
        calling = asyncio.create_task(client.call_tool("hold", {"name": "heard"}))
        await gates["heard"].reached.wait()
        uri = f"run://{service.loop.all_live()[0].run_id}"
        async with client.listen(
            tools_list_changed=True, resource_subscriptions=[uri, "run://x"]
        ) as events:
            await http.post("/assistants", json={"graph_id": "hold"})
            first = await anext(aiter(events))
            gates["heard"].opened.set()
            second = await anext(aiter(events))
        await calling
    assert type(first).__name__ == "ToolsListChanged"
    assert second.uri == uri


async def test_long_lists_come_in_pages(tmp_path: Path) -> None:
    async with open_tools(tmp_path, "greet") as (_, http):
        for number in range(100):
            body = {"graph_id": "greet", "name": f"N{number}"}
            assert (await http.post("/assistants", json=body)).is_success
        first = await rpc(http, "tools/list")
        second = await rpc(http, "tools/list", {"cursor": first["nextCursor"]})
        wrong = await rpc(http, "tools/list", {"cursor": "x"})
    names = [one["name"] for one in (*first["tools"], *second["tools"])]
    assert (len(first["tools"]), len(names), len(set(names))) == (100, 106, 106)
    assert names[0] == "greet"
    assert wrong["message"] == "Unknown cursor: x"


@pytest.mark.parametrize("method", ["prompts/list", "resources/templates/list"])
async def test_a_list_of_one_page_has_no_other(tmp_path: Path, method: str) -> None:
    async with open_tools(tmp_path, "greet") as (_, http):
        wrong = await rpc(http, method, {"cursor": "100"})
    assert wrong["message"] == "Unknown cursor: 100"


@pytest.mark.parametrize(("graph", "looks"), [("greet", 1), ("made", 11)])
async def test_a_graph_is_looked_at_once_and_one_that_is_made_in_turn_with_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, graph: str, looks: int
) -> None:
    turns, seen, ended = 0, list[int](), asyncio.Event()

    async def turn() -> None:
        nonlocal turns
        while not ended.is_set():
            turns += 1
            await asyncio.sleep(0)

    def look(graph: Any) -> Any:
        seen.append(turns)
        return shapes(graph)

    monkeypatch.setattr(catalogue, "shapes", look)
    async with open_tools(tmp_path, graph) as (_, http), asyncio.TaskGroup() as group:
        for number in range(10):
            body = {"graph_id": graph, "name": f"N{number}"}
            assert (await http.post("/assistants", json=body)).is_success
        group.create_task(turn())
        listed = await rpc(http, "tools/list")
        ended.set()
    assert len(listed["tools"]) == 11 + 5
    assert len(set(seen)) == len(seen) == looks


async def test_an_assistant_that_is_made_anew_has_the_schemas_of_its_own_graph(
    tmp_path: Path,
) -> None:
    assistant_id = "00000000-0000-4000-8000-000000000007"
    taken: list[str] = []
    async with open_tools(tmp_path, "greet", "confirm_delete") as (_, http):
        for graph in ("greet", "confirm_delete"):
            body = {"assistant_id": assistant_id, "graph_id": graph, "name": "Anew"}
            assert (await http.post("/assistants", json=body)).is_success
            tools = (await rpc(http, "tools/list"))["tools"]
            [tool] = [one for one in tools if one.get("title") == "Anew"]
            taken += tool["inputSchema"]["properties"]
            await http.delete(f"/assistants/{assistant_id}")
    assert taken == ["name", "filename"]
