"""Messages over a real socket: whole, in order, and no faster than they are read."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import ormsgpack
import pytest

from operations.wire import Wire


class End:
    """One end of a wire, and what came there."""

    def __init__(self) -> None:
        self.come: list[Any] = []
        self.lost = asyncio.Event()
        self.news = asyncio.Event()
        self.wire = Wire(self.take, self.lost.set)

    def take(self, message: Any) -> None:
        self.come.append(message)
        self.news.set()

    async def until(self, count: int) -> None:
        while len(self.come) < count:
            self.news.clear()
            await self.news.wait()


@asynccontextmanager
async def wired() -> AsyncGenerator[tuple[End, End]]:
    ends, sockets = (End(), End()), socket.socketpair()
    loop = asyncio.get_running_loop()
    for end, one in zip(ends, sockets, strict=True):
        await loop.create_connection(lambda end=end: end.wire, sock=one)  # type: ignore[misc]
    try:
        yield ends
    finally:
        for end in ends:
            end.wire.close()
            await end.lost.wait()


async def test_messages_come_whole_and_in_order_whatever_their_size() -> None:
    sent = [[number, "é" * size, b"\0" * size] for number, size in enumerate((0, 1, 70_000, 9**7))]
    async with wired() as (one, other):
        for message in sent:
            one.wire.send(*message)
        await other.until(len(sent))
    assert other.come == sent


async def test_a_sender_can_wait_for_a_reader_that_is_behind() -> None:
    async with wired() as (one, other):
        for _ in range(6):
            one.wire.send(b"x" * 1024**2)
        await asyncio.sleep(0)
        assert one.wire.full
        await one.wire.room()
        assert not one.wire.full
        await other.until(6)


async def test_nothing_is_sent_once_the_other_end_has_gone() -> None:
    async with wired() as (one, other):
        one.wire.close()
        await other.lost.wait()
        other.wire.send("late")
        await asyncio.sleep(0)
    assert one.come == []


async def test_what_messagepack_does_not_have_is_refused() -> None:
    async with wired() as (one, _):
        with pytest.raises(ormsgpack.MsgpackEncodeError):
            one.wire.send(object())
