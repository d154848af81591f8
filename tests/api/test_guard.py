"""What is refused before any endpoint sees it, whichever HTTP parser let it through."""

from typing import Any

import orjson
import pytest

from orchestration.api.answered import Answered
from orchestration.api.guard import Guard

HOST = (b"host", b"x")


async def status(headers: list[tuple[bytes, bytes]], raw_path: bytes = b"/ok") -> int:
    """Return the status that the guard answers with; 0 or 1 (a browser's) if it lets it pass."""
    sent: list[Any] = []
    told: list[Any] = []

    async def passed(scope: Any, receive: Any, send: Any) -> None:
        sent.append({"status": 0})

    async def passed_from_a_browser(scope: Any, receive: Any, send: Any) -> None:
        sent.append({"status": 1})

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {"type": "http", "http_version": "1.1", "path": "/ok", "headers": headers}
    counted = Answered(told.append)
    guard = Guard(passed, passed_from_a_browser, counted)
    await guard({**scope, "method": "GET", "raw_path": raw_path}, receive, send)
    counted.tell()
    if len(sent) > 1:
        assert isinstance(orjson.loads(sent[1]["body"])["detail"], str)
    answered: int = sent[0]["status"]
    assert [one.status for one in told] == ([answered] if answered > 1 else [])
    return answered


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([HOST], 0),
        ([HOST, (b"content-length", b"2")], 0),
        ([HOST, (b"origin", b"http://a")], 1),
        ([HOST, HOST, (b"origin", b"http://a")], 400),
        ([HOST, (b"content-length", b"2"), (b"content-length", b"2")], 400),
        ([HOST, (b"content-length", b"2"), (b"transfer-encoding", b"chunked")], 400),
        ([HOST, (b"transfer-encoding", b" Chunked ")], 0),
        ([HOST, (b"transfer-encoding", b"gzip, chunked")], 501),
        ([], 400),
        ([HOST, HOST], 400),
        ([(b"host", b"")], 400),
        ([(b"host", b"a/?")], 400),
        ([(b"host", b"a b")], 400),
        ([(b"host", b"a\n")], 400),
        ([(b"host", b"a:99999999")], 400),
        ([(b"host", b"a.example:8123")], 0),
        ([(b"host", b"[::1]:8123")], 0),
        ([HOST, *[(b"x", b"1")] * 99], 0),
        ([HOST, *[(b"x", b"1")] * 100], 431),
        ([HOST, (b"x", b"1" * 65_536)], 431),
    ],
)
async def test_headers(headers: list[tuple[bytes, bytes]], expected: int) -> None:
    assert await status(headers) == expected


@pytest.mark.parametrize(
    ("raw_path", "expected"),
    [
        (b"/ok", 0),
        (b"/ok?q=%2f..", 0),
        (b"/a%2Fb", 400),
        (b"/a%5cb", 400),
        (b"/a%00", 400),
        (b"/../a", 400),
    ],
)
async def test_paths(raw_path: bytes, expected: int) -> None:
    assert await status([HOST], raw_path) == expected
