"""Messages on virtual time: whatever receivers do, in whatever order things happen."""

import asyncio
import os
from collections import Counter
from itertools import pairwise
from random import Random

import pytest

from agents.errors import NotLeased, TaskFailed
from agents.network.errors import MailboxFull
from agents.network.message import Message
from orchestration.store.messages import PART
from tests.simulation.postal import Postal
from tests.simulation.simloop import SimLoop, seeds, simulate

SEEDS = int(os.environ.get("SIMULATION_SEEDS", "200"))


async def take(message: Message) -> None:
    """Receive at once."""


async def take_good(message: Message) -> None:
    """Receive at once what is not bad."""
    if message.content == "bad":
        raise TaskFailed("no")


class Moody:
    """Receives after a while, fails, or is away, as chance has it; crashes are told to it."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.at_work: Counter[str] = Counter()
        self.most_at_work = 0

    async def __call__(self, message: Message) -> None:
        self.at_work[message.sender] += 1
        self.most_at_work = max(self.most_at_work, self.at_work[message.sender])
        try:
            await asyncio.sleep(self.rng.random() * 0.5)
        finally:
            self.at_work[message.sender] -= 1
        match self.rng.randrange(8):
            case 0:
                raise TaskFailed("not today")
            case 1:
                raise NotLeased("nobody is there")
            case _:
                pass


@pytest.mark.parametrize("part", range(4))
def test_whatever_happens_none_is_lost_repeated_or_out_of_order(part: int) -> None:
    async def main(sim: SimLoop) -> None:
        rng = Random(sim.rng.random())
        moody = Moody(rng)
        postal = Postal(sim, moody, mailboxes={"box": {"at_once": 3, "retry": {"attempts": 50}}})
        sent: list[tuple[str, int]] = []

        async def sender(name: str) -> None:
            for number in range(10):
                sent.append((name, number))
                for _ in range(rng.choice([1, 1, 2])):  # again, as after a lost answer
                    await postal.send(number, name, message_id=f"{number}")
                await asyncio.sleep(rng.random())

        async def crashes() -> None:
            for _ in range(3):
                await asyncio.sleep(rng.random() * 5)
                await postal.crash()

        await asyncio.gather(*map(sender, "abcd"), crashes())
        assert set(await postal.settled()) == {"delivered"}
        sql = "SELECT sender, content FROM messages ORDER BY number"
        stored = [(row[0], int(row[1])) for row in postal.memory.connection.execute(sql)]
        assert sorted(stored) == sorted(sent), "lost, or stored twice"
        assert moody.most_at_work == 1, "two of one sender at a time"
        for name in "abcd":
            order = [message.content for message in postal.begun if message.sender == name]
            assert order == sorted(order), "out of order"
            taken = [message.content for message in postal.taken if message.sender == name]
            assert set(taken) == set(range(10))

    for seed in seeds(part, SEEDS, 4):
        simulate(seed, main)


def test_what_comes_at_the_moment_in_which_nothing_is_left_is_delivered() -> None:
    async def main(sim: SimLoop) -> None:
        postal = Postal(sim, take)
        await postal.send()
        await asyncio.sleep(sim.rng.random() * 0.02)
        await postal.send()
        assert await postal.settled(5) == ["delivered", "delivered"]

    for seed in seeds(200):
        simulate(seed, main)


def test_what_is_stored_is_delivered_though_its_sender_was_cancelled_meanwhile() -> None:
    async def main(sim: SimLoop) -> None:
        postal = Postal(sim, take)
        sending = asyncio.create_task(postal.send("x", message_id="1"))
        while not postal.statuses():  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0)
        sending.cancel()
        await asyncio.wait({sending})
        assert sending.cancelled()
        assert (await postal.send("x", message_id="1")).duplicate
        assert await postal.settled(5) == ["delivered"]

    for seed in seeds(20):
        simulate(seed, main)


def test_what_was_acknowledged_is_not_delivered_again() -> None:
    async def main(sim: SimLoop) -> list[int]:
        postal = Postal(sim, take)
        for number in range(5):
            await postal.send(number, message_id=str(number))
        await postal.settled()
        await postal.crash()
        for number in range(5):
            assert (await postal.send(number, message_id=str(number))).duplicate
        await asyncio.sleep(10)
        return [message.content for message in postal.begun]

    assert simulate(1, main) == [0, 1, 2, 3, 4]


def test_an_id_is_known_within_the_window_of_its_sender_and_place_only() -> None:
    async def main(sim: SimLoop) -> list[bool]:
        mailboxes = {"box": {}, "other": {"topics": ["news"]}}
        postal = Postal(sim, take, mailboxes=mailboxes, dedup_window=60.0)
        first = await postal.send(message_id="x")
        again = await postal.send(message_id="x")
        assert again.offsets == first.offsets
        answers = [first, again]
        answers.append(await postal.send(sender="b", message_id="x"))
        answers.append(await postal.send(to="other", message_id="x"))
        answers.append(await postal.send(topic="news", message_id="x"))
        await asyncio.sleep(61)
        answers.append(await postal.send(message_id="x"))
        return [answer.duplicate for answer in answers]

    assert simulate(1, main) == [False, True, False, False, False, False]


def test_retries_wait_by_chance_below_a_limit_that_doubles() -> None:
    async def main(sim: SimLoop) -> list[float]:
        times: list[float] = []

        async def fail(_: Message) -> None:
            times.append(sim.time())
            raise TaskFailed("no")

        retry = {"first": 1.0, "most": 8.0, "attempts": 7}
        postal = Postal(sim, fail, mailboxes={"box": {"retry": retry}})
        await postal.send()
        assert await postal.settled() == ["dead"]
        return [after - before for before, after in pairwise(times)]

    rounds = [simulate(seed, main) for seed in range(40)]
    for number, limit in enumerate([1, 2, 4, 8, 8, 8]):
        waits = [waits[number] for waits in rounds]
        assert max(waits) <= limit + 0.1
        assert max(waits) > limit * 0.7, "the limit does not double"
        assert min(waits) < limit * 0.3, "the jitter is not full"


def test_a_dead_letter_lets_the_next_one_through_and_holds_up_nobody_else() -> None:
    async def main(sim: SimLoop) -> list[tuple[str, str]]:
        retry = {"first": 10.0, "attempts": 3}
        postal = Postal(sim, take_good, mailboxes={"box": {"retry": retry}})
        await postal.send("bad")
        await postal.send("after it")
        await postal.send("beside it", "b")
        assert await postal.settled() == ["dead", "delivered", "delivered"]
        row = postal.memory.connection.execute("SELECT * FROM messages").fetchone()
        assert (row["attempts"], row["error"]) == (3, "TaskFailed: no")
        return [(message.sender, message.content) for message in postal.taken]

    assert simulate(1, main) == [("b", "beside it"), ("a", "after it")]


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (TaskFailed("cannot parse \ud83d"), "TaskFailed: cannot parse ?"),
        (LookupError("no such thing"), "LookupError: no such thing"),
    ],
    ids=["half a character", "of an unexpected kind"],
)
def test_whatever_a_receiver_raises_counts_as_an_attempt(error: Exception, kept: str) -> None:
    async def main(sim: SimLoop) -> list[str]:
        async def handle(message: Message) -> None:
            if message.content == "bad":
                raise error

        retry = {"first": 1.0, "attempts": 2}
        postal = Postal(sim, handle, mailboxes={"box": {"retry": retry}})
        await postal.send("bad")
        await postal.send("behind it")
        assert await postal.settled(20.0) == ["dead", "delivered"]
        row = postal.memory.connection.execute("SELECT * FROM messages").fetchone()
        assert (row["attempts"], row["error"]) == (2, kept)
        return [message.content for message in postal.begun]

    assert simulate(1, main) == ["bad", "bad", "behind it"]


def test_where_nobody_is_no_attempt_counts_and_they_get_theirs_when_they_are_back() -> None:
    async def main(sim: SimLoop) -> float:
        back = 1_000.0

        async def handle(_: Message) -> None:
            if sim.time() < back:
                raise NotLeased("nobody is there")

        retry = {"first": 100.0, "most": 10_000.0, "attempts": 1}
        postal = Postal(sim, handle, mailboxes={"box": {"retry": retry}})
        await postal.send()
        await asyncio.sleep(back - sim.time())
        assert postal.network["box"].trouble == "nobody is there"
        postal.network.somebody_is_back()
        await postal.settled()
        assert postal.network["box"].trouble is None
        return sim.time() - back

    assert simulate(1, main) < 1


def test_what_has_expired_is_not_delivered() -> None:
    async def main(sim: SimLoop) -> list[str]:
        async def slow(_: Message) -> None:
            await asyncio.sleep(10)

        postal = Postal(sim, slow)
        await postal.send("long")
        await postal.send("short-lived", ttl=5.0)
        await postal.send("lives", ttl=500.0)
        statuses = await postal.settled()
        assert [message.content for message in postal.begun] == ["long", "lives"]
        return statuses

    assert simulate(1, main) == ["delivered", "expired", "delivered"]


def test_what_expires_before_it_is_tried_again_holds_up_what_is_behind_it_no_longer() -> None:
    async def main(sim: SimLoop) -> float:
        retry = {"first": 1e6, "most": 1e6}
        postal = Postal(sim, take_good, mailboxes={"box": {"retry": retry}})
        await postal.send("bad", ttl=5.0)
        await postal.send("behind it")
        assert await postal.settled() == ["expired", "delivered"]
        return sim.time()

    assert 5 <= simulate(1, main) < 6


def test_what_is_urgent_overtakes_and_the_rest_keeps_its_order() -> None:
    async def main(sim: SimLoop) -> list[str]:
        async def slow(_: Message) -> None:
            await asyncio.sleep(1)

        postal = Postal(sim, slow, mailboxes={"box": {"at_once": 1}})
        for content, priority, sender in (
            ("first", 5, "a"), ("second", 5, "a"), ("urgent", 0, "a"), ("most", 1, "b"),
            ("least", 10, "b"),
        ):  # fmt: skip
            await postal.send(content, sender, priority=priority)
        await postal.settled()
        return [message.content for message in postal.taken]

    assert simulate(1, main) == ["first", "urgent", "most", "second", "least"]


@pytest.mark.parametrize("full", ["reject", "drop-oldest"])
def test_a_full_mailbox_does_what_it_says(full: str) -> None:
    async def main(sim: SimLoop) -> list[str]:
        async def away(_: Message) -> None:
            raise NotLeased("nobody is there")

        postal = Postal(sim, away, mailboxes={"box": {"capacity": 2, "full": full}})
        await postal.send("expires", ttl=1.0)
        await postal.send("stays")
        await asyncio.sleep(2)
        await postal.send("has the place of the first")
        if full == "reject":
            with pytest.raises(MailboxFull, match="'box' is full: 2 messages wait"):
                await postal.send("too much")
        else:
            await postal.send("too much")
        return postal.statuses()

    dropped = ["dropped", "pending"] if full == "drop-oldest" else ["pending"]
    assert simulate(1, main) == ["expired", *dropped, "pending"]


@pytest.mark.parametrize("taken", [True, False])
def test_what_is_dropped_while_it_is_received_is_delivered_if_taken(taken: bool) -> None:
    async def main(sim: SimLoop) -> list[str]:
        async def slow(message: Message) -> None:
            await asyncio.sleep(10)
            await take_good(message)

        postal = Postal(sim, slow, mailboxes={"box": {"capacity": 1, "full": "drop-oldest"}})
        await postal.send("good" if taken else "bad")
        await asyncio.sleep(5)
        await postal.send("second")
        assert postal.statuses() == ["dropped", "pending"]
        await postal.settled()
        counts = postal.memory.connection.execute("SELECT waiting, ended FROM mailboxes").fetchone()
        assert (*counts, len(postal.begun)) == (0, 2, 2)
        return postal.statuses()

    assert simulate(1, main) == ["delivered" if taken else "dropped", "delivered"]


def test_a_topic_goes_to_all_of_its_mailboxes_or_to_none() -> None:
    async def main(sim: SimLoop) -> list[tuple[list[str], list[str]]]:
        async def away(_: Message) -> None:
            raise NotLeased("nobody is there")

        mailboxes = {"box": {"topics": ["t"]}, "small": {"topics": ["t"], "capacity": 1}}
        postal = Postal(sim, away, mailboxes=mailboxes)
        first = await postal.send(topic="t")
        assert first.offsets.keys() == {"box", "small"}
        with pytest.raises(MailboxFull, match="'small'"):
            await postal.send(topic="t")
        return [(postal.statuses("box"), postal.statuses("small"))]

    assert simulate(1, main) == [(["pending"], ["pending"])]


def test_what_is_over_is_kept_for_so_long_and_no_more_than_so_many() -> None:
    async def main(sim: SimLoop) -> list[int]:
        postal = Postal(sim, take, keep=3, keep_for=100.0, dedup_window=50.0)
        for number in range(6):
            await postal.send(number, message_id=str(number))
            await postal.settled()
        left = [len(postal.statuses())]
        store = postal.store
        assert 49 < store.next_sweep() <= 50
        await asyncio.sleep(60)
        left.append(await store.sweep())  # the ids
        await asyncio.sleep(60)
        left += [await store.sweep(), await store.sweep(), len(postal.statuses())]
        counts = postal.memory.connection.execute("SELECT waiting, ended FROM mailboxes").fetchone()
        assert tuple(counts) == (0, 0)
        return left

    assert simulate(1, main) == [3, 6, 3, 0, 0]


@pytest.mark.parametrize("ttl", [None, 1.0], ids=["dropped", "expired"])
def test_no_more_is_kept_of_what_ends_unreceived(ttl: float | None) -> None:
    async def main(sim: SimLoop) -> list[str]:
        async def away(_: Message) -> None:
            raise NotLeased("nobody is there")

        retry = {"first": 1e6, "most": 1e6}
        box = {"capacity": PART + 50, "full": "drop-oldest", "retry": retry}
        postal = Postal(sim, away, mailboxes={"box": box}, keep=3)
        for _ in range(PART + 50):
            await postal.send(ttl=ttl)
        await asyncio.sleep(2)
        for _ in range(5):
            await postal.send()
        return [status for status in postal.statuses() if status != "pending"]

    assert simulate(1, main) == ["dropped" if ttl is None else "expired"] * 3


def test_there_is_one_timer_for_a_mailbox_and_none_for_nobody() -> None:
    async def main(sim: SimLoop) -> list[int]:
        async def fail(_: Message) -> None:
            raise TaskFailed("no")

        def timers() -> int:
            return sum(not handle.cancelled() for handle in sim._scheduled)  # noqa: SLF001 - its own

        retry = {"first": 1_000.0, "most": 1_000.0, "attempts": 2}
        postal = Postal(sim, fail, mailboxes={"box": {"retry": retry}})
        counts = [timers()]
        for number in range(100):
            await postal.send(sender=f"s{number}")
        while len(postal.begun) < 100:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        counts.append(timers())
        assert set(await postal.settled(10_000)) == {"dead"}
        return [*counts, timers()]

    assert simulate(1, main) == [0, 1, 0]
