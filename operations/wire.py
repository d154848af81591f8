"""Messages between two processes over a socket: MessagePack, each behind its length."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import ormsgpack

_HEAD = 4  # bytes of a length
_HIGH = 4 * 1024**2  # bytes that wait to be sent, from which senders who can are to wait
LONGEST = 2**32 - 1  # bytes of one message

Receive = Callable[[Sequence[Any]], None]


class TooLong(ValueError):
    """A message is longer than any may be. It was not sent."""


class Wire(asyncio.Protocol):
    """One end. What is sent in one turn of the event loop leaves together.

    ``receive`` is called with each message, ``lost`` once when no more will come. A message that
    cannot be read, or whose ``receive`` raises, ends the connection.
    """

    def __init__(self, receive: Receive, lost: Callable[[], None]) -> None:
        self._receive = receive
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._come = bytearray()
        self._out: list[bytes] = []
        self._room: asyncio.Future[None] | None = None

    @property
    def full(self) -> bool:
        """Whether the other end is behind; see ``room``."""
        return self._room is not None

    async def room(self) -> None:
        """Return once the other end has caught up, or has gone."""
        if self._room is not None:
            await asyncio.wait({self._room})

    def send(self, *message: Any) -> None:
        """Send a message of what MessagePack has; once the other end has gone, nothing happens.

        Raises:
            TooLong, ormsgpack.MsgpackEncodeError: it cannot be sent.
        """
        data = ormsgpack.packb(message)
        if len(data) > LONGEST:
            raise TooLong(f"{len(data)} bytes are more than one message can have")
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out += (len(data).to_bytes(_HEAD, "big"), data)

    def close(self) -> None:
        """Send what is left, and then nothing more."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and self._transport is not None and not self._transport.is_closing():
            # Not `writelines`: in Python 3.12.1 and 3.13.0, asyncio's tells nobody that it is full.
            self._transport.write(b"".join(out))

    # The event loop's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(_HIGH)

    def data_received(self, data: bytes) -> None:
        come = self._come
        come += data
        begin = 0
        while len(come) - begin >= _HEAD:
            end = begin + _HEAD + int.from_bytes(come[begin : begin + _HEAD], "big")
            if len(come) < end:
                break
            self._receive(ormsgpack.unpackb(bytes(come[begin + _HEAD : end])))
            begin = end
        del come[:begin]

    def pause_writing(self) -> None:
        self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        self._let_on()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self._let_on()
        self._lost()

    def _let_on(self) -> None:
        if self._room is not None:
            self._room.set_result(None)
            self._room = None
