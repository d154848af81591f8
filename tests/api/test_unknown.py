"""What a request has that it cannot have: refused with the nearest name, or left out."""

from pathlib import Path
from typing import Any

import pytest

from tests.api.client import PROBLEM, new_thread, open_client

MISSPELT: list[tuple[dict[str, Any], str, str | None]] = [
    ({"multitask_stategy": "reject"}, "/multitask_stategy", "multitask_strategy"),
    ({"config": {"recursion_limt": 5}}, "/config/recursion_limt", "recursion_limit"),
    ({"command": {"resum": 1}}, "/command/resum", "resume"),
    ({"checkpoint": {"checkpointid": "x"}}, "/checkpoint/checkpointid", "checkpoint_id"),
    ({"xyzzy": 1}, "/xyzzy", None),
    ({"config": {"node": 1}}, "/config/node", None),  # known elsewhere, not here
]


@pytest.mark.parametrize(("more", "pointer", "near"), MISSPELT)
async def test_an_unknown_field_is_refused_with_its_neighbour(
    tmp_path: Path, more: dict[str, Any], pointer: str, near: str | None
) -> None:
    async with open_client(tmp_path, "echo") as client:
        answer = await client.post("/runs/wait", json={"assistant_id": "echo", **more})
        batch = await client.post("/runs/batch", json=[{"assistant_id": "echo", **more}])
    hint = f"there is no such field{f'; did you mean {near!r}?' if near else ''}"
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
    assert answer.json()["errors"] == [{"pointer": pointer, "detail": hint}]
    assert batch.json()["errors"] == [{"pointer": f"/0{pointer}", "detail": hint}]


@pytest.mark.parametrize("more", [entry[0] for entry in MISSPELT])
async def test_unknown_fields_are_left_out_where_they_are_to_be_ignored(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    async with open_client(tmp_path, "echo", unknown_fields="ignore") as client:
        thread_id = await new_thread(client)
        body = {"assistant_id": "echo", "input": {"text": "x"}, **more}
        answer = await client.post(f"/threads/{thread_id}/runs/wait", json=body)
        assert answer.status_code == 200
        (run,) = (await client.get(f"/threads/{thread_id}/runs")).json()
    assert "x" in str(run["kwargs"]["input"])
    assert not any(name in str(run["kwargs"]) for name in ("stategy", "limt", "xyzzy"))


async def test_what_is_wrong_besides_is_refused_all_the_same(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", unknown_fields="ignore") as client:
        answer = await client.post("/runs", json={"assistant_id": "echo", "x": 1, "timeout": -1})
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/timeout"]


async def test_an_unknown_query_parameter_is_refused_with_its_neighbour(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        path = f"/threads/{await new_thread(client)}/runs"
        answer = await client.get(f"{path}?limits=5")
        nowhere = await client.post("/threads?limit=5", json={})
        probe = await client.get("/livez?now=1")
    assert (answer.status_code, nowhere.status_code, probe.status_code) == (422, 422, 200)
    assert answer.json()["errors"] == [
        {"pointer": "/limits", "detail": "there is no such field; did you mean 'limit'?"}
    ]


async def test_unknown_query_parameters_are_ignored_on_request(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", unknown_fields="ignore") as client:
        path = f"/threads/{await new_thread(client)}/runs"
        assert (await client.get(f"{path}?limits=5")).json() == []
        assert (await client.get(f"{path}?limit=x")).status_code == 422


FLOODS: list[dict[str, Any]] = [
    {f"key{n}": 1 for n in range(90_000)},
    {"feedback_keys": [1] * 90_000},
]


@pytest.mark.parametrize("unknown_fields", ["refuse", "ignore"])
@pytest.mark.parametrize("more", FLOODS, ids=["fields", "texts"])
async def test_of_a_flood_of_mistakes_only_their_number_is_told(
    tmp_path: Path, more: dict[str, Any], unknown_fields: str
) -> None:
    """To list them all held up everybody else's requests."""
    async with open_client(tmp_path, "echo", unknown_fields=unknown_fields) as client:
        answer = await client.post("/runs", json={"assistant_id": "echo", **more})
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
    assert answer.json()["detail"] == "the request has 90000 mistakes"


async def test_of_places_to_go_to_no_more_are_looked_at_than_a_command_may_have(
    tmp_path: Path,
) -> None:
    async with open_client(tmp_path, "echo") as client:
        body = {"assistant_id": "echo", "command": {"goto": [{}] * 90_000}}
        answer = await client.post("/runs", json=body)
    assert answer.status_code == 422
    assert "at most 10000 items" in answer.json()["detail"]
