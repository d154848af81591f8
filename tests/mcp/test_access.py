"""Who may come: hosts, origins, sizes, credentials; and that nobody sees what is another's."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from operations.keys import KeyFolder, KeyScope
from orchestration.store.assistants import default_assistant
from tests.api.client import PROBLEM
from tests.api.plays import gates
from tests.mcp.client import ACCEPT, GREETING, OLDER, TASKS, client_of, open_tools, rpc, until
from tests.mcp.test_listening import listening

LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


def _key(folder: Path, owner: str, scope: KeyScope = "run") -> dict[str, str]:
    return {"authorization": f"Bearer {KeyFolder(folder / 'data').create(owner, scope)[1]}"}


async def _post(http: httpx.AsyncClient, body: Any = LIST, **headers: str) -> httpx.Response:
    return await http.post("/mcp", json=body, headers={**ACCEPT, **headers})


async def test_pages_and_names_of_others_are_kept_out(tmp_path: Path) -> None:
    mcp = {"hosts": ["agents.example.com"], "origins": ["https://app.example.com"]}
    async with open_tools(tmp_path, "greet", mcp=mcp) as (_, http):
        answers = {
            "page": await _post(http, origin="https://evil.example.com"),
            "opaque": await _post(http, origin="null"),
            "name": await _post(http, host="evil.example.com"),
            "local page": await _post(http, origin="http://localhost:6274"),
            "local name": await _post(http, host="[::1]:80"),
            "known page": await _post(http, origin="https://app.example.com"),
            "known name": await _post(http, host="agents.example.com"),
        }
    assert {name: answer.status_code for name, answer in answers.items()} == {
        "page": 403, "opaque": 403, "name": 421, "local page": 200, "local name": 200,
        "known page": 200, "known name": 200,
    }  # fmt: skip
    assert answers["page"].headers["content-type"] == PROBLEM


async def test_what_is_too_large_or_no_json_is_refused_in_the_words_of_the_protocol(
    tmp_path: Path,
) -> None:
    async with open_tools(tmp_path, "greet", max_body=2048) as (_, http):
        large = await _post(http, {**LIST, "params": {"cursor": "x" * 2048}})
        broken = await http.post("/mcp", content=b"{", headers={**ACCEPT, **_JSON})
        deep = await http.post("/mcp", content=b"[" * 70 + b"]" * 70, headers={**ACCEPT, **_JSON})
    found = [(one.status_code, one.json()["error"]["code"]) for one in (large, broken, deep)]
    assert found == [(413, -32600), (400, -32700), (422, -32600)]


_JSON = {"content-type": "application/json"}


async def test_it_can_be_switched_off(tmp_path: Path) -> None:
    off = {"http": {"disable_mcp": True}}
    async with open_tools(tmp_path, "greet", manifest=off) as (_, http):
        assert (await _post(http)).status_code == 404
        assert (await http.get("/.well-known/oauth-protected-resource")).status_code == 404


async def test_without_a_key_nobody_gets_in(tmp_path: Path) -> None:
    alice = _key(tmp_path, "alice")
    async with open_tools(tmp_path, "greet") as (_, http):
        refused = await _post(http)
        async with client_of(http, OLDER, headers=alice) as client:
            result = await client.call_tool("greet", {"name": "Ada"})
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == 'Bearer realm="masterloop"'
    assert result.structured_content == {"text": "Hello, Ada!"}


async def test_what_a_handler_of_the_project_says_is_told_whole(tmp_path: Path) -> None:
    manifest = {"auth": {"path": "tests.api.guards:used_up"}}
    async with open_tools(tmp_path, "greet", manifest=manifest) as (_, http):
        calling = {"name": "greet", "arguments": {"name": "Ada"}}
        refused = await rpc(http, "tools/call", calling)
    assert refused["isError"]
    told = "today's runs are used up; try again tomorrow, or ask Ada; try again in 7200 s"
    assert refused["content"][0]["text"] == told


async def test_clients_learn_who_makes_tokens(tmp_path: Path) -> None:
    issuer: dict[str, Any] = {"oidc_issuer": "http://127.0.0.1:1/", "oidc_audience": "masterloop"}
    public = {"url": "https://agents.example.com/mcp"}
    async with open_tools(tmp_path, "greet", mcp=public, **issuer) as (_, http):
        refused = await _post(http)
        metadata = await http.get("/.well-known/oauth-protected-resource/mcp")
        posted = await http.post("/.well-known/oauth-protected-resource")
    where = "https://agents.example.com/.well-known/oauth-protected-resource/mcp"
    assert f'resource_metadata="{where}"' in refused.headers["www-authenticate"]
    assert metadata.json()["resource"] == public["url"]
    assert metadata.json()["authorization_servers"] == [issuer["oidc_issuer"]]
    assert posted.status_code == 405


async def test_the_address_is_what_the_client_calls_if_nobody_says_otherwise(
    tmp_path: Path,
) -> None:
    issuer: dict[str, Any] = {"oidc_issuer": "http://127.0.0.1:1/", "oidc_audience": "masterloop"}
    async with open_tools(tmp_path, "greet", **issuer) as (_, http):
        metadata = await http.get("/.well-known/oauth-protected-resource")
        assert metadata.json()["resource"] == f"{str(http.base_url).rstrip('/')}/mcp"


async def test_a_session_is_only_for_whoever_began_it(tmp_path: Path) -> None:
    alice, bob = _key(tmp_path, "alice"), _key(tmp_path, "bob")
    async with open_tools(tmp_path, "greet") as (_, http):
        began = await _post(http, GREETING, **alice)
        session = {"mcp-session-id": began.headers["mcp-session-id"]}
        ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        theirs = await _post(http, ping, **session, **bob)
        own = await _post(http, ping, **session, **alice)
        ended = await http.delete("/mcp", headers={**session, **alice})
        gone = await _post(http, ping, **session, **alice)
    assert (theirs.status_code, own.status_code) == (404, 200)
    assert (ended.status_code, gone.status_code) == (200, 404)


async def test_nothing_of_another_is_there(tmp_path: Path) -> None:
    alice, bob = _key(tmp_path, "alice"), _key(tmp_path, "bob")
    async with open_tools(tmp_path, "hold") as (service, http):
        params = {"name": "hold", "arguments": {"name": "alice's"}}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        async with client_of(http, OLDER, headers=alice) as client:
            del client
            calling = http.build_request("POST", "/mcp", json=body, headers={**ACCEPT, **alice})
            import asyncio

            task = asyncio.create_task(http.send(calling))
            await gates["alice's"].reached.wait()
            run = service.loop.all_live()[0]
            said = {
                name: await rpc(
                    http,
                    "tools/call",
                    {"name": name, "arguments": {"run_id": run.run_id}},
                    headers=bob,
                )
                for name in ("run_get", "run_wait", "run_resume", "run_cancel")
            }
            listed = await rpc(http, "tools/call", {"name": "run_list"}, headers=bob)
            mine = await rpc(http, "tools/call", {"name": "run_list"}, headers=alice)
            read = [
                await rpc(http, "resources/read", {"uri": uri}, headers=bob)
                for uri in (f"run://{run.run_id}", f"thread://{run.thread_id}")
            ]
            still = run.status
            gates["alice's"].opened.set()
            assert "held" in (await task).text
    texts = {one["content"][0]["text"] for one in said.values()}
    assert texts == {f"Run {run.run_id} not found"}
    assert listed["structuredContent"] == {"runs": []}
    assert [one["run_id"] for one in mine["structuredContent"]["runs"]] == [run.run_id]
    assert [one["message"] for one in read] == ["Resource not found"] * 2
    assert still == "running"


async def test_a_call_runs_as_its_caller_and_only_as_far_as_they_may(tmp_path: Path) -> None:
    alice, reader = _key(tmp_path, "alice"), _key(tmp_path, "alice", "read")
    call = {"name": "greet", "arguments": {"name": "Ada"}}
    async with open_tools(tmp_path, "greet") as (_, http):
        result = await rpc(http, "tools/call", call, headers=alice)
        refused = await rpc(http, "tools/call", call, headers=reader)
        thread = await http.get(
            f"/threads/{result['_meta']['masterloop/thread_id']}", headers=alice
        )
    assert thread.json()["metadata"]["owner"] == "alice"
    assert refused["isError"]
    assert "takes the scope 'run'" in refused["content"][0]["text"]


@pytest.mark.parametrize("handlers", ["owners", "resources"])
async def test_handlers_of_the_project_decide_here_too(tmp_path: Path, handlers: str) -> None:
    auth = {"auth": {"path": f"tests.api.guards:{handlers}"}}
    alice, bob = ({"authorization": f"Bearer {name}"} for name in ("alice", "bob"))
    call = {"name": "greet", "arguments": {"name": "Ada"}}
    async with open_tools(tmp_path, "greet", manifest=auth) as (_, http):
        assert (await _post(http)).status_code == 401
        tools = (await rpc(http, "tools/list", headers=alice))["tools"]
        result = await rpc(http, "tools/call", call, headers=alice)
        run = {"arguments": {"run_id": result["_meta"]["masterloop/run_id"]}}
        own = await rpc(http, "tools/call", {"name": "run_get", **run}, headers=alice)
        theirs = await rpc(http, "tools/call", {"name": "run_get", **run}, headers=bob)
    assert tools[0]["name"] == "greet"
    assert (own["isError"], theirs["isError"]) == (False, True)


@pytest.mark.parametrize(("handlers", "status"), [("owners", 404), ("resources", 200)])
async def test_a_graph_is_drawn_for_whom_it_is_over_http(
    tmp_path: Path, handlers: str, status: int
) -> None:
    auth = {"auth": {"path": f"tests.api.guards:{handlers}"}}
    bob = {"authorization": "Bearer bob"}
    async with open_tools(tmp_path, "greet", manifest=auth) as (_, http):
        found = await http.get("/assistants/greet/graph", headers=bob)
        read = [
            await rpc(http, "resources/read", {"uri": f"assistant://{name}/graph"}, headers=bob)
            for name in ("greet", default_assistant("greet"))
        ]
    assert found.status_code == status
    assert ["contents" in one for one in read] == [status == 200] * 2


async def test_handlers_of_the_project_are_shown_ids_as_over_http(tmp_path: Path) -> None:
    able: dict[str, Any] = {"extensions": {TASKS: {}}, "elicitation": {"form": {}}}
    manifest = {
        "auth": {"path": "tests.api.guards:looking_up"},
        "masterloop": {"mcp": {"task_after": 0.0, "tasks": {"ask_text": "forbidden"}}},
    }
    call = {"name": "ask_text", "arguments": {}}
    async with open_tools(tmp_path, "ask_text", "confirm_delete", manifest=manifest) as (_, http):
        asked = await rpc(http, "tools/call", call, able=able)
        answers = dict.fromkeys(asked["inputRequests"], _ANSWER)
        again = {**call, "inputResponses": answers, "requestState": asked["requestState"]}
        answered = await rpc(http, "tools/call", again, able=able)
        call = {"name": "confirm_delete", "arguments": {"filename": "f"}}
        task = {"taskId": (await rpc(http, "tools/call", call, able=able))["taskId"]}
        async with listening(http, [f"run://{task['taskId'].upper()}"], {}) as (granted, _):
            pass
        run = {"name": "run_wait", "arguments": {"run_id": task["taskId"]}}
        await rpc(http, "tools/call", run)
        await rpc(http, "tasks/cancel", task, able=able)
        found = await rpc(http, "tasks/get", task, able=able)
    assert answered["structuredContent"] == {"text": "You said me"}
    assert granted == [f"run://{task['taskId'].upper()}"]
    assert found["status"] == "cancelled"


_ANSWER = {"action": "accept", "content": {"answer": "me"}}


async def test_a_state_is_only_for_whom_it_was_sealed(tmp_path: Path) -> None:
    alice, bob = _key(tmp_path, "alice"), _key(tmp_path, "bob")
    able: dict[str, Any] = {"elicitation": {"form": {}}}
    call = {"name": "ask_text", "arguments": {}}
    async with open_tools(tmp_path, "ask_text") as (_, http):
        asked = await rpc(http, "tools/call", call, able=able, headers=alice)
        key = next(iter(asked["inputRequests"]))
        answers = {key: {"action": "accept", "content": {"answer": "me"}}}
        again = {**call, "inputResponses": answers, "requestState": asked["requestState"]}
        theirs = await rpc(http, "tools/call", again, able=able, headers=bob)
        own = await rpc(http, "tools/call", again, able=able, headers=alice)
    assert theirs["message"] == "Invalid or expired requestState"
    assert own.get("structuredContent") == {"text": "You said me"}, own


async def test_the_key_of_another_client_is_no_way_to_its_assistants(tmp_path: Path) -> None:
    admin, bob = _key(tmp_path, "root", "admin"), _key(tmp_path, "bob")
    async with open_tools(tmp_path, "greet", mcp={"assistants": ["greet", "Shown"]}) as (_, http):
        for name in ("Shown", "Hidden"):
            body = {"graph_id": "greet", "name": name}
            assert (await http.post("/assistants", json=body, headers=admin)).is_success
        names = [one["name"] for one in (await rpc(http, "tools/list", headers=bob))["tools"]]
    shown = [name for name in names if not name.startswith("run_")]
    assert shown[0] == "greet"
    assert shown[1].startswith("Shown_")
    assert len(shown) == 2


async def test_a_client_that_went_before_its_run_began_takes_it_along(tmp_path: Path) -> None:
    async with open_tools(tmp_path, "hold", max_concurrent_runs=1) as (service, http):
        import asyncio

        params = {"name": "hold", "arguments": {"name": "queue"}}
        calls = [asyncio.create_task(rpc(http, "tools/call", params)) for _ in range(2)]
        await until(lambda: service.loop.waiting == service.loop.working == 1)
        for call in calls:
            call.cancel()
        await until(lambda: not service.loop.all_live())
