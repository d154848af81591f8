"""The kind ``command``: a subprocess for each task. No shell ever sees its arguments."""

import asyncio
import codecs
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.agent import Context, Lost, Task
from agents.captured import Captured
from agents.child import Child, find, spawn
from agents.configuration import PLACEHOLDER, CommandPool, Limits
from agents.errors import AgentLost, ArgumentsTooLong, StartFailed, TaskFailed, TaskRejected
from agents.groups import Groups


class CommandAgent:
    """Runs its command for each task; the result is what that wrote to stdout and stderr."""

    def __init__(self, section: CommandPool, name: str, root: Path, groups: Groups | None) -> None:
        self.limits: Limits = section.limits
        self.capabilities = frozenset(section.capabilities or (name,))
        self._section = section
        self._root = root
        self._groups = groups
        self._running: Child | None = None

    async def start(self, lost: Lost) -> None:  # noqa: ARG002 - there is nothing to lose
        """See that the command is there."""
        try:
            await self.probe()
        except AgentLost as error:
            raise StartFailed(error.reason) from error

    async def invoke(self, task: Task, context: Context) -> Any:
        """Run the command with the task's input in its arguments, and wait for its end."""
        section = self._section
        arguments = [_filled_in(part, task.input, argument=True) for part in section.argv[1:]]
        stdin = _filled_in(section.stdin, task.input, argument=False)
        output = _Output(self.limits.output, context)
        try:
            child = await spawn(
                section,
                output,
                root=self._root,
                error_limit=self.limits.output,
                arguments=arguments,
                trace=context.trace,
                groups=self._groups,
            )
        except ArgumentsTooLong as error:
            raise TaskRejected(f"{error.reason}; long values belong in `stdin`") from error
        except StartFailed as error:
            raise AgentLost(error.reason, started=False) from error
        context.started = True
        self._running = child
        try:
            child.write(stdin.encode())
            child.close_stdin()
            await asyncio.wait({output.exit_code})
        finally:
            await asyncio.shield(self.aclose())
        return _judged(output, child, self.limits.error_output)

    async def probe(self) -> None:
        """Look whether the command is still there."""
        if find(self._section, self._root) is None:
            raise AgentLost(f"there is no command {self._section.argv[0]!r}", started=False)

    async def aclose(self) -> None:
        """End the subprocess of a task, if there is one, and its group."""
        child = self._running
        if child is None:
            return
        await child.end(self._section.end_grace)
        if self._running is child:  # only now: who closes meanwhile waits for its end, too
            self._running = None


class _Output:
    """Takes what a command writes."""

    def __init__(self, limit: int, context: Context) -> None:
        self.stdout = Captured(limit)
        self.exit_code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._context = context
        # What is read at once may end within a character.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def wrote(self, data: bytes) -> None:
        self.stdout.append(data)
        self._publish(self._decoder.decode(data))

    def fell_silent(self) -> None:
        pass

    def went_deaf(self) -> None:
        pass

    def ended(self, exit_code: int) -> None:
        self._publish(self._decoder.decode(b"", final=True))
        self.exit_code.set_result(exit_code)

    def _publish(self, text: str) -> None:
        if text:
            self._context.publish(text)


def _judged(output: _Output, child: Child, error_limit: int) -> dict[str, Any]:
    exit_code = output.exit_code.result()
    if exit_code:
        shown = Captured(error_limit)
        shown.append(child.stderr.text().encode())
        raise TaskFailed(f"it ended with exit code {exit_code}. It wrote:\n{shown.text()}")
    return {
        "stdout": output.stdout.text(),
        "stderr": child.stderr.text(),
        "cut": {"stdout": output.stdout.cut, "stderr": child.stderr.cut},
    }


def _filled_in(template: str, given: Any, *, argument: bool) -> str:
    """Return ``template`` with values of the input in place of its ``{names}``.

    Raises:
        TaskRejected: a value is missing or no scalar, cannot be passed on, or would be read as an
            option.
    """
    values: Mapping[str, Any] = given if isinstance(given, dict) else {}

    def value(match: re.Match[str]) -> str:
        name = match[1]
        found = values.get(name)
        if not isinstance(found, str | int | float):
            raise TaskRejected(f"the input needs {name!r}, a string or a number")
        text = str(found)
        if "\0" in text:
            raise TaskRejected(f"{name!r} has a NUL character in it")
        try:
            os.fsencode(text)
        except UnicodeEncodeError as error:
            raise TaskRejected(f"{name!r} cannot be passed on: {error}") from error
        return text

    filled = PLACEHOLDER.sub(value, template)
    if argument and filled.startswith("-") and not template.startswith("-"):
        raise TaskRejected(
            f"{template!r} must not begin with '-' once filled in: it would be read as an option"
        )
    return filled
