"""What others have opened: it cannot hold up, nor fail, what goes on after it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from operations.guests import GuestExit, Guests


class Visit:
    """A context that can be had to hang or to fail, at its beginning or at its end."""

    def __init__(self, *, hangs: str = "", fails: str = "") -> None:
        self.told: list[str] = []
        self.hanging, self.cancelled = asyncio.Event(), asyncio.Event()
        self._hangs = hangs
        self._fails = fails

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[str]:
        await self._come_to("opening")
        yield "given"
        await self._come_to("closing")

    async def _come_to(self, part: str) -> None:
        self.told.append(part)
        if self._fails == part:
            raise LookupError(part)
        if self._hangs == part:
            self.hanging.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()


async def test_it_is_open_meanwhile_and_closed_once() -> None:
    visit, guests = Visit(), Guests(1)
    async with guests.open("visit", visit.open()) as given:
        assert (given, visit.told) == ("given", ["opening"])
        await guests.closings["visit"]()
        assert visit.told == ["opening", "closing"]
    assert visit.told == ["opening", "closing"]


async def test_an_error_of_its_opening_is_raised() -> None:
    guests = Guests(1)
    with pytest.raises(LookupError, match="opening"):
        async with guests.open("visit", Visit(fails="opening").open()):
            pass
    assert guests.closings == {}


async def test_an_opening_that_is_cancelled_is_over() -> None:
    visit = Visit(hangs="opening")

    async def use() -> None:
        async with Guests(1).open("visit", visit.open()):
            pass

    using = asyncio.create_task(use())
    await visit.hanging.wait()
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await using
    assert visit.cancelled.is_set()


def test_an_exit_at_its_closing_is_an_error_of_it_and_ends_nothing() -> None:
    @asynccontextmanager
    async def leaves() -> AsyncGenerator[None]:
        yield
        raise SystemExit(5)

    async def main() -> str:
        guests = Guests(1)
        async with guests.open("visit", leaves()):
            with pytest.raises(GuestExit, match=r"SystemExit\(5\)"):
                await guests.closings["visit"]()
        return "goes on"

    assert asyncio.run(main()) == "goes on"


@pytest.mark.parametrize("closed_before", [True, False])
async def test_an_error_of_its_closing_is_logged_and_ends_nothing(closed_before: bool) -> None:
    guests = Guests(1)
    with capture_logs() as entries:
        async with guests.open("visit", Visit(fails="closing").open()):
            if closed_before:
                with pytest.raises(LookupError, match="closing"):
                    await guests.closings["visit"]()
    (entry,) = entries
    assert (entry["log_level"], entry["part"]) == ("error", "visit")


async def test_a_closing_that_hangs_is_given_up() -> None:
    left, given_up = Visit(hangs="closing"), Visit(hangs="closing")
    quick, slow = Guests(0), Guests(1_000)
    async with quick.open("left", left.open()), slow.open("given up", given_up.open()):
        closing = asyncio.ensure_future(slow.closings["given up"]())
        await given_up.hanging.wait()
        closing.cancel()
    await given_up.cancelled.wait()
    await left.cancelled.wait()
