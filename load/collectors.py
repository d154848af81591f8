"""What a collector that is dead, slow or silent costs runs: their time, memory, the stop.

    PYTHONPATH=. chrt -r 10 .venv/bin/python load/collectors.py [SECONDS [none KIND ...]]

Five services at once: one that sends nothing, and one each whose collector takes everything at
once, answers after two seconds, never answers, or is not there. Runs are waited for, four at a
time, at one service after the other in random order, in windows of a second.
"""

import asyncio
import random
import re
import socket
import statistics
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import AsyncExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import ClassVar

import httpx
import psutil

from load.service import Service, open_service

SECONDS = 300
WINDOW = 1.0  # seconds
AT_ONCE = 4
SLOW = 2.0  # seconds
WARM_UP = 3  # rounds
RUN = {"assistant_id": "nothing", "input": {"text": "x"}}
DROPPED = re.compile(r"^masterloop_telemetry_dropped_total\{(.*)\} (\S+)$", re.MULTILINE)
MIB = 1024**2


class Handler(BaseHTTPRequestHandler):
    """Takes everything, after a while."""

    protocol_version = "HTTP/1.1"
    pause: ClassVar[float] = 0.0

    def do_POST(self) -> None:
        """Answer that it was taken."""
        self.rfile.read(int(self.headers["content-length"]))
        time.sleep(self.pause)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Slow(Handler):
    """Takes its time."""

    pause = SLOW


def collect(told: Connection) -> None:
    """Be three collectors, in a process of their own, until the other end is closed."""
    well, slow = (ThreadingHTTPServer(("127.0.0.1", 0), kind) for kind in (Handler, Slow))
    for server in (well, slow):
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
    with socket.create_server(("127.0.0.1", 0), backlog=1_000) as silent:
        places = (well.server_address[1], slow.server_address[1], silent.getsockname()[1])
        told.send(places)
        told.poll(None)


@contextmanager
def collectors() -> Generator[Mapping[str, str | None]]:
    """Yield where each kind is, by what it is called."""
    spawning = get_context("spawn")
    here, there = spawning.Pipe()
    process = spawning.Process(target=collect, args=(there,), daemon=True)
    process.start()
    well, slow, silent = here.recv()
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        dead = nobody.getsockname()[1]
    try:
        yield {
            "none": None,
            "well": f"http://127.0.0.1:{well}",
            "slow": f"http://127.0.0.1:{slow}",
            "silent": f"http://127.0.0.1:{silent}",
            "dead": f"http://127.0.0.1:{dead}",
        }
    finally:
        process.kill()
        process.join()


async def window(service: Service, http: httpx.AsyncClient) -> list[float]:
    """Return the seconds that each run of a window took."""
    end = time.perf_counter() + WINDOW
    took: list[float] = []

    async def wait_for_runs() -> None:
        while (begun := time.perf_counter()) < end:
            (await http.post(f"{service.url}/runs/wait", json=RUN)).raise_for_status()
            took.append(time.perf_counter() - begun)

    await asyncio.gather(*(wait_for_runs() for _ in range(AT_ONCE)))
    return took


def memory(service: Service) -> int:
    """Return how many bytes a service has in memory."""
    size: int = psutil.Process(service.process.pid).memory_info().rss
    return size


def p95(took: list[float]) -> float:
    """Return it, in seconds."""
    return sorted(took)[int(len(took) * 0.95)]


async def measure(services: Mapping[str, Service], seconds: float) -> None:
    """Measure and tell."""
    found: dict[str, list[list[float]]] = {name: [] for name in services}
    before: dict[str, int] = {}
    end = time.perf_counter() + seconds
    async with httpx.AsyncClient(timeout=60) as http:
        while time.perf_counter() < end:
            for name in random.sample(sorted(services), len(services)):
                found[name].append(await window(services[name], http))
            if len(found["none"]) == WARM_UP:
                before = {name: memory(one) for name, one in services.items()}
        print(f"{len(found['none']) - WARM_UP} windows each")
        for name, service in services.items():
            grown = (memory(service) - before[name]) / MIB
            pairs = zip(found[name][WARM_UP:], found["none"][WARM_UP:], strict=True)
            ratio = statistics.median(p95(own) / p95(other) for own, other in pairs)
            middle = statistics.median(p95(took) for took in found[name][WARM_UP:])
            text = (await http.get(f"{service.url}/metrics")).text
            dropped = {labels: int(float(count)) for labels, count in DROPPED.findall(text)}
            begun = time.perf_counter()
            await service.stop()
            stopped = time.perf_counter() - begun
            print(
                f"{name:6} p95 {middle * 1e3:6.2f} ms, {ratio:.2f} of none; "
                f"{sum(map(len, found[name])):6} runs; memory {grown:+6.1f} MiB; "
                f"stop {stopped:.2f} s; dropped {dropped or 'nothing'}"
            )


async def main() -> None:
    """Start everything, and measure."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    with TemporaryDirectory() as folder, collectors() as places:
        async with AsyncExitStack() as stack:
            services: dict[str, Service] = {}
            for name in sys.argv[2:] or places:
                place = places[name]
                settings = {"MASTERLOOP_LOG_LEVEL": "info", "OTEL_METRIC_EXPORT_INTERVAL": "5000"}
                if place is not None:
                    settings["OTEL_EXPORTER_OTLP_ENDPOINT"] = place
                opening = open_service(settings, Path(folder) / f"{name}.log")
                services[name] = await stack.enter_async_context(opening)
            await measure(services, seconds)


if __name__ == "__main__":
    asyncio.run(main())
