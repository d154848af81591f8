"""The example graph `assistant`, against a scripted endpoint on loopback."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from examples import assistant


class Endpoint:
    """Answers chat completions from a script, and keeps what it was asked."""

    def __init__(self, *script: dict[str, Any]) -> None:
        self.script = list(script)
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []

    async def complete(self, request: Request) -> Response:
        self.asked.append(await request.json())
        self.keys.append(request.headers.get("authorization"))
        turn = self.script.pop(0)
        if "status" in turn:
            return JSONResponse({"error": {"message": "slow down"}}, turn["status"])
        return StreamingResponse(self.events(turn), media_type="text/event-stream")

    async def events(self, turn: dict[str, Any]) -> AsyncGenerator[str]:
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        if "tool" in turn:
            arguments = json.dumps(turn["args"])
            call = {"index": 0, "id": "call_1", "function": {"name": turn["tool"], "arguments": ""}}
            deltas += [
                {"tool_calls": [call]},
                {"tool_calls": [{"index": 0, "function": {"arguments": arguments[:4]}}]},
                {"tool_calls": [{"index": 0, "function": {"arguments": arguments[4:]}}]},
            ]
        else:
            deltas += [{"content": f"{word} "} for word in turn["text"].split()]
        yield ": a comment\n\n"
        for delta in deltas:
            yield f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta}]})}\n\n"
        yield f"data: {json.dumps({'choices': [], 'usage': {}})}\n\ndata: [DONE]\n\n"


class Server(uvicorn.Server):
    """A server in this process that leaves the signals alone and says when it is up."""

    async def __aenter__(self) -> str:
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        await self.startup()
        port = self.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}/v1"

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown()


@asynccontextmanager
async def scripted(
    monkeypatch: pytest.MonkeyPatch, *script: dict[str, Any]
) -> AsyncGenerator[Endpoint]:
    endpoint = Endpoint(*script)
    app = Starlette(routes=[Route("/v1/chat/completions", endpoint.complete, methods=["POST"])])
    config = uvicorn.Config(app, port=0, log_level="error", lifespan="off", ws="none")
    async with Server(config) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        monkeypatch.setenv("OPENAI_MODEL", "scripted")
        yield endpoint


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("Masterloop\nThe queue is bounded.\n")
    return tmp_path


def question(text: str) -> Any:
    return {"messages": [{"role": "user", "content": text}]}


async def test_it_uses_a_tool_and_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    call = {"tool": "read_file", "args": {"path": "README.md"}}
    async with scripted(monkeypatch, call, {"text": "It is bounded."}) as endpoint:
        result = await assistant.graph.ainvoke(question("How large is the queue?"))
    assert result["messages"][-1].text == "It is bounded. "
    assert endpoint.keys == ["Bearer k", "Bearer k"]
    assert endpoint.asked[0]["model"] == "scripted"
    assert [tool["function"]["name"] for tool in endpoint.asked[0]["tools"]] == [
        "read_file",
        "search_text",
        "calculate",
    ]
    assert endpoint.asked[1]["messages"][-1] == {
        "role": "tool",
        "tool_call_id": "call_1",
        "content": "Masterloop\nThe queue is bounded.\n",
        "name": "read_file",
    }


async def test_it_streams_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted(monkeypatch, {"text": "one two three"}):
        stream = assistant.graph.astream(question("Count."), stream_mode="messages")
        chunks: list[Any] = [message async for message, _ in stream]
    assert [chunk.text for chunk in chunks if chunk.text] == ["one ", "two ", "three "]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            {"tool": "read_file", "args": {"path": "../x"}},
            "'../x' is outside of the working folder",
        ),
        ({"tool": "read_file", "args": {"path": "none"}}, "No such file"),
        ({"tool": "calculate", "args": {"expression": "open('x')"}}, "not simple arithmetic"),
        ({"tool": "calculate", "args": {"expression": "1 / 0"}}, "division by zero"),
        ({"tool": "calculate", "args": {"expression": "1 +"}}, "invalid syntax"),
    ],
)
async def test_what_a_tool_cannot_do_is_told_to_the_model(
    monkeypatch: pytest.MonkeyPatch, call: dict[str, Any], told: str
) -> None:
    async with scripted(monkeypatch, call, {"text": "Sorry."}) as endpoint:
        await assistant.graph.ainvoke(question("Try."))
    assert told in endpoint.asked[1]["messages"][-1]["content"]


async def test_an_endpoint_that_refuses_fails_the_run_with_its_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with scripted(monkeypatch, {"status": 429}):
        with pytest.raises(RuntimeError, match=r"answered 429: .*slow down"):
            await assistant.graph.ainvoke(question("Hello?"))


async def test_without_an_endpoint_it_says_which_variable_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(RuntimeError, match="OPENAI_BASE_URL is not set"):
        await assistant.graph.ainvoke(question("Hello?"))


def test_the_model_has_no_synchronous_side() -> None:
    with pytest.raises(NotImplementedError, match="ainvoke"):
        assistant.Endpoint().invoke("Hello?")


@pytest.mark.parametrize(
    ("expression", "value"),
    [("2 * (3 + 4) - 1", "13"), ("-7 // 2", "-4"), ("2 ** 10", "1024.0"), ("+5 % 3", "2")],
)
def test_arithmetic(expression: str, value: str) -> None:
    assert assistant.calculate.invoke({"expression": expression}) == value


@pytest.mark.parametrize("expression", ["9" * 16, "2 ** 10 ** 6", "True and 1", "~1", "1 << 9"])
def test_arithmetic_that_is_refused(expression: str) -> None:
    with pytest.raises((ValueError, OverflowError)):
        assistant.calculate.invoke({"expression": expression})


def test_search_finds_lines_whatever_their_case(folder: Path) -> None:
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.md").write_text("queue")
    (folder / "x.bin").write_text("queue")
    assert assistant.search_text.invoke({"text": "QUEUE"}) == "README.md:2: The queue is bounded."
    assert assistant.search_text.invoke({"text": "none of it"}) == "nothing found"


def test_search_ends_at_its_bound(folder: Path) -> None:
    (folder / "many.txt").write_text("hit\n" * 80)
    (folder / "more.txt").write_text("hit\n")
    hits = assistant.search_text.invoke({"text": "hit"}).splitlines()
    assert (len(hits), hits[-1]) == (50, "many.txt:50: hit")
