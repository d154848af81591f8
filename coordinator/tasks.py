"""What LangGraph records and tries again by itself: a step's items, and its compensation."""

from typing import Any

from langgraph.func import task
from langgraph.types import RetryPolicy

from coordinator.conductor import TryAgain
from coordinator.spec import Step


def task_of(step: Step, name: str) -> Any:
    """Return what makes a function a task of LangGraph's, tried again as ``step`` says."""
    return task(name=name, retry_policy=retry_policy(step))


def retry_policy(step: Step) -> RetryPolicy:
    """Return LangGraph's policy for how a step is tried again."""
    retry = step.retry
    return RetryPolicy(
        initial_interval=retry.first,
        backoff_factor=retry.factor,
        max_interval=retry.most,
        max_attempts=retry.attempts,
        jitter=retry.jitter,
        retry_on=TryAgain,
    )
