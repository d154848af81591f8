"""How a process of ours ends although code of others goes on in it."""

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections.abc import Sequence
from typing import NoReturn

import structlog

_LAST_WORDS = 0.5  # seconds for code that was cancelled, once everything is closed

_log = structlog.get_logger("masterloop")


async def left_behind() -> list[str]:
    """Cancel what is left, give it a moment, and name the tasks and threads that take no notice."""
    deadline = time.monotonic() + _LAST_WORDS
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        _, tasks = await asyncio.wait(tasks, timeout=_LAST_WORDS)
    threads = [
        thread
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not thread.daemon
    ]
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [
        *(task.get_name() for task in tasks),
        *(thread.name for thread in threads if thread.is_alive()),
    ]


def leave(exit_code: int, left: Sequence[str]) -> NoReturn:
    """End the process at once: Python would wait for ever for code that does not stop."""
    _log.warning("leaving code behind that does not stop", left=left)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(exit_code)
