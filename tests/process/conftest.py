"""Every test in this folder starts real servers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.server import Server

HERE = Path(__file__).parent
MEASURED = ("test_commands.py", "test_signals.py")  # cover how a process starts and ends
LIMIT = 180  # seconds for a test; for hangs only: on a busy machine a server's start takes many


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.process)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(LIMIT))


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that is not started yet, and that ends with the test."""
    one = Server(tmp_path, measured=request.path.name in MEASURED)
    yield one
    one.close()
