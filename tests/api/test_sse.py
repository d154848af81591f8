"""The writing of a stream, to clients that are slow, gone, or never read."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from anyio import wait_all_tasks_blocked

from orchestration.api.sse import EventStream, Streams
from orchestration.loop import streams
from orchestration.loop.streams import Listener, RunStream, StreamEvent
from tests.agents.puppets import on_virtual_time
from tests.api.client import parts_of


class Client:
    """The other end of an ASGI response: takes what is sent, or waits, or goes away."""

    def __init__(self) -> None:
        self.body = b""
        self.most = 0  # events at once
        self.taken = asyncio.Event()
        self.reading = asyncio.Event()
        self.gone = asyncio.Event()
        self.reading.set()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await self.reading.wait()
        self.body += message.get("body", b"")
        self.most = max(self.most, message.get("body", b"").count(b"event: "))
        if message.get("body"):
            self.taken.set()


class Writing:
    """A stream that is being written to a client."""

    def __init__(
        self,
        listener: Listener,
        *,
        keep_alive: float = 60.0,
        send_timeout: float = 60.0,
        **options: Any,
    ) -> None:
        self.client = Client()
        self.left: list[bool] = []
        self.streams = Streams(keep_alive, send_timeout)
        response = EventStream(listener, self.streams, leave=self.left.append, **options)
        self.task = asyncio.create_task(response({}, self.client.receive, self.client.send))


async def test_a_client_that_reads_too_slowly_is_told_of_the_gap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "LISTENER_LIMIT", 3)
    run = RunStream()
    writing = Writing(run.listen())
    writing.client.reading.clear()
    for _ in range(5):
        run.publish("custom", b"1")
    writing.client.reading.set()
    await writing.task
    assert writing.client.body.count(b"event: custom") == 3
    assert writing.client.body.endswith(
        b'event: gap\ndata: {"message": "the client was too slow; events are missing here"}\n\n'
    )
    assert writing.left == [False]
    assert (writing.streams.open, writing.streams.slow_closed) == (0, 1)


async def test_clients_of_a_service_that_stops_are_not_told_to_come_back_all_at_once() -> None:
    waits: list[int] = []
    for _ in range(20):
        listener = RunStream().listen()
        writing = Writing(listener)
        listener.close()
        await writing.task
        event, retry, data = writing.client.body.decode().splitlines()[:3]
        assert (event, data) == ("event: shutdown", "data: null")
        waits.append(int(retry.removeprefix("retry: ")))
    assert len(set(waits)) > 1
    assert 1_000 <= min(waits) < max(waits) <= 5_000


async def test_a_client_that_takes_nothing_for_too_long_counts_as_gone() -> None:
    run = RunStream()
    writing = Writing(run.listen(), send_timeout=0.01)
    run.publish("custom", b"1")
    await writing.client.taken.wait()
    assert (writing.streams.open, writing.streams.slow_closed) == (1, 0)
    writing.client.reading.clear()
    run.publish("custom", b"2")
    await writing.task
    assert writing.left == [True]
    assert (writing.streams.open, writing.streams.slow_closed) == (0, 1)


@pytest.mark.parametrize("wanted", [True, False], ids=["nothing happens", "nothing is wanted"])
def test_a_stream_on_which_nothing_is_sent_shows_signs_of_life(*, wanted: bool) -> None:
    async def main() -> bytes:
        run = RunStream()
        writing = Writing(run.listen(), keep_alive=5.0, wanted=lambda event: wanted)
        for _ in range(12):
            if not wanted:
                run.publish("custom", b"1")
            await asyncio.sleep(1)
        writing.task.cancel()
        return writing.client.body

    assert on_virtual_time(main) == 2 * b": heartbeat\n\n"


def test_what_is_sent_between_two_signs_of_life_puts_the_next_one_off() -> None:
    async def main() -> float:
        run, loop = RunStream(), asyncio.get_running_loop()
        writing = Writing(run.listen(), keep_alive=5.0)
        await asyncio.sleep(3)
        run.publish("custom", b"1")
        await writing.client.taken.wait()
        writing.client.taken.clear()
        await writing.client.taken.wait()
        assert writing.client.body.endswith(b": heartbeat\n\n")
        writing.task.cancel()
        return loop.time()

    assert on_virtual_time(main) == 8.0


async def test_a_client_that_goes_away_is_noticed_without_an_event() -> None:
    writing = Writing(RunStream().listen())
    writing.client.gone.set()
    await writing.task
    assert writing.left == [True]


async def test_a_client_that_goes_away_after_the_end_has_missed_nothing() -> None:
    run = RunStream()
    writing = Writing(run.listen())
    run.publish("end", b"null")
    await writing.client.taken.wait()
    writing.client.gone.set()
    await writing.task
    assert writing.left == [False]


async def test_a_generous_run_leaves_the_event_loop_to_others() -> None:
    run, turns = RunStream(), 0
    writing = Writing(run.listen())
    writing.client.gone.set()
    while not writing.task.done():
        run.publish("custom", b"1")
        turns += 1
        await asyncio.sleep(0)
        assert turns < 10
    assert writing.left == [True]


async def test_many_events_that_wait_are_written_by_turns_with_what_others_do() -> None:
    run = RunStream()
    run.keep()
    for _ in range(2_500):
        run.publish("custom", b"1")
    writing = Writing(run.listen(0))
    run.close()
    turns = 0
    while not writing.task.done():
        turns += 1
        await asyncio.sleep(0)
    assert (writing.client.body.count(b"event: custom"), writing.client.most) == (2_500, 1_000)
    assert turns > 2


async def test_of_large_events_that_wait_only_a_part_is_sent_at_once() -> None:
    run, large = RunStream(), b"1" * 100_000
    run.keep()
    for _ in range(50):
        run.publish("custom", large)
    writing = Writing(run.listen(0))
    run.close()
    await writing.task
    assert (writing.client.body.count(large), writing.client.most) == (50, 11)  # a mebibyte


async def test_what_is_missed_is_read_as_the_client_takes_it() -> None:
    read: list[int] = []

    async def pages() -> AsyncGenerator[list[StreamEvent]]:
        for number in range(1, 6):
            read.append(number)
            yield [StreamEvent(number, "custom", b"1")]

    run = RunStream()
    run.close()
    writing = Writing(run.listen(), missed=pages(), numbered=True)
    await writing.client.taken.wait()
    writing.client.reading.clear()
    await wait_all_tasks_blocked()
    ahead = len(read)
    writing.client.reading.set()
    await writing.task
    assert ahead < 5
    numbers = [int(part.id or 0) for part in parts_of(writing.client.body.decode())]
    assert numbers == [1, 2, 3, 4, 5, 0]


@pytest.mark.parametrize("name", ["a\nb", "a\r\nb", "a\rb", "a\u2028b", "a\x0bb", "a\x85b"])
async def test_a_line_break_in_a_name_becomes_a_space(name: str) -> None:
    run = RunStream()
    writing = Writing(run.listen(), before=[StreamEvent(1, name, b"1")])
    run.close()
    await writing.task
    assert writing.client.body.startswith(b"event: a b\ndata: 1\n\n")
