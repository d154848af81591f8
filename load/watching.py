"""What the service says of itself, and the system of it, once a second while it is under load."""

import json
import time
from typing import Any, TextIO

import anyio
import httpx
import psutil

TURN = 1.0  # seconds
PATIENCE = 10.0  # seconds for the service to say how it is
MB = 1e6


async def watch(url: str, pid: int, file: TextIO) -> None:
    """Write a line of JSON a second, until cancelled or the process is gone.

    ``rss`` is in MB, ``cpu`` in cores, ``probe`` what ``GET /ops/status`` took in seconds, or null
    when it was not answered; then there is nothing of what it says.
    """
    process = psutil.Process(pid)
    process.cpu_percent()
    due = anyio.current_time()
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as http:
        while True:
            due = max(due + TURN, anyio.current_time())
            await anyio.sleep_until(due)
            try:
                line = {"at": time.time(), **_of_the_process(process), **await _status(http)}
            except psutil.NoSuchProcess:
                return
            file.write(json.dumps(line) + "\n")


def _of_the_process(process: psutil.Process) -> dict[str, float]:
    with process.oneshot():
        return {
            "cpu": process.cpu_percent() / 100,
            "rss": process.memory_info().rss / MB,
            "descriptors": process.num_fds(),
            "threads": process.num_threads(),
        }


async def _status(http: httpx.AsyncClient) -> dict[str, Any]:
    begun = anyio.current_time()
    try:
        parts = (await http.get("/ops/status")).raise_for_status().json()["components"]
    except httpx.HTTPError:
        return {"probe": None}
    probe = anyio.current_time() - begun
    queue, loop = parts["queue"]["figures"], parts["event_loop"]["figures"]
    return {
        "probe": probe,
        "waiting": queue["waiting"],
        "working": queue["working"],
        "zombies": parts["threads"]["figures"]["zombie_runs"],
        "lag": loop["lag"],
        "lag_p99": loop["lag_p99"],
        "tasks": loop["tasks"],
    }
