"""The requests of the LangGraph API that the workloads send."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from load.wire import Answer, Client, Connection, connect, request

HOST = "127.0.0.1"
CONNECTIONS = 1_024  # at most
TIMEOUT = 120.0  # seconds for one answer
TERMINAL = frozenset({"success", "error", "timeout", "interrupted", "cancelled"})
GONE = "gone"  # a run that the server does not know


class Api:
    """Runs of one server. ``stateless`` ones go without a thread, others on a fresh one."""

    def __init__(self, port: int, *, stateless: bool) -> None:
        self.stateless = stateless
        self._port = port
        self._client = Client(HOST, port, CONNECTIONS)

    def wait_request(self, graph: str, given: Any, *, stateless: bool | None = None) -> bytes:
        """Return the request that runs a graph and is answered with its result."""
        body = {"assistant_id": graph, "input": given}
        if self.stateless if stateless is None else stateless:
            return self.build("/runs/wait", body)
        return self.build(f"/threads/{uuid4()}/runs/wait", {**body, "if_not_exists": "create"})

    def stream_request(self, graph: str, given: Any) -> bytes:
        """Return the request that runs a graph and is answered with its state at each step."""
        body = {"assistant_id": graph, "input": given, "stream_mode": ["values"]}
        if self.stateless:
            return self.build("/runs/stream", body)
        return self.build(f"/threads/{uuid4()}/runs/stream", {**body, "if_not_exists": "create"})

    async def create(self, graph: str, given: Any) -> Answer:
        """Create a run on a fresh thread, and wait for nothing more."""
        body = {"assistant_id": graph, "input": given, "if_not_exists": "create"}
        return await self.send(self.build(f"/threads/{uuid4()}/runs", body))

    async def cancel(self, thread_id: str, run_id: str) -> Answer:
        """Cancel a run, and wait for nothing more."""
        path = f"/threads/{thread_id}/runs/{run_id}/cancel?wait=0"
        return await self.send(self.build(path, {}))

    async def show(self, thread_id: str, run_id: str) -> dict[str, Any]:
        """Return a run; its status is `GONE` where the server knows none.

        Raises:
            RuntimeError: the server answers with an error.
        """
        path = f"/threads/{thread_id}/runs/{run_id}"
        answer = await self.send(self.build(path, None, method="GET"))
        if answer.status == HTTPStatus.NOT_FOUND:
            return {"status": GONE}
        if not answer.success:
            raise RuntimeError(said(answer))
        found: dict[str, Any] = answer.json()
        return found

    def build(self, path: str, body: Mapping[str, Any] | None, *, method: str = "POST") -> bytes:
        """Return a request to this server."""
        return request(path, body, f"{HOST}:{self._port}", method=method)

    async def send(self, message: bytes) -> Answer:
        """Send a request over a connection that is free.

        Raises:
            OSError: the server cannot be reached, or gives no answer within two minutes.
        """
        async with asyncio.timeout(TIMEOUT):
            return await self._client.send(message)

    async def connect(self) -> Connection:
        """Return a connection for the caller alone."""
        return await connect(HOST, self._port)

    def close(self) -> None:
        """Close the connections that are kept; others are made for what is sent next."""
        self._client.close()
        self._client = Client(HOST, self._port, CONNECTIONS)


def good(answer: Answer) -> bool:
    """Whether a run was waited for and gave its result."""
    body = answer.body
    return answer.success and b'"out"' in body and b"__error__" not in body


def said(answer: Answer) -> str:
    """Return how an answer reads that is not as it should be."""
    return f"{answer.status} {answer.body[:100]!r}"
