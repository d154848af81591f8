"""Messages that are over, put back: whose, how many, and by which thread they are found."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from agents.network.configuration import NetworkSection
from agents.network.message import Letter
from agents.network.port import Place, Verdict
from operations.clock import utc_now
from operations.database import Database, open_database
from operations.database_errors import DatabaseError
from operations.migrations import load_migrations
from orchestration.store import migrations
from orchestration.store.message_log import MessageLog
from orchestration.store.messages import PART, MessageStore

MANY = PART + 100


@asynccontextmanager
async def delivered(folder: Path, **owners: int) -> AsyncGenerator[Database]:
    """Open a database in which so many messages of each owner were delivered, in turn."""
    async with open_database(folder / "data.db", load_migrations(migrations.__name__)) as database:
        store = MessageStore(database, NetworkSection())
        for owner, count in owners.items():
            letters = [_letter(owner, number) for number in range(count)]
            place = Place("box", 10_000, drop_oldest=False)
            receipts = await asyncio.gather(*(store.append(one, [place]) for one in letters))
            verdict = Verdict("delivered", utc_now())
            offsets = [receipt.offsets["box"] for receipt in receipts]
            await asyncio.gather(*(store.settle(offset, verdict) for offset in offsets))
        yield database


def _letter(owner: str, number: int) -> Letter:
    return Letter(
        message_id=str(number),
        named=False,
        sender=f"user/{owner}",
        recipient="box",
        topic=None,
        correlation_id=None,
        priority=5,
        hops=1,
        content="null",
        metadata={"owner": owner},
        namespace=(),
        sent_at=utc_now(),
        expires_at=utc_now() + timedelta(seconds=60),
    )


async def test_each_puts_back_their_own_and_as_many_as_there_is_room_for(tmp_path: Path) -> None:
    async with delivered(tmp_path, alice=MANY, bob=MANY) as database:
        log = MessageLog(database)
        hers = {"owner": "alice"}
        revived = [
            [one async for one in log.revive("box", "delivered", capacity=MANY, visible=hers)],
            [one async for one in log.revive("box", "delivered", capacity=MANY + 3)],
            [one async for one in log.revive("box", "delivered", capacity=MANY + 3)],
        ]
    assert [{sender for sender, _ in found} for found in revived] == [
        {"user/alice"},
        {"user/bob"},
        set(),
    ]
    assert [[rank.offset for _, rank in found] for found in revived] == [
        list(range(1, MANY + 1)),
        [MANY + 1, MANY + 2, MANY + 3],
        [],
    ]


async def test_each_forgets_their_own_and_nothing_of_another_mailbox(tmp_path: Path) -> None:
    async with delivered(tmp_path, alice=MANY, bob=MANY) as database:
        log = MessageLog(database)
        forgotten = [
            await log.forget("box", {"owner": "alice"}),
            await log.forget("another"),
            await log.forget("box"),
        ]
        assert (forgotten, log.holds("box")) == ([MANY, 0, MANY], False)


async def test_the_thread_that_writes_for_all_looks_through_nobodys_metadata(
    tmp_path: Path,
) -> None:
    async with delivered(tmp_path, alice=2) as database:
        log = MessageLog(database)
        hers = {"owner": "alice"}
        found = [one async for one in log.revive("box", "delivered", capacity=9, visible=hers)]
        assert len(found) == 2
        with pytest.raises(DatabaseError, match="no such function"):
            await database.write(lambda c: c.execute("SELECT json_contains('{}', '{}')").fetchall())


@pytest.mark.parametrize(("drop_oldest", "waited"), [(False, "expired"), (True, "dropped")])
async def test_a_full_mailbox_makes_room_among_those_that_wait_in_it_alone(
    tmp_path: Path, waited: str, *, drop_oldest: bool
) -> None:
    now = utc_now()
    until = now if waited == "expired" else now + timedelta(seconds=60)
    box, other = Place("box", 1, drop_oldest=drop_oldest), Place("other", 10, drop_oldest=False)
    async with delivered(tmp_path) as database:
        store = MessageStore(database, NetworkSection())
        for name, place in (("elsewhere", other), ("taken", box), ("waits", box), ("last", box)):
            expires = now + timedelta(seconds=60) if name == "last" else until
            letter = replace(_letter("alice", 0), message_id=name, sent_at=now, expires_at=expires)
            receipt = await store.append(letter, [place])
            if name == "taken":
                await store.settle(receipt.offsets["box"], Verdict("delivered", now))
        rows = await database.read(
            lambda c: c.execute(
                "SELECT message_id, status FROM messages ORDER BY number"
            ).fetchall()
        )
    assert dict(map(tuple, rows)) == {
        "elsewhere": "pending", "taken": "delivered", "waits": waited, "last": "pending",
    }  # fmt: skip
