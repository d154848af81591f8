"""What must not get in: every row of the list is refused, or kept as plain data, never a 5xx."""

import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.api.app import ENDPOINTS
from orchestration.api.ingress import parse_json
from orchestration.api.problems import Problem
from tests.api.client import NOBODY, PROBLEM, client_of, new_run, new_thread, open_client, open_play

JSON = {"content-type": "application/json"}
WAIT = "/runs/wait"


def echoing(value: str) -> str:
    return f'{{"assistant_id": "echo", "input": {{"text": {value}}}}}'


def nested(levels: int) -> str:
    """Return a body of so many levels, the object itself not counted."""
    return f'{{"assistant_id": "echo", "input": {"[" * levels}{"]" * levels}}}'


# The numbered ones are tried against a real server: tests/process/test_bad_inputs.py.
BODIES: dict[str, tuple[int, bytes | str]] = {
    "-2^63-1": (422, echoing(str(-(2**63) - 1))),
    "30 digits": (422, echoing("1" * 30)),
    "a lone surrogate as key": (400, echoing('{"\\udfff": 1}')),
    "99000 unknown keys": (422, json.dumps({f"key{n}": 1 for n in range(99_000)})),
    "an id of 3 MB": (422, json.dumps({"assistant_id": "k" * 3_000_000})),
    "90000 stream modes": (
        422,
        json.dumps({"assistant_id": "echo", "stream_mode": ["x"] * 90_000}),
    ),
    # 23
    "a negative delay": (422, '{"assistant_id": "echo", "after_seconds": -1}'),
    "a timeout of 0": (422, '{"assistant_id": "echo", "timeout": 0}'),
    "a priority of 11": (422, '{"assistant_id": "echo", "priority": 11}'),
    "no recursion": (422, '{"assistant_id": "echo", "config": {"recursion_limit": 0}}'),
    "an unknown key": (422, '{"assistant_id": "echo", "cofnig": {}}'),
    "an unknown key of the config": (422, '{"assistant_id": "echo", "config": {"x": 1}}'),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("status", "body"), BODIES.values(), ids=BODIES.keys())
async def test_a_bad_body_is_refused_in_few_words(
    tmp_path: Path, status: int, body: bytes | str
) -> None:
    async with open_client(tmp_path, "echo") as client:
        response = await client.post(WAIT, content=body, headers=JSON)
    assert (response.status_code, response.headers["content-type"]) == (status, PROBLEM)
    assert isinstance(response.json()["detail"], str)
    assert len(response.content) < 8_000
    assert "Traceback" not in response.text


@pytest.mark.parametrize(
    "value",
    [
        "1e300",
        str(2**63 - 1),
        str(-(2**63)),
        '[1e300, "12345678901234567890"]',
        '["1e300 12345678901234567890", 1e19]',
        '"\\u0000\\u202e\\u2028\\u001b[31m"',
        '{"lc": 2, "type": "constructor", "id": ["os", "system"], "kwargs": {"command": "true"}}',
        '{"lc": 1, "type": "secret", "id": ["PATH"]}',
        '{"__class__": "os.system", "py/object": "os.system", "$ref": "#", "__proto__": {"a": 1}}',
        '{"__interrupt__": 1, "__error__": {"error": "x"}}',
        nested(60).partition('"input": ')[2][:-1],
    ],
)
async def test_what_looks_dangerous_is_plain_data(tmp_path: Path, value: str) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client)
        body = json.dumps({"assistant_id": "echo", "metadata": {"m": json.loads(value)}})
        body = body[:-1] + f', "input": {{"text": {value}}}}}'
        path = f"/threads/{thread_id}/runs"
        run = await client.post(path, content=body, headers=JSON)
        output = await client.get(run.headers["content-location"] + "/join")
        state = await client.get(f"/threads/{thread_id}/state")
        read = await client.get(run.headers["content-location"])
    expected = json.loads(value)
    assert output.json() == state.json()["values"] == {"text": expected, "log": [expected]}
    assert read.json()["metadata"]["m"] == expected


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        (None, 200),
        ("text/plain", 415),
        ("application/jsonp", 415),
        ("multipart/form-data", 415),
    ],
)
async def test_only_json_is_taken(tmp_path: Path, kind: str | None, status: int) -> None:
    async with open_client(tmp_path, "echo") as client:
        headers = {} if kind is None else {"content-type": kind}
        response = await client.post("/threads", content=b"{}", headers=headers)
    assert response.status_code == status


