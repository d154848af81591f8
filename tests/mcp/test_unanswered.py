"""Clients that do not put a question to their user, whatever they said when they connected."""

from pathlib import Path
from typing import Any

import pytest

from tests.api.client import parts
from tests.mcp.client import ACCEPT, GREETING, open_tools, rpc

_CALL = {
    "jsonrpc": "2.0",
    "id": 2,
    "method": "tools/call",
    "params": {"name": "ask_text", "arguments": {}},
}


@pytest.mark.parametrize(
    "answer",
    [
        {"error": {"code": -32603, "message": "Elicitation failed"}},
        {"error": {"code": -32601, "message": "Method not found"}},
        {"result": {"action": "accept", "content": {"answer": {"no": "text"}}}},
        {"result": {}},
    ],
)
async def test_a_client_that_fails_to_ask_is_told_how_to_go_on(
    tmp_path: Path, answer: dict[str, Any]
) -> None:
    params = {**GREETING["params"], "capabilities": {"elicitation": {}}}
    async with open_tools(tmp_path, "ask_text") as (_, http):
        began = await http.post("/mcp", json={**GREETING, "params": params}, headers=ACCEPT)
        session = {**ACCEPT, "mcp-session-id": began.headers["mcp-session-id"]}
        async with http.stream("POST", "/mcp", json=_CALL, headers=session) as called:
            told = (part.data async for part in parts(called) if part.data)
            while (message := await anext(told)).get("method") == "elicitation/create":
                reply = {"jsonrpc": "2.0", "id": message["id"], **answer}
                await http.post("/mcp", json=reply, headers=session)
        waiting = message["result"]
        run = {"run_id": waiting["_meta"]["masterloop/run_id"], "answer": "later"}
        resumed = await rpc(http, "tools/call", {"name": "run_resume", "arguments": run})
    assert not waiting["isError"]
    assert f'call run_resume with {{"run_id": "{run["run_id"]}"' in waiting["content"][0]["text"]
    assert resumed["structuredContent"]["output"] == {"text": "You said later"}
