"""A connection: uvicorn's, with an end to how much a client may send and how long it may take."""

import asyncio
import socket
import struct
import sys
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, cast

import httptools
from starlette.responses import Response
from starlette.types import Scope
from uvicorn._types import ASGI3Application, ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from orchestration.api.door import TurnAway
from orchestration.api.problems import Problem, come_back, respond
from orchestration.exchange import Exchange, Joining
from orchestration.places import Places

PATIENCE = 30.0  # seconds
_HEAD_BYTES = 64 * 1024
_AHEAD = 1_000  # requests that are read before those that came first are answered
_IGNORED = 32 * 1024 * 1024  # bytes that are taken of a body that is refused
_NO_LINGER = struct.pack("ii", 1, 0)
_AGAIN = 5.0  # seconds until those who found no place come back, at least


class Connection(HttpToolsProtocol):
    """uvicorn's, but a client can neither make it keep nor make it wait without end.

    ``patience`` is how many seconds a client may take for the head of a request, for the next part
    of a body, and to take any more of an answer. Who comes when ``places`` are exceeded is refused.
    Whom ``turn_away`` has an answer for gets that at once, without a task, and the application
    never hears of it. Of other protocols it speaks only WebSockets: a request for any other, or
    behind one that is not answered yet, is read as if it had not asked (RFC 9110, 7.8). What is
    no request is refused in its turn, and nothing behind it is read.
    """

    _head = 0  # bytes of the head that is being read
    _unfinished = 0  # bytes of chunks that ended within it
    _framing = 0  # bytes of chunks since a part of a body, or its head
    _anew = b""  # a head that is to be read once more, without what its parser stopped at
    _read = 0  # bytes of a chunk before it stopped
    _answering: Exchange | None = None  # the latest may wait its turn behind it
    _said_all = False  # set once the client sends no more, though it may still listen
    _late: asyncio.TimerHandle | None = None  # set while the client owes us a part of a request
    _stalled: asyncio.TimerHandle | None = None  # set while it owes us to take an answer
    _left = 0  # bytes of an answer that were not taken when that was set
    _refused: Problem | None = None  # set while what is wrong waits for the answers before it
    _answered = 0  # requests that are, before the next is looked for
    _ignored: int | None = None  # bytes that came when all was answered, for the last time

    def __init__(
        self,
        *,
        patience: float = PATIENCE,
        turn_away: TurnAway | None = None,
        places: Places | None = None,
        **given: Any,
    ) -> None:
        super().__init__(**given)
        self._places = places
        self._patience = patience
        self._turn_away = turn_away

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn's
        super().connection_made(transport)
        if self._places is not None and self._places.exceeded(len(self.connections)):
            detail = "there are as many connections as there may be; try again"
            again = come_back(_AGAIN, self._places.dice)
            _leave(transport, Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=again))
            return
        self._expect_more()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_no_more()
        self._see_taken()
        super().connection_lost(exc)
        if self._answering is not None:
            self._answering.break_off()

    def eof_received(self) -> bool:  # type: ignore[override] # uvicorn's
        """Return whether to keep the connection: for the answers to all that came whole."""
        self._expect_no_more()
        exchange = self._answering
        if exchange is None or exchange.cycle.response_complete or exchange.cycle.more_body:
            return False
        if self.pipeline and self.pipeline[0][0].more_body:
            self.pipeline.popleft()
        self.cycle = self.pipeline[0][0] if self.pipeline else exchange.cycle
        if self._refused is None:
            self.cycle.keep_alive = False
        self._said_all = True
        exchange.hear_no_more()
        return True

    def data_received(self, data: bytes) -> None:
        if self._ignored is not None:
            self._ignored += len(data)
            if self._ignored > _IGNORED:
                self.transport.close()
            return
        if self._refused is not None:
            return
        began = self._unfinished
        self._framing += len(data)
        self._parse(data)
        if began and self._unfinished == began:  # the head is still not at its end
            self._unfinished += len(data)
        if not self.transport.is_closing() and self._ignored is None:
            self._bound()
        if self._ignored is not None:
            return
        if self._refused is not None:
            self._expect_no_more()
        elif self._reads_body() and not self._unfinished:
            self._expect_no_more()
            self._expect_more()
        elif self._unfinished or self._idles():
            self._expect_more()
        else:
            self._expect_no_more()

    def _parse(self, data: bytes) -> None:
        super().data_received(data)
        while self._anew:
            data, self._anew = self._anew + data[self._read :], b""
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn
            super().data_received(data)

    def _bound(self) -> None:
        """Refuse what is no body, is larger than that may be, and still not at its end."""
        if self._unfinished > _HEAD_BYTES:
            self._refuse(_too_large("head of the request"))
        elif not self._unfinished and self._framing > _HEAD_BYTES and self._reads_body():
            self._refuse(_too_large("frame of the body"))

    def on_message_begin(self) -> None:
        self._head = 0
        self._unfinished = 1
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        if self._unfinished:  # else it is a trailer, which is no header (RFC 9110, 6.5.1)
            super().on_header(name, value.strip(b" \t"))  # the parser leaves what is behind it

    def on_headers_complete(self) -> None:
        self._unfinished = self._framing = 0
        if self.parser.get_method() == b"CONNECT":
            raise Problem(HTTPStatus.NOT_IMPLEMENTED, "this is no proxy: there is no CONNECT")
        if self._asks_in_vain():
            self._anew = self._without_upgrade()
            return
        if self._is_old():
            self.expect_100_continue = False
        if len(self.pipeline) >= _AHEAD:  # all that is read at once is parsed at once
            detail = f"at most {_AHEAD} requests may wait for the answer to another one before them"
            raise Problem(HTTPStatus.TOO_MANY_REQUESTS, detail, headers=come_back(_AGAIN))
        super().on_headers_complete()
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is None or cycle.transport is not self.transport:
            return
        if cycle.scope["method"] != "HEAD":  # whose answer has no body to wait for
            joining = Joining(self.transport, self.loop, self._part)
            cycle.transport = cast("asyncio.Transport", joining)

    def on_body(self, body: bytes) -> None:
        self._framing = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._anew:
            super().on_message_complete()

    def _unsupported_upgrade_warning(self) -> None:
        self._read = cast("httptools.HttpParserUpgrade", sys.exception()).args[0]

    def _should_upgrade(self) -> bool:
        """Return whether this is to become a WebSocket: no answer may come among its frames."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        free = cycle is None or cycle.response_complete
        return super()._should_upgrade() and free and not self._is_old()

    def _is_old(self) -> bool:
        """Return whether this is HTTP/1.0: nothing may come before its answer (RFC 9110, 15.2)."""
        return self.parser.get_http_version() == "1.0"

    def _asks_in_vain(self) -> bool:
        """Return whether the parser took what follows this head for another protocol's."""
        return self.parser.should_upgrade() and not self._should_upgrade()

    def _without_upgrade(self) -> bytes:
        version = self.parser.get_http_version().encode()
        fields = (b"%s: %s\r\n" % pair for pair in self.headers if pair[0] != b"upgrade")
        head = (self.parser.get_method(), self.url, version, b"".join(fields))
        return b"%s %s HTTP/%s\r\n%s\r\n" % head

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        answer = None if self._turn_away is None else self._turn_away(cast("Scope", cycle.scope))
        if answer is None:
            self._answering = Exchange(cycle, app, said_all=self._said_all)
            super()._start_asgi_task(cycle, self._answering)
            return
        fields = [*cycle.default_headers, *answer.raw_headers]
        if not cycle.keep_alive:
            fields.append((b"connection", b"close"))
        self.transport.write(_written(answer, fields))
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def _part(self) -> None:
        """Close the connection behind the last answer.

        While a body still comes, the client is left to send it, for as long as it might idle: to
        close is to reset the connection then, and who is still sending may never see the answer
        (RFC 9112, 9.6).
        """
        cycle = self.cycle
        if cycle.response_complete and cycle.more_body:
            self._ignored = 0
            self.transport.write_eof()
        else:
            self.transport.close()

    def on_response_complete(self) -> None:
        self._answered += 1
        if self._answered > 1:  # one is turned away below; within each other, so many are too deep
            return
        while self._answered:
            super().on_response_complete()
            self._answered -= 1
        if self._refused is not None and not self.transport.is_closing():
            self._refuse(self._refused)
        if self.transport.get_write_buffer_size():
            self._expect_taken()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_taken()

    def resume_writing(self) -> None:
        self._see_taken()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        if self._stalled is None:
            super().timeout_keep_alive_handler()
        else:  # an answer is still being taken
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def send_400_response(self, msg: str) -> None:
        found = cast("Exception", sys.exception()).__context__  # what a callback has raised
        self._refuse(found if isinstance(found, Problem) else Problem(HTTPStatus.BAD_REQUEST, msg))

    def _refuse(self, refused: Problem) -> None:
        """Refuse what comes in, once all before it is answered, and close the connection."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is None or cycle.response_complete:
            self._dismiss(refused)
        elif not cycle.more_body:
            self._refused = refused
        elif not self.pipeline and not cycle.response_started:
            _leave(self.transport, refused)
        else:  # the rest of a body is wrong, and another answer, or its own, is being sent
            self.transport.close()

    def _dismiss(self, refused: Problem) -> None:
        """Refuse what comes in; let the client send what it is sending, as in `_part`."""
        self._ignored = 0
        self._expect_no_more()
        self._expect_more()
        self.transport.write(_refusal(refused))
        self.transport.write_eof()

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > _HEAD_BYTES:
            raise _too_large("head of the request")

    def _reads_body(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and cycle.more_body

    def _idles(self) -> bool:
        """Return whether it has sent what is no request, and nothing else would end that."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return (
            (cycle is None or cycle.response_complete)
            and self.timeout_keep_alive_task is None
            and self.transport.get_protocol() is self  # and not a WebSocket
        )

    def _expect_more(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self._patience, self._give_up)

    def _expect_no_more(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        """Close the connection to a client that does not send the rest of its request."""
        self._late = None
        if self.transport.is_closing():
            return
        if self.flow.read_paused:  # it is us who do not read
            self._late = self.loop.call_later(self._patience, self._give_up)
            return
        cycle = cast("RequestResponseCycle | None", self.cycle)
        idles = not self._unfinished and (cycle is None or cycle.response_complete)
        if idles or self._ignored is not None:
            self.transport.close()
            return
        detail = f"the rest of the request did not come within {self._patience:g} s"
        self._refuse(Problem(HTTPStatus.REQUEST_TIMEOUT, detail))

    def _expect_taken(self) -> None:
        self._see_taken()
        self._left = self.transport.get_write_buffer_size()
        self._stalled = self.loop.call_later(self._patience, self._look)

    def _see_taken(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _look(self) -> None:
        """Drop a client that has taken nothing since; to close would be to wait for it."""
        self._stalled = None
        left = self.transport.get_write_buffer_size()
        if left >= self._left:
            # What the system still holds of the answer would stay for minutes, too.
            connection = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self.transport.abort()
        elif left:
            self._expect_taken()


class WebSocketConnection(WebSocketsSansIOProtocol):
    """uvicorn's, but one that is refused with an answer has had its handshake.

    uvicorn logs it as an error of the application, which had not answered at all; and it leaves
    one open, without an answer and for ever, that begins with what is no handshake.
    """

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        wrong = self.conn.handshake_exc
        if wrong is not None and not self.handshake_initiated:
            self.handshake_complete = self.close_sent = True
            detail = f"this begins no WebSocket: {wrong.__cause__ or wrong}"
            _leave(self.transport, Problem(HTTPStatus.BAD_REQUEST, detail))

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if self.close_sent:
            self.handshake_complete = True


def _too_large(what: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, f"The {what} is too large.")


def _leave(transport: asyncio.Transport, refused: Problem) -> None:
    """Refuse what is no request, and close the connection."""
    transport.write(_refusal(refused))
    transport.close()


def _refusal(refused: Problem) -> bytes:
    """Return the last answer of a connection."""
    answer = respond(refused, "")
    return _written(answer, [*answer.raw_headers, (b"connection", b"close")])


def _written(answer: Response, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return an answer as it is sent."""
    head = b"".join(b"%s: %s\r\n" % pair for pair in fields)
    line = f"HTTP/1.1 {answer.status_code} {HTTPStatus(answer.status_code).phrase}".encode()
    return b"%s\r\n%s\r\n%s" % (line, head, answer.body)
