"""Worker processes that die, hang, or are killed: they are replaced, and their runs go on."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from langgraph.store.memory import InMemoryStore
from structlog.testing import capture_logs

from agents.configuration import Restarts
from orchestration.processes.child import Orders
from orchestration.processes.lending import Stock
from orchestration.processes.worker import WorkerProcess
from tests.processes.stage import Stage, aside, open_stage
from tests.store.checkpointing import opened

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]
PATIENCE = 1.0  # seconds


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Stage]:
    folder = tmp_path_factory.mktemp("service")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orchestration.processes.crew.RESTARTS", Restarts(first=0.05, most=0.1))
        async with aside(open_stage(folder, workers=2, worker_timeout=PATIENCE)) as one:
            yield one


async def test_a_run_whose_process_dies_goes_on_in_another_from_its_checkpoint(
    stage: Stage,
) -> None:
    notes, marker = stage.folder / "notes", stage.folder / "died"
    path = await stage.begin("noting", do="die", given=str(notes), marker=str(marker))
    assert await stage.ends(path) == ["success"]
    assert notes.read_text() == "done\n", "a committed step was done twice"


@pytest.mark.parametrize("do", ["lease", "fork_and_die"])
async def test_what_a_process_held_when_it_died_is_let_go(stage: Stage, do: str) -> None:
    path = await stage.begin(do=do, marker=str(stage.folder / do), given=1)
    assert await stage.ends(path) == ["success"]


async def test_a_process_that_cannot_load_its_graphs_says_why(tmp_path: Path) -> None:
    orders = Orders(
        manifest=str(tmp_path / "langgraph.json"),
        log_level="info",
        log_json=True,
        max_concurrent_runs=1,
        agents=False,
        steps=False,
        outputs=False,
        store_ttl=False,
        store_ttl_config=None,
    )
    async with opened(tmp_path / "data" / "masterloop.db") as (_, saver):
        stock = Stock(checkpoints=saver.rows, items=InMemoryStore(), agents=None)
        worker = WorkerProcess(orders, stock, print, PATIENCE)
        assert "there is no such file" in await worker.live()
        assert worker.ready.cancelled()


async def test_all_runs_of_a_process_that_is_killed_finish_once(stage: Stage) -> None:
    gate = stage.folder / "gate"
    markers = [stage.folder / f"waits-{number}" for number in range(20)]
    paths = [
        await stage.begin(do="wait", marker=str(marker), given=str(gate)) for marker in markers
    ]
    for marker in markers:
        await stage.until_exists(marker)
    before = (await stage.workers())["figures"]
    victim = max(before["each"], key=lambda worker: worker["working"])
    assert victim["working"] > 0
    os.kill(victim["pid"], signal.SIGKILL)
    await stage.until(lambda workers: workers["figures"]["restarts"] > before["restarts"])
    gate.touch()
    assert [await stage.ends(path) for path in paths] == [["success"]] * len(paths)
    pids = {(await stage.get(f"{path}/join"))["pid"] for path in paths}
    assert victim["pid"] not in pids


def _most_behind(workers: dict[str, Any]) -> int | None:
    """Return the number of the process that is held up the most."""
    each = workers["figures"]["each"]
    most: dict[str, Any] = max(each, key=lambda worker: worker["delay"], default={"delay": 0.0})
    return most["pid"] if most["delay"] > 0.1 else None


async def test_light_runs_keep_away_from_a_process_that_is_held_up(stage: Stage) -> None:
    await stage.until(lambda workers: workers["state"] == "ok")
    marker = stage.folder / "holds up"
    path = await stage.begin(do="block", marker=str(marker))
    await stage.until_exists(marker)
    held = int(marker.read_text())
    await stage.until(lambda workers: _most_behind(workers) == held)
    assert held not in {(await stage.wait(given=number))["pid"] for number in range(10)}
    assert await stage.ends(path) == ["success"]


async def test_a_process_that_hangs_is_killed_and_its_runs_go_on(stage: Stage) -> None:
    marker = stage.folder / "blocked"
    path = await stage.begin(do="block", marker=str(marker), given="woke up")
    assert await stage.ends(path) == ["success"]
    assert "did not answer" in (await stage.workers())["figures"]["last_end"]


async def test_a_process_that_was_stopped_is_killed_when_it_has_to_answer(stage: Stage) -> None:
    workers = await stage.until(lambda workers: workers["figures"]["each"])
    for worker in workers["figures"]["each"]:
        os.kill(worker["pid"], signal.SIGSTOP)
    assert (await stage.wait(given=1))["answer"] == 1


async def test_a_run_that_kills_every_process_is_a_dead_letter(stage: Stage) -> None:
    with capture_logs() as entries:
        path = await stage.begin(do="die")
        assert await stage.ends(path) == ["error"]
    (letter,) = (await stage.get("/dead-letters"))[:1]
    assert (path.rpartition("/")[2], "poison") == (letter["run_id"], letter["dead_letter"])
    ended = [entry for entry in entries if entry["event"] == "a worker process has ended"]
    assert len(ended) == 3


async def test_runs_beside_one_that_kills_every_process_are_not_taken_for_it(
    stage: Stage,
) -> None:
    gate = stage.folder / "second gate"
    markers = [stage.folder / f"beside-{number}" for number in range(10)]
    paths = [
        await stage.begin(do="wait", marker=str(marker), given=str(gate)) for marker in markers
    ]
    for marker in markers:
        await stage.until_exists(marker)
    before = (await stage.workers())["figures"]["restarts"]
    poison = await stage.begin(do="die")
    await stage.until(lambda workers: workers["figures"]["restarts"] >= before + 2)
    gate.touch()
    assert await stage.ends(poison) == ["error"]
    assert [await stage.ends(path) for path in paths] == [["success"]] * len(paths)


@pytest.mark.timeout(60)
async def test_a_suspect_whose_code_does_not_stop_holds_up_no_other(tmp_path: Path) -> None:
    async with open_stage(tmp_path, workers=1, crash_limit=2, cancel_grace=0.1) as stage:
        gate, paths = tmp_path / "gate", {}
        for name in "ab":
            marker = tmp_path / name
            paths[tmp_path / f"{name}.again"] = await stage.begin(
                do="defy", marker=str(marker), given=str(gate)
            )
            await stage.until_exists(marker)
        (worker,) = (await stage.workers())["figures"]["each"]
        os.kill(worker["pid"], signal.SIGKILL)
        first, other = await _in_turn(*paths)
        await stage.client.post(f"{paths[first]}/cancel", params={"wait": True})
        assert await stage.ends(paths[first]) == ["interrupted"]
        await stage.until_exists(other)
        gate.touch()
        assert await stage.ends(paths[other]) == ["success"]


@pytest.mark.timeout(60)
async def test_suspects_that_wait_for_their_turn_leave_their_slots_to_others(
    tmp_path: Path,
) -> None:
    settings = {"workers": 1, "crash_limit": 2, "max_concurrent_runs": 2}
    async with open_stage(tmp_path, **settings) as stage:
        gate, paths = tmp_path / "gate", []
        for name in "ab":
            marker = tmp_path / name
            paths.append(await stage.begin(do="wait", marker=str(marker), given=str(gate)))
            await stage.until_exists(marker)
        (worker,) = (await stage.workers())["figures"]["each"]
        os.kill(worker["pid"], signal.SIGKILL)
        await stage.until(lambda workers: workers["figures"]["restarts"] == 1)
        assert (await stage.wait(given=1))["answer"] == 1
        gate.touch()
        assert [await stage.ends(path) for path in paths] == [["success"]] * 2


@pytest.mark.timeout(60)
async def test_a_process_that_has_ended_takes_no_runs_while_its_last_words_are_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestration.processes.worker.LAST_WORDS", 3.0)
    async with open_stage(tmp_path, workers=1) as stage:
        died = await stage.begin(do="fork_and_die", marker=str(tmp_path / "died"))
        workers = await stage.until(lambda workers: workers["figures"]["ready"] == 0)
        assert workers["figures"]["restarts"] == 0
        path = await stage.begin(given=1)
        assert [await stage.ends(one) for one in (died, path)] == [["success"], ["success"]]
        assert [(await stage.get(one))["attempt"] for one in (died, path)] == [2, 1]


@pytest.mark.timeout(60)
async def test_no_time_of_a_run_passes_while_there_is_no_process_for_it(tmp_path: Path) -> None:
    async with open_stage(tmp_path, workers=1) as stage:
        path = await stage.begin(do="die", marker=str(tmp_path / "died"), within=0.5)
        assert await stage.ends(path) == ["success"]


@pytest.mark.timeout(60)
async def test_no_time_of_a_suspect_passes_while_another_has_its_turn(tmp_path: Path) -> None:
    async with open_stage(tmp_path, workers=1, crash_limit=2, cancel_grace=0.1) as stage:
        gate, markers = tmp_path / "gate", [tmp_path / name for name in "ab"]
        paths = []
        for marker in markers:
            given = str(gate)
            paths.append(await stage.begin(do="defy", marker=str(marker), given=given, within=2))
            await stage.until_exists(marker)
        (worker,) = (await stage.workers())["figures"]["each"]
        os.kill(worker["pid"], signal.SIGKILL)
        assert [await stage.ends(path) for path in paths] == [["timeout"], ["timeout"]]
        assert all(marker.with_suffix(".again").exists() for marker in markers)
        gate.touch()


async def _in_turn(*markers: Path) -> list[Path]:
    """Wait for one of several files; return that first, then those that are not there."""
    while len(missing := [one for one in markers if not one.exists()]) == len(markers):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    (first,) = set(markers) - set(missing)
    return [first, *missing]


async def test_a_run_that_is_cancelled_while_its_process_hangs_ends_as_cancelled(
    stage: Stage,
) -> None:
    marker = stage.folder / "blocked for good"
    path = await stage.begin(do="block", marker=str(marker))
    await stage.until_exists(marker)
    await stage.client.post(f"{path}/cancel", params={"wait": True}, timeout=60)
    assert await stage.ends(path) == ["interrupted"]


async def test_the_service_is_not_ready_without_a_process(stage: Stage) -> None:
    # All of them: one that is ready a moment later would take the place of those that are killed.
    ready = await stage.until(
        lambda workers: workers["figures"]["ready"] == workers["figures"]["processes"]
    )
    for worker in ready["figures"]["each"]:
        os.kill(worker["pid"], signal.SIGKILL)
    await stage.until(lambda workers: workers["state"] == "failed")
    response = await stage.client.get("/readyz")
    assert response.status_code == 503
    assert "no worker process is ready" in response.text
    assert (await stage.wait(given=2))["answer"] == 2
