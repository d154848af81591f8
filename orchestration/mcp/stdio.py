"""Between a host that talks over stdin and stdout, and a service that talks over HTTP.

Messages are passed on as they are. What is said over HTTP in headers is read off them.
"""

import asyncio
import base64
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any

import httpx
import orjson

Message = dict[str, Any]

_ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
_SESSION, _VERSION = "mcp-session-id", "mcp-protocol-version"
_NEWEST = "io.modelcontextprotocol/protocolVersion"
_NAMES = ("name", "uri", "taskId")
_GREETED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
_FAILED, _UNREADABLE = -32603, -32700
_LAST_WORDS = 1.0  # seconds for the session to be ended


class Bridge:
    """Passes the messages of one host on, and the answers back to ``say``.

    A session that the service knows no more, as it was started anew or nobody used it for long, is
    begun again: the host hears nothing of it.
    """

    def __init__(
        self, http: httpx.AsyncClient, url: str, say: Callable[[bytes], Awaitable[None]]
    ) -> None:
        self._http = http
        self._url = url
        self._say = say
        self._session: dict[str, str] = {}
        self._greeting: Message = {}  # the request that began it
        self._renewing = asyncio.Lock()
        self._under_way: dict[Any, asyncio.Task[None]] = {}
        self._others: set[asyncio.Task[None]] = set()

    async def run(self, lines: AsyncIterator[bytes]) -> None:
        """Pass on every line until there are no more, then end what is under way."""
        try:
            async for line in lines:
                if line.strip():
                    await self._take(line)
        finally:
            for task in (*self._under_way.values(), *self._others):
                task.cancel()
            await self._leave()

    async def _take(self, line: bytes) -> None:
        try:
            message = _read(line)
        except (ValueError, TypeError) as error:
            await self._fail(None, f"this is no message: {error}", _UNREADABLE)
            return
        method = message.get("method")
        newest = method is not None and _NEWEST in _meta(message)
        if method == "notifications/cancelled" and self._cancel(message, newest=newest):
            return
        sending = asyncio.create_task(self._send(message, newest=newest))
        key = _awaited(message)
        if key is None or method == "initialize":
            await asyncio.wait({sending})  # in the order in which they came
        else:
            self._under_way[key] = sending
            sending.add_done_callback(lambda _: self._under_way.pop(key, None))
        if method == "initialize":
            self._greeting = message
        if method == "notifications/initialized" and self._session:
            self._begin_to_listen()

    def _cancel(self, message: Message, *, newest: bool) -> bool:
        """Close the stream of a call of the newest wire, which is how it is cancelled there."""
        if self._session and not newest:
            return False
        params = message.get("params")
        asked = params.get("requestId") if isinstance(params, dict) else None
        call = self._under_way.get(asked) if isinstance(asked, str | int | float) else None
        if call is not None:
            call.cancel()
        return True

    async def _send(self, message: Message, *, newest: bool) -> None:
        try:
            lost = None if newest else self._session.get(_SESSION)
            async with self._posted(message, newest=newest) as answer:
                if lost is None or answer.status_code != HTTPStatus.NOT_FOUND:
                    await self._answered(message, answer)
                    return
            await self._begin_again(lost)
            async with self._posted(message, newest=newest) as answer:
                await self._answered(message, answer)
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            await self._fail(
                _awaited(message), f"the service at {self._url} does not answer: {reason}"
            )
        except (ValueError, TypeError) as error:
            reason = f"what {self._url} answers is no message: {error}"
            await self._fail(_awaited(message), reason)

    @asynccontextmanager
    async def _posted(self, message: Message, *, newest: bool) -> AsyncGenerator[httpx.Response]:
        headers = {**_ACCEPT, **(_said(message) if newest else self._session)}
        content = orjson.dumps(message)
        async with self._http.stream("POST", self._url, content=content, headers=headers) as answer:
            yield answer

    async def _begin_again(self, lost: str) -> None:
        """Begin another session in place of ``lost``, unless somebody just did."""
        async with self._renewing:
            if self._session.get(_SESSION) != lost:
                return
            before, self._session = self._session, {}
            try:
                async with self._posted(self._greeting, newest=False) as answer:
                    if _SESSION in answer.headers:
                        self._session[_SESSION] = answer.headers[_SESSION]
                    async for data in _told(answer):
                        self._note_version(data)
            finally:
                if not self._session:  # the next message tries again
                    self._session = before
            if self._session is not before:
                async with self._posted(_GREETED, newest=False):
                    pass
                self._begin_to_listen()

    async def _answered(self, message: Message, answer: httpx.Response) -> None:
        if _SESSION in answer.headers:
            self._session[_SESSION] = answer.headers[_SESSION]
        kind = answer.headers.get("content-type", "").partition(";")[0]
        key = _awaited(message)
        if kind == "text/event-stream":
            if not await self._pass_on(answer, key):
                await self._fail(key, f"the service at {self._url} has ended without an answer")
            return
        body = await answer.aread()
        if kind == "application/json" and (body or key is not None):
            said = _read(body)
            await self._say(orjson.dumps({**said, "id": said.get("id", message.get("id"))}))
        else:
            reason = f"the service answers {answer.status_code}"
            with suppress(ValueError, KeyError, TypeError):
                reason = str(orjson.loads(body)["detail"])
            await self._fail(key, reason)

    async def _pass_on(self, answer: httpx.Response, key: Any = None) -> bool:
        """Pass on what is told; return whether the request with the id ``key`` was answered."""
        answered = False
        async for data in _told(answer):
            self._note_version(data)
            await self._say(data)
            answered = answered or (key is not None and _answers(data, key))
        return answered

    def _note_version(self, data: bytes) -> None:
        if _SESSION in self._session and _VERSION not in self._session:  # it has just begun
            begun = _read(data).get("result") or {}
            self._session[_VERSION] = str(begun.get("protocolVersion"))

    def _begin_to_listen(self) -> None:
        listening = asyncio.create_task(self._listen())
        self._others.add(listening)
        listening.add_done_callback(self._others.discard)

    async def _listen(self) -> None:
        """Pass on what the service says by itself, of a session."""
        headers = {"accept": "text/event-stream", **self._session}
        with suppress(httpx.HTTPError):
            async with self._http.stream("GET", self._url, headers=headers) as answer:
                if answer.is_success:
                    await self._pass_on(answer)

    async def _leave(self) -> None:
        if _SESSION in self._session:
            with suppress(httpx.HTTPError, TimeoutError):
                async with asyncio.timeout(_LAST_WORDS):
                    await self._http.delete(self._url, headers=self._session)

    async def _fail(self, key: Any, reason: str, code: int = _FAILED) -> None:
        error = {"code": code, "message": reason}
        if key is not None or code == _UNREADABLE:
            await self._say(orjson.dumps({"jsonrpc": "2.0", "id": key, "error": error}))


