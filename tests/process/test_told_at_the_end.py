"""A tool is called, its client told nothing before the end: what can be seen meanwhile, and after.

Such a run is not written before it has ended, if it ends soon; see docs/adr/0007.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.process.server import Server

HEADERS = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2026-07-28"}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with closing(Server(tmp_path)) as one:
        yield one


def call(server: Server, tool: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Call a tool; return what the client is told."""
    params = {"name": tool, "arguments": dict(given), "_meta": META}
    answer = server.http.post(
        "/mcp",
        json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params},
        headers={**HEADERS, "mcp-method": "tools/call", "mcp-name": tool},
    )
    result: dict[str, Any] = answer.json()["result"]
    return result


def ids(result: Mapping[str, Any]) -> tuple[str, str]:
    meta = result["_meta"]
    return meta["masterloop/thread_id"], meta["masterloop/run_id"]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_node_finds_its_own_thread(server: Server, workers: int) -> None:
    server.start(workers=workers)
    call(server, "counter", {"name": "first", "steps": 1})  # what is loaded once is loaded now
    looking = call(server, "looking", {"name": "a", "url": server.url})
    recalling = call(server, "recalling", {"name": "b", "url": server.url})
    thread_id, _ = ids(looking)
    thread = server.http.get(f"/threads/{thread_id}").json()
    assert looking["structuredContent"]["answer"] == "busy running", server.log
    assert recalling["structuredContent"]["answer"] == "['name', 'url']", server.log
    assert (thread["status"], thread["metadata"]["seen"]) == ("idle", "running")


def test_what_a_client_was_told_of_outlives_a_kill(server: Server) -> None:
    server.start()
    done = call(server, "counter", {"name": "done", "steps": 3})
    asked = call(server, "asking", {"name": "asked"})
    server.kill9()
    server.start()
    thread_id, run_id = ids(done)
    thread = server.http.get(f"/threads/{thread_id}").json()
    assert (thread["status"], thread["values"]["done"]) == ("idle", 3)
    assert server.http.get(f"/threads/{thread_id}/runs/{run_id}").json()["status"] == "success"
    history = server.http.get(f"/threads/{thread_id}/history").json()
    assert [one["metadata"]["step"] for one in history] == [3, 2, 1, 0, -1]
    thread_id, run_id = ids(asked)
    assert server.http.get(f"/threads/{thread_id}").json()["status"] == "interrupted"
    state = server.http.get(f"/threads/{thread_id}/state").json()
    assert state["interrupts"][0]["value"] == "how?"


@pytest.mark.parametrize("failpoint", ["checkpoint.before_commit", "accept.before_commit"])
def test_a_kill_before_the_end_is_written_leaves_nothing_of_it(
    server: Server, failpoint: str
) -> None:
    server.start(failpoints=f"{failpoint}=kill")
    with pytest.raises(httpx.TransportError):
        call(server, "counter", {"name": "a", "steps": 1})
    server.wait()
    server.start()
    assert server.http.post("/threads/search", json={}).json() == []
    assert server.effects.steps("a") == {1: 1}
