"""The 44 bad inputs, number by number, against a real server.

Each is refused with its status and a problem, or kept as plain data; nothing forges a line of the
log, and the server answers others meanwhile.
"""

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.process.server import Server, until

ROOT = Path(__file__).parents[2]
NOBODY = "00000000-0000-4000-8000-000000000000"
JSON = {"content-type": "application/json"}
LIVE = 0.1  # seconds that /livez may take meanwhile
Send = Callable[[Server], httpx.Response]

# Tried where the part that they attack can be held in hand, or not here yet.
ELSEWHERE = {
    7: "test_half_a_head_keeps_nobody_else_waiting",
    19: "tests/api/test_bad_input.py: a crafted checkpoint is written into the database",
    24: "tests/api/test_second_principal.py: every route is tried as somebody else",
    25: "tests/api/test_api_keys.py: items of owners are apart",
    26: "tests/api/test_bad_input.py: a graph shows what it was given",
    30: "tests/operations/test_outbound.py: a resolver that changes its mind",
    31: "tests/operations/test_outbound.py: a receiver that redirects, floods, is silent",
    33: "MCP, an issue of its own",
    34: "MCP, an issue of its own",
    35: "tests/api/test_tokens.py: forged tokens",
    36: "tests/api/test_api_keys.py: near keys",
    37: "tests/api/test_custom_routes.py: custom routes without credentials",
    38: "there is no cookie yet; who may call from a browser: docs/adr/0003",
    41: "there is no page but /docs, which escapes: tests/api/test_meta.py",
    42: "agents, an issue of its own",
    43: "agents, an issue of its own",
    44: "test_what_a_client_sends_is_not_in_the_log",
}


def body(content: bytes | str | list[bytes], path: str = "/runs/wait", **headers: str) -> Send:
    """Send this body."""
    return lambda server: server.http.post(path, content=content, headers={**JSON, **headers})


def given(value: Any, path: str = "/runs/wait") -> Send:
    return body(json.dumps(value), path)


def run(**fields: Any) -> Send:
    return given({"assistant_id": "counter", **fields})


def cron(schedule: str, **fields: Any) -> Send:
    return given({"assistant_id": "counter", "schedule": schedule, **fields}, "/runs/crons")


def get(path: str, **headers: str) -> Send:
    return lambda server: server.http.get(path, headers=headers)


def raw(head: str, content: bytes = b"") -> Send:
    """Send these bytes, and read the first answer to them."""

    def send(server: Server) -> httpx.Response:
        with closing(socket.create_connection(("127.0.0.1", server.port), 10)) as connection:
            connection.sendall(head.replace("\n", "\r\n").encode("latin-1") + content)
            answer = top = rest = b""
            while chunk := connection.recv(65_536):
                answer += chunk
                top, separator, rest = answer.partition(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", top.lower())
                if separator and length and len(rest) >= int(length[1]):
                    rest = rest[: int(length[1])]  # of what is no request, there is another one
                    break
        lines = top.decode("latin-1").split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:])
        kept = {name: fields[name] for name in fields if name.lower() == "content-type"}
        return httpx.Response(int(lines[0].split()[1]), headers=kept, content=rest)

    return send


def nested(levels: int) -> str:
    return f'{{"assistant_id": "counter", "input": {"[" * levels}{"]" * levels}}}'