@pytest.mark.parametrize(
    ("coding", "status"),
    [("identity", 200), ("gzip", 415), ("GZIP", 415), ("identity, gzip", 415), ("x", 415)],
)
@pytest.mark.parametrize("path", ["/threads", "/mcp"])
async def test_a_body_that_is_compressed_is_not_taken_for_json(
    tmp_path: Path, path: str, coding: str, status: int
) -> None:
    headers = {
        "host": "localhost",  # which MCP looks at
        "content-encoding": coding,
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
    }
    body = {"/threads": b"{}", "/mcp": b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}'}[path]
    async with open_client(tmp_path, "echo") as client:
        response = await client.post(path, content=body, headers=headers)
    assert response.status_code == status
    if status != 200:
        assert response.headers["accept-encoding"] == "identity"
        assert "Content-Encoding" in response.text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("%2e%2e", 422),
        ("..%2fruns", 400),
        ("..%5cruns", 400),
        ("%00", 400),
        ("x" * 10_000, 422),
        ("{00000000-0000-4000-8000-000000000000}", 422),
        (NOBODY.replace("-", ""), 422),
        (f"urn:uuid:{NOBODY}", 422),
        (f"%20{NOBODY}", 422),
        (f"{NOBODY}%0a", 422),
        ("%ff", 422),
        ("\u0664" * 32, 422),
        (NOBODY, 404),
    ],
)
async def test_a_thread_id_that_is_no_uuid_finds_nothing(
    tmp_path: Path, path: str, status: int
) -> None:
    async with open_client(tmp_path, "echo") as client:
        response = await client.get(f"/threads/{path}")
    assert (response.status_code, response.headers["content-type"]) == (status, PROBLEM)


async def test_the_case_of_an_id_does_not_matter(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client)
        response = await client.get(f"/threads/{thread_id.upper()}")
    assert response.json()["thread_id"] == thread_id


@pytest.mark.parametrize("key", ["a') OR 1=1 --", "$where", "a.b.c", "json_contains(1, 1)", "%"])
async def test_a_filter_is_data_to_the_search_of_threads_and_assistants(
    tmp_path: Path, key: str
) -> None:
    """Row 22 wants 422; here keys never reach SQL, so people may call them what they like."""
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client, metadata={key: 1})
        await new_thread(client)
        found = await client.post("/threads/search", json={"metadata": {key: 1}})
        none = await client.post("/assistants/search", json={"metadata": {key: 1}})
    assert [thread["thread_id"] for thread in found.json()] == [thread_id]
    assert none.json() == []


@pytest.mark.parametrize(
    "query",
    [
        "limit=-1",
        "limit=0",
        "limit=1e9",
        "limit=1001",
        "limit=abc",
        "limit=%2B1.0",
        "limit=1_0",
        "limit=",
        "offset=-1",
        f"offset={2**63}",
        "status=%27%20OR%201=1",
        "select=kwargs;drop",
    ],
)
async def test_a_page_that_is_none_is_refused(tmp_path: Path, query: str) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client)
        response = await client.get(f"/threads/{thread_id}/runs?{query}")
    assert (response.status_code, response.headers["content-type"]) == (422, PROBLEM)


@pytest.mark.parametrize(
    ("xray", "status"), [("1", 200), ("true", 200), ("%2B0.0", 422), ("1_0", 422), ("x", 422)]
)
async def test_how_deep_to_draw_is_a_whole_number_or_a_truth(
    tmp_path: Path, xray: str, status: int
) -> None:
    async with open_client(tmp_path, "echo") as client:
        response = await client.get(f"/assistants/echo/graph?xray={xray}")
    assert response.status_code == status


@pytest.mark.parametrize(
    "body", [{"limit": -1}, {"limit": 10**9}, {"offset": 2**62}, {"sort_by": "; drop"}]
)
@pytest.mark.parametrize("path", ["/threads/search", "/assistants/search"])
async def test_a_search_that_is_none_is_refused(
    tmp_path: Path, path: str, body: dict[str, Any]
) -> None:
    async with open_client(tmp_path, "echo") as client:
        response = await client.post(path, json=body)
    assert (response.status_code, response.headers["content-type"]) == (422, PROBLEM)


async def test_a_client_cannot_set_what_only_the_server_may(tmp_path: Path) -> None:
    forged = {
        "langgraph_auth_user": "root",
        "langgraph_auth_permissions": "all",
        "thread_id": NOBODY,
        "checkpoint_id": NOBODY,
        "checkpoint_ns": "x",
        "run_id": NOBODY,
        "__pregel_store": "x",
        "__pregel_resuming": "x",
        "mine": "kept",
    }
    async with open_client(tmp_path, "looking") as client:
        body = {"assistant_id": "looking", "input": {"text": 1}}
        by_config = await client.post(WAIT, json={**body, "config": {"configurable": forged}})
        by_context = await client.post(WAIT, json={**body, "context": forged})
    for answer in (by_config, by_context):
        seen = answer.json()["seen"]["configurable"]
        assert seen["mine"] == "kept"
        assert "root" not in seen.values()
        assert "all" not in seen.values()
        assert NOBODY not in seen.values()
        assert seen.get("__pregel_resuming") != "x"


