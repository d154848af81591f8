"""``make demo``: start the server, send it real work over HTTP, and show each run finishing.

Stays up until Ctrl-C, for you to try things; with ``--once``, or where CI=true, it ends after the
show. Run it in the repository's root.
"""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from rich.console import Console

from operations.ports import PortTaken, choose_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HOST = "127.0.0.1"
START_LIMIT = 120.0  # seconds; a slow machine takes its time
STOP_LIMIT = 30.0  # seconds
BURST = 200  # runs
PAGES_SHOWN = 3

out = Console(highlight=False, soft_wrap=True)


class Stopped(Exception):
    """The server ended when nobody had asked it to."""


def seconds_since(began: float) -> str:
    """Return the time that has passed, for people."""
    return f"{time.perf_counter() - began:.2f} s"


def title(text: str) -> None:
    """Begin a part of the show."""
    out.print(f"\n[bold cyan]{text}[/]")


@asynccontextmanager
async def server(port: int, folder: Path) -> "AsyncIterator[subprocess.Popen[bytes]]":
    """Run ``masterloop dev`` until the block ends; its words go to a file in ``folder``."""
    command = [sys.executable, "-m", "orchestration", "dev", "--no-browser"]
    command += ["--config", "examples/langgraph.json", "--host", HOST, "--port", str(port)]
    environment = {"MASTERLOOP_DATA_DIR": str(folder / "data")} | os.environ
    with (folder / "server.log").open("wb") as log:
        # In a group of its own: Ctrl-C is for us, who stop it in good order.
        process = subprocess.Popen(  # noqa: ASYNC220, S603 - once, before anything else
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, process_group=0
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                await asyncio.to_thread(process.wait, STOP_LIMIT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def until_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    """Wait until the server is ready.

    Raises:
        Stopped: it ended before, or took too long.
    """
    deadline = time.monotonic() + START_LIMIT
    async with httpx.AsyncClient(base_url=url) as client:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if (await client.get("/readyz")).is_success:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)
    raise Stopped("the server did not start")


async def show_digest(client: LangGraphClient) -> None:
    """Fan out over real files, streaming progress."""
    title("digest: one branch per file of README.md and docs, then a reduce")
    began, files = time.perf_counter(), 0
    submitted: dict[str, Any] = {"paths": ["README.md", "docs"]}
    result: dict[str, Any] = {}
    thread = await client.threads.create()
    async for part in client.runs.stream(
        thread["thread_id"],
        "digest",
        input=submitted,
        stream_mode=["custom", "values"],
    ):
        if part.event == "custom" and part.data.get("step") == "read":
            files += 1
            out.print(f"  read {part.data['file']} ({part.data['words']} words)")
        elif part.event == "values":
            result = part.data
    digest = result["digest"]
    out.print(f"  [green]success[/] {digest['totals']} in {seconds_since(began)}")
    out.print(f"  top words: {', '.join(digest['top_words'])}", markup=False)
    for sentence in digest["key_sentences"][:2]:
        out.print(f"  “{sentence['text']}” ({sentence['source']})", markup=False)
    for unread in result["errors"]:
        out.print(f"  not read: {unread['path']}: {unread['error']}", markup=False)


async def show_approval(client: LangGraphClient) -> None:
    """Stop for a human, and go on with the answer."""
    title("approval: a draft that waits for a human")
    began = time.perf_counter()
    thread = await client.threads.create()
    draft: dict[str, Any] = {
        "title": "Masterloop",
        "changes": ["feat: a run server for LangGraph agents", "feat: runs survive kill -9"],
    }
    waiting = await client.runs.wait(thread["thread_id"], "approval", input=draft)
    assert isinstance(waiting, dict)  # noqa: S101 - the SDK allows for more than graphs give
    question = waiting["__interrupt__"][0]["value"]
    out.print(f"  [yellow]interrupted[/] {question['question']}")
    for line in question["draft"].splitlines():
        out.print(f"    {line}", markup=False)
    out.print("  answering: approve")
    state = await client.runs.wait(thread["thread_id"], "approval", command={"resume": "approve"})
    assert isinstance(state, dict)  # noqa: S101 - as above
    out.print(f"  [green]success[/] {state['status']} in {seconds_since(began)}")


async def show_crawler(client: LangGraphClient) -> None:
    """Watch a long run, and cancel it."""
    title("crawler: a long run, cancelled after a few pages")
    thread_id = (await client.threads.create())["thread_id"]
    run = await client.runs.create(
        thread_id, "crawler", input={"root": ".", "delay": 0.5}, stream_mode=["custom"]
    )
    pages = 0
    async for part in client.runs.join_stream(thread_id, run["run_id"], stream_mode=["custom"]):
        if part.event == "custom":
            pages += 1
            out.print(f"  visited {part.data['page']} ({part.data['links']} links)")
        if pages == PAGES_SHOWN:
            break
    began = time.perf_counter()
    await client.runs.cancel(thread_id, run["run_id"], wait=True)
    status = (await client.runs.get(thread_id, run["run_id"]))["status"]
    out.print(f"  [yellow]{status}[/] {seconds_since(began)} after the request")


async def show_burst(client: LangGraphClient) -> None:
    """Submit many background runs at once, and wait for them all."""
    title(f"burst: {BURST} background runs of digest, each on a thread of its own")
    submitted: dict[str, Any] = {"paths": ["LICENSE", "README.md"]}
    statuses: Counter[str] = Counter()

    async def one() -> None:
        thread_id = str(uuid.uuid4())
        run = await client.runs.create(thread_id, "digest", input=submitted, if_not_exists="create")
        await client.runs.join(thread_id, run["run_id"])
        statuses[(await client.runs.get(thread_id, run["run_id"]))["status"]] += 1

    began = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(BURST):
            tasks.create_task(one())
    took = time.perf_counter() - began
    shown = ", ".join(f"{count} {status}" for status, count in statuses.items())
    out.print(f"  [green]{shown}[/] in {took:.2f} s: {BURST / took:.0f} runs/s")


def show_what_next(url: str, log: Path) -> None:
    """Say what to try."""
    title("It stays up. In another terminal, try")
    body = '{"assistant_id": "digest", "input": {"paths": ["README.md"]}}'
    here = "" if url.endswith(":8123") else f' --url "{url}"'
    out.print(
        f"""
  curl {url}/runs/wait -H 'content-type: application/json' \\
       -d '{body}'

  .venv/bin/masterloop run crawler '{{"root": "docs", "delay": 0.2}}' --follow{here}
  .venv/bin/masterloop runs ls{here}

  # Python, in .venv/bin/python -m asyncio
  from langgraph_sdk import get_client
  client = get_client(url="{url}")
  async for part in client.runs.stream(None, "digest", input={{"paths": ["docs"]}},
                                       stream_mode=["updates", "custom"]):
      print(part.event, part.data)

  The API is described at {url}/docs; what the server says is in {log}.
  Ctrl-C stops it.""",
        markup=False,
    )


async def show(url: str) -> None:
    """Give the whole show."""
    # The burst has more runs than the client has connections: on a slow machine they wait for one.
    client = get_client(url=url, api_key=None, timeout=300)
    try:
        await show_digest(client)
        await show_approval(client)
        await show_crawler(client)
        await show_burst(client)
    finally:
        await client.aclose()


async def demo(*, once: bool) -> int:
    """Start the server, give the show, and stay until told to stop; return the exit code."""
    try:
        port = choose_port(HOST, None)
    except PortTaken as error:
        out.print(f"[red]{error}[/]")
        return 1
    url, began = f"http://{HOST}:{port}", time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="masterloop-demo-") as name:
        log = Path(name) / "server.log"
        async with server(port, Path(name)) as process:
            try:
                await until_ready(url, process)
                out.print(f"The server is ready at [bold]{url}[/] after {seconds_since(began)}.")
                await show(url)
                if once:
                    return 0
                show_what_next(url, log)
                await asyncio.to_thread(process.wait)
            except (Stopped, httpx.HTTPError) as error:
                out.print(f"[red]The demo failed: {error}[/]")
            except asyncio.CancelledError:
                out.print("\nStopping the server …")
                raise
            out.print("[red]The server has ended. Its last words:[/]")
            out.print("\n".join(log.read_text(errors="replace").splitlines()[-20:]), markup=False)
    return 1


async def main() -> int:
    """Run the demo; SIGTERM ends it as Ctrl-C does, and so does the end of the terminal."""
    once = "--once" in sys.argv[1:] or os.environ.get("CI") == "true"
    loop, received = asyncio.get_running_loop(), list[signal.Signals]()
    work = asyncio.create_task(demo(once=once))

    def stop(number: signal.Signals) -> None:
        if not received:
            work.cancel()
        received.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as it is under nohup
        loop.add_signal_handler(signal.SIGHUP, stop, signal.SIGHUP)
    try:
        return await work
    except asyncio.CancelledError:
        return 128 + received[0]


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
