"""What is not measured here."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _uncovered() -> Iterator[None]:
    """Leave coverage to others: seeds by the thousand go over lines that other tests reach, too.

    To note each time that they do takes more than half as long again.
    """
    coverage = sys.modules.get("coverage")
    measured = None if coverage is None else coverage.Coverage.current()
    if measured is not None:
        measured.stop()
    yield
    if measured is not None:
        measured.start()
