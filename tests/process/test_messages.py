"""Messages through kill -9 of the server at random moments: none lost, repeated or out of order."""

import asyncio
import json
import os
import sqlite3
import sys
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from random import Random

import httpx
import psutil
import pytest

from operations.keys import KeyFolder
from tests.process.server import Server, until

KILLS = int(os.environ.get("RANDOM_MESSAGE_KILLS", "3"))
MESSAGES = int(os.environ.get("RANDOM_MESSAGES", "400"))
SEED = int(os.environ.get("MASTERLOOP_SEED", "0")) or None
SENDERS = 4
SEATS = 3
LIFE = MESSAGES / KILLS / 500  # seconds that a server lives at most
PLAYERS = Path(__file__).parents[1] / "agents/players"


def manifest(folder: Path) -> Path:
    pool = {
        "kind": "process",
        "argv": [sys.executable, str(PLAYERS / "postman.py")],
        "env": {"ROUND": str(folder / "round")},
        "seats": SEATS,
    }
    file = folder / "langgraph.json"
    section = {"agents": {"postmen": pool}, "network": {"mailboxes": {"post": {}}}}
    graphs = {"teller": "tests.agents.players.teller:teller"}
    file.write_text(json.dumps({"graphs": graphs, "masterloop": section}))
    return file


class Round:
    """What postmen wrote down, and what the server had acknowledged when."""

    def __init__(self, folder: Path, database: Path) -> None:
        self._file = folder / "round"
        self._database = database
        self._over: dict[int, int] = {}  # how many lines there were when it was acknowledged
        self.kills = 0

    def begun(self) -> list[tuple[str, int, int]]:
        """Return the sender, offset and number of each message that was begun, in order."""
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        parts = [line.split(" ") for line in lines if line.startswith("begun")]
        return [(sender, int(offset), int(number)) for _, sender, offset, number in parts]

    def after_kill(self) -> None:
        """Note what is acknowledged: it must not begin after this."""
        self.kills += 1
        count = len(self.begun())
        for offset, status, *_ in self.stored():
            if status == "delivered":
                self._over.setdefault(offset, count)

    def stored(self) -> list[tuple[int, str, str, int]]:
        """Return the offset, status, sender and number of every message."""
        sql = "SELECT number, status, sender, CAST(content AS INTEGER) FROM messages"
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True)) as connection:
            return connection.execute(sql).fetchall()

    def violations(self) -> list[str]:
        """Return what must not be."""
        wrong: list[str] = []
        numbers: dict[str, list[int]] = defaultdict(list)
        times: dict[int, int] = defaultdict(int)
        for position, (sender, offset, number) in enumerate(self.begun()):
            numbers[sender].append(number)
            times[offset] += 1
            if position >= self._over.get(offset, sys.maxsize):
                wrong.append(f"{sender} {number} came again after it was acknowledged")
        for sender, begun in numbers.items():
            if begun != sorted(begun):
                wrong.append(f"{sender}: out of order")
            if set(begun) != set(range(MESSAGES // SENDERS)):
                wrong.append(f"{sender}: {MESSAGES // SENDERS - len(set(begun))} are lost")
        if sum(times.values()) > len(times) + self.kills * SEATS:
            wrong.append("more came again than can have been under way at the kills")
        stored = [(sender, number) for _, _, sender, number in self.stored()]
        if len(stored) != len(set(stored)):
            wrong.append("some were stored twice")
        return wrong


async def send_all(url: str, key: str) -> None:
    """Send one message after the other; what has no answer is sent again with its id."""
    async with httpx.AsyncClient(base_url=url, headers={"x-api-key": key}, timeout=60) as client:
        for number in range(MESSAGES // SENDERS):
            body = {"to": "post", "content": number, "id": str(number)}
            while True:
                try:
                    answer = await client.post("/messages", json=body)
                except httpx.TransportError:
                    await asyncio.sleep(0.02)
                    continue
                assert answer.status_code == 202, answer.text
                break


def kill(server: Server) -> None:
    """Kill the server, and wait until its agents have seen that it is gone."""
    agents = psutil.Process(server.pid).children(recursive=True)
    server.kill9()
    psutil.wait_procs(agents, timeout=30)


@pytest.mark.timeout(120 + 20 * KILLS + MESSAGES // 20)
async def test_messages_survive_kills_at_random_moments(tmp_path: Path) -> None:
    seed = SEED or Random().getrandbits(32)
    rng, server = Random(seed), Server(tmp_path, manifest(tmp_path))
    round_ = Round(tmp_path, server.database)
    keys = KeyFolder(server.data)
    try:
        created = [keys.create(f"sender{number}", "run")[1] for number in range(SENDERS)]
        await asyncio.to_thread(server.start)
        sending = asyncio.gather(*(send_all(server.url, key) for key in created))
        while not sending.done() and round_.kills < KILLS:
            await asyncio.wait({sending}, timeout=rng.uniform(LIFE / 8, LIFE))
            await asyncio.to_thread(kill, server)
            round_.after_kill()
            await asyncio.to_thread(server.start)
        await sending
        until(
            lambda: {status for _, status, *_ in round_.stored()} == {"delivered"},
            30 + MESSAGES / 100,
            lambda: server.log,
        )
        assert server.stop() == 143, server.log
    finally:
        server.close()
    again = len(round_.begun()) - len(round_.stored())
    print(f"{MESSAGES} messages, {round_.kills} kills, {again} came again")  # noqa: T201 - shown when it fails, or with -s
    assert round_.kills > 0
    assert round_.violations() == [], f"MASTERLOOP_SEED={seed}"
