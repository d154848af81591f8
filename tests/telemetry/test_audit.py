"""Who did what on a service, as its audit trail has it."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from operations.keys import KeyFolder
from operations.telemetry.trail import FOLDER, Trail, read_trail
from orchestration.api.app import ENDPOINTS
from orchestration.cli import app
from tests.api.client import NOBODY, new_run, new_thread, open_client
from tests.telemetry.sinks import until


def entries(folder: Path) -> Sequence[Mapping[str, Any]]:
    return list(read_trail(folder / "data" / FOLDER))


async def test_the_trail_tells_who_created_cancelled_and_deleted_what_and_who_was_refused(
    tmp_path: Path,
) -> None:
    keys = KeyFolder(tmp_path / "data")
    key, token = keys.create("alice", "run")
    async with open_client(tmp_path, "holder") as client:
        client.headers["x-api-key"] = token
        thread = await new_thread(client)
        path = await new_run(client, thread, "holder")
        assert (await client.post(f"{path}/cancel", params={"wait": "true"})).is_success
        assert (await client.delete(f"/threads/{thread}")).is_success
        assert (await client.delete(f"/assistants/{NOBODY}")).status_code == 403
        client.headers["x-api-key"] = "ml_wrong"
        assert (await client.get("/threads/" + thread)).status_code == 401
    found = entries(tmp_path)
    assert [entry["number"] for entry in found] == list(range(1, len(found) + 1))
    first, *middle, last = found
    assert (first["event"], last["event"], last["error"]) == (
        "ServiceStarted",
        "ServiceStopped",
        None,
    )
    assert {entry["service.name"] for entry in found} == {"masterloop"}
    created = next(entry for entry in middle if entry["event"] == "RunAccepted")
    assert created["principal"] == "alice"
    assert created["run_id"] == path.rpartition("/")[2]
    asked = [entry for entry in middle if entry["event"] == "Audited"]
    assert [(entry["action"], entry["principal"], entry["status"]) for entry in asked] == [
        ("cancel_run", "alice", 204),
        ("delete_thread", "alice", 204),
        ("delete_assistant", "alice", 403),
        ("get_thread", "anonymous", 401),
    ]
    assert {entry["key_id"] for entry in asked[:3]} == {key.key_id}
    assert asked[1]["path"] == f"/threads/{thread}"
    assert "ml_" not in str(found), "no key is written down"


async def test_of_a_path_the_audit_is_told_as_much_as_it_can_keep_of_many(tmp_path: Path) -> None:
    _, token = KeyFolder(tmp_path / "data").create("alice", "admin")
    async with open_client(tmp_path, "echo") as client:
        assert (await client.get(f"/threads/{'x' * 60_000}")).status_code == 401
        client.headers["x-api-key"] = token

        async def told() -> list[Any]:
            found = await client.get("/ops/activity", params={"event": "audited"})
            return list(found.json())

        while not (refused := await told()):
            pass
    assert [len(one["path"]) for one in refused] == [1_000]


async def test_no_path_can_forge_an_entry_or_command_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_client(tmp_path, "echo") as client:
        await client.delete("/threads/%E2%80%A8%C2%9B31m%C3%A9")
    monkeypatch.setenv("MASTERLOOP_DATA_DIR", str(tmp_path / "data"))
    lines = CliRunner().invoke(app, ["audit"]).stdout.splitlines()
    (line,) = [line for line in lines if "delete_thread" in line]
    assert json.loads(line)["path"] == "/threads/\u2028\x9b31mé"
    assert r"/threads/\u2028\u009b31mé" in line


async def test_while_the_trail_cannot_be_written_no_work_of_low_priority_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trails: list[Trail] = []
    tell = Trail.tell

    def noted(self: Trail, heard: Any) -> None:
        trails.append(self)
        tell(self, heard)

    monkeypatch.setattr(Trail, "tell", noted)
    async with open_client(tmp_path, "echo") as client:

        async def submit(priority: int) -> int:
            body = {"assistant_id": "echo", "input": {}, "priority": priority}
            answer = await client.post("/runs/wait", json=body)
            if answer.status_code == 503:
                assert "audit trail" in answer.json()["detail"]
                assert int(answer.headers["retry-after"]) >= 1
            return answer.status_code

        assert await submit(9) == 200
        folder = tmp_path / "data" / FOLDER
        (trail,) = trails
        await until(lambda: trail.written >= 2)  # the start, and the run: nothing is on its way
        trail.close(0)
        hidden = folder.rename(folder.with_name("elsewhere"))
        folder.touch()  # no segment can be begun in a file
        assert await submit(5) == 200
        await until(lambda: trail.failing)
        await asyncio.sleep(0)  # the turn in which the loop hears of it
        assert [await submit(9), await submit(5)] == [503, 200]
        assert "masterloop_audit_failing 1.0" in (await client.get("/metrics")).text
        ready = await client.get("/readyz", params={"verbose": ""})
        telemetry = ready.json()["components"]["telemetry"]
        assert (ready.status_code, telemetry["state"]) == (200, "degraded")
        assert "the disk does not take the audit trail" in telemetry["reason"]
        folder.unlink()
        hidden.rename(folder)
        await until(lambda: not trail.failing)
        await asyncio.sleep(0)
        assert await submit(9) == 200
    found = entries(tmp_path)
    assert [entry["event"] for entry in found].count("RunAccepted") == 4
    assert [entry["number"] for entry in found] == list(range(1, len(found) + 1))


def test_whatever_deletes_or_cancels_is_audited() -> None:
    destroying = [
        one
        for one in ENDPOINTS
        if one.method == "DELETE" or "cancel" in one.name or one.access.action == "delete"
    ]
    assert len(destroying) > 5
    assert [one.name for one in destroying if not one.audited] == []


def test_keys_made_and_revoked_on_the_command_line_are_in_the_trail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASTERLOOP_DATA_DIR", str(tmp_path / "data"))
    runner = CliRunner()
    made = runner.invoke(app, ["keys", "create", "--owner", "alice", "--json"])
    key_id = json.loads(made.stdout.splitlines()[0])["key_id"]
    assert runner.invoke(app, ["keys", "revoke", key_id]).exit_code == 0
    printed = runner.invoke(app, ["audit"])
    entries = [json.loads(line) for line in printed.stdout.splitlines()]
    assert [(entry["change"], entry["key_id"]) for entry in entries] == [
        ("made", key_id),
        ("revoked", key_id),
    ]


def test_a_key_is_revoked_though_the_trail_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASTERLOOP_DATA_DIR", str(tmp_path))
    key, token = KeyFolder(tmp_path).create("alice", "run")
    (tmp_path / FOLDER).touch()
    result = CliRunner().invoke(app, ["keys", "revoke", key.key_id])
    assert result.exit_code == 0
    assert "Warning: the audit trail" in result.stderr
    assert KeyFolder(tmp_path).verify(token) is None
