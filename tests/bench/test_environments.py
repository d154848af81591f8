import sys
from pathlib import Path

import pytest

from load.bench import environments
from load.bench.environments import CannotInstall, Environment, last_words


def test_the_last_words_of_a_traceback_are_its_error() -> None:
    assert last_words("Traceback:\n  File somewhere\nValueError: no\n\n") == "ValueError: no"
    assert last_words("") == "it said nothing"


def test_our_own_environment_is_there_and_knows_its_versions() -> None:
    ours = Environment(name="ours", requirements=None, shown=("langgraph", "no-such-package"))
    ours.make()
    versions = ours.versions()
    assert versions["python"] == sys.version.split()[0]
    assert "langgraph" in versions
    assert "no-such-package" not in versions


def test_an_environment_that_no_python_will_do_for_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(environments, "PEERS", tmp_path)
    future = Environment(name="future", requirements=("x",), shown=(), python=(3, 99))
    with pytest.raises(CannotInstall, match=r"needs Python 3\.99"):
        future.make()
