"""Runs over HTTP: created, waited for, listed, explained, and whose turn it is."""

import asyncio
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api import plays
from tests.api.client import NOBODY, PROBLEM, client_of, new_run, new_thread, open_client, open_play


async def test_a_run_in_the_background_is_pending_at_first_and_then_has_its_result(
    tmp_path: Path,
) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client)
        body = {"assistant_id": "echo", "input": {"text": "x"}, "metadata": {"m": 1}, "priority": 3}
        created = await client.post(f"/threads/{thread_id}/runs", json=body)
        path = created.headers["content-location"]
        output = (await client.get(f"{path}/join")).json()
        run = (await client.get(path)).json()
        again = (await client.get(f"{path}/join")).json()
    assert path == f"/threads/{thread_id}/runs/{created.json()['run_id']}"
    assert (created.json()["status"], created.json()["priority"]) == ("pending", 3)
    assert (run["status"], run["attempt"], run["metadata"]["m"]) == ("success", 1, 1)
    assert output == again == {"text": "x", "log": ["x"]}


async def test_waiting_for_a_run_answers_with_its_output_and_its_place(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client)
        body = {"assistant_id": "echo", "input": {"text": "x"}}
        response = await client.post(f"/threads/{thread_id}/runs/wait", json=body)
    assert response.json() == {"text": "x", "log": ["x"]}
    assert response.headers["location"] == response.headers["content-location"] + "/join"


async def test_a_run_without_a_thread_leaves_nothing_unless_it_is_to_be_kept(
    tmp_path: Path,
) -> None:
    async with open_client(tmp_path, "echo") as client:
        body = {"assistant_id": "echo", "input": {"text": "x"}}
        gone = await client.post("/runs/wait", json=body)
        kept = await client.post("/runs/wait", json={**body, "on_completion": "keep"})
        missing = await client.get(gone.headers["content-location"])
        there = await client.get(kept.headers["content-location"])
        threads = (await client.post("/threads/count")).json()
    assert (missing.status_code, there.json()["status"], threads) == (404, "success", 1)


async def test_a_run_is_found_while_it_works_though_nobody_was_told_of_it(tmp_path: Path) -> None:
    gate = plays.gates[str(tmp_path)]
    asked = {"assistant_id": "holder", "input": {"text": str(tmp_path)}}
    async with open_play(tmp_path, "holder") as service, client_of(service.app) as client:
        waiting = asyncio.create_task(client.post("/runs/wait", json=asked))
        await gate.reached.wait()
        run = service.loop.all_live()[0]
        found = await client.get(f"/threads/{run.thread_id}/runs/{run.run_id}")
        gate.opened.set()
        await waiting
    assert (found.status_code, found.json().get("status")) == (HTTPStatus.OK, "running")


