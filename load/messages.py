"""How long a message takes from being sent to its handler, and how many go through in a second.

    .venv/bin/python load/messages.py [AT_REST] [THROUGHPUT]

A server of its own, an agent of the kind `process`, senders over HTTP. At rest, a message is sent
when the one before is received; the time is from before the request to the first line of the
handler, in another process. Then 16 senders send as fast as they are answered.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx

from load.service import open_service
from operations.keys import KeyFolder

SENDERS = 16
SEATS = 4
AGENT = """
import json, os, sys, time
out = os.open(os.environ["TIMES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for line in sys.stdin:
    now = time.monotonic_ns()
    request = json.loads(line)
    if request["method"] == "invoke":
        sent = request["params"]["input"]["content"]
        os.write(out, b"%d %d\\n" % (sent, now))
    if "id" in request:
        answer = {"jsonrpc": "2.0", "id": request["id"], "result": {"capabilities": ["post"]}}
        print(json.dumps(answer), flush=True)
"""
GRAPH = """
from typing import TypedDict
from langgraph.graph import START, StateGraph
builder = StateGraph(TypedDict("State", {"a": int})).add_node("node", lambda state: state)
graph = builder.add_edge(START, "node").compile()
"""


def set_up(folder: Path) -> list[str]:
    """Write a project, and return the keys of senders."""
    (folder / "graph.py").write_text(GRAPH)
    (folder / "agent.py").write_text(AGENT)
    pool = {
        "kind": "process",
        "argv": [sys.executable, str(folder / "agent.py")],
        "env": {"TIMES": str(folder / "times")},
        "seats": SEATS,
    }
    section = {"agents": {"postmen": pool}, "network": {"mailboxes": {"post": {}}}}
    manifest = {"graphs": {"graph": "./graph.py:graph"}, "masterloop": section}
    (folder / "langgraph.json").write_text(json.dumps(manifest))
    keys = KeyFolder(folder / "data")
    return [keys.create(f"sender{number}", "run")[1] for number in range(SENDERS)]


def received(folder: Path) -> list[tuple[int, int]]:
    """Return when each message was sent and received, in ns."""
    file = folder / "times"
    lines = file.read_text().splitlines() if file.exists() else []
    return [(int(sent), int(at)) for sent, at in (line.split() for line in lines)]


async def send(client: httpx.AsyncClient) -> None:
    """Send a message that says when it was sent."""
    answer = await client.post("/messages", json={"to": "post", "content": time.monotonic_ns()})
    answer.raise_for_status()


async def all_received(folder: Path, count: int) -> None:
    """Return once so many are received."""
    while len(received(folder)) < count:  # noqa: ASYNC110 - another process writes it
        await asyncio.sleep(0.02)


async def measure(url: str, folder: Path, keys: list[str], at_rest: int, many: int) -> None:
    """Measure both, and print them."""
    clients = [httpx.AsyncClient(base_url=url, headers={"x-api-key": key}) for key in keys]
    await send(clients[0])
    await all_received(folder, 1)
    for number in range(at_rest):
        await send(clients[0])
        await all_received(folder, number + 2)
    took = sorted((at - sent) / 1e6 for sent, at in received(folder)[1:])
    p95 = took[int(len(took) * 0.95)]
    print(f"at rest: p50 {statistics.median(took):.2f} ms, p95 {p95:.2f} ms, {len(took)} messages")

    async def sender(client: httpx.AsyncClient) -> None:
        for _ in range(many // SENDERS):
            await send(client)

    before = len(received(folder))
    began = time.monotonic()
    await asyncio.gather(*map(sender, clients))
    sent = time.monotonic() - began
    await all_received(folder, before + many // SENDERS * SENDERS)
    done = (received(folder)[-1][1] / 1e9) - began
    print(f"{SENDERS} senders: {many / sent:.0f} messages/s sent, {many / done:.0f}/s received")
    for client in clients:
        await client.aclose()


async def main() -> None:
    """Start a server on a fresh folder, and measure it."""
    at_rest, many = (*map(int, sys.argv[1:]), *(300, 8_000)[len(sys.argv) - 1 :])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keys = set_up(folder)
        settings = {"MASTERLOOP_DATA_DIR": str(folder / "data")}
        log, manifest = folder / "server.log", folder / "langgraph.json"
        async with open_service(settings, log, manifest) as service:
            await measure(service.url, folder, keys, at_rest, many)


if __name__ == "__main__":
    asyncio.run(main())
