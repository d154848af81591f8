"""Manifests of runs, in real files of a real service."""

import asyncio
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import orjson
import pytest
from structlog.testing import capture_logs

from agents.events import TaskEnded
from coordinator.events import ToolFellBack
from operations.database import open_database
from operations.database_errors import DatabaseClosed, DatabaseError
from operations.errors import ConfigurationError
from operations.folder_lock import NAME as LOCK
from operations.folder_lock import FolderLock
from operations.heartbeat import NAME as HEARTBEAT
from operations.migrations import load_migrations
from operations.redaction import HIDDEN
from operations.telemetry.record import Importance, Record
from orchestration.graphs.steps import NodeEnded, ToolEnded
from orchestration.loop.events import (
    RunAccepted,
    RunEnded,
    RunRequeued,
    RunStarted,
    StateUnknown,
    WriteFailed,
    ZombieLeft,
)
from orchestration.loop.run import Outcome, Run, RunStatus
from orchestration.service import DATABASE
from orchestration.store import migrations
from orchestration.telemetry.manifested_runs import ManifestedRuns
from orchestration.telemetry.manifests import Manifests
from orchestration.telemetry.run_manifest import ERRORS, STEPS, TEXT
from tests.api.client import new_run, new_thread, open_client
from tests.api.plays import gates
from tests.telemetry.sinks import until

MANIFEST = {"masterloop": {"manifests": "manifests"}}
CANARY = "sk-canary-0123456789abcdef"


def read(folder: Path, run_id: str) -> Mapping[str, Any]:
    file = folder / f"{run_id}.json"
    return orjson.loads(file.read_bytes()) if file.is_file() else {}


