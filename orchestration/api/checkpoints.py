"""Checkpoints that a request names."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig

from orchestration.api.backend import Backend
from orchestration.api.problems import Problem

T = TypeVar("T")

_LOOKS = 100  # at what is not there yet: a checkpoint can be due for each step before, too


class CheckpointNotFound(Problem):
    """There is no such checkpoint on the thread."""

    def __init__(self, checkpoint_id: str) -> None:
        super().__init__(HTTPStatus.NOT_FOUND, f"Checkpoint {checkpoint_id[:64]} not found")


async def require_checkpoint(
    backend: Backend, thread_id: str, checkpoint: Mapping[str, Any]
) -> None:
    """Refuse one that does not exist: LangGraph would begin again from nothing.

    Raises:
        CheckpointNotFound: the thread has none of that id.
    """
    checkpoint_id = checkpoint.get("checkpoint_id")
    if checkpoint_id is not None and not await is_there(backend, thread_id, checkpoint):
        raise CheckpointNotFound(checkpoint_id)


async def is_there(backend: Backend, thread_id: str, checkpoint: Mapping[str, Any]) -> bool:
    """Return whether a thread has the checkpoint of an id, be it one just told of."""
    place = {"thread_id": thread_id, "checkpoint_ns": checkpoint.get("checkpoint_ns") or ""}
    configurable = {**place, "checkpoint_id": checkpoint["checkpoint_id"]}
    config: RunnableConfig = {"configurable": configurable}
    found = await caught_up(
        backend,
        thread_id,
        lambda: backend.checkpoints.aget_tuple(config),
        lambda found: found is not None,
    )
    return found is not None


async def caught_up(
    backend: Backend,
    thread_id: str,
    look: Callable[[], Awaitable[T]],
    enough: Callable[[T], bool],
) -> T:
    """Return what a ``look`` at a thread finds, once it shows what the run that works has told of.

    LangGraph tells of a checkpoint before it puts it, which is once the one before is durable.
    Where no run works there is no more to come, and what is found need not be ``enough``.
    """
    looks = 0
    while True:
        working = backend.loop.on_thread(thread_id)
        if working:
            await backend.checkpoints.settled()
        found = await look()
        looks += 1
        if not working or enough(found) or looks == _LOOKS:
            return found
        await asyncio.sleep(0)  # it is put a few turns after the one before is durable
