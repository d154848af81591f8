"""What a graph in a worker process has and does is what it has and does in the server."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.api.client import parts_of
from tests.processes.stage import Stage, aside, open_stage

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Stage]:
    folder = tmp_path_factory.mktemp("service")
    async with aside(open_stage(folder, workers=1)) as one:
        yield one


async def test_a_run_is_executed_in_another_process(stage: Stage) -> None:
    values = await stage.wait(given=[1, {"a": None}])
    (worker,) = (await stage.workers())["figures"]["each"]
    assert values["answer"] == [1, {"a": None}]
    assert values["pid"] == worker["pid"] != os.getpid()


async def test_a_thread_keeps_its_checkpoints_and_is_asked_and_answered(stage: Stage) -> None:
    thread = f"/threads/{uuid4()}"
    body = {"assistant_id": "player", "input": {"do": "ask", "given": 7}, "if_not_exists": "create"}
    asked = (await stage.client.post(f"{thread}/runs/wait", json=body)).json()
    assert asked["__interrupt__"][0]["value"] == {"asked": 7}
    assert (await stage.get(thread))["status"] == "interrupted"
    answer = {"assistant_id": "player", "command": {"resume": "yes"}}
    assert (await stage.client.post(f"{thread}/runs/wait", json=answer)).json()["answer"] == "yes"
    history = await stage.get(f"{thread}/history")
    assert [state["metadata"]["source"] for state in history] == ["loop", "loop", "input"]


async def test_the_store_is_the_servers(stage: Stage) -> None:
    values = await stage.wait(do="remember", given="something")
    keys, spaces, refused, nothing, in_order = values["answer"]
    assert (keys, spaces, nothing, in_order) == (["first"], [["notes", "mine"]], None, True)
    assert refused == "FilterRefused"
    item = await stage.get("/store/items?key=first&namespace=notes.mine")
    assert item["value"] == {"text": "something"}


async def test_a_sync_node_uses_the_store_from_its_thread(stage: Stage) -> None:
    assert (await stage.wait("threaded", given="kept"))["answer"] == "kept"


async def test_more_events_than_are_taken_at_once_all_arrive_in_order(stage: Stage) -> None:
    body = {
        "assistant_id": "player",
        "input": {"do": "tell", "given": 3_000},
        "stream_mode": ["custom"],
    }
    text = (await stage.client.post("/runs/stream", json=body)).text
    numbers = [part.data["number"] for part in parts_of(text) if part.event == "custom"]
    assert numbers == list(range(3_000))


async def test_a_run_whose_events_are_kept_goes_no_faster_than_they_are(stage: Stage) -> None:
    thread = f"/threads/{uuid4()}"
    body = {
        "assistant_id": "player",
        "input": {"do": "tell", "given": 3_000},
        "stream_mode": ["custom"],
        "stream_resumable": True,
        "if_not_exists": "create",
    }
    run = (await stage.client.post(f"{thread}/runs", json=body)).json()["run_id"]
    await stage.get(f"{thread}/runs/{run}/join")
    headers = {"last-event-id": "-1"}
    replay = await stage.client.get(f"{thread}/runs/{run}/stream", headers=headers)
    told = [part for part in parts_of(replay.text) if part.event == "custom"]
    assert [part.data["number"] for part in told] == list(range(3_000))


async def test_who_comes_later_hears_the_rest(stage: Stage) -> None:
    marker = stage.folder / "later"
    path = await stage.begin(do="hang", marker=str(marker))
    await stage.until_exists(marker)
    stream = asyncio.create_task(stage.client.get(f"{path}/stream"))
    await asyncio.sleep(0)
    await stage.client.post(f"{path}/cancel", params={"wait": True})
    assert parts_of((await stream).text)[-1].event == "end"


async def test_a_cancelled_run_ends_where_it_works(stage: Stage) -> None:
    marker = stage.folder / "hanging"
    path = await stage.begin(do="hang", marker=str(marker))
    await stage.until_exists(marker)
    assert (await stage.workers())["figures"]["each"][0]["working"] == 1
    await stage.client.post(f"{path}/cancel", params={"wait": True})
    assert (await stage.get(path))["status"] == "interrupted"
    assert (await stage.workers())["figures"]["each"][0]["working"] == 0


@pytest.mark.parametrize(
    ("do", "error", "message"),
    [
        ("fail", "ValueError", "as told"),
        ("lease_in_vain", "UnknownCapability", "no agent can do 'cook'. Known are: help."),
        ("send_in_vain", "MailboxNotFound", "there is no mailbox 'nowhere'. There are none."),
        ("lease_for_a_failure", "TaskFailed", "ValueError: cannot parse ?"),
        ("leave", "NodeExit", "a node raised SystemExit(3); a node cannot end the server"),
    ],
)
async def test_an_error_comes_in_the_words_of_its_graph(
    stage: Stage, do: str, error: str, message: str
) -> None:
    values = await stage.wait(do=do)
    assert values["__error__"] == {"error": error, "message": message}


async def test_the_log_of_a_thread_is_written_from_the_worker(stage: Stage) -> None:
    thread = f"/threads/{uuid4()}"
    await stage.client.post("/threads", json={"thread_id": thread.removeprefix("/threads/")})
    command = {
        "id": 1,
        "method": "run.start",
        "params": {"assistant_id": "player", "input": {"do": "ask", "given": 1}},
    }
    started = await stage.client.post(f"{thread}/commands", json=command)
    assert started.is_success, started.text
    await stage.get(f"{thread}/runs/{started.json()['result']['run_id']}/join")
    log = stage.service.loop.logs.find(thread.removeprefix("/threads/"))
    assert log is not None
    methods = [event.channel for event in log.listen(0).take()]  # type: ignore[attr-defined]
    assert {"lifecycle", "values", "tasks", "input"} <= set(methods)
    assert len(log.asked) == 1


async def test_a_thread_left_behind_in_a_worker_is_counted_for_as_long_as_it_works(
    stage: Stage,
) -> None:
    started, gate = stage.folder / "lingers", stage.folder / "let go"
    path = await stage.begin("lingering", marker=str(started), given=str(gate))
    await stage.until_exists(started)
    await stage.client.post(f"{path}/cancel", params={"wait": True})
    await stage.until(lambda _: _abandoned(stage) == 1)
    assert "masterloop_abandoned_threads 1.0" in (await stage.client.get("/metrics")).text
    gate.touch()
    await stage.until(lambda _: _abandoned(stage) == 0)


def _abandoned(stage: Stage) -> int:
    threads: dict[str, int] = stage.components["threads"]["figures"]
    return threads["abandoned_threads"]


async def test_an_agent_of_the_server_is_leased_and_heard_of(stage: Stage) -> None:
    values = await stage.wait(do="lease", given=5)
    assert values["answer"] == ["helpers", [5, os.getpid()], [{"seen": 5}]]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("error", "LookupError", "1"),
        ("exit", "NodeExit", "a node raised SystemExit(1); a node cannot end the server"),
    ],
)
async def test_an_error_of_whoever_hears_an_agent_ends_no_other_run(
    stage: Stage, given: str, error: str, message: str
) -> None:
    marker, gate = stage.folder / f"beside {given}", stage.folder / f"over {given}"
    beside = await stage.begin(do="wait", marker=str(marker), given=str(gate))
    await stage.until_exists(marker)
    values = await stage.wait(do="lease_and_choke", given=given)
    assert values["__error__"] == {"error": error, "message": message}
    gate.touch()
    assert await stage.ends(beside) == ["success"]
    assert (await stage.workers())["figures"]["restarts"] == 0


async def test_what_few_encoders_take_is_told_as_from_the_server(stage: Stage) -> None:
    body = {"assistant_id": "player", "input": {"do": "say_odd"}, "stream_mode": ["custom"]}
    response = await stage.client.post("/runs/stream", json=body)
    told = [part.data for part in parts_of(response.text) if part.event == "custom"]
    odd = {"half": "?", "large": 2**70, "nan": None}
    assert told == [odd]
    assert (await stage.wait(do="say_odd"))["answer"] == odd


async def test_the_output_of_a_node_is_told_whatever_is_in_it(stage: Stage) -> None:
    body = {"assistant_id": "player", "input": {"do": "say_odd"}}
    response = await stage.client.post("/runs/wait", json=body)
    run_id = response.headers["content-location"].rpartition("/")[2]
    file = stage.folder / "manifests" / f"{run_id}.json"
    await stage.until_exists(file)
    (step,) = json.loads(file.read_bytes())["steps"]
    assert '"half": "?"' in step["output"]


async def test_what_the_nodes_of_a_run_take_is_told_to_the_server(stage: Stage) -> None:
    path = await stage.begin("noting", given=str(stage.folder / "notes"))
    await stage.get(f"{path}/join")
    file = stage.folder / "manifests" / f"{path.rpartition('/')[2]}.json"
    await stage.until_exists(file)
    steps = json.loads(file.read_bytes())["steps"]
    assert [(step["kind"], step["name"]) for step in steps] == [
        ("node", "step0"),
        ("node", "step1"),
    ]


async def test_metrics_and_readiness_tell_of_the_workers(stage: Stage) -> None:
    metrics = (await stage.client.get("/metrics")).text
    assert "masterloop_worker_processes 1.0" in metrics
    assert "masterloop_worker_restarts_total 0.0" in metrics
    assert (await stage.get("/readyz"))["status"] == "ok"
