"""The requests of the LangGraph API that the workloads send."""

from typing import Any
from uuid import uuid4

from load.bench.client import Client, Response

TERMINAL = frozenset({"success", "error", "timeout", "interrupted", "cancelled"})
GONE = "gone"  # a run that the server does not know


class Api:
    """Runs of one server. ``stateless`` ones go without a thread, others on a fresh one."""

    def __init__(self, client: Client, *, stateless: bool) -> None:
        self.client = client
        self.stateless = stateless

    def wait_request(self, graph: str, given: Any, *, stateless: bool | None = None) -> bytes:
        """Return the request that runs a graph and is answered with its result."""
        return self._request("runs/wait", {"assistant_id": graph, "input": given}, stateless)

    def stream_request(self, graph: str, given: Any) -> bytes:
        """Return the request that runs a graph and is answered with its state at each step."""
        body = {"assistant_id": graph, "input": given, "stream_mode": ["values"]}
        return self._request("runs/stream", body, None)

    async def create(self, graph: str, given: Any) -> Response:
        """Create a run on a fresh thread, and wait for nothing more."""
        body = {"assistant_id": graph, "input": given, "if_not_exists": "create"}
        return await self.client.request("POST", f"/threads/{uuid4()}/runs", body)

    async def cancel(self, thread_id: str, run_id: str) -> Response:
        """Cancel a run, and wait for nothing more."""
        path = f"/threads/{thread_id}/runs/{run_id}/cancel?wait=0"
        return await self.client.request("POST", path, {})

    async def show(self, thread_id: str, run_id: str) -> dict[str, Any]:
        """Return a run; its status is `GONE` where the server knows none.

        Raises:
            RuntimeError: the server answers with an error.
        """
        response = await self.client.request("GET", f"/threads/{thread_id}/runs/{run_id}")
        if response.status == 404:  # noqa: PLR2004 - a status
            return {"status": GONE}
        if not response.success:
            raise RuntimeError(f"{response.status} {response.body[:100]!r}")
        found: dict[str, Any] = response.json()
        return found

    def _request(self, path: str, body: dict[str, Any], stateless: bool | None) -> bytes:  # noqa: FBT001 - as given
        if self.stateless if stateless is None else stateless:
            return self.client.build("POST", f"/{path}", body)
        body["if_not_exists"] = "create"
        return self.client.build("POST", f"/threads/{uuid4()}/{path}", body)


def good(response: Response) -> bool:
    """Whether a run was waited for and gave its result."""
    return response.success and b'"out"' in response.body and b"__error__" not in response.body
