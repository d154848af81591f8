"""A tool that does not stop when it is cancelled, but when the test lets it go."""

import asyncio

let_go = asyncio.Event()


async def stay(**_: object) -> str:
    while not let_go.is_set():
        try:
            await let_go.wait()
        except asyncio.CancelledError:
            continue
    return "at last"
