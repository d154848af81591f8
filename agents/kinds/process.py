"""The kind ``process``: a subprocess that speaks JSON-RPC 2.0, a message a line, over stdio."""

import asyncio
import contextvars
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import orjson

from agents.agent import Context, Lost, Task
from agents.child import UNREAD, Child, spawn
from agents.configuration import Limits, ProcessPool
from agents.errors import AgentLost, AgentsError, StartFailed, TaskFailed, TaskRejected
from agents.groups import Groups
from agents.lines import SHOWN, Lines, LineTooLong
from agents.network.asking import Send, as_draft
from agents.network.errors import MessageRefused
from operations.errors import StorageUnavailable
from operations.json_text import TOO_LARGE, has_large_integer

PROTOCOL = 1
SENDING = 64  # messages of one agent that are being sent
_REFUSED = 1  # the code of the error that a message was not sent
_DEAF = "it closed its stdin"


class ProcessAgent:
    """Sends a task as the request ``invoke``, and takes its answer.

    Before that may come notifications ``event``, and requests ``send`` for messages to others.
    Whatever is no such message ends the agent: nothing that follows could be trusted.
    """

    def __init__(
        self,
        section: ProcessPool,
        name: str,
        root: Path,
        send: Send | None,
        groups: Groups | None,
    ) -> None:
        self.limits: Limits = section.limits
        self.capabilities = frozenset(section.capabilities or (name,))
        self._section = section
        self._root = root
        self._groups = groups
        self._post = send
        self._sending: set[asyncio.Task[None]] = set()
        self._child: Child | None = None
        self._lines = Lines(section.limits.line)
        self._numbers = count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._context: Context | None = None
        self._broken: str | None = None
        self._deaf = False
        self._lost: Lost = _unheard

    async def start(self, lost: Lost) -> None:
        """Start the subprocess, and have it say what it can do."""
        limit = self.limits.error_output
        self._child = await spawn(
            self._section, self, root=self._root, error_limit=limit, groups=self._groups
        )
        try:
            greeting = await self._call("initialize", {"protocol": PROTOCOL})
        except AgentLost as error:
            raise StartFailed(f"it did not start: {error.reason}", error.stderr) from error
        except TaskFailed as error:
            raise StartFailed(f"it did not start: {error}") from error
        said = greeting.get("capabilities") if isinstance(greeting, dict) else None
        if said and not self._section.capabilities:
            self.capabilities = frozenset(map(str, said))
        self._lost = lost

    async def invoke(self, task: Task, context: Context) -> Any:
        """Have the subprocess do ``task``; it may send messages meanwhile."""
        params = {
            "task_id": task.task_id,
            "capability": task.capability,
            "input": task.input,
            "thread_id": context.thread_id,
            "run_id": context.run_id,
            **context.trace,
        }
        if self._broken is None and self._running.stands_still:  # it would not read the task
            raise AgentLost("it was stopped, or has ended", started=False)
        if self._broken is None and self._running.is_deaf:
            raise AgentLost(_DEAF, started=False)
        number, answer = self._ask("invoke", params)
        context.started = True
        self._context = context
        try:
            await asyncio.wait({answer})
        except asyncio.CancelledError:
            self._send({"method": "cancel", "params": {"id": number}})
            await asyncio.wait({answer})  # the work has stopped only when it says so
            raise
        finally:
            self._answers.pop(number, None)
            self._context = None
        if self._sending:  # what it asked for before it ended is part of the task
            await asyncio.wait(self._sending)
        if self._deaf:  # later: this task has its answer
            asyncio.get_running_loop().call_soon(self._break, _DEAF)
        return answer.result()

    async def probe(self) -> None:
        """Have it answer a ping; while it works, look whether it was stopped."""
        if self._context is None:
            await self._call("ping", {})
        elif self._running.stands_still:
            raise AgentLost("it was stopped")

    async def aclose(self) -> None:
        """End the process group."""
        self._lost = _unheard
        self._break("it was closed")
        if self._child is not None:
            await self._child.end(self._section.end_grace)

    @property
    def _running(self) -> Child:
        if self._child is None:
            raise AgentLost("it was never started", started=False)
        return self._child

    async def _call(self, method: str, params: Any) -> Any:
        number, answer = self._ask(method, params)
        try:
            return await answer
        finally:
            self._answers.pop(number, None)

    def _ask(self, method: str, params: Any) -> "tuple[int, asyncio.Future[Any]]":
        if self._broken is not None:
            raise AgentLost(self._broken, started=False)
        number = next(self._numbers)
        self._send({"id": number, "method": method, "params": params})
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        return number, answer

    def _send(self, message: dict[str, Any]) -> None:
        try:
            line = orjson.dumps({"jsonrpc": "2.0", **message}) + b"\n"
        except TypeError as error:
            raise TaskRejected(f"the task cannot be put into JSON: {error}") from error
        if len(line) > self.limits.line:
            raise TaskRejected(f"the task is longer than {self.limits.line} bytes")
        self._running.write(line)

    # The subprocess's side.

    def wrote(self, data: bytes) -> None:
        """Take what it wrote; after the first thing that makes no sense, take nothing more."""
        if self._broken is not None:
            return
        try:
            for line in self._lines.feed(data):
                self._take(line)
        except LineTooLong as error:
            self._break(f"it wrote a line of more than {error.limit} bytes")
        except (ValueError, TypeError, KeyError, AttributeError):
            self._break(f"it wrote what is no JSON-RPC message: {data[:SHOWN]!r}")

    def fell_silent(self) -> None:
        """Give it up: it can answer nothing any more."""
        self._break("it closed its stdout")

    def went_deaf(self) -> None:
        """Give it up once it has answered: it can be told of no other task."""
        self._deaf = True
        if self._context is None:
            self._break(_DEAF)

    def ended(self, exit_code: int) -> None:
        """Give it up: it is gone."""
        self._break(f"it ended with exit code {exit_code}")

    def _take(self, line: bytes) -> None:
        message = orjson.loads(line)
        if message.get("method") == "event":
            if self._context is not None:
                event = message["params"]["data"]
                self._context.publish(event, large=has_large_integer(line))
            return
        if message.get("method") == "send":
            self._sending_for(message["id"], message["params"], large=has_large_integer(line))
            return
        answer = self._answers.get(message["id"])
        if answer is None or answer.done():  # of somebody who does not wait any more
            return
        if "error" in message:
            error = message["error"]
            answer.set_exception(TaskFailed(str(error["message"])))
        elif has_large_integer(line):
            answer.set_exception(TaskFailed(f"its answer cannot be taken: {TOO_LARGE}"))
        else:
            answer.set_result(message["result"])

    def _sending_for(self, number: Any, params: Any, *, large: bool) -> None:
        """Have a message sent in the name of the task, and the agent told what came of it."""
        sending = asyncio.get_running_loop().create_task(
            self._sent(number, params, self._context, large=large), context=contextvars.Context()
        )
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)

    async def _sent(
        self, number: Any, params: Any, context: Context | None, *, large: bool
    ) -> None:
        answer: dict[str, Any]
        try:
            if self._post is None or context is None:
                raise MessageRefused("messages are sent only by an agent that has a task")
            if large:
                raise MessageRefused(f"the message cannot be sent: {TOO_LARGE}")
            if len(self._sending) > SENDING:
                raise MessageRefused(f"{SENDING} messages are being sent, which is the limit")
            receipt = await self._post(as_draft(params), context)
            answer = {"result": {"id": receipt.message_id, "offsets": receipt.offsets}}
        except (AgentsError, StorageUnavailable) as error:
            answer = {"error": {"code": _REFUSED, "message": str(error)}}
        with suppress(AgentsError):  # it may have ended meanwhile
            self._send({"id": number, **answer})
            if self._running.unread > UNREAD * self.limits.line:
                self._break(f"it did not read {self._running.unread} bytes that it was answered")

    def _break(self, reason: str) -> None:
        if self._broken is not None:
            return
        self._broken = reason
        stderr = "" if self._child is None else self._child.stderr.text()
        lost = AgentLost(reason, stderr)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(lost)
                answer.exception()  # seen: its caller may have left
        self._lost(lost)


def _unheard(lost: AgentLost) -> None:
    """Tell nobody: it has not started, or is being closed."""
