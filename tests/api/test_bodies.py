"""How much is kept of bodies that come in parts: of each, of a caller's, and of all."""

import asyncio
import re
import tracemalloc
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from operations.keys import KeyFolder
from orchestration.api.ingress import Bodies, read_body
from orchestration.api.problems import Problem
from tests.api.client import PROBLEM, open_play, serving

POST = b"POST /threads HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Sender:
    """A request whose body comes as the test says."""

    def __init__(self) -> None:
        self.parts: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def send(self, part: bytes, *, more: bool = True) -> None:
        self.parts.put_nowait({"type": "http.request", "body": part, "more_body": more})

    def read(self, bodies: Bodies, caller: str = "somebody") -> asyncio.Task[bytes]:
        return asyncio.create_task(read_body(self.parts.get, None, 10, bodies, caller))


async def test_who_begins_when_there_is_no_room_is_sent_away_and_the_others_are_read() -> None:
    bodies = Bodies(18)
    first, second, third = Sender(), Sender(), Sender()
    for sender in (first, second):
        sender.send(b"12345")
    reading = first.read(bodies, "first"), second.read(bodies, "second")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    third.send(b"12345")
    with pytest.raises(Problem, match="take all the room") as refused:
        await third.read(bodies, "third")
    first.send(b"6", more=False)
    second.send(b"7", more=False)
    assert [await one for one in reading] == [b"123456", b"123457"]
    third.send(b"123", more=False)
    assert await third.read(bodies) == b"123"
    assert (refused.value.status, refused.value.headers["connection"]) == (503, "close")
    assert 1 <= int(refused.value.headers["retry-after"]) <= 3


@pytest.mark.parametrize(
    ("parts", "status"),
    [([b"1234", b"12345678"], 413), ([b"12345678901"], 413)],
)
async def test_a_body_that_is_refused_leaves_its_room(parts: list[bytes], status: int) -> None:
    bodies, sender = Bodies(20), Sender()
    for part in parts:
        sender.send(part)
    with pytest.raises(Problem) as refused:
        await sender.read(bodies)
    whole = Sender()
    whole.send(b"12345")
    whole.send(b"67890", more=False)
    assert await whole.read(bodies) == b"1234567890"
    assert refused.value.status == status


async def test_a_body_in_small_parts_takes_no_more_than_it_counts_for() -> None:
    left, kept = 50_000, 0

    async def receive() -> dict[str, Any]:
        nonlocal left, kept
        left -= 1
        kept = tracemalloc.get_traced_memory()[0]
        return {"type": "http.request", "body": bytes([left % 256, 2]), "more_body": left > 0}

    tracemalloc.start()
    try:
        body = await read_body(receive, None, 2**20, Bodies(2**21), "somebody")
    finally:
        tracemalloc.stop()
    assert len(body) == 100_000
    assert kept < 200_000


async def test_a_reader_that_is_cancelled_leaves_its_room() -> None:
    bodies, gone = Bodies(20), Sender()
    gone.send(b"1234567890")
    reading = gone.read(bodies)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait({reading})
    bodies.take("somebody", 10)


# By what callers are told apart, before or after they have said who they are.
@pytest.mark.parametrize("told_by", ["address", "address, for handlers", "owner of a key"])
async def test_bodies_of_one_caller_that_never_end_leave_room_for_those_of_another(
    tmp_path: Path, told_by: str
) -> None:
    manifest, callers = {}, [("127.0.0.1", b""), ("127.0.0.2", b"")]
    if told_by == "address, for handlers":
        manifest = {"auth": {"path": "tests.api.guards:objects"}}
    elif told_by == "owner of a key":
        keys = KeyFolder(tmp_path / "data")
        callers = [("127.0.0.1", keys.create(who, "run")[1].encode()) for who in ("eve", "bob")]

    async def begin(caller: tuple[str, bytes], *parts: bytes) -> Connection:
        host, key = caller
        reader, writer = await asyncio.open_connection(*address, local_addr=(host, 0))
        field = b"\r\nX-API-Key: " + key if key else b""
        for part in ((POST % 60_000)[:-4] + field + b"\r\n\r\n", *parts):
            writer.write(part)
            for _ in range(10):  # turns of the event loop, in which the server takes it
                await asyncio.sleep(0)
        return reader, writer

    async with (
        open_play(tmp_path, "echo", manifest=manifest, max_body=100_000) as service,
        serving(service.app) as address,
    ):
        selfish = [await begin(callers[0], b" " * 59_999) for _ in range(110)]
        refusals = asyncio.as_completed([asyncio.create_task(one.read()) for one, _ in selfish])
        said = [await one for one in islice(refusals, 4)]
        other = await begin(callers[1], b"{", b" " * 59_998, b"}")
        answered = await other[0].readuntil(b"\r\n")
        for _, writer in (*selfish, other):
            writer.close()
    assert answered.startswith(b"HTTP/1.1 200 ")
    for one in said:
        status, *fields = one.partition(b"\r\n\r\n")[0].split(b"\r\n")
        assert status.startswith(b"HTTP/1.1 503 ")
        assert b"content-type: application/problem+json" in fields
        assert any(re.fullmatch(rb"retry-after: [1-3]", field) for field in fields)


async def test_bodies_that_never_end_do_not_fill_the_memory(tmp_path: Path) -> None:
    size = 100_000
    async with (
        open_play(tmp_path, "echo", max_body=size) as service,
        serving(service.app) as address,
    ):
        said: list[bytes] = []
        open_ones: list[asyncio.StreamWriter] = []
        for _ in range(80):
            reader, writer = await asyncio.open_connection(*address)
            open_ones.append(writer)
            writer.write(POST % size + b" " * (size - 1))
            try:
                async with asyncio.timeout(0.2 if not said else 5):
                    said.append(await reader.read())
            except TimeoutError:
                pass
        for writer in open_ones:
            writer.close()
    assert len(said) >= 10
    assert all(b" 503 " in one.split(b"\r\n")[0] and PROBLEM.encode() in one for one in said)