async def _told(answer: httpx.Response) -> AsyncIterator[bytes]:
    """Yield the messages in a stream of events.

    Its lines end with a line feed; what else ends a line in Unicode may be in a message.
    """
    rest = bytearray()
    async for part in answer.aiter_bytes():
        rest += part
        if b"\n" not in part:
            continue
        *lines, rest = rest.split(b"\n")
        for line in lines:
            if line.startswith(b"data:") and (said := bytes(line[5:].strip())):
                yield said


def _read(line: bytes) -> Message:
    message = orjson.loads(line)
    if not isinstance(message, dict):
        raise TypeError("it is no object")
    if not isinstance(message.get("id"), str | int | float | None):
        raise TypeError("its id is neither a text nor a number")
    if not isinstance(message.get("method"), str | None):
        raise TypeError("its method is no text")
    return message


def _awaited(message: Message) -> Any:
    """Return the id that a host waits for; None if the message is no request, or an answer."""
    return message.get("id") if message.get("method") is not None else None


def _answers(data: bytes, key: Any) -> bool:
    said = _read(data)
    return said.get("method") is None and said.get("id") == key


def _meta(message: Message) -> Mapping[str, Any]:
    params = message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    return meta if isinstance(meta, dict) else {}


def _said(message: Message) -> dict[str, str]:
    """Return the headers of a message of the newest wire: they repeat what it says."""
    params = message["params"]
    headers = {_VERSION: str(_meta(message)[_NEWEST]), "mcp-method": str(message["method"])}
    name = next((params[key] for key in _NAMES if isinstance(params.get(key), str)), None)
    if name is not None:
        headers["mcp-name"] = _as_header(name)
    return headers


def _as_header(text: str) -> str:
    if text.isascii() and text.isprintable() and text == text.strip():
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="