async def test_a_run_can_create_its_thread(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        body = {"assistant_id": "echo", "input": {"text": "x"}, "if_not_exists": "create"}
        await client.post(f"/threads/{NOBODY}/runs/wait", json=body)
        thread = (await client.get(f"/threads/{NOBODY}")).json()
    assert (thread["metadata"]["graph_id"], thread["values"]["text"]) == ("echo", "x")


@pytest.mark.parametrize(
    ("path", "more"),
    [
        (f"/threads/{NOBODY}/runs", {"if_not_exists": "create"}),
        ("/runs", {"on_completion": "keep"}),
    ],
)
async def test_a_thread_that_a_run_makes_has_the_metadata_of_the_run(
    tmp_path: Path, path: str, more: dict[str, Any]
) -> None:
    said = {"metadata": {"user": "a"}, "config": {"metadata": {"app": 1, "user": "b"}}}
    async with open_client(tmp_path, "echo") as client:
        body = {"assistant_id": "echo", "input": {}, **said, **more}
        run = (await client.post(path, json=body)).json()
        await client.get(f"/threads/{run['thread_id']}/runs/{run['run_id']}/join")
        sought = {"metadata": {"user": "a", "app": 1}}
        found = (await client.post("/threads/search", json=sought)).json()
        much = {**body, "metadata": dict.fromkeys(map(str, range(1001)), 1)}
        refused = await client.post(path, json=much)
    assert [one["thread_id"] for one in found] == [run["thread_id"]]
    assert (refused.status_code, "1,000 values" in refused.json()["detail"]) == (422, True)


async def test_a_failure_is_told_to_the_waiter_the_run_and_the_thread(tmp_path: Path) -> None:
    failure = {"error": "ValueError", "message": "refused: x"}
    async with open_client(tmp_path, "failing") as client:
        thread_id = await new_thread(client)
        path = await new_run(client, thread_id, "failing", "x")
        waited = (await client.get(f"{path}/join")).json()
        joined = (await client.get(f"{path}/join")).json()
        run = (await client.get(path)).json()
        thread = (await client.get(f"/threads/{thread_id}")).json()
    assert waited == joined == {"__error__": failure}
    assert (run["status"], run["error"]) == ("error", failure)
    assert (thread["status"], thread["error"]) == ("error", failure)


@pytest.mark.parametrize(
    ("graph", "given", "error"),
    [
        ("broken", {"text": "x"}, "LookupError"),
        ("talking", {"messages": 5}, "NotImplementedError"),
        ("talking", {"messages": [{"role": "nobody"}]}, "ValueError"),
        ("echo", [1], "InvalidUpdateError"),
    ],
)
async def test_a_run_whose_state_cannot_even_be_read_ends_and_frees_its_slot(
    tmp_path: Path, graph: str, given: Any, error: str
) -> None:
    async with open_play(tmp_path, graph) as service, client_of(service.app) as client:
        thread_id = await new_thread(client)
        body = {"assistant_id": graph, "input": given}
        answered = await client.post(f"/threads/{thread_id}/runs/wait", json=body)
        thread = (await client.get(f"/threads/{thread_id}")).json()
        assert (service.loop.working, service.loop.all_live()) == (0, ())
    assert answered.json()["__error__"]["error"] == error
    assert thread["status"] == "error"


async def test_the_runs_of_a_thread_are_listed_newest_first(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", "failing") as client:
        thread_id = await new_thread(client)
        graphs = ("echo", "failing", "echo")
        paths = [await new_run(client, thread_id, graph, "x") for graph in graphs]
        await client.get(f"{paths[-1]}/join")

        async def ids(**query: Any) -> list[str]:
            found = await client.get(f"/threads/{thread_id}/runs", params=query)
            return [run["run_id"] for run in found.json()]

        newest = [path.rpartition("/")[2] for path in reversed(paths)]
        assert await ids() == newest
        assert await ids(limit=1, offset=1) == newest[1:2]
        assert await ids(status="error") == newest[1:2]
        selected = await client.get(
            f"/threads/{thread_id}/runs", params={"select": ["run_id", "status"], "limit": 1}
        )
        assert selected.json() == [{"run_id": newest[0], "status": "success"}]


async def test_why_a_run_does_not_move_is_said_for_every_place(tmp_path: Path) -> None:
    async with open_client(
        tmp_path,
        "holder",
        "echo",
        "stubborn",
        manifest={"masterloop": {"assistants": {"holder": {"max_concurrent_runs": 1}}}},
        max_concurrent_runs=2,
    ) as client:

        async def why(path: str) -> tuple[str, int, str]:
            standing = (await client.get(f"{path}/why")).json()
            by_id = await client.get(f"/runs/{path.rpartition('/')[2]}/why")
            assert by_id.json().keys() == standing.keys()
            return standing["place"], standing["ahead"], standing["why"]

        first, second, third = [await new_thread(client) for _ in range(3)]
        working = await new_run(client, first, "holder", "why")
        line = await new_run(client, first, "holder", "why")
        parked = await new_run(client, second, "holder", "why")
        await plays.gates["why"].reached.wait()
        stopping = await new_run(client, third, "stubborn", "why too")
        await plays.gates["why too"].reached.wait()
        await client.post(f"{stopping}/cancel")
        delayed = await new_run(client, await new_thread(client), "echo", after_seconds=55)
        ready = await new_run(client, await new_thread(client), "echo", priority=3)

        place, _, sentence = await why(working)
        assert (place, sentence.startswith("working for 0."), sentence[-11:]) == (
            "working", True, ", attempt 1",
        )  # fmt: skip
        assert await why(line) == ("line", 1, "1 of its thread go before it")
        assert await why(parked) == (
            "parked", 0, "assistant:holder has all the runs working that it may have",
        )  # fmt: skip
        assert await why(stopping) == (
            "working", 0, "stopping (interrupt): its code has 10 s to yield",
        )  # fmt: skip
        place, _, sentence = await why(delayed)
        assert (place, sentence[:14]) == ("delayed", "it starts in 5")
        assert await why(ready) == (
            "ready", 0, "0 ahead of it in priority 3; 2 of 2 slots busy",
        )  # fmt: skip
        plays.gates["why"].opened.set()
        plays.gates["why too"].opened.set()
        await client.get(f"{ready}/join")
        assert await why(ready) == ("gone", 0, "it has ended: success")
        elsewhere = ready.replace(ready.split("/")[2], NOBODY)
        assert (await client.get(f"{elsewhere}/why")).status_code == 404


async def test_a_batch_is_accepted_as_a_whole(tmp_path: Path) -> None:
    one = {"assistant_id": "echo", "input": {"text": "x"}, "on_completion": "keep"}
    async with open_client(tmp_path, "echo") as client:
        runs = (await client.post("/runs/batch", json=[one] * 3)).json()
        places = [f"/threads/{run['thread_id']}/runs/{run['run_id']}" for run in runs]
        outputs = [(await client.get(f"{place}/join")).json() for place in places]
        empty = await client.post("/runs/batch", json=[])
        large = await client.post("/runs/batch", json=[one] * 1_001)
        wrong = await client.post("/runs/batch", json=[one, {**one, "inpt": 1}])
    assert [output["text"] for output in outputs] == ["x"] * 3
    assert (empty.json(), large.status_code, wrong.status_code) == ([], 422, 422)
    assert wrong.json()["errors"] == [
        {"pointer": "/1/inpt", "detail": "there is no such field; did you mean 'input'?"}
    ]


async def test_a_batch_that_does_not_fit_leaves_nothing_behind(tmp_path: Path) -> None:
    one = {"assistant_id": "holder", "input": {"text": "batch"}, "on_completion": "keep"}
    async with (
        open_play(tmp_path, "holder", max_concurrent_runs=1, queue_capacity=2) as service,
        client_of(service.app) as client,
    ):
        refused = await client.post("/runs/batch", json=[one] * 5)
        await asyncio.wait({run.done for run in service.loop.all_live() if run.done} or {_done()})
        assert service.loop.all_live() == ()
        threads = (await client.post("/threads/search", json={"status": "busy"})).json()
    assert (refused.status_code, threads) == (503, [])


def _done() -> "asyncio.Future[None]":
    future = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future


async def test_priority_decides_who_is_next(tmp_path: Path) -> None:
    async with open_client(tmp_path, "holder", "noting", max_concurrent_runs=1) as client:
        blocker = await new_run(client, await new_thread(client), "holder", "first")
        await plays.gates["first"].reached.wait()
        late = {"config": {"configurable": {"priority": 9}}}
        runs = [
            await new_run(client, await new_thread(client), "holder", text, **body)
            for text, body in (("last", late), ("middle", {}), ("soon", {"priority": 0}))
        ]
        order = []
        for text in ("first", "soon", "middle", "last"):
            await plays.gates[text].reached.wait()
            order.append(
                [name for name in ("soon", "middle", "last") if plays.gates[name].reached.is_set()]
            )
            plays.gates[text].opened.set()
        for path in (blocker, *runs):
            await client.get(f"{path}/join")
    assert order == [[], ["soon"], ["soon", "middle"], ["soon", "middle", "last"]]


@pytest.mark.parametrize("priority", [-1, 11, "high", 2.5, None, True, [1]])
async def test_a_priority_that_is_none_is_refused(tmp_path: Path, priority: Any) -> None:
    body = {"assistant_id": "echo", "config": {"configurable": {"priority": priority}}}
    async with open_client(tmp_path, "echo") as client:
        response = await client.post("/runs", json=body)
    assert (response.status_code, response.headers["content-type"]) == (422, PROBLEM)


@pytest.mark.parametrize(
    ("strategy", "first", "second"),
    [
        ("interrupt", "interrupted", "success"),
        ("rollback", None, "success"),
        ("enqueue", "success", "success"),
    ],
)
async def test_what_becomes_of_two_runs_on_one_thread_is_the_second_s_choice(
    tmp_path: Path, strategy: str, first: str | None, second: str
) -> None:
    async with open_client(tmp_path, "holder") as client:
        thread_id = await new_thread(client)
        paths = [await new_run(client, thread_id, "holder", f"{strategy} 1")]
        await plays.gates[f"{strategy} 1"].reached.wait()
        refused = await client.post(
            f"/threads/{thread_id}/runs",
            json={"assistant_id": "holder", "multitask_strategy": "reject"},
        )
        plays.gates[f"{strategy} 2"].opened.set()
        paths.append(
            await new_run(client, thread_id, "holder", f"{strategy} 2", multitask_strategy=strategy)
        )
        if strategy == "enqueue":
            plays.gates[f"{strategy} 1"].opened.set()
        await client.get(f"{paths[1]}/join")
        runs = [(await client.get(path)).json() for path in paths]
    assert refused.status_code == 409
    assert [run.get("status") for run in runs[1:]] == [second]
    assert runs[0]["status"] == (404 if first is None else first)


async def test_runs_are_found_without_their_threads(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", "failing") as client:
        made: list[str] = []
        for graph in ("echo", "failing", "echo"):
            thread = (await client.post("/threads", json={})).json()["thread_id"]
            body = {"assistant_id": graph, "input": {"text": "x"}}
            run = (await client.post(f"/threads/{thread}/runs", json=body)).json()
            await client.get(f"/threads/{thread}/runs/{run['run_id']}/join")
            made.insert(0, run["run_id"])
        everything = await _ids(client)
        failed = await _ids(client, status="error")
        page = await _ids(client, limit=1, offset=1)
        waiting = await _ids(client, status="pending")
        one = await _ids(client, run_id=made[1])
        missing = await _ids(client, run_id=NOBODY)
    assert (everything, failed, page, waiting) == (made, made[1:2], made[1:2], [])
    assert (one, missing) == (made[1:2], [])


async def _ids(client: httpx.AsyncClient, **query: str | int) -> list[str]:
    answer = await client.get("/runs", params=query)
    return [run["run_id"] for run in answer.json()]