CRAFTED = {
    "a call in msgpack": ("msgpack", b"\xc7\x15\x00\x93\xa2os\xa6system\x91\xa8touch /p"),
    "a pickle": ("pickle", b"cos\nsystem\n(S'touch pwned'\ntR."),
    "no msgpack at all": ("msgpack", b"\xc1\xc1"),
}


@pytest.mark.parametrize(("kind", "blob"), CRAFTED.values(), ids=CRAFTED.keys())
async def test_a_crafted_checkpoint_does_not_load_and_its_run_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, blob: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client)
        await client.get(await new_run(client, thread_id, "echo", "x") + "/join")
    with sqlite3.connect(tmp_path / "data" / "masterloop.db") as connection:
        connection.execute("UPDATE checkpoints SET type = ?, checkpoint = ?", (kind, blob))
    connection.close()
    async with open_play(tmp_path, "echo") as service, client_of(service.app) as client:
        path = await new_run(client, thread_id, "echo", "y")
        answered = (await client.get(f"{path}/join")).json()
        read = await client.get(path)
        state = await client.get(f"/threads/{thread_id}/state")
        assert service.loop.working == 0
    assert "__error__" in answered
    assert read.json()["status"] == "error"
    assert "Traceback" not in state.text
    assert sorted(os.listdir(tmp_path)) == ["data", "langgraph.json"]  # noqa: PTH208 - not async


def _refusal(body: bytes) -> int | None:
    try:
        parse_json(body)
    except Problem as problem:
        return problem.status
    return None


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"a": 1, "a": 2}', 400),
        ('{"a" :1, "a": 2}', 400),
        ('[{"b": {"a": ":", "a"\n:2}}]', 400),
        ('{"a\\\\": 1, "a\\\\": 2}', 400),
        ('{"a\\":": 1, "b": "\\":", "a\\":": 2}', 400),
        ('{"a": {"a": 1}, "b": [{"a": 1}, {"a": 1}]}', None),
        ('{"at": "12:30", "said": "\\":\\" : x", "a\\\\": ":"}', None),
        ('{"a" : 1, "b"\t: "c:d"}', None),
    ],
)
def test_a_key_that_is_there_twice_is_refused(body: str, status: int | None) -> None:
    assert _refusal(body.encode()) == status


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**66), 2**66) | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=9), inner, max_size=5)
    ),
    max_leaves=12,
)


def _large(value: Any) -> bool:
    """Whether there is an integer in it that JSON's readers could change."""
    if isinstance(value, dict):
        return any(map(_large, value.values()))
    if isinstance(value, list):
        return any(map(_large, value))
    return type(value) is int and not -(2**63) <= value < 2**63


@given(_VALUES)
@settings(deadline=None)
def test_json_comes_in_unchanged_or_not_at_all(value: Any) -> None:
    try:
        body = json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        body = json.dumps(value).encode()
    if b"NaN" in body.replace(b'"', b" ") and _refusal(body) is None:
        return  # the text of a string
    status = _refusal(body)
    if _large(value):
        assert status in (400, 422)
    elif status is None:
        assert parse_json(body) == value


@given(st.binary(max_size=200))
def test_whatever_bytes_come_they_are_json_or_refused(body: bytes) -> None:
    assert _refusal(body) in (None, 400, 422)


@pytest.mark.timeout(120)
async def test_no_operation_answers_nonsense_with_a_server_error(tmp_path: Path) -> None:
    nonsense: list[Any] = [
        None, 5, "x", [], {}, {"x": 1}, [{}], [[1]], {"": None}, True, -1, 1e300, "\u0000",
    ]  # fmt: skip
    broken: list[str] = []
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client, metadata={"graph_id": "echo"})
        for endpoint in ENDPOINTS:
            path = endpoint.path.format_map(
                {"thread_id": thread_id, "run_id": NOBODY, "assistant_id": "echo", "namespace": "x",
                 "checkpoint_id": "x", "cron_id": NOBODY, "pool": "x", "mailbox": "x"}
            )  # fmt: skip
            if path.endswith("/stream") and endpoint.method == "GET":
                continue  # a thread's stream does not end
            bodies: list[Any] = list(nonsense)
            for field in sorted(endpoint.fields):
                wanted = {"assistant_id": "echo", "graph_id": "echo", "thread_ids": []}
                needed = {key: wanted[key] for key in wanted.keys() & endpoint.fields}
                bodies += [{**needed, field: value} for value in nonsense]
            for body in bodies if endpoint.body is not None else [None]:
                response: httpx.Response = await client.request(endpoint.method, path, json=body)
                if response.status_code >= 500:
                    broken.append(f"{endpoint.method} {path} {body!r}: {response.text}")
    assert broken == []
