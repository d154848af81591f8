"""What goes on beside the service, when whoever waits for it is cancelled."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from operations.background import held, in_background


async def test_an_opening_that_is_cancelled_opens_no_further() -> None:
    ended: list[str] = []

    @asynccontextmanager
    async def slow() -> AsyncGenerator[None]:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("opening")
        yield

    async def use() -> None:
        async with held(slow(), "slow"):
            ended.append("opened")

    using = asyncio.create_task(use())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await using
    assert ended == ["opening"]


async def test_work_is_cancelled_even_if_whoever_stops_it_is() -> None:
    class Busy:
        def __init__(self) -> None:
            self.cancelled = asyncio.Event()

        async def run(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()

        def close(self) -> None:
            pass

    busy = Busy()
    async with in_background(busy, "busy") as stop:
        stopping = asyncio.ensure_future(stop())
        await asyncio.sleep(0)
        stopping.cancel()
        await busy.cancelled.wait()
