"""``http.app`` and the other keys of ``http``: routes of the project's, and routes taken away."""

from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp

from operations.errors import ConfigurationError
from operations.keys import KeyFolder
from tests.api.client import PROBLEM, open_client, open_play, serving
from tests.api.routes import life
from tests.api.wire import WEBSOCKET, answer

ALICE = {"authorization": "Bearer alice"}


def _http(**http: Any) -> dict[str, Any]:
    return {"http": {"app": "tests.api.routes:app", **http}}


async def test_routes_of_the_project_are_served_within_its_lifespan(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", manifest=_http()) as client:
        hello = await client.get("/hello")
        assert hello.json() == {"hello": None, "given": "by the lifespan", "life": "begun"}
        assert hello.headers["x-marked"] == "yes"
        assert (await client.get("/mounted/inner")).text == "inner"
        assert (await client.get("/ok")).json() == {"ok": "mine"}
        threads = await client.post("/threads/search", json={})
        assert (threads.status_code, "x-marked" in threads.headers) == (200, False)
        missing = await client.get("/nowhere")
        assert (missing.status_code, missing.headers["content-type"]) == (404, PROBLEM)
    assert life[-1] == "ended"


async def test_a_path_may_have_methods_of_both(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", manifest=_http()) as client:
        assert (await client.get("/threads")).json() == {"ok": "mine"}
        made = await client.post("/threads", json={})
        assert (made.status_code, "thread_id" in made.json()) == (200, True)
        assert (await client.put("/threads")).headers["allow"] == "OPTIONS, POST"
        assert (await client.post("/hello")).headers["x-marked"] == "yes"


async def test_who_is_not_known_does_not_get_to_them(tmp_path: Path) -> None:
    manifest = {**_http(), "auth": {"path": "tests.api.guards:owners"}}
    async with open_client(tmp_path, "echo", manifest=manifest) as client:
        for path in ("/hello", "/mounted/inner", "/mounted/nothing"):
            refused = await client.get(path)
            assert (refused.status_code, refused.headers["content-type"]) == (401, PROBLEM)
            assert refused.headers["www-authenticate"].startswith("Bearer")
        assert (await client.post("/hello")).status_code == 401
        assert (await client.get("/hello", headers=ALICE)).json()["hello"] == "alice"
        sent = await client.post("/echo", headers=ALICE, json={"a": 1})
        assert sent.json() == {"a": 1}


async def test_a_project_may_open_its_routes_itself(tmp_path: Path) -> None:
    KeyFolder(tmp_path / "data").create("alice", "run")
    manifest = _http(enable_custom_route_auth=False)
    async with open_client(tmp_path, "echo", manifest=manifest) as client:
        assert (await client.get("/hello")).status_code == 200
        assert (await client.post("/threads/search", json={})).status_code == 401


async def test_what_is_no_application_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is a str, and not an application"):
        async with open_play(tmp_path, manifest=_http(app="tests.api.routes:nothing")):
            pass


async def test_the_reference_follows_authentication(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        assert "security" not in (await client.get("/openapi.json")).json()
        assert (await client.get("/info")).json()["graphs"] == ["echo"]
    manifest = {"auth": {"path": "tests.api.guards:owners"}}
    async with open_client(tmp_path, "echo", manifest=manifest) as client:
        for path in ("/docs", "/openapi.json"):
            assert (await client.get(path)).status_code == 401
        assert "graphs" not in (await client.get("/info")).json()
        document = (await client.get("/openapi.json", headers=ALICE)).json()
        assert document["security"] == [{"key": []}, {"bearer": []}]
        assert set(document["components"]["securitySchemes"]) == {"key", "bearer"}
        assert document["paths"]["/ok"]["get"]["security"] == []
        assert {"401", "403"} <= set(document["paths"]["/threads"]["post"]["responses"])


async def test_a_project_describes_its_own_schemes(tmp_path: Path) -> None:
    schemes = {"oauth": {"type": "http", "scheme": "bearer"}}
    section = {"path": "tests.api.guards:owners", "openapi": {"securitySchemes": schemes}}
    async with open_client(tmp_path, "echo", manifest={"auth": section}) as client:
        document = (await client.get("/openapi.json", headers=ALICE)).json()
        assert document["components"]["securitySchemes"] == schemes
        assert document["security"] == [{"oauth": []}]


@pytest.mark.parametrize(
    ("flag", "gone", "kept"),
    [
        ("disable_assistants", "/assistants/search", "/threads/search"),
        ("disable_threads", "/threads/search", "/assistants/search"),
        ("disable_runs", "/runs/wait", "/threads/search"),
        ("disable_store", "/store/items/search", "/threads/search"),
    ],
)
async def test_parts_of_the_api_can_be_taken_away(
    tmp_path: Path, flag: str, gone: str, kept: str
) -> None:
    async with open_client(tmp_path, "echo", manifest={"http": {flag: True}}) as client:
        assert (await client.post(gone, json={})).status_code == 404
        assert (await client.post(kept, json={})).status_code == 200
        assert gone not in (await client.get("/openapi.json")).json()["paths"]


async def test_everything_can_be_below_a_prefix(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", manifest=_http(mount_prefix="/my/api")) as client:
        body = {"assistant_id": "echo", "input": {"text": 1}}
        assert (await client.post("/my/api/runs/wait", json=body)).json()["log"] == [1]
        assert (await client.get("/my/api/hello")).status_code == 200
        assert (await client.get("/my/api/docs")).status_code == 200
        assert (await client.get("/livez")).status_code == 200
        for path in ("/runs/wait", "/hello", "/my/apis/ok", "/"):
            missing = await client.get(path)
            assert (missing.status_code, missing.headers["content-type"]) == (404, PROBLEM)


def _page(host: str, origin: str | None, site: str | None) -> dict[str, str]:
    named = {"host": host, "origin": origin, "sec-fetch-site": site}
    return {name: value for name, value in named.items() if value is not None}


@pytest.mark.parametrize("path", ["/count", "/mounted/count"])
@pytest.mark.parametrize(
    ("origin", "site", "status"),
    [
        ("https://evil.example", "cross-site", 403),
        ("https://evil.mine.example", "same-site", 403),
        ("https://evil.example", None, 403),
        ("null", None, 403),
        ("http://[", None, 403),
        ("https://mine.example", "cross-site", 101),
        ("https://mine.example", None, 101),
        ("https://service.example", None, 101),
        ("https://behind-a-proxy.example", "same-origin", 101),
        (None, None, 101),
    ],
)
async def test_a_page_that_may_not_call_opens_no_websocket_of_the_project_either(
    tmp_path: Path, path: str, origin: str | None, site: str | None, status: int
) -> None:
    """A browser asks nobody whether it may be opened, sends cookies along, and shows what comes."""
    manifest = _http(cors={"allow_origins": ["https://mine.example"]})
    async with open_play(tmp_path, "echo", manifest=manifest) as service:
        assert await _opened(service.app, path, _page("service.example", origin, site)) == status


async def test_without_cors_every_page_opens_the_websockets_of_the_project(tmp_path: Path) -> None:
    page = _page("service.example", "https://evil.example", "cross-site")
    async with open_play(tmp_path, "echo", manifest=_http()) as service:
        assert await _opened(service.app, "/count", page) == 101


async def _opened(app: ASGIApp, path: str, headers: dict[str, str]) -> int:
    """Ask for a WebSocket; return the status of the answer."""
    head = b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items())
    asked = WEBSOCKET.replace(b"/ops/stream", path.encode()).replace(b"Host: x\r\n", head)
    async with serving(app) as address:
        return int((await answer(address, [asked + b"\r\n"])).split()[1])


async def test_runs_know_the_headers_that_they_are_to_know(tmp_path: Path) -> None:
    wanted = {"includes": ["x-user-*", "*-org", "x*"], "excludes": ["x-user-secret"]}
    manifest = {"http": {"configurable_headers": wanted}}
    sent = {"X-User-Id": "u1", "x-user-secret": "s", "my-org": "acme", "x-api-key": "k"}
    async with open_client(tmp_path, "looking", manifest=manifest) as client:
        run = {"assistant_id": "looking", "input": {}}
        answer = await client.post("/runs/wait", headers=sent, json=run)
        seen = answer.json()["seen"]["configurable"]
        assert (seen["x-user-id"], seen["my-org"]) == ("u1", "acme")
        assert not {"x-user-secret", "x-api-key"} & seen.keys()


async def test_probes_stay(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", manifest={"http": {"disable_meta": True}}) as client:
        paths = ("/info", "/docs", "/openapi.json", "/ok", "/livez", "/readyz")
        statuses = [(await client.get(path)).status_code for path in paths]
        assert statuses == [404, 404, 404, 404, 200, 200]
