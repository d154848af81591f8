"""kill -9 at random moments under load, again and again, and a checker over the whole history."""

import asyncio
import os
from pathlib import Path
from random import Random

import pytest

from tests.process.history import History
from tests.process.load import Load
from tests.process.server import LOOK, Server, until
from tests.process.witness import integrity, rows, set_witness

KILLS = int(os.environ.get("RANDOM_KILLS", "50"))
SEED = int(os.environ.get("MASTERLOOP_SEED", "0")) or None

UNFINISHED = "SELECT 1 FROM runs WHERE status IN ('pending', 'running') LIMIT 1"


async def live_and_die(
    server: Server, load: Load, rng: Random, settings: dict[str, object], least: int
) -> None:
    """Start the server, load it, and kill it at some moment, ``least`` runs accepted in all."""
    await asyncio.to_thread(server.start, **settings)
    loaded = asyncio.create_task(load.until_killed())
    await asyncio.sleep(rng.uniform(0.05, 0.6))
    while load.accepted < least and not loaded.done():  # noqa: ASYNC110 - the machine is slow
        await asyncio.sleep(LOOK)
    server.kill9()
    await loaded


@pytest.mark.timeout(60 + 10 * KILLS)
async def test_random_kills_under_load_lose_nothing_and_repeat_nothing_committed(
    tmp_path: Path,
) -> None:
    seed = SEED or Random().getrandbits(32)
    rng, history, server = Random(seed), History(), Server(tmp_path)
    effects = server.effects.folder / "effects.log"
    effects.touch()
    # Runs are found working at many kills, and none of them is to blame.
    settings: dict[str, object] = {"crash_limit": 100}
    try:
        await set_witness(server.database)
        load = Load(server.url, history, rng)
        for number in range(KILLS):
            await live_and_die(server, load, rng, settings, number + 2)
            history.after_kill(server.database, effects)
        server.start(**settings)
        until(lambda: not rows(server.database, UNFINISHED), 60, lambda: server.log)
        busy = server.http.post("/threads/search", json={"status": "busy"}).json()
        await check_what_clients_see(server, history)
        assert server.stop() == 143, server.log
    finally:
        server.close()
    history.at_the_end(server.database, effects)
    results = [operation.result for operation in history.operations.values()]
    print({r: results.count(r) for r in set(results)}, "repeated steps:", history.repeated)  # noqa: T201 - shown when it fails, or with -s
    assert not history.violations, f"MASTERLOOP_SEED={seed}: {history.violations[:20]}"
    assert (busy, integrity(server.database)) == ([], "ok")
    assert results.count("ok") > KILLS


async def check_what_clients_see(server: Server, history: History) -> None:
    """Ask for some of the accepted runs, as their clients would."""
    accepted = [o for o in history.operations.values() if o.result == "ok" and not o.stateless]
    for operation in accepted[:: max(1, len(accepted) // 200)]:
        path = f"/threads/{operation.thread_id}/runs/{operation.run_id}"
        shown = server.http.get(path).json()["status"]
        assert shown == "success" or (operation.cancelled and shown == "interrupted"), operation
        assert server.http.get(f"{path}/join").is_success
