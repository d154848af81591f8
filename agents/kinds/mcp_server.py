"""The kind ``mcp``: a server of the Model Context Protocol. Its tools are its capabilities."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeAlias, cast

import anyio
import httpx2
import mcp_types as wire
from anyio.streams.memory import MemoryObjectSendStream
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from pydantic_core import to_json

from agents.agent import Context, Lost, Task
from agents.child import UNREAD, Child, spawn
from agents.configuration import Limits, McpPool, Subprocess
from agents.errors import AgentLost, StartFailed, TaskFailed, TaskRejected
from agents.groups import Groups
from agents.lines import SHOWN, Lines, LineTooLong

_AHEAD = 1_000  # messages that a server may be ahead
_CONNECT = 5.0  # seconds
_PAGES = 100  # of tools
_SESSION = "mcp-session-id"  # the header of whatever belongs to one
_FORGOTTEN = "the server knows its session no more"  # it has started anew, as a rule

Incoming: TypeAlias = SessionMessage | Exception


class McpAgent:
    """Calls a tool for each task. The client lives in a task of its own, as the SDK wants it."""

    def __init__(self, section: McpPool, root: Path, groups: Groups | None) -> None:
        self.limits: Limits = section.limits
        self.capabilities: frozenset[str] = frozenset(section.capabilities)
        self._section = section
        self._root = root
        self._groups = groups
        self._client: Client | None = None
        self._closing = asyncio.Event()
        self._working = False
        self._forgotten = False
        self._lost: Lost = lambda _: None
        self._life: asyncio.Task[None] | None = None
        self._pipe: _Pipe | None = None

    async def start(self, lost: Lost) -> None:
        """Connect, and learn which tools there are."""
        started: asyncio.Future[frozenset[str]] = asyncio.get_running_loop().create_future()
        self._life = life = asyncio.create_task(self._live(started), name="mcp-client")
        either: set[asyncio.Future[Any]] = {started, life}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not started.done():
            raise StartFailed(f"it did not start: {self._reason(life)}", self._stderr)
        tools = started.result()
        if missing := sorted(self.capabilities - tools):
            raise StartFailed(f"the server has no tool {missing[0]!r}; it has {sorted(tools)}")
        self.capabilities = self.capabilities or tools
        self._lost = lost
        life.add_done_callback(lambda life: self._tell(self._reason(life)))
        if self._pipe is not None:
            self._pipe.broke = self._tell

    async def invoke(self, task: Task, context: Context) -> Any:
        """Call the tool that the capability names; progress becomes events."""
        if not isinstance(task.input, dict):
            raise TaskRejected("the input of a tool has to be an object")
        try:
            to_json(task.input)
        except ValueError as error:  # here: what writes it for the server would end with it
            raise TaskRejected(f"the task cannot be put into JSON: {error}") from error

        async def progressed(progress: float, total: float | None, message: str | None) -> None:
            context.publish({"progress": progress, "total": total, "message": message})

        client = self._connected
        context.started = self._working = True
        try:
            result = await client.call_tool(
                task.capability, task.input, progress_callback=progressed, meta=_meta(context)
            )
        except MCPError as error:
            if error.code == wire.CONNECTION_CLOSED:
                raise AgentLost(self._reason(self._life), self._stderr) from error
            if self._forgotten:
                context.started = False
                raise AgentLost(_FORGOTTEN, started=False) from error
            raise TaskFailed(error.message) from error
        finally:
            self._working = False
        return _content(result)

    async def probe(self) -> None:
        """Have the server answer something that every one answers; not while it works."""
        if not self._working:
            try:
                await self._connected.list_tools(cache_mode="bypass")
            finally:
                if self._forgotten:  # no other probe can be answered
                    self._tell(_FORGOTTEN)
        elif self._pipe is not None and self._pipe.stands_still:
            raise AgentLost("it was stopped")

    async def aclose(self) -> None:
        """Disconnect; end the subprocess if it is ours."""
        self._closing.set()
        if self._life is not None:
            if self._client is None:  # still connecting
                self._life.cancel()
            _, pending = await asyncio.wait({self._life}, timeout=self._section.parting)
            for life in pending:
                life.cancel()
        if self._pipe is not None:
            await self._pipe.end()

    @property
    def _connected(self) -> Client:
        if self._client is None:
            raise AgentLost("it is not connected", started=False)
        return self._client

    @property
    def _stderr(self) -> str:
        return "" if self._pipe is None else self._pipe.stderr

    async def _live(self, started: "asyncio.Future[frozenset[str]]") -> None:
        async with self._open() as client:
            self._client = client
            started.set_result(await _tools(client))
            await self._closing.wait()
        self._client = None

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[Client]:
        section = self._section
        if section.server is not None:
            self._pipe = _Pipe(section.server, self._root, self.limits, self._groups)
            async with Client(self._pipe.open()) as client:
                yield client
            return
        url = httpx2.URL(section.url or "")
        bare = str(url.copy_with(userinfo=b""))  # errors would tell the user and password
        async with (
            httpx2.AsyncClient(
                headers=section.headers,
                auth=(url.username, url.password) if url.userinfo else None,
                timeout=httpx2.Timeout(None, connect=_CONNECT),
                trust_env=False,
                event_hooks={"response": [self._look]},
            ) as http,
            Client(streamable_http_client(bare, http_client=http)) as client,
        ):
            yield client

    async def _look(self, response: httpx2.Response) -> None:
        """Notice that what was asked for in a session has found none, as the protocol has it."""
        request = response.request
        if response.status_code == HTTPStatus.NOT_FOUND and request.method == "POST":
            self._forgotten = self._forgotten or _SESSION in request.headers

    def _tell(self, reason: str) -> None:
        if not self._closing.is_set():
            self._lost(AgentLost(reason, self._stderr))

    def _reason(self, life: "asyncio.Task[None] | None") -> str:
        """Return why the client has ended."""
        if self._pipe is not None and self._pipe.broken is not None:
            return self._pipe.broken
        error: BaseException | None = None
        if life is not None and life.done() and not life.cancelled():
            error = life.exception()
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        return "the connection is closed" if error is None else str(error) or type(error).__name__


class _Pipe:
    """The transport over a subprocess, which is held to the same limits as any other."""

    def __init__(
        self, section: Subprocess, root: Path, limits: Limits, groups: Groups | None
    ) -> None:
        self.broken: str | None = None
        self.broke: Callable[[str], None] = lambda _: None
        self._section = section
        self._root = root
        self._groups = groups
        self._limits = limits
        self._lines = Lines(limits.line)
        self._ending = False
        self._child: Child | None = None
        self._incoming: MemoryObjectSendStream[Incoming] | None = None

    @property
    def stderr(self) -> str:
        return "" if self._child is None else self._child.stderr.text()

    @property
    def stands_still(self) -> bool:
        return self._child is not None and self._child.stands_still

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Any]:
        """Start the server and yield the two streams that the SDK's client works with."""
        self._incoming, incoming = anyio.create_memory_object_stream[Incoming](_AHEAD)
        outgoing, sent = anyio.create_memory_object_stream[SessionMessage](0)
        limit = self._limits.error_output
        self._child = await spawn(
            self._section, self, root=self._root, error_limit=limit, groups=self._groups
        )
        try:
            async with anyio.create_task_group() as sending, incoming, outgoing, sent:
                sending.start_soon(self._send, self._child, sent)
                yield incoming, outgoing
                sending.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self.end()

    async def end(self) -> None:
        """End the process group; what comes of that is no reason for anything."""
        self._ending = True
        if self._child is not None:
            await self._child.end(self._section.end_grace)

    async def _send(self, child: Child, sent: Any) -> None:
        longest = self._limits.line
        async for outgoing in sent:
            if self.broken is not None:
                continue
            text = outgoing.message.model_dump_json(by_alias=True, exclude_unset=True)
            line = text.encode() + b"\n"
            if isinstance(outgoing.message, wire.JSONRPCRequest):  # ours, however long
                longest = max(longest, len(line))
            child.write(line)
            if child.unread > UNREAD * longest:
                self._break(f"it did not read {child.unread} bytes that it was answered")

    def wrote(self, data: bytes) -> None:
        if self.broken is not None or self._incoming is None:
            return
        try:
            for line in self._lines.feed(data):
                message = wire.jsonrpc_message_adapter.validate_json(line, by_name=False)
                self._incoming.send_nowait(SessionMessage(message))
        except LineTooLong as error:
            self._break(f"it wrote a line of more than {error.limit} bytes")
        except ValueError:
            self._break(f"it wrote what is no JSON-RPC message: {data[:SHOWN]!r}")
        except anyio.WouldBlock:
            self._break(f"it wrote {_AHEAD} messages faster than they could be read")
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # the client has left

    def fell_silent(self) -> None:
        self._break("it closed its stdout")

    def went_deaf(self) -> None:
        self._break("it closed its stdin")

    def ended(self, exit_code: int) -> None:
        self._break(f"it ended with exit code {exit_code}")

    def _break(self, reason: str) -> None:
        if self._incoming is not None:
            self._incoming.close()
        if self.broken is None and not self._ending:
            self.broken = reason
            self.broke(reason)


async def _tools(client: Client) -> frozenset[str]:
    found: set[str] = set()
    cursor: str | None = None
    for _ in range(_PAGES):
        page = await client.list_tools(cursor=cursor)
        found.update(tool.name for tool in page.tools)
        cursor = page.next_cursor
        if cursor is None:
            break
    return frozenset(found)


def _meta(context: Context) -> wire.RequestParamsMeta | None:
    """Return where the protocol has the W3C trace context; None if there is none."""
    return cast("wire.RequestParamsMeta", context.trace) or None


def _content(result: wire.CallToolResult) -> Any:
    """Return what a tool answered: its structured content, its text, or else its content blocks.

    Raises:
        TaskFailed: the tool says that it failed.
    """
    texts = [block.text for block in result.content if isinstance(block, wire.TextContent)]
    if result.is_error:
        raise TaskFailed("\n".join(texts) or "the tool failed and did not say why")
    if result.structured_content is not None:
        return result.structured_content
    if len(texts) == len(result.content):
        return "\n".join(texts)
    return {"content": [block.model_dump(by_alias=True, mode="json") for block in result.content]}