def chunked(size: int) -> list[bytes]:
    """Return a body in chunks; its length is not declared."""
    return [b" " * 65_536] * (size // 65_536 + 1)


CHUNKED = "Transfer-Encoding: chunked"
MANY = dict.fromkeys(map(str, range(100_001)), 1)
YEARS_AGO = "2001-01-01T00:00:00Z"
STREAM = f"/threads/{NOBODY}/runs/{NOBODY}/stream"
HEAD = "POST /threads HTTP/1.1\nHost: x\nContent-Type: application/json\n"
CASES: list[tuple[int, str, Send, set[int]]] = [
    (1, "declared", body(b" " * (4 * 1024**2 + 1)), {413}),
    (2, "chunked", body(chunked(8 * 1024**2)), {413}),
    (3, "shorter", raw(f"{HEAD}Content-Length: 1\n\n", b"{}"), {400}),
    (3, "negative", raw(f"{HEAD}Content-Length: -1\n\n"), {400}),
    (3, "1e3", raw(f"{HEAD}Content-Length: 1e3\n\n"), {400}),
    (3, "two", raw(f"{HEAD}Content-Length: 2\nContent-Length: 3\n\n", b"{}"), {400}),
    (4, "both", raw(f"{HEAD}Content-Length: 2\n{CHUNKED}\n\n", b"0\r\n\r\n"), {400}),
    (5, "two", raw("GET /ok HTTP/1.1\nHost: a\nHost: b\n\n"), {400}),
    (5, "none", raw("GET /ok HTTP/1.1\n\n"), {400}),
    (5, "a/?", raw("GET /ok HTTP/1.1\nHost: a/?\n\n"), {400}),
    (6, "2 MB", raw(f"GET /ok HTTP/1.1\nHost: x\nX: {'a' * 100_000}\n\n"), {400, 431}),
    (6, "1000", raw("GET /ok HTTP/1.1\nHost: x\n" + "X: 1\n" * 1_000 + "\n"), {400, 431}),
    (8, "empty", body(b""), {400}),  # nothing is no JSON
    *((8, text, body(text), {422}) for text in ("null", "[]", '"x"')),
    (9, "65", body(nested(65)), {422}),
    (9, "300", body(nested(300)), {422}),
    (9, "1025", body(nested(1_025)), {400}),
    (9, "100000", body(nested(100_000)), {400}),
    *(
        (10, text, body(f'{{"assistant_id": "counter", "input": {text}}}'), {400})
        for text in ("NaN", "Infinity", "-Infinity")
    ),
    *(
        (11, text[:6], body(f'{{"assistant_id": "counter", "input": {text}}}'), {400, 422})
        for text in ("1e400", "9" * 5_000, str(2**63), str(2**64 + 1))
    ),
    (12, "broken UTF-8", body(b'{"assistant_id": "\xff"}'), {400}),
    (12, "UTF-16", body('{"assistant_id": "counter"}'.encode("utf-16")), {400, 415}),
    (12, "BOM", body(b'\xef\xbb\xbf{"assistant_id": "counter"}'), {400}),
    # The parser knows no lone surrogate, so it is no JSON.
    (13, "input", body('{"assistant_id": "counter", "input": "\\ud800"}'), {400, 422}),
    (13, "metadata", body('{"metadata": {"a": "\\ud800"}}', "/threads"), {400, 422}),
    (13, "id", body('{"assistant_id": "\\ud800"}'), {400, 422}),
    *(
        (14, repr(sign), given({"assistant_id": f"counter{sign}"}), {404, 422})
        for sign in ("\0", "\u202e", "\u2028", "\x1b[31m", "\n")
    ),
    (15, "twice", body('{"assistant_id": "counter", "assistant_id": "counter"}'), {400}),
    (15, "within", body('{"assistant_id": "counter", "input": {"a": 1, "a": 2}}'), {400}),
    (16, "many keys", given({f"key{n}": 1 for n in range(250_000)}), {422}),
    (16, "long key", given({"k" * 3_000_000: 1}), {422}),
    *(
        (20, name[:9], get(f"/threads/{name}"), {400, 404, 422})
        for name in (
            "..", "%2e%2e", "..%2fruns", "%00", "x" * 10_000, f"{{{NOBODY}}}", f"%20{NOBODY}",
            NOBODY,
        )
    ),
    *(
        (21, repr(name), given({"assistant_id": name}), {404, 422})
        for name in ("../../etc/passwd", "os:system", "agent\n")
    ),
    (21, "path", get("/assistants/os:system"), {404, 422}),
    (22, "order", given({"sort_by": ";drop"}, "/threads/search"), {422}),
    (22, "100001 keys", given({"metadata": MANY}, "/threads/search"), {422}),
    (22, "items", given({"filter": {"a') OR 1=1 --": 1}}, "/store/items/search"), {422}),
    (22, "items", given({"filter": {"$where": 1}}, "/store/items/search"), {422}),
    *(
        (23, query, get(f"/threads/{NOBODY}/runs?{query}"), {422})
        for query in ("limit=-1", "limit=1e9", "limit=abc", f"offset={2**63}")
    ),
    *(
        (28, value, get(STREAM, **{"last-event-id": value}), status)
        for value, status in (
            ("-2", {400, 404}), ("9" * 30, {400, 404}), ("x", {400, 404}),
            ("1" * 70_000, {400, 431}),
        )
    ),
    *(
        (29, url, run(webhook=url), {422})
        for url in (
            "http://169.254.169.254/", "https://127.0.0.1/", "https://[::1]/",
            "https://[::ffff:10.0.0.1]/", "https://0177.0.0.1/", "https://2130706433/",
            "https://localhost./", "http://metadata.google.internal/",
        )
    ),
    *(
        (32, url[:16], run(webhook=url), {422})
        for url in (
            "file:///etc/passwd", "gopher://a.example/", "unix:/run/x", "https://u:p@a.example/",
            f"https://a.example/{'x' * 10_000}", "https://a.example/\r\nX: 1",
        )
    ),
    *(
        (39, schedule[:12], cron(schedule), {422})
        for schedule in ("* * * * * *", "@reboot", "0-59," * 200_000 + "0 * * * *", "61 * * * *")
    ),
    (39, "past end", cron("* * * * *", end_time=YEARS_AGO), {422}),
    (40, "10000 signs", body("{}", "/threads", **{"idempotency-key": "k" * 10_000}), {400}),
    (40, "control", raw(f"{HEAD}Idempotency-Key: a\tb\nContent-Length: 2\n\n", b"{}"), {400}),
]  # fmt: skip


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all of them: whatever one does to it, the next one would notice."""
    one = Server(tmp_path_factory.mktemp("bad"))
    one.start()
    yield one
    one.close()


@contextmanager
def watched(server: Server) -> Iterator[list[float]]:
    """Ask /livez again and again meanwhile, and note how long each answer takes."""
    stop, took = threading.Event(), list[float]()

    def watch() -> None:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            client.get("/livez")
            while True:
                began = time.perf_counter()
                assert client.get("/livez").status_code == 200
                took.append(time.perf_counter() - began)
                if stop.is_set():
                    return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield took
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    ("send", "expected"),
    [case[2:] for case in CASES],
    ids=[f"{number} {name[:20]!r}" for number, name, *_ in CASES],
)
def test_a_bad_input_is_refused_and_nobody_waits(
    running: Server, send: Send, expected: set[int]
) -> None:
    with watched(running) as took:
        answer = send(running)
    assert answer.status_code in expected, answer.text[:300]
    assert answer.headers["content-type"] == "application/problem+json"
    assert isinstance(answer.json()["detail"], str)
    assert "Traceback" not in answer.text
    # Others share this machine: what counts is that most answers come at once.
    assert sorted(took)[len(took) // 2] < LIVE


PLAIN = [
    {"lc": 2, "type": "constructor", "id": ["os", "system"], "kwargs": {"command": "touch pwned"}},
    {"__class__": "os.system", "py/object": "os.system", "$ref": "#", "__proto__": {"a": 1}},
    {"a') OR 1=1 --": 1, "$where": "1", "a.b.c": 1},  # 22: as metadata they are just names
    {"event: forged\n\ndata": "x\nevent: forged\n\n"},  # 27
]


@pytest.mark.parametrize("value", PLAIN, ids=["17", "18", "22", "27"])
def test_what_looks_dangerous_is_plain_data(running: Server, value: dict[str, Any]) -> None:
    made = running.http.post("/threads", json={"metadata": value}).json()
    found = running.http.post("/threads/search", json={"metadata": value}).json()
    assert made["metadata"] == value
    assert [thread["thread_id"] for thread in found] == [made["thread_id"]]
    asked = {"assistant_id": "counter", "input": {"name": "plain", "steps": 1, "answer": value}}
    stream = running.http.post("/runs/stream", json={**asked, "stream_mode": ["values"]})
    events = [line for line in stream.text.splitlines() if line.startswith("event:")]
    assert set(events) == {"event: metadata", "event: values", "event: end"}
    assert running.http.post("/runs/wait", json=asked).json()["answer"] == value


def test_half_a_head_keeps_nobody_else_waiting(running: Server) -> None:
    with ExitStack() as stack:
        for _ in range(200):
            half = socket.create_connection(("127.0.0.1", running.port), 10)
            stack.enter_context(closing(half))
            half.sendall(b"GET /ok HTTP/1.1\r\nHost: x\r\nX-Half: ")
        with watched(running) as took:
            for _ in range(20):
                assert running.http.get("/ok").is_success
    assert sorted(took)[len(took) // 2] < LIVE


def test_what_a_client_sends_is_not_in_the_log(running: Server) -> None:
    canary = "canary-51d7e0"
    headers = {"authorization": f"Bearer {canary}", "x-api-key": canary, "idempotency-key": canary}
    asked = {"assistant_id": "counter", "input": {"name": canary, "steps": canary}}
    running.http.post("/runs/wait", json=asked, headers=headers)
    running.http.get(f"/threads/{NOBODY}", headers=headers)
    assert canary not in running.log


def test_no_line_of_the_log_is_forged(running: Server) -> None:
    names = ["\n", "\r\n", "\x1b[31m", "\u2028"]
    for name in names:
        forged = f'{name}{{"event": "forged"}}'
        running.http.post("/threads", json={"metadata": {forged: forged}})
        running.http.get("/threads/x", params={forged: forged})
    running.http.get("/nothing%0a%7b%22event%22%3a%22forged%22%7d")
    until(lambda: running.log.endswith("\n"))
    lines = [json.loads(line) for line in running.log.splitlines()]
    assert "forged" not in {line.get("event") for line in lines}


def test_every_number_is_tried_here_or_said_to_be_elsewhere() -> None:
    here = {number for number, *_ in CASES} | {17, 18, 27}
    assert here | ELSEWHERE.keys() == set(range(1, 45))
    assert not here & ELSEWHERE.keys()
    for where in ELSEWHERE.values():
        file = where.partition(":")[0]
        assert not file.endswith(".py") or all((ROOT / one).exists() for one in file.split(" and "))
