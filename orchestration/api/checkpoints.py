"""Checkpoints that a request names."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from langchain_core.runnables import RunnableConfig

from orchestration.api.backend import Backend
from orchestration.api.problems import Problem


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
    if checkpoint_id is None:
        return
    place = {"thread_id": thread_id, "checkpoint_ns": checkpoint.get("checkpoint_ns") or ""}
    config: RunnableConfig = {"configurable": {**place, "checkpoint_id": checkpoint_id}}
    if await backend.checkpoints.aget_tuple(config) is None:
        raise CheckpointNotFound(checkpoint_id)
