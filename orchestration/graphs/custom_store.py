"""A store of the project's own, as ``store.path`` names it."""

from collections.abc import AsyncGenerator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
)
from inspect import isawaitable
from typing import Any

from langgraph.store.base import BaseStore

from operations.errors import ConfigurationError
from orchestration.graphs.manifest import Manifest
from orchestration.graphs.node_tasks import apart
from orchestration.graphs.targets import load_target

_KINDS = "a function that yields a BaseStore, as an (async) context manager, or a BaseStore"


@asynccontextmanager
async def open_custom_store(manifest: Manifest, reference: str) -> AsyncGenerator[BaseStore]:
    """Open the store that ``reference`` names, for as long as the block lasts.

    Raises:
        ConfigurationError: there is no such thing, it failed, or it is no store.
    """
    where = f"{manifest.file}: store.path"
    target = load_target(reference, folder=manifest.folder, where=where)
    async with AsyncExitStack() as stack:
        stack.enter_context(apart())
        try:
            store = await _entered(stack, target)
        except Exception as error:
            problem = f"{reference} raised {type(error).__name__}: {error}"
            raise ConfigurationError(where, problem, f"Name {_KINDS}.") from error
        if not isinstance(store, BaseStore):
            problem = f"{reference} gives an object of type {type(store).__name__}"
            raise ConfigurationError(where, problem, f"Name {_KINDS}.")
        yield store


async def _entered(stack: AsyncExitStack, target: Any) -> Any:
    made = target() if callable(target) else target
    if isawaitable(made):
        made = await made
    if isinstance(made, BaseStore):
        return made
    if isinstance(made, AbstractAsyncContextManager):
        return await stack.enter_async_context(made)
    if isinstance(made, AbstractContextManager):
        return stack.enter_context(made)
    return made
