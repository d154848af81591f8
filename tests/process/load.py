"""Clients that create, wait for and cancel runs until the server under them is killed."""

import asyncio
from random import Random
from typing import Any
from uuid import uuid4

import httpx

from tests.process.history import History, Operation

CLIENTS = 6
THREADS = 40  # shared ones, which queue their runs up


class Load:
    """Asks for runs of every kind, and notes in the history what it was told."""

    def __init__(self, url: str, history: History, rng: Random) -> None:
        self._url = url
        self._history = history
        self._rng = rng
        self._threads = [str(uuid4()) for _ in range(THREADS)]
        self._known: list[Operation] = []

    @property
    def accepted(self) -> int:
        """How many runs clients have been told of."""
        return sum(one.result == "ok" for one in self._history.operations.values())

    async def until_killed(self) -> None:
        """Keep the server busy; return when it is gone for every client."""
        async with (
            httpx.AsyncClient(base_url=self._url, timeout=30) as http,
            asyncio.TaskGroup() as clients,
        ):
            for _ in range(CLIENTS):
                clients.create_task(self._client(http))

    async def _client(self, http: httpx.AsyncClient) -> None:
        try:
            while True:
                await self._act(http)
        except httpx.TransportError:
            return

    async def _act(self, http: httpx.AsyncClient) -> None:
        kinds = [self._on_a_thread, self._stateless, self._waited_for, self._cancel]
        await self._rng.choices(kinds, [10, 4, 3, 2])[0](http)

    async def _on_a_thread(self, http: httpx.AsyncClient) -> None:
        operation = self._history.invoke(self._rng.randint(1, 4), stateless=False)
        thread_id = self._rng.choice([str(uuid4()), self._rng.choice(self._threads)])
        body = {**self._body(operation), "if_not_exists": "create"}
        await self._ask(http, operation, f"/threads/{thread_id}/runs", body)
        if operation.result == "ok":
            self._known.append(operation)

    async def _stateless(self, http: httpx.AsyncClient) -> None:
        operation = self._history.invoke(self._rng.randint(1, 4), stateless=True)
        await self._ask(http, operation, "/runs", self._body(operation))

    async def _waited_for(self, http: httpx.AsyncClient) -> None:
        operation = self._history.invoke(self._rng.randint(1, 4), stateless=True)
        answer = await self._ask(http, operation, "/runs/wait", self._body(operation))
        operation.ended = answer.is_success and answer.json()["done"] == operation.steps

    async def _cancel(self, http: httpx.AsyncClient) -> None:
        if not self._known:
            return
        operation = self._rng.choice(self._known[-20:])
        operation.cancelled = True
        path = f"/threads/{operation.thread_id}/runs/{operation.run_id}/cancel"
        answer = await http.post(path, params={"wait": self._rng.choice(["true", "false"])})
        assert answer.is_success or answer.status_code == httpx.codes.NOT_FOUND, answer.text

    def _body(self, operation: Operation) -> dict[str, Any]:
        pause = self._rng.choice([0.0, 0.0, 0.005, 0.03])
        given = {"name": operation.name, "steps": operation.steps, "done": 0, "pause": pause}
        return {"assistant_id": "counter", "input": given, "metadata": {"name": operation.name}}

    async def _ask(
        self, http: httpx.AsyncClient, operation: Operation, path: str, body: dict[str, Any]
    ) -> httpx.Response:
        operation.result = "info"  # unless it gets to say otherwise
        answer = await http.post(path, json=body)
        if not answer.is_success:
            operation.result = "fail"
            return answer
        operation.result = "ok"
        place = answer.headers["content-location"].split("/")
        operation.thread_id, operation.run_id = place[2], place[4]
        return answer
