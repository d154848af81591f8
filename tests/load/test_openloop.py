import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from io import StringIO

import pytest

from load.openloop import Arrival, OpenLoop
from load.overload import Overloading, Stage, recovery
from load.recorder import Recorder, new_histogram, percentile, record
from load.scenario import Overload
from load.wire import Client, request

REFUSED = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 2\r\n\r\n{}"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
RATE = 1_000.0
Answers = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(answer: Answers, most: int = 1) -> AsyncGenerator[Client]:
    """A server that answers every request by ``answer``, and a client with so many connections."""

    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        with closing(writer), suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.rpartition(b": ")[2]))
                await answer(writer)
        with suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        client = Client("127.0.0.1", server.sockets[0].getsockname()[1], most)
        try:
            yield client
        finally:
            client.close()
            await asyncio.gather(*filter(None, serving))


async def met(client: Client, count: int, offered: Callable[[int], None]) -> list[Arrival]:
    """Return what so many requests, a thousand a second, came to."""
    arrivals: list[Arrival] = []
    message = request("/", {}, "x")

    def send(number: int) -> Awaitable[object]:
        offered(number)
        return client.send(message)

    await OpenLoop(send, arrivals.append).run(RATE, count / RATE)  # type: ignore[arg-type]
    return arrivals


async def test_a_stall_is_seen_by_all_that_were_due_in_it_not_by_one() -> None:
    due, served = asyncio.Event(), 0

    async def answer(writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        if served == 10:  # holds its answer back until 100 others are due
            await due.wait()
        writer.write(OK)

    def offered(number: int) -> None:
        if number == 110:
            due.set()

    async with serving(answer) as client:
        arrivals = await met(client, 200, offered)
    corrected, from_sending = new_histogram(), new_histogram()
    for arrival in arrivals:
        record(corrected, arrival.took)
        record(from_sending, arrival.ended - arrival.sent)
    stall = 100 / RATE
    assert len(arrivals) == 200
    assert percentile(corrected, 100) >= stall * 0.9
    assert (
        percentile(corrected, 75) >= stall / 4
    )  # a half was due in it, and waited on average half
    assert sum(arrival.ended - arrival.sent > stall / 4 for arrival in arrivals) <= 5
    assert percentile(from_sending, 75) < percentile(corrected, 75)


@pytest.mark.parametrize(
    ("head", "outcome"),
    [
        ("200 OK\r\n", "done"),
        ("503 Service Unavailable\r\nRetry-After: 3\r\n", "refused"),
        ("429 Too Many Requests\r\nretry-after: 3\r\n", "refused"),
        ("503 Service Unavailable\r\n", "failed"),
        ("500 Internal Server Error\r\nretry-after: 3\r\n", "failed"),
        ("404 Not Found\r\n", "failed"),
    ],
)
async def test_a_refusal_that_does_not_say_when_to_come_again_is_a_failure(
    head: str, outcome: str
) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {head}content-length: 2\r\n\r\n{{}}".encode())

    async with serving(answer) as client:
        (arrival,) = await met(client, 1, lambda _: None)
    assert arrival.outcome == outcome


@pytest.mark.parametrize(
    "body",
    [
        b'{"__error__":{"error":"ValueError","message":"no"}}',
        b"event: metadata\r\ndata: {}\r\n\r\nevent: error\r\ndata: {}\r\n\r\n",
    ],
)
async def test_a_run_that_failed_is_a_failure_though_its_request_is_answered_with_200(
    body: bytes,
) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))

    async with serving(answer) as client:
        (arrival,) = await met(client, 1, lambda _: None)
    assert (arrival.outcome, arrival.problem) == ("failed", "the run failed")


async def test_a_connection_that_breaks_is_a_failure_and_the_next_request_has_another() -> None:
    answered = 0

    async def answer(writer: asyncio.StreamWriter) -> None:
        nonlocal answered
        answered += 1
        if answered == 1:
            writer.close()
        else:
            writer.write(OK)

    async with serving(answer) as client:
        arrivals = await met(client, 3, lambda _: None)
    assert [arrival.outcome for arrival in arrivals] == ["failed", "done", "done"]


async def test_the_first_event_of_a_stream_is_not_what_comes_with_its_acceptance() -> None:
    begun, seen = asyncio.Event(), asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for data in (b"event: metadata\r\ndata: {}\r\n\r\n", b": heartbeat\r\n\r\n"):
            writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        begun.set()
        await seen.wait()
        data = b"event: updates\r\ndata: {}\r\n\r\n"
        writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data))

    async with serving(answer) as client, asyncio.TaskGroup() as group:
        sent = group.create_task(client.send(request("/", {}, "x")))
        await begun.wait()
        before = sent.done()
        seen.set()
        answer_ = await sent
    assert not before
    assert answer_.first is not None
    assert answer_.sent < answer_.first <= answer_.ended


async def test_connections_are_kept_and_never_more_than_allowed() -> None:
    peers: set[object] = set()

    async def answer(writer: asyncio.StreamWriter) -> None:
        peers.add(writer.get_extra_info("peername"))
        writer.write(OK)

    async with serving(answer, most=3) as client:
        await met(client, 100, lambda _: None)
    assert 1 <= len(peers) <= 3


async def test_an_overload_is_measured_from_what_it_can_do_to_its_recovery() -> None:
    served = 0

    async def answer(writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        writer.write(REFUSED if served % 3 == 0 else OK)

    plan = Overload(times=1.5, assistant="a", input={}, clients=2, calibration=0.1, recovery=0.1)
    lines = StringIO()
    async with serving(answer) as client:
        overloading = Overloading(plan, 0.1, client.address[1], Recorder(lines))
        await overloading.run()
    measures, over = overloading.measures(), overloading.over
    assert measures["capacity"] > 0
    assert measures["recovery"] == 1.0  # it refuses some to the end
    assert {"goodput", "accepted_p99", "refused_p99"} <= measures.keys()
    assert over.count("refused") == pytest.approx(over.count("done") / 2, rel=0.1)
    assert over.count("failed") == 0
    assert [stage.row()["stage"] for stage in overloading.stages] == [
        "capacity",
        "just the capacity",
        "1.5 times that",
        "half of it, afterwards",
    ]
    offered = [json.loads(line)["offered"] for line in lines.getvalue().splitlines()]
    assert sum(offered) == served


def stage(*arrivals: tuple[float, float, str]) -> Stage:
    one = Stage("afterwards", 10.0, begun=100.0)
    for due, took, outcome in arrivals:
        at = 100.0 + due
        one.note(Arrival(at, at, at + took, None, outcome))  # type: ignore[arg-type]
    return one


@pytest.mark.parametrize(
    ("arrivals", "seconds"),
    [
        ([(0.5, 0.1, "done"), (1.5, 0.1, "done")], 0.0),
        ([(0.5, 0.1, "refused"), (1.5, 0.1, "done")], 1.0),
        ([(0.5, 0.1, "done"), (3.5, 9.0, "done"), (4.5, 0.1, "done")], 4.0),
        ([(0.1, 0.1, "done"), (0.2, 0.1, "done"), (0.3, 9.0, "done")], 0.0),
    ],
)
def test_it_has_recovered_once_no_second_is_worse_than_before(
    arrivals: list[tuple[float, float, str]], seconds: float
) -> None:
    assert recovery(stage(*arrivals), 1.0) == seconds
