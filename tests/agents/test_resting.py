"""Those who rest, on the event loop that serves."""

import asyncio

from agents.network.resting import Resting
from operations.event_loop import loop_factory


def test_what_is_due_at_once_is_woken_and_holds_up_nobody() -> None:
    async def main() -> list[str]:
        woken: list[str] = []
        both = asyncio.Event()

        def wake(one: str) -> None:
            woken.append(one)
            if len(woken) == 2:
                both.set()

        resting = Resting(wake)
        resting.put("first", 0.0001)
        resting.put("second", 0.0002)
        await both.wait()
        return woken

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        assert runner.run(main()) == ["first", "second"]
