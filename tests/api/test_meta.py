"""What the service says of itself, and how it answers what it does not know."""

import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest

from orchestration.api.app import ENDPOINTS
from tests.api.client import NOBODY, PROBLEM, client_of, open_client, open_play, serving
from tests.api.wire import answer


async def test_the_service_says_what_it_serves(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", "looking") as client:
        answers = [await client.get(path) for path in ("/ok", "/livez", "/readyz", "/info")]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert answers[0].json() == {"ok": True}
    assert answers[3].json()["graphs"] == ["echo", "looking"]


async def test_every_operation_is_in_the_api_document(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        document = (await client.get("/openapi.json")).json()
    described = {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }
    assert described == {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}
    for methods in document["paths"].values():
        for operation in methods.values():
            assert operation["summary"].endswith(".")


async def test_lists_in_a_query_may_be_an_empty_text_and_the_document_says_so(
    tmp_path: Path,
) -> None:
    """LangGraph's Python client sends one where there is no list."""
    lists = []
    async with open_client(tmp_path, "echo") as client:
        document = (await client.get("/openapi.json")).json()
    for operations in document["paths"].values():
        for parameter in operations.get("get", {}).get("parameters", ()):
            either = parameter["schema"].get("anyOf", [parameter["schema"]])
            lists += [one for one in either if one.get("type") == "array"]
    assert lists
    for members in (one["items"] for one in lists):
        assert (
            members == {"type": "string"}
            or "" in members.get("enum", ())
            or ({"const": ""} in members["anyOf"])
        )


async def test_head_is_answered_as_get(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        head, get = await client.head("/ok"), await client.get("/ok")
    assert (head.status_code, head.headers["content-length"]) == (
        200,
        get.headers["content-length"],
    )


async def test_another_method_is_told_which_there_are(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        response = await client.put("/threads", json={})
    assert (response.status_code, response.headers["allow"]) == (405, "OPTIONS, POST")
    assert response.headers["content-type"] == PROBLEM


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (f"/threads/{NOBODY}", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        (f"/threads/{NOBODY}/stream", "GET, OPTIONS"),  # HEAD would be a stream without an end
        ("/openapi.json", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_path_tells_all_its_methods(tmp_path: Path, path: str, allowed: str) -> None:
    async with open_client(tmp_path, "echo") as client:
        asked = await client.options(path)
        refused = await client.put(path)
    assert (asked.status_code, asked.headers["allow"]) == (204, allowed)
    assert (refused.status_code, refused.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize("http", [{}, {"mount_prefix": "/below"}])
async def test_the_server_as_a_whole_tells_its_methods(
    tmp_path: Path, http: dict[str, str]
) -> None:
    asked = b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    async with (
        open_play(tmp_path, "echo", manifest={"http": http}) as service,
        serving(service.app) as address,
    ):
        told = await answer(address, [asked])
        refused = await answer(address, [asked.replace(b"OPTIONS", b"GET")])
    assert told.startswith(b"HTTP/1.1 204 ")
    allow = b"allow: DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
    assert allow in told.split(b"\r\n")
    assert refused.startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("path", ["/nothing", "/threads/", "/ok/", "/nothing%0a%3Cscript%3E"])
async def test_where_there_is_nothing_the_answer_says_where_to_look(
    tmp_path: Path, path: str
) -> None:
    async with open_client(tmp_path, "echo") as client:
        response = await client.get(path)
    assert (response.status_code, response.headers["content-type"]) == (404, PROBLEM)
    assert response.json()["detail"].endswith("see /openapi.json")


async def test_pages_of_other_origins_may_call_unless_the_manifest_says_otherwise(
    tmp_path: Path,
) -> None:
    origin = {"origin": "https://studio.example"}
    async with open_client(tmp_path, "echo") as client:
        everybody = await client.get("/ok", headers=origin)
    manifest = {"http": {"cors": {"allow_origins": ["https://mine.example"]}}}
    async with open_client(tmp_path, "echo", manifest=manifest) as client:
        stranger = await client.get("/ok", headers=origin)
        mine = await client.get("/ok", headers={"origin": "https://mine.example"})
    name = "access-control-allow-origin"
    assert [answer.headers.get(name) for answer in (everybody, stranger, mine)] == [
        "*", None, "https://mine.example",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("origin", "site", "status"),
    [
        ("https://evil.example", "cross-site", 403),
        ("https://evil.mine.example", "same-site", 403),
        ("null", "cross-site", 403),
        ("https://mine.example", "cross-site", 200),
        ("https://service.example", "same-origin", 200),
        (None, "none", 200),
        ("https://no-browser.example", None, 200),
    ],
)
async def test_a_page_that_may_not_call_begins_no_run_either(
    tmp_path: Path, origin: str | None, site: str | None, status: int
) -> None:
    """Of a body without a type, a browser asks nobody whether it may be sent."""
    manifest = {"http": {"cors": {"allow_origins": ["https://mine.example"]}}}
    named = {"origin": origin, "sec-fetch-site": site}
    headers = {name: value for name, value in named.items() if value is not None}
    async with open_client(tmp_path, "echo", manifest=manifest) as client:
        run = {"assistant_id": "echo", "input": {"text": 1}}
        begun = await client.post("/runs", headers=headers, content=json.dumps(run))
        looked = await client.get("/info", headers=headers)
    assert (begun.status_code, looked.status_code) == (status, 200)


async def test_a_graph_that_cannot_be_made_is_told_without_its_traceback(tmp_path: Path) -> None:
    async with open_play(tmp_path, "broken") as service, client_of(service.app) as client:
        response = await client.get("/assistants/broken/schemas")
    assert (response.status_code, response.headers["content-type"]) == (424, PROBLEM)
    assert response.json()["detail"] == (
        "graph 'broken' could not be made: its function raised LookupError: "
        "config.configurable.key is missing"
    )
    assert "Traceback" not in response.text


@pytest.mark.parametrize(
    "text", ["a", "a.b", ".a", "a.", "|x:1", "%", "a\\b", "a..b", "..a", "a/b", "a\0b"]
)
async def test_a_part_of_a_path_is_refused_where_the_document_does_not_have_it(
    tmp_path: Path, text: str
) -> None:
    path = "/assistants/{assistant_id}/subgraphs/{namespace}"
    async with open_client(tmp_path, "echo") as client:
        document = (await client.get("/openapi.json")).json()
        said = await client.get(f"/assistants/echo/subgraphs/{quote(text, safe='')}")
    (allowed,) = [
        one["schema"]["pattern"]
        for one in document["paths"][path]["get"]["parameters"]
        if one["name"] == "namespace"
    ]
    assert (said.status_code == 400) is (re.search(allowed, text) is None)
