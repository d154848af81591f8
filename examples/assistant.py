"""The graph ``assistant``: an agent with tools, on any OpenAI-compatible endpoint.

Input: ``{"messages": [{"role": "user", "content": "What is in README.md?"}]}``. The endpoint comes
from the environment: ``OPENAI_BASE_URL`` (as ``http://127.0.0.1:8000/v1``), ``OPENAI_API_KEY`` if
it wants one, ``OPENAI_MODEL``. The tools read below the working folder, and nowhere else.
"""

import ast
import json
import math
import operator
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.language_models.chat_models import BaseChatModel, agenerate_from_stream
from langchain_core.messages import AIMessageChunk, BaseMessage, convert_to_openai_messages
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

READ_LIMIT = 64 * 1024  # characters of a file
HIT_LIMIT = 50
SEARCH_LIMIT = 2_000  # files
NUMBER_LIMIT = 10**15  # larger operands are refused: powers of them would take for ever
TIMEOUT = 120.0  # seconds without a word from the endpoint

OPERATORS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Pow: math.pow,
}


class Endpoint(BaseChatModel):
    """A chat model behind an OpenAI-compatible ``/chat/completions``; it streams."""

    @property
    def _llm_type(self) -> str:
        return "openai-compatible"

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return await agenerate_from_stream(self._astream(messages, stop, run_manager, **kwargs))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        body = {
            "model": os.environ.get("OPENAI_MODEL", "default"),
            "messages": convert_to_openai_messages(messages),
            "stream": True,
            "stop": stop,
            **kwargs,
        }
        async for event in completions({key: value for key, value in body.items() if value}):
            chunk = _chunk(event)
            if run_manager is not None:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        raise NotImplementedError("this model is asynchronous: use ainvoke")


async def completions(body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """Ask the endpoint, and return its events.

    Raises:
        RuntimeError: there is no endpoint, or it refused.
    """
    url = os.environ.get("OPENAI_BASE_URL")
    if not url:
        raise RuntimeError(
            "OPENAI_BASE_URL is not set: name an OpenAI-compatible endpoint before the server is "
            "started, as OPENAI_BASE_URL=http://127.0.0.1:8000/v1"
        )
    key = os.environ.get("OPENAI_API_KEY")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=TIMEOUT) as client,
        client.stream("POST", f"{url.rstrip('/')}/chat/completions", json=body) as response,
    ):
        if response.status_code != httpx2.codes.OK:
            text = (await response.aread()).decode(errors="replace")[:500]
            raise RuntimeError(f"{url} answered {response.status_code}: {text}")
        async for line in response.aiter_lines():
            data = line.removeprefix("data:").strip()
            if line.startswith("data:") and data != "[DONE]":
                yield json.loads(data)


def _chunk(event: dict[str, Any]) -> ChatGenerationChunk:
    delta = event["choices"][0]["delta"] if event.get("choices") else {}
    calls = [
        tool_call_chunk(
            name=call.get("function", {}).get("name"),
            args=call.get("function", {}).get("arguments"),
            id=call.get("id"),
            index=call["index"],
        )
        for call in delta.get("tool_calls") or []
    ]
    message = AIMessageChunk(content=delta.get("content") or "", tool_call_chunks=calls)
    return ChatGenerationChunk(message=message)


def _inside(path: str) -> Path:
    home = Path.cwd().resolve()
    place = (home / path).resolve()
    if not place.is_relative_to(home):
        raise ValueError(f"{path!r} is outside of the working folder")
    return place


@tool
def read_file(path: str) -> str:
    """Return the text of a file below the working folder."""
    with _inside(path).open(encoding="utf-8", errors="replace") as file:
        return file.read(READ_LIMIT)


@tool
def search_text(text: str, folder: str = ".") -> str:
    """Find the lines that contain a text, below a folder; upper and lower case are the same."""
    hits: list[str] = []
    for number, file in enumerate(_text_files(_inside(folder)), start=1):
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        name = file.relative_to(Path.cwd().resolve())
        hits += [
            f"{name}:{at}: {line.strip()[:200]}"
            for at, line in enumerate(lines, start=1)
            if text.lower() in line.lower()
        ]
        if len(hits) >= HIT_LIMIT or number == SEARCH_LIMIT:
            break
    return "\n".join(hits[:HIT_LIMIT]) or "nothing found"


def _text_files(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        for name in sorted(files):
            file = Path(root) / name
            if file.suffix in {".md", ".txt", ".py", ".json", ".toml"} and not file.is_symlink():
                yield file


@tool
def calculate(expression: str) -> str:
    """Work out an arithmetic expression of numbers, + - * / // % ** and brackets."""
    return str(_value(ast.parse(expression, mode="eval").body))


def _value(node: ast.AST) -> float:
    match node:
        case ast.Constant(value=int() | float() as number) if abs(number) <= NUMBER_LIMIT:
            return number
        case ast.UnaryOp(op=sign, operand=operand) if type(sign) in OPERATORS:
            return OPERATORS[type(sign)](_value(operand))
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in OPERATORS:
            return OPERATORS[type(sign)](_value(left), _value(right))
        case _:
            raise ValueError(f"not simple arithmetic: {ast.unparse(node)!r}")


tools = [read_file, search_text, calculate]
model = Endpoint().bind(tools=[convert_to_openai_tool(each) for each in tools])


async def answer(state: MessagesState) -> dict[str, Any]:
    """Let the model say what is next: an answer, or tools to use."""
    return {"messages": [await model.ainvoke(state["messages"])]}


builder = StateGraph(MessagesState)
builder.add_node("answer", answer)
# What a tool cannot do is told to the model, which may try otherwise.
builder.add_node(
    "tools", ToolNode(tools, handle_tool_errors=(ValueError, OSError, ArithmeticError, SyntaxError))
)
builder.add_edge(START, "answer")
builder.add_conditional_edges("answer", tools_condition)
builder.add_edge("tools", "answer")
graph = builder.compile()
