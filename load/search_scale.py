"""Measure how long searches of threads take among few and among many; print a table.

    .venv/bin/python load/search_scale.py [--sizes 1000 100000] [--times 200]

Two servers run side by side, each on a data folder of its own that was filled beforehand, and are
asked in turn, so that whatever else the machine does befalls both.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from statistics import quantiles
from typing import Any

import httpx

from load.service import open_service
from operations.database_file import open_to_write
from operations.migrations import load_migrations
from orchestration.service import DATABASE
from orchestration.store import migrations
from orchestration.store.thread_metadata import insert_thread

BUSY = 20  # threads with a run that waits
SEARCH, COUNT = "/threads/search", "/threads/count"
GRAPH = """
from langgraph.graph import START, StateGraph
builder = StateGraph(dict)
builder.add_node("node", lambda state: state)
builder.add_edge(START, "node")
graph = builder.compile()
"""
SHOW = """
UPDATE threads SET status = ?, updated_at = ?, state_updated_at = ?, state_values = ?
WHERE thread_id = ?
"""


def shapes(size: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the requests to measure, by what they ask for."""
    sorts = ("thread_id", "status", "created_at", "updated_at", "state_updated_at")
    half, one = {"graph_id": "g1"}, {"tag": f"t{size // 2}"}
    ids = [thread_id(place) for place in range(0, size, size // 10)]
    return {
        **{
            f"{sort} {order}": (SEARCH, {"sort_by": sort, "sort_order": order})
            for sort in sorts
            for order in ("desc", "asc")
        },
        **{
            f"status {status}": (SEARCH, {"status": status})
            for status in ("idle", "busy", "interrupted", "error")
        },
        "metadata of one": (SEARCH, {"metadata": one}),
        "metadata of half": (SEARCH, {"metadata": half}),
        "of half, by updated_at": (SEARCH, {"metadata": half, "sort_by": "updated_at"}),
        "two keys, of one": (SEARCH, {"metadata": {**half, **one}}),
        "two keys, of a tenth": (SEARCH, {"metadata": {**half, "kind": 3}}),
        "nested, of one": (SEARCH, {"metadata": {"deep": {"tags": [one["tag"]]}}}),
        "owner and status": (SEARCH, {"metadata": {"owner": "u3"}, "status": "error"}),
        "ten ids": (SEARCH, {"ids": ids}),
        "values, within an owner's": (
            SEARCH,
            {"metadata": {"owner": "u3"}, "values": {"text": "no"}},
        ),
        "page 50": (SEARCH, {"offset": 500}),
        "offset of half": (SEARCH, {"offset": size // 2}),
        "values alone": (SEARCH, {"values": {"text": "nobody"}}),
        "count": (COUNT, {}),
        "count idle": (COUNT, {"status": "idle"}),
        "count of one": (COUNT, {"metadata": one}),
        "count of half": (COUNT, {"metadata": half}),
    }


def thread_id(place: int) -> str:
    """Return the id of a thread: spread over the table, as random ones are."""
    return f"{place * 2654435761 % 2**32:08x}-0000-4000-8000-{place:012x}"


def fill(folder: Path, size: int) -> None:
    """Make a data folder with so many threads."""
    rng = Random(size)
    with open_to_write(folder / DATABASE, load_migrations(migrations.__name__), 5) as connection:
        connection.execute("BEGIN")
        for place in range(size):
            metadata = {
                "graph_id": f"g{place % 2}",
                "kind": place % 10,
                "tag": f"t{place}",
                "owner": f"u{place % (size // 100)}",
                "deep": {"tags": [f"t{place}", "all"]},
            }
            insert_thread(connection, thread_id(place), date(rng), metadata)
            status = rng.choices(("idle", "interrupted", "error"), (97, 2, 1))[0]
            values = json.dumps({"text": f"x{place}", "reply": "y" * 500})
            shown = (status, date(rng), date(rng), values, thread_id(place))
            connection.execute(SHOW, shown)
        connection.execute("COMMIT")


def date(rng: Random) -> str:
    """Return some moment of a year."""
    seconds = 1_767_225_600 + rng.random() * 31_536_000
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{moment}.{rng.randrange(10**6):06}+00:00"


@asynccontextmanager
async def serving(folder: Path, size: int) -> AsyncIterator[httpx.AsyncClient]:
    """Serve a data folder with so many threads; some of them are busy."""
    fill(folder / "data", size)
    (folder / "graph.py").write_text(GRAPH)
    manifest = folder / "langgraph.json"
    manifest.write_text(json.dumps({"graphs": {"graph": "./graph.py:graph"}}))
    settings = {"MASTERLOOP_DATA_DIR": str(folder / "data")}
    async with (
        open_service(settings, folder / "server.log", manifest) as service,
        httpx.AsyncClient(base_url=service.url, timeout=30) as client,
    ):
        for place in range(BUSY):
            path = f"/threads/{thread_id(place)}/runs"
            body = {"assistant_id": "graph", "after_seconds": 86_400}
            (await client.post(path, json=body)).raise_for_status()
        yield client


async def took(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> float:
    """Return how long an answer takes, in milliseconds; a search may be given up."""
    began = time.perf_counter()
    response = await client.post(path, json=body)
    if response.status_code != httpx.codes.UNPROCESSABLE_ENTITY:
        response.raise_for_status()
    return (time.perf_counter() - began) * 1_000


async def measure(sizes: Sequence[int], times: int) -> None:
    """Print medians and 95th percentiles, and how both grow from the first size to the last."""
    heads = [f"p50, p95 at {size:,}" for size in sizes]
    print("| asked for |", " | ".join(heads), "| ratios |")
    print("|---|", "---|" * (len(sizes) + 1), sep="")
    async with AsyncExitStack() as stack:
        clients = []
        for size in sizes:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            (folder / "data").mkdir(mode=0o700)
            client = await stack.enter_async_context(serving(folder, size))
            clients.append((client, shapes(size)))
        for name in shapes(sizes[0]):
            taken: list[list[float]] = [[] for _ in sizes]
            for _ in range(times):
                for (client, asked), milliseconds in zip(clients, taken, strict=True):
                    milliseconds.append(await took(client, *asked[name]))
            parts = [quantiles(milliseconds, n=20) for milliseconds in taken]
            shown = " | ".join(f"{part[9]:.2f}, {part[-1]:.2f} ms" for part in parts)
            ratios = [parts[-1][place] / parts[0][place] for place in (9, -1)]
            print(f"| {name} | {shown} | {ratios[0]:.2f}, {ratios[1]:.2f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--times", type=int, default=200)
    given = parser.parse_args()
    asyncio.run(measure(given.sizes, given.times))
