"""What has to be so before any test module imports LangGraph."""

import logging
import os
import signal
import sys
from collections.abc import Iterator

import pytest

from tests.logging_defaults import log_to_stderr

# As in production, where `orchestration` sets it: LangGraph reads it once, on import.
os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"

# A shell that starts the tests in its background has SIGINT ignored, and what the tests start would
# inherit that: Ctrl-C would do nothing to it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# So it is with nohup and the end of a terminal.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Who works for pytest-xdist measures what it runs itself; a server that it starts would need half
# as much time again to start. All but their first and last steps is covered without them.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)

log_to_stderr()


@pytest.fixture
def logs_as_before() -> Iterator[None]:
    """Have all log again, after a test that configures that, as it did before."""
    root, handlers, level = logging.getLogger(), logging.getLogger().handlers[:], logging.root.level
    yield
    log_to_stderr()
    root.handlers[:] = handlers
    root.setLevel(level)


def pytest_sessionfinish() -> None:
    """Save what was measured: pytest-xdist kills a worker that takes long to end after this."""
    coverage = sys.modules.get("coverage")
    if coverage is not None and (measured := coverage.Coverage.current()) is not None:
        measured.save()
