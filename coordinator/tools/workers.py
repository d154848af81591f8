"""Who does the work of a tool, once its input is known."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from copy import deepcopy
from typing import Any

import orjson

from coordinator.errors import CoordinatorError
from coordinator.expressions import fill_in
from coordinator.toolbox import Use
from coordinator.tools.configuration import (
    AgentTool,
    AnyWorkingTool,
    FunctionTool,
    LookupTool,
    ViewTool,
)

Load = Callable[[str, str], Callable[..., Any]]  # a reference, and the tool that it is of
Work = Callable[[Any, Use], Coroutine[Any, Any, Any]]


class FunctionBroke(CoordinatorError):
    """A function raised what is no error but an end: of a task that nobody cancelled, say."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"it raised {error!r}")


def worker(name: str, tool: AnyWorkingTool, load: Load) -> Work:
    """Return who does the work of ``tool``.

    Raises:
        ConfigurationError: its function cannot be loaded.
    """
    match tool:
        case FunctionTool():
            return _calling(load(tool.function, name))
        case LookupTool():
            return _looking_up(tool)
        case AgentTool():
            return _asking(tool)
        case ViewTool():
            return _showing(tool)


def _calling(function: Callable[..., Any]) -> Work:
    waits = inspect.iscoroutinefunction(function)

    async def call(given: Any, _: Use) -> Any:
        # A function that does not wait may work for long: it gets a thread.
        arguments, named = ((), given) if isinstance(given, dict) else ((given,), {})
        try:
            found = await (
                function(*arguments, **named)
                if waits
                else asyncio.to_thread(function, *arguments, **named)
            )
        except (Exception, GeneratorExit):
            raise
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            raise FunctionBroke(error) from error  # or its step would not be the one that failed
        # As JSON, or others would be given what the thread and a cache do not show; what cannot be
        # written so is an error of the tool.
        return orjson.loads(orjson.dumps(found))

    return call


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _looking_up(tool: LookupTool) -> Work:
    async def look_up(given: Any, _: Use) -> Any:
        key = str(given)
        if key not in tool.table:
            raise LookupError(f"there is no {key[:64]!r} in the table")
        return deepcopy(tool.table[key])  # or whoever gets it could change the table

    return look_up


def _asking(tool: AgentTool) -> Work:
    async def ask(given: Any, use: Use) -> Any:
        if use.agents is None:
            raise LookupError("this service has no agents")
        async with use.agents.lease(tool.agent, priority=use.priority) as agent:
            return await agent.invoke(given)

    return ask


def _showing(tool: ViewTool) -> Work:
    async def show(given: Any, _: Use) -> Any:
        return fill_in(tool.view, {"input": given})

    return show
