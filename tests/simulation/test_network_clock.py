"""Messages while the wall clock is set: what waits for its next attempt goes by it."""

import asyncio
from datetime import timedelta

import pytest

from agents.errors import TaskFailed
from agents.network.message import Message
from tests.simulation.postal import Postal
from tests.simulation.simloop import SimLoop, simulate


@pytest.mark.parametrize("crash", [False, True])
def test_a_clock_that_is_set_back_holds_up_no_retry_and_nothing_behind_it(*, crash: bool) -> None:
    async def main(sim: SimLoop) -> tuple[list[str], float]:
        async def fail_once(_: Message) -> None:
            if len(postal.begun) == 1:
                raise TaskFailed("not now")

        postal = Postal(sim, fail_once, mailboxes={"box": {"retry": {"first": 8.0, "most": 8.0}}})
        postal.ahead = timedelta(days=365)
        await postal.send("again")
        waits = "SELECT count(due_at) FROM messages"
        while not postal.memory.connection.execute(waits).fetchone()[0]:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.001)
        postal.ahead = timedelta()
        if crash:
            await postal.crash()
        await postal.send("behind it")
        return await postal.settled(100.0), sim.time()

    statuses, took = simulate(1, main)
    assert statuses == ["delivered", "delivered"]
    assert took < 10