async def test_a_service_without_a_folder_writes_none(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        body = {"assistant_id": "echo", "input": {"text": "x"}}
        assert (await client.post("/runs/wait", json=body)).is_success
    assert not (tmp_path / "manifests").exists()


async def test_a_run_s_manifest_says_who_what_how_and_what_came_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "manifests"
    async with open_client(tmp_path, "echo", manifest=MANIFEST) as client:
        assert (folder / LOCK).exists()
        thread = await new_thread(client)
        run_id = (await new_run(client, thread, "echo", "hello")).rpartition("/")[2]
        joined = await client.get(f"/threads/{thread}/runs/{run_id}/join")
        await until(lambda: read(folder, run_id).get("checkpoints"))
        history = (await client.get(f"/threads/{thread}/history")).json()
        await until((folder / HEARTBEAT).exists)
    told = read(folder, run_id)
    assert told["run_id"] == run_id
    assert (told["thread_id"], told["graph_id"], told["source"]) == (thread, "echo", "api")
    assert (told["status"], told["database"], told["errors"]) == ("success", "written", [])
    assert told["attempts"][0]["started_at"] <= told["ended_at"] <= told["attempts"][0]["ended_at"]
    assert [(one["attempt"], one["status"]) for one in told["attempts"]] == [(1, "success")]
    assert told["steps"] == [
        {
            "kind": "node",
            "name": "echo",
            "step": 1,
            "started_at": ANY,
            "took": ANY,
            "error": None,
            "output": '{"log": ["hello"]}',
        }
    ]
    assert told["checkpoints"] == [one["checkpoint_id"] for one in reversed(history)]
    output = orjson.loads(told["result"]["output"])
    assert output == joined.json()
    assert (len(told["result"]["sha256"]), told["result"]["cut"]) == (64, False)
    assert (folder / f"{run_id}.json").stat().st_mode & 0o077 == 0
    assert not (folder / LOCK).exists()


async def test_a_run_that_failed_and_one_that_never_began_have_one_too(tmp_path: Path) -> None:
    folder = tmp_path / "manifests"
    async with open_client(tmp_path, "failing", "echo", manifest=MANIFEST) as client:
        thread = await new_thread(client)
        failed = (await new_run(client, thread, "failing", CANARY)).rpartition("/")[2]
        await client.get(f"/threads/{thread}/runs/{failed}/join")
        late = await new_run(client, thread, "echo", after_seconds=60)
        assert (await client.post(f"{late}/cancel?wait=true")).is_success
    told = read(folder, failed)
    assert (told["status"], told["attempts"][0]["error"]) == ("error", "ValueError")
    assert told["errors"] == [{"at": ANY, "error": "ValueError", "message": f"refused: {HIDDEN}"}]
    assert "canary" not in (folder / f"{failed}.json").read_text()
    told = read(folder, late.rpartition("/")[2])
    assert (told["status"], told["attempts"], told["database"]) == ("interrupted", [], "written")


async def test_a_run_that_goes_on_after_a_stop_has_one_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "manifests"
    async with open_client(tmp_path, "holder", manifest=MANIFEST) as client:
        thread = await new_thread(client)
        run_id = (await new_run(client, thread, "holder", "kept")).rpartition("/")[2]
        await gates["kept"].reached.wait()
        # A stop at once waits for no write: what is not kept yet of `before` would be done again.
        while (await client.get(f"/threads/{thread}/state")).json()["next"] != ["hold"]:  # noqa: ASYNC110 - over HTTP
            await asyncio.sleep(0.01)
    first = read(folder, run_id)
    assert first["status"] in {"pending", "running"}
    gates["kept"].opened.set()
    async with open_client(tmp_path, "holder", manifest=MANIFEST) as client:
        await client.get(f"/threads/{thread}/runs/{run_id}/join")
    told = read(folder, run_id)
    assert told["status"] == "success"
    assert told["accepted_at"] == first["accepted_at"]
    assert [one["status"] for one in told["attempts"]] == [ANY, "success"]
    assert [one["name"] for one in told["steps"]] == ["before", "hold", "hold", "after"]


async def test_a_run_that_is_given_up_at_a_start_does_not_stay_running(tmp_path: Path) -> None:
    folder = tmp_path / "manifests"
    async with open_client(tmp_path, "holder", manifest=MANIFEST) as client:
        thread = await new_thread(client)
        run_id = (await new_run(client, thread, "holder", "poison")).rpartition("/")[2]
        await gates["poison"].reached.wait()
        await until(lambda: read(folder, run_id).get("attempts"))
    gates["poison"].opened.set()
    with closing(sqlite3.connect(tmp_path / "data" / DATABASE)) as other, other:
        other.execute("UPDATE runs SET crashes = 3")
    async with open_client(tmp_path, "holder", manifest=MANIFEST):
        await until(lambda: read(folder, run_id).get("status") == "error")
    told = read(folder, run_id)
    assert told["errors"][-1]["error"] == "PoisonRun"
    assert told["ended_at"] >= told["accepted_at"]


async def test_a_row_and_a_manifest_are_written_at_once_and_each_tells_its_own_fate(
    tmp_path: Path,
) -> None:
    manifests = Manifests(tmp_path, lambda *_: [])
    manifests.persister.start()
    path = tmp_path / DATABASE
    async with open_database(path, load_migrations(migrations.__name__)) as database:
        runs = ManifestedRuns(manifests, database, None, None)
        kept = replace(run("kept"), create_thread=True)
        assert await runs.accept(kept)
        with closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")  # another process holds the file
            row = asyncio.ensure_future(runs.finish(kept, Outcome(RunStatus.SUCCESS), None))
            await until(lambda: read(tmp_path, "kept").get("status") == "success")
            assert read(tmp_path, "kept")["database"] == "being written"
            assert not row.done()
            other.rollback()
        assert await row
        await until(lambda: read(tmp_path, "kept")["database"] == "written")
        assert not await runs.erase(run("deleted"))
        with closing(sqlite3.connect(path)) as other:
            other.execute("DROP TABLE runs")
        with pytest.raises(DatabaseError):
            await runs.finish(run("broken"), Outcome(RunStatus.SUCCESS), None)
    with pytest.raises(DatabaseClosed):
        await runs.finish(run("late"), Outcome(RunStatus.SUCCESS), None)
    manifests.close(1.0)
    fates = {name: read(tmp_path, name)["database"] for name in ("deleted", "broken", "late")}
    assert fates == {
        "deleted": "not written: the run was not there any more",
        "broken": "not written: DatabaseError",
        "late": "not written: DatabaseClosed",
    }


async def test_a_manifest_that_cannot_be_written_is_told_and_costs_no_run(tmp_path: Path) -> None:
    folder = tmp_path / "manifests"
    async with open_client(tmp_path, "holder", manifest=MANIFEST) as client:
        thread = await new_thread(client)
        path = await new_run(client, thread, "holder", "file")
        run_id = path.rpartition("/")[2]
        await gates["file"].reached.wait()
        await until((folder / f"{run_id}.json").exists)
        (folder / f"{run_id}.json").unlink()
        (folder / f"{run_id}.json").mkdir()  # nothing can have that name now
        with capture_logs() as logs:
            gates["file"].opened.set()
            await client.get(f"{path}/join")
            assert (await client.get(path)).json()["status"] == "success"
            await until(lambda: [one for one in logs if "manifest" in one["event"]])
        assert [one["run_id"] for one in logs if "manifest" in one["event"]] == [run_id]
        (folder / f"{run_id}.json").rmdir()
        await until(lambda: read(folder, run_id).get("status") == "success")


async def test_a_folder_that_another_process_uses_stops_the_start(tmp_path: Path) -> None:
    other = FolderLock(tmp_path / "manifests")
    other.take()
    with pytest.raises(ConfigurationError, match=r"masterloop\.manifests: .* is in use by process"):
        async with open_client(tmp_path, "echo", manifest=MANIFEST):
            pass
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be written to"):
        async with open_client(
            tmp_path, "echo", manifest={"masterloop": {"manifests": "file/manifests"}}
        ):
            pass


def take(manifests: Manifests, *events: object) -> None:
    manifests.take([Record(1, time.time(), Importance.DETAIL, event, {}) for event in events])


def begun(run_id: str, attempt: int = 1) -> RunStarted:
    return RunStarted(run_id, "g", attempt, 0.1, "t", 5, None)


def run(run_id: str) -> Run:
    return Run(run_id, "t", "a", "g", {}, {}, "2026-01-01")


def test_steps_agents_and_troubles_are_told_and_bounded(tmp_path: Path) -> None:
    manifests = Manifests(tmp_path, lambda *_: ["c1"])
    take(
        manifests,
        RunAccepted("r", "t", "a", "g", 5, "api", "alice"),
        begun("r"),
        NodeEnded("r", "g", 1, None, "n", 1, 0.5, None),
        ToolEnded("r", 2, 1, "search", "call", 0.1, "TimeoutError"),
        TaskEnded("workers", 3, "write", 0.2, None, 0, "r"),
        TaskEnded("workers", 3, "write", 0.2, None, 0, None),
        RunEnded("stranger", "t", "g", RunStatus.SUCCESS, 1, 0.5),
        ZombieLeft("r", "g"),
        StateUnknown("r", "TimeoutError"),
        ToolFellBack("a", "b", "w", "r", "OSError"),
        RunRequeued("r", "g"),
        "something else",
    )
    manifests.close(1.0)
    told = read(tmp_path, "r")
    assert told["principal"] == "alice"
    assert [(one["kind"], one["name"], one["error"]) for one in told["steps"]] == [
        ("node", "n", None),
        ("tool", "search", "TimeoutError"),
        ("agent", "workers", None),
    ]
    assert (told["steps"][2]["seat"], told["steps"][2]["capability"]) == (3, "write")
    assert [one["error"] for one in told["errors"]] == ["ZombieLeft", "StateUnknown", "OSError"]
    assert (told["status"], told["attempts"][0]["status"]) == ("pending", "requeued")
    assert [file.name for file in tmp_path.iterdir()] == ["r.json"]

    manifests = Manifests(tmp_path, lambda *_: ["c1"])
    nodes = [NodeEnded("r", "g", 1, None, "n", 1, 0.5, None)] * (STEPS + 7)
    take(manifests, begun("r"), *nodes, *[WriteFailed("r", "DiskFull", 1.0)] * (ERRORS + 5))
    take(manifests, begun("r", 2), RunEnded("r", "t", "g", RunStatus.SUCCESS, 2, 0.5))
    manifests.close(1.0)
    told = read(tmp_path, "r")
    assert (len(told["steps"]), told["steps_left_out"]) == (STEPS, 3 + 7)
    assert len(told["errors"]) == ERRORS
    assert [one["status"] for one in told["attempts"]] == ["requeued", "broken off", "success"]
    assert told["checkpoints"] == ["c1"]


@pytest.mark.parametrize("left", [b"{", b"[]", b'{"attempts": [1], "steps": 2, "status": "x"}'])
def test_a_file_that_is_no_manifest_is_begun_anew(tmp_path: Path, left: bytes) -> None:
    (tmp_path / "r.json").write_bytes(left)
    manifests = Manifests(tmp_path, lambda *_: [])
    take(manifests, begun("r"))
    manifests.close(1.0)
    assert (read(tmp_path, "r")["status"], read(tmp_path, "r")["steps"]) == ("running", [])


def test_the_runs_that_are_known_are_bounded_and_the_oldest_is_told_of(tmp_path: Path) -> None:
    manifests = Manifests(tmp_path, lambda *_: [], most=2)
    with capture_logs() as logs:
        take(manifests, *[begun(str(number)) for number in range(4)])
    manifests.close(1.0)
    assert [one["dropped"] for one in logs] == [1]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["2.json", "3.json"]


def test_outputs_are_cut_without_secrets_and_known_by_their_digest(tmp_path: Path) -> None:
    manifests = Manifests(tmp_path, lambda *_: [])
    small = orjson.dumps({"password": "hunter2", "text": CANARY + " x" * 2 * TEXT})
    large = orjson.dumps("hunter2" * 200_000)
    for run_id, output in (("small", small), ("large", large), ("odd", b"{")):
        manifests.ending(run(run_id), Outcome(RunStatus.SUCCESS, output))
    manifests.close(1.0)
    for run_id, output in (("small", small), ("large", large), ("odd", b"{")):
        result = read(tmp_path, run_id)["result"]
        assert (result["sha256"], result["bytes"]) == (sha256(output).hexdigest(), len(output))
        assert result["cut"]
        assert len(result["output"] or "") in {0, TEXT}
        assert "hunter2" not in (result["output"] or "")
        assert "canary" not in (result["output"] or "")
    assert read(tmp_path, "small")["database"] == "being written"


def test_the_fates_of_the_row_and_of_the_checkpoints_are_told(tmp_path: Path) -> None:
    def broken(*_: str) -> list[str]:
        raise TimeoutError

    manifests = Manifests(tmp_path, broken)
    take(manifests, begun("r"))
    manifests.ending(run("r"), Outcome(RunStatus.INTERRUPTED, rolled_back=True))
    manifests.stored("r", "DiskFull", last=False)
    with capture_logs() as logs:
        take(manifests, RunEnded("r", "t", "g", RunStatus.INTERRUPTED, 1, 0.5))
    manifests.close(1.0)
    told = read(tmp_path, "r")
    assert (told["status"], told["database"]) == ("rolled back", "not written: DiskFull")
    assert told["errors"][0]["error"] == "DiskFull"
    assert [one["event"] for one in logs] == ["a manifest lacks its checkpoints"]


def test_nothing_is_written_in_a_folder_that_was_lost(tmp_path: Path) -> None:
    manifests = Manifests(tmp_path, lambda *_: [])
    take(manifests, begun("r"))
    manifests.lose()
    take(manifests, begun("s"))
    manifests.stored("r", None, last=True)
    manifests.close(1.0)
    assert list(tmp_path.iterdir()) == []
