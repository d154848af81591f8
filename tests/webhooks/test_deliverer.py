"""From the end of a run to its webhook, over failures and restarts."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from orchestration.store.deliveries import DeliveryStore
from orchestration.webhooks.deliverer import AT_ONCE_PER_RECEIVER, LONGEST_REST
from orchestration.webhooks.retries import WAITS
from orchestration.webhooks.signature import Signer
from tests.operations.receiver import Receiver, answer
from tests.webhooks.post_office import open_office

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


async def hang(_: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def test_the_end_of_a_run_is_posted_at_once(tmp_path: Path) -> None:
    async with Receiver.open() as receiver, open_office(tmp_path) as office:
        run = await office.end(receiver.url + "?token=1")
        (request,) = await receiver.arrived(1)
        document = json.loads(request.body)
        assert (request.method, request.target) == ("POST", "/hook?token=1")
        assert (request.headers["content-type"], request.headers["x-token"]) == (
            "application/json",
            "abc",
        )
        assert (document["run_id"], document["status"], document["values"]) == (
            run.run_id,
            "success",
            {"reply": "y"},
        )
        assert document["created_at"] <= document["run_started_at"] <= document["run_ended_at"]
        assert document["webhook_sent_at"] == office.clock().isoformat(timespec="microseconds")


async def test_what_was_delivered_is_kept_in_the_log_without_its_payload(tmp_path: Path) -> None:
    async with Receiver.open(answer(204)) as receiver, open_office(tmp_path) as office:
        await office.end(receiver.url)
        row = await office.recorded(1)
        assert (row["status"], row["answer"], row["due_at"], row["payload"]) == (
            "delivered",
            204,
            None,
            None,
        )


async def test_a_delivery_is_signed(tmp_path: Path) -> None:
    signer = Signer(SECRET)
    async with Receiver.open() as receiver, open_office(tmp_path, signer=signer) as office:
        await office.end(receiver.url)
        (request,) = await receiver.arrived(1)
        head = request.headers
        signed = signer.sign(head["webhook-id"], int(head["webhook-timestamp"]), request.body)
        assert head["webhook-signature"] == signed


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_a_failure_is_tried_again_under_the_same_id(tmp_path: Path, status: int) -> None:
    answers = (answer(status, "location: http://127.0.0.1:1/"), answer(200))
    async with Receiver.open(*answers) as receiver, open_office(tmp_path) as office:
        await office.end(receiver.url)
        row = await office.recorded(1)
        assert (row["status"], row["answer"], row["error"]) == (
            "pending",
            status,
            f"the answer was {status}",
        )
        wait = await office.clock.next_alarm()
        assert WAITS[0] <= wait <= WAITS[0] * 1.2
        office.clock.move(wait)
        first, second = await receiver.arrived(2)
        assert first.headers["webhook-id"] == second.headers["webhook-id"]
        assert first.headers["webhook-timestamp"] < second.headers["webhook-timestamp"]
        assert (await office.recorded(2))["status"] == "delivered"


async def test_a_receiver_can_say_when_to_come_back(tmp_path: Path) -> None:
    answers = (answer(503, "retry-after: 60"), answer(200))
    async with Receiver.open(*answers) as receiver, open_office(tmp_path) as office:
        await office.end(receiver.url)
        await office.recorded(1)
        assert await office.clock.next_alarm() == pytest.approx(60, abs=1e-3)


async def test_a_receiver_cannot_end_the_deliveries_of_others_by_a_date(tmp_path: Path) -> None:
    never = answer(503, "retry-after: Mon, 01 Jan 3000000000 00:00:00 GMT")
    async with (
        Receiver.open(never) as odd,
        Receiver.open() as receiver,
        open_office(tmp_path) as office,
    ):
        await office.end(odd.url)
        assert (await office.recorded(1))["status"] == "pending"
        await office.end(receiver.url)
        await receiver.arrived(1)


async def test_what_cannot_be_sent_at_all_is_a_failure_of_its_own(tmp_path: Path) -> None:
    async with Receiver.open() as receiver, open_office(tmp_path) as office:
        await office.end("http://[")
        row = await office.recorded(1)
        assert row["status"] == "pending"
        with other_program(tmp_path) as other:
            other.execute('UPDATE webhook_deliveries SET trace = \'{"tracestate": "\u00e9"}\'')
        with capture_logs() as logs:
            office.clock.move(await office.clock.next_alarm())
            assert (await office.recorded(2))["status"] == "pending"
        assert {line["log_level"] for line in logs} <= {"info", "error"}
        await office.end(receiver.url)
        await receiver.arrived(1)


async def test_a_clock_that_is_set_forward_is_noticed_within_a_minute(tmp_path: Path) -> None:
    answers = (answer(503, "retry-after: 7200"), answer(200))
    async with Receiver.open(*answers) as receiver, open_office(tmp_path) as office:
        await office.end(receiver.url)
        await office.recorded(1)
        await office.clock.next_alarm()
        office.clock.set(office.clock() + timedelta(hours=2))
        office.clock.move(LONGEST_REST)
        await receiver.arrived(2)


async def test_a_receiver_can_say_never_again(tmp_path: Path) -> None:
    async with Receiver.open(answer(410)) as receiver, open_office(tmp_path) as office:
        await office.end(receiver.url)
        row = await office.recorded(1)
        assert (row["status"], row["due_at"]) == ("gone", None)


async def test_after_ten_attempts_it_is_given_up(tmp_path: Path) -> None:
    async with Receiver.open(answer(500)) as receiver, open_office(tmp_path) as office:
        await office.end(receiver.url)
        for attempt in range(1, 10):
            await office.recorded(attempt)
            await office.clock.next_alarm()
            office.clock.move(WAITS[attempt - 1] * 1.2)
        row = await office.recorded(10)
        assert (row["status"], row["due_at"], len(receiver.requests)) == ("failed", None, 10)
        assert row["payload"] is not None


async def test_what_nobody_took_is_delivered_after_a_restart(tmp_path: Path) -> None:
    async with Receiver.open(answer(500)) as receiver, open_office(tmp_path) as office:
        await office.end(receiver.url)
        (first,) = await receiver.arrived(1)
        await office.recorded(1)
        port = receiver.port
    async with Receiver.open(port=port) as receiver, open_office(tmp_path) as office:
        office.clock.move(60)
        (second,) = await receiver.arrived(1)
        assert second.headers["webhook-id"] == first.headers["webhook-id"]
        assert (await office.recorded(2))["status"] == "delivered"


async def test_a_delivery_cut_off_by_the_stop_is_made_after_the_start(tmp_path: Path) -> None:
    async with Receiver.open(hang, answer(200)) as receiver:
        async with open_office(tmp_path) as office:
            await office.end(receiver.url)
            await receiver.arrived(1)
            began = time.monotonic()
        assert time.monotonic() - began < 2
        async with open_office(tmp_path) as office:
            await receiver.arrived(2)
            row = await office.recorded(1)
            assert (row["status"], row["attempts"]) == ("delivered", 1)


async def test_a_receiver_that_hangs_holds_up_no_other(tmp_path: Path) -> None:
    async with (
        Receiver.open(hang) as hanging,
        Receiver.open() as receiver,
        open_office(tmp_path) as office,
    ):
        for _ in range(80):
            await office.end(hanging.url)
        await office.end(receiver.url)
        await receiver.arrived(1)
        await hanging.arrived(AT_ONCE_PER_RECEIVER)
        await anyio.wait_all_tasks_blocked()
        assert len(hanging.requests) == AT_ONCE_PER_RECEIVER


async def test_what_comes_for_a_receiver_that_has_all_it_may_is_looked_for_later(
    tmp_path: Path,
) -> None:
    looks = 0

    class Counting(DeliveryStore):
        async def due(self, *given: Any, **named: Any) -> list[sqlite3.Row]:
            nonlocal looks
            looks += 1
            return await super().due(*given, **named)

    async with Receiver.open(hang) as hanging, open_office(tmp_path, store=Counting) as office:
        for _ in range(AT_ONCE_PER_RECEIVER):
            await office.end(hanging.url)
        await hanging.arrived(AT_ONCE_PER_RECEIVER)
        await anyio.wait_all_tasks_blocked()
        before = looks
        for _ in range(5):
            await office.end(hanging.url)
        await anyio.wait_all_tasks_blocked()
        assert looks == before
        async with Receiver.open() as receiver:
            await office.end(receiver.url)
            await receiver.arrived(1)


async def test_many_are_all_delivered_once(tmp_path: Path) -> None:
    async with Receiver.open() as receiver, open_office(tmp_path) as office:
        runs = await asyncio.gather(*(office.end(receiver.url) for _ in range(100)))
        requests = await receiver.arrived(100)
        told = sorted(json.loads(request.body)["run_id"] for request in requests)
        assert told == sorted(run.run_id for run in runs)


async def test_an_address_that_is_not_public_gets_nothing(tmp_path: Path) -> None:
    async with open_office(tmp_path) as office:
        await office.end("http://10.0.0.1/")
        row = await office.recorded(1)
        assert (row["status"], row["error"]) == ("pending", "the address 10.0.0.1 is not public")


async def test_what_becomes_due_between_two_looks_is_not_forgotten(tmp_path: Path) -> None:
    answers = (answer(500), answer(200))
    async with Receiver.open(*answers) as receiver, open_office(tmp_path) as office:
        office.clock.tick = 3  # seconds that pass with each look: the wait is over after two
        await office.end(receiver.url)
        office.clock.move(await office.clock.next_alarm())
        await receiver.arrived(2)


@contextmanager
def other_program(folder: Path) -> Generator[sqlite3.Connection]:
    with closing(sqlite3.connect(folder / "data.db", isolation_level=None)) as connection:
        yield connection


async def test_a_delivery_is_made_once_although_it_cannot_be_recorded(tmp_path: Path) -> None:
    with other_program(tmp_path) as other:

        async def lock(writer: asyncio.StreamWriter) -> None:
            other.execute("BEGIN IMMEDIATE")
            writer.write(answer(200))

        async with Receiver.open(lock) as receiver, open_office(tmp_path) as office:
            await office.end(receiver.url)
            pause = await office.clock.next_alarm()
            other.execute("ROLLBACK")
            office.clock.move(pause)
            row = await office.recorded(1)
            assert (row["status"], len(receiver.requests)) == ("delivered", 1)


async def test_a_log_that_cannot_be_read_is_read_again(tmp_path: Path) -> None:
    async with Receiver.open() as receiver, open_office(tmp_path) as office:
        with other_program(tmp_path) as other:
            other.execute("ALTER TABLE webhook_deliveries RENAME TO elsewhere")
            office.expect(receiver.url)
            pause = await office.clock.next_alarm()
            other.execute("ALTER TABLE elsewhere RENAME TO webhook_deliveries")
            await office.end(receiver.url)
        office.clock.move(pause)
        await receiver.arrived(1)


async def test_the_log_tells_of_a_deliverer_that_has_died(tmp_path: Path) -> None:
    class Broken(DeliveryStore):
        async def due(self, *_: object, **__: object) -> list[sqlite3.Row]:
            raise LookupError("a bug")

    with capture_logs() as logs:
        async with open_office(tmp_path, store=Broken):
            await anyio.wait_all_tasks_blocked()
        assert [line["log_level"] for line in logs] == ["critical"]
