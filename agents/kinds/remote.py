"""The kind ``remote``: an assistant of another server with LangGraph's API."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, cast
from uuid import UUID, uuid5

import httpx
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIError
from langgraph_sdk.schema import RunCreateMetadata
from langgraph_sdk.sse import BytesLineDecoder

from agents.agent import Context, Lost, Task
from agents.configuration import Limits, RemotePool
from agents.errors import AgentLost, StartFailed, TaskFailed, TaskRejected
from operations.json_text import TOO_LARGE, has_large_integer

_CONNECT = 5.0  # seconds
_LARGE = ", large"  # behind the name of an event with an integer that the SDK makes a float
_INTERRUPTS = "__interrupt__"  # where values have the questions that the run ended with
_GRAPHS = UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")  # LangGraph's name space of assistants


class RemoteAgent:
    """Has each task done by a stateless run, which is cancelled when the task is."""

    def __init__(self, section: RemotePool, name: str) -> None:
        self.limits: Limits = section.limits
        self.capabilities = frozenset(section.capabilities or (name,))
        self._assistant = section.assistant
        self._looked_up = section.assistant  # by which the server finds it
        url = httpx.URL(section.url)
        # Built by hand: get_client would send whatever API keys it finds in the environment.
        self._http = httpx.AsyncClient(
            # Without its user and password, which errors would tell.
            base_url=url.copy_with(userinfo=b""),
            auth=(url.username, url.password) if url.userinfo else None,
            # As it is: what was compressed could not be looked at before the SDK reads it.
            headers={"accept-encoding": "identity", **section.headers},
            timeout=httpx.Timeout(None, connect=_CONNECT),
            follow_redirects=False,
            trust_env=False,
            event_hooks={"response": [_forget_where_to_reconnect, _look_for_large_integers]},
        )
        self._client = LangGraphClient(self._http)

    async def start(self, lost: Lost) -> None:  # noqa: ARG002 - only a probe tells
        """See that the server answers and has the assistant."""
        try:
            await self.probe()
        except (httpx.HTTPError, AgentLost) as error:
            raise StartFailed(f"{self._http.base_url}: {_why(error)}") from error

    async def invoke(self, task: Task, context: Context) -> Any:
        """Stream a run; its custom events are the task's, its last values the result.

        A server that is busy, and says for how long, is asked again then.
        """
        while True:
            context.started = True
            try:
                return await self._follow(task, context)
            except httpx.HTTPStatusError as error:
                status = error.response.status_code
                refused = status < HTTPStatus.INTERNAL_SERVER_ERROR
                context.started = not refused and status != HTTPStatus.SERVICE_UNAVAILABLE
                if refused:
                    raise TaskRejected(f"the server says: {_why(error)}") from error
                wait = _asked_wait(error.response)
                if wait is None:
                    raise AgentLost(_why(error), started=context.started) from error
            except httpx.HTTPError as error:
                context.started = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                raise AgentLost(_why(error), started=context.started) from error
            await asyncio.sleep(min(wait, self.limits.task_timeout))

    async def probe(self) -> None:
        """Ask the server for the assistant."""
        answer = await self._http.get(f"/assistants/{self._looked_up}")
        if answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY:
            # LangGraph's own server runs an assistant by the name of its graph, but shows it by id.
            self._looked_up = str(uuid5(_GRAPHS, self._assistant))
            answer = await self._http.get(f"/assistants/{self._looked_up}")
        if not answer.is_success:  # a redirect, too: no run would follow it
            raise AgentLost(f"the server answers {answer.status_code} for {self._assistant!r}")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _follow(self, task: Task, context: Context) -> Any:
        result: Any = None
        large = False
        created: list[RunCreateMetadata] = []
        stream = self._client.runs.stream(
            None,
            self._assistant,
            input=task.input,
            stream_mode=["values", "custom"],
            on_disconnect="cancel",
            metadata={"task_id": task.task_id, "capability": task.capability},
            headers=context.trace,
            on_run_created=created.append,
        )
        async with aclosing(cast("Any", stream)):
            async for part in stream:
                name = part.event.removesuffix(_LARGE)
                match name:
                    case "custom":
                        context.publish(part.data, large=name != part.event)
                    case "values":
                        result, large = part.data, name != part.event
                    case "error":
                        raise TaskFailed(_said(part.data))
                    case "end":
                        return _judged(result, large=large)
                    case _:
                        pass
        if not created or not await self._is_over(created[0]):
            raise AgentLost("the stream of the run broke off")
        return _judged(result, large=large)

    async def _is_over(self, run: RunCreateMetadata) -> bool:
        """Ask for a run whose stream told no end; LangGraph's own server tells none.

        That knows no run of this kind any more once it is over. One that stops, under the run, does
        not answer.
        """
        thread_id = run["thread_id"]
        place = "" if thread_id is None else f"/threads/{thread_id}"
        try:
            answer = await self._http.get(f"{place}/runs/{run['run_id']}")
        except httpx.HTTPError:
            return False
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return True
        return answer.is_success and answer.json()["status"] == "success"


class _Looked(httpx.AsyncByteStream):
    """The events of a stream; the names of those with a large integer say so."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        lines, name, large = BytesLineDecoder(), b"event:", False
        async for chunk in self._stream:
            for line in map(bytes, lines.decode(chunk)):
                if line.startswith(b"event:"):
                    name = line
                elif line.startswith(b"data:"):
                    large = large or has_large_integer(line)
                elif not line:
                    if large:  # of several names, the last one counts
                        yield name + _LARGE.encode() + b"\n"
                    name, large = b"event:", False
                yield line + b"\n"
        for rest in lines.flush():
            yield bytes(rest)

    async def aclose(self) -> None:
        await self._stream.aclose()


def _judged(values: Any, *, large: bool) -> Any:
    if isinstance(values, dict) and _INTERRUPTS in values:
        raise TaskFailed("the assistant waits for a human, whom an agent does not have")
    if large:
        raise TaskFailed(f"its answer cannot be taken: {TOO_LARGE}")
    return values


def _asked_wait(response: httpx.Response) -> float | None:
    """Return in how many seconds a server that is busy is to be asked again, None if it is not."""
    asked = response.headers.get("retry-after", "")
    if response.status_code != HTTPStatus.SERVICE_UNAVAILABLE or not asked.isdecimal():
        return None
    return max(float(asked), 1.0)


async def _forget_where_to_reconnect(response: httpx.Response) -> None:
    """Keep the SDK from joining the run again: it was cancelled with the connection."""
    response.headers.pop("location", None)


async def _look_for_large_integers(response: httpx.Response) -> None:
    """Have the events of a stream told apart that do not read as they were written."""
    told = response.headers.get("content-type", "").startswith("text/event-stream")
    if told and "content-encoding" not in response.headers:
        response.stream = _Looked(cast("httpx.AsyncByteStream", response.stream))


def _why(error: Exception) -> str:
    if isinstance(error, APIError):
        return error.message
    return str(error) or type(error).__name__


def _said(data: Any) -> str:
    if isinstance(data, dict) and "message" in data:
        return f"{data.get('error', 'error')}: {data['message']}"
    return str(data)
