"""Who uses the service: each does one kind of task over and over, as a client of it would."""

import random
import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import gevent
from locust import FastHttpUser, task

from load.graphs import STEPS
from load.recorder import FIRST_EVENT, LAST_EVENT

RETRY = 5.0  # seconds that a user waits at most before beginning again
SHORT = 0.05  # seconds that a node takes, as a quick call of a model
LONG = 60.0  # seconds of a run that is to be cancelled
REFUSALS = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
MCP = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


class GaveUp(Exception):
    """A request was refused or failed, and has been counted; the user begins again."""


class User(FastHttpUser):
    """Somebody who does one thing after the other, with a connection of their own."""

    abstract = True
    done = 0  # tasks of all users of this process
    network_timeout = connection_timeout = 60.0  # seconds

    @task
    def work(self) -> None:
        """Do the task once."""
        try:
            self.act()
        except GaveUp:
            return
        User.done += 1

    def act(self) -> None:
        """Do what this kind of user does.

        Raises:
            GaveUp: it cannot be done now.
        """
        raise NotImplementedError

    def ask(self, method: str, path: str, name: str, body: Any = None, **how: Any) -> Any:
        """Send a request, and return the JSON of its answer.

        Raises:
            GaveUp: it was refused, and as much time has passed as the service said; or it failed.
        """
        answer = self._send(method, path, name, body, **how)
        return answer.json() if answer.content else None

    def lines(self, method: str, path: str, name: str, body: Any) -> Iterator[bytes]:
        """Send a request, and yield the lines of its answer as they come.

        Raises:
            GaveUp: as ``ask``.
        """
        answer = self._send(method, path, name, body, stream=True)
        # The public `iter_content` waits until a block is full, which hides when a line came.
        while line := answer._response.readline(b"\n"):  # noqa: SLF001
            yield line

    def _send(self, method: str, path: str, name: str, body: Any, **how: Any) -> Any:
        how |= {"name": name, "catch_response": True}
        with self.client.request(method, path, json=body, **how) as answer:
            status = answer.status_code
            later = (answer.headers or {}).get("retry-after")
            if status in REFUSALS and later is not None:
                answer.success()
            elif not 200 <= status < 300:  # noqa: PLR2004 - what HTTP calls a success
                reason = answer.error if status == 0 else f"retry-after {later}"
                answer.failure(f"{name}: status {status}, {reason}")
            else:
                return answer
        gevent.sleep(random.uniform(0.5, 1.0) * min(RETRY, float(later or 1.0)))
        raise GaveUp

    def expect(self, condition: object, name: str, found: Any) -> None:
        """Count it as a failure of ``name`` when what was found is not what had to be.

        Raises:
            GaveUp: it is not.
        """
        if not condition:
            self.tell(name, 0.0, f"{name}: found {str(found)[:200]}")
            raise GaveUp

    def tell(self, name: str, took: float, problem: str | None = None) -> None:
        """Count something that is no answer by itself, such as an event of a stream."""
        self.environment.events.request.fire(
            request_type="SSE",
            name=name,
            response_time=took * 1_000,
            response_length=0,
            exception=None if problem is None else GaveUp(problem),
            context={},
        )

    def new_thread(self) -> str:
        """Return the path of a new thread."""
        thread = self.ask("POST", "/threads", "create thread", {})
        return f"/threads/{thread['thread_id']}"

    def delete(self, thread: str) -> None:
        """Take a thread away, so that a long test does not fill the disk."""
        self.ask("DELETE", thread, "delete thread")


class Waiting(User):
    """Runs something without a thread and waits for what comes of it."""

    def act(self) -> None:
        """Run it."""
        body = {"assistant_id": "nothing", "input": {"text": "some words"}}
        found = self.ask("POST", "/runs/wait", "wait", body)
        self.expect(found.get("done") == len("some words"), "wait", found)


class Background(User):
    """Starts runs on a thread, comes back for each, and reads what the thread has then."""

    def act(self) -> None:
        """Do two runs."""
        thread = self.new_thread()
        for _ in range(2):
            body = {"assistant_id": "sleeping", "input": {"seconds": SHORT}}
            run = self.ask("POST", f"{thread}/runs", "create run", body)
            self.ask("GET", f"{thread}/runs/{run['run_id']}/join", "join run")
        state = self.ask("GET", f"{thread}/state", "read state")
        self.expect(state["values"].get("done") == 2, "read state", state)  # noqa: PLR2004
        self.delete(thread)


class Streaming(User):
    """Follows a run of five steps: when is there something to see, and when has it ended?"""

    def act(self) -> None:
        """Follow one."""
        body = {
            "assistant_id": "steps",
            "input": {"seconds": SHORT},
            "stream_mode": ["updates"],
        }
        begun = time.perf_counter()
        events = 0
        for line in self.lines("POST", "/runs/stream", "open stream", body):
            if line.startswith(b"event: updates"):
                events += 1
                if events == 1:
                    self.tell(FIRST_EVENT, time.perf_counter() - begun)
        self.expect(events == STEPS, LAST_EVENT, events)
        self.tell(LAST_EVENT, time.perf_counter() - begun)


class Priorities(User):
    """Runs of three priorities, which wait differently when the slots are taken."""

    def act(self) -> None:
        """Run one."""
        priority = random.choice((0, 5, 10))
        name = f"wait, priority {priority}"
        body = {"assistant_id": "sleeping", "input": {"seconds": SHORT}, "priority": priority}
        found = self.ask("POST", "/runs/wait", name, body)
        self.expect(found.get("done") == 1, name, found)


class Approving(User):
    """A run asks a human, who thinks a moment and answers."""

    def act(self) -> None:
        """Let it ask, and answer."""
        thread = self.new_thread()
        body: dict[str, Any] = {"assistant_id": "asking", "input": {"text": "a draft"}}
        found = self.ask("POST", f"{thread}/runs/wait", "run until it asks", body)
        self.expect("__interrupt__" in found, "run until it asks", found)
        gevent.sleep(random.uniform(0.0, 0.2))
        answer = {"assistant_id": "asking", "command": {"resume": "approved"}}
        found = self.ask("POST", f"{thread}/runs/wait", "answer it", answer)
        self.expect(found.get("text") == "approved", "answer it", found)
        self.delete(thread)


class Cancelling(User):
    """Changes their mind: starts something long and has it stopped."""

    def act(self) -> None:
        """Start and stop one."""
        thread = self.new_thread()
        body = {"assistant_id": "sleeping", "input": {"seconds": LONG}}
        run = self.ask("POST", f"{thread}/runs", "create run", body)
        path = f"{thread}/runs/{run['run_id']}"
        self.ask("POST", f"{path}/cancel?wait=true", "cancel run")
        found = self.ask("GET", path, "read run")
        self.expect(found["status"] == "interrupted", "read run", found)
        self.delete(thread)


class CallingTools(User):
    """A host of the Model Context Protocol, which calls an assistant as a tool."""

    def act(self) -> None:
        """Call it."""
        arguments: Mapping[str, Any] = {"text": "some words"}
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "nothing", "arguments": arguments, "_meta": MCP},
        }
        headers = {
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": "2026-07-28",
            "mcp-method": "tools/call",
            "mcp-name": "nothing",
        }
        found = self.ask("POST", "/mcp", "call tool", body, headers=headers)
        self.expect("result" in found and not found["result"].get("isError"), "call tool", found)
