"""A resumable stream is replayed by a server that was killed in the middle of it."""

import httpx

from tests.process.server import Server, until
from tests.process.witness import rows

EVENTS = ["metadata", "updates", "updates", "metadata", "updates", "updates", "end"]


def replay(server: Server, path: str, last: str) -> list[tuple[int, str]]:
    """Return the ids and names of a whole stream past an id."""
    answer = server.http.get(f"{path}/stream", headers={"last-event-id": last})
    assert answer.status_code == httpx.codes.OK, (answer.text, server.log)
    frames = [
        dict(line.split(": ", 1) for line in frame.split("\n")) for frame in frames_of(answer)
    ]
    return [(int(frame["id"]), frame["event"]) for frame in frames]


def frames_of(answer: httpx.Response) -> list[str]:
    return [frame for frame in answer.text.split("\n\n") if frame and not frame.startswith(":")]


async def test_what_was_streamed_before_a_kill_is_replayed_after_it(server: Server) -> None:
    server.start()
    server.effects.gate("kept", 2)
    run = server.submit(
        "counter", {"name": "kept", "steps": 4}, stream_resumable=True, stream_mode=["updates"],
        durability="sync",
    )  # fmt: skip
    kept = "SELECT number FROM run_events WHERE name = 'updates'"
    until(lambda: len(rows(server.database, kept)) == 2, why=lambda: server.log)
    server.kill9()

    server.effects.open_gate("kept")
    server.start()
    assert run.join()["done"] == 4
    whole = replay(server, run.path, "-1")
    assert [name for _, name in whole] == EVENTS
    numbers = [number for number, _ in whole]
    assert numbers == sorted(set(numbers))
    for place, number in enumerate(numbers[:-1]):
        assert replay(server, run.path, str(number)) == whole[place + 1 :]
