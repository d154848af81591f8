"""Places where a test can hurt the process."""

import os
import signal
import subprocess
import sys

import pytest

from operations import failpoints
from operations.failpoints import NAMES, VARIABLE, UnknownFailpoint, failpoint

CODE = """
from operations.failpoints import failpoint
for _ in range(3):
    failpoint("finish.before")
    print("past", flush=True)
"""


def run(setting: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, VARIABLE: setting},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("setting", "code", "past"),
    [
        ("", 0, 3),
        ("claim.after_commit=kill", 0, 3),
        ("finish.before=kill", -signal.SIGKILL, 0),
        ("finish.before=2*kill", -signal.SIGKILL, 1),
        ("finish.before=raise:OSError", 1, 0),
        (" claim.after_commit=kill , finish.before=sleep:0 ", 0, 3),
    ],
)
def test_what_the_variable_asks_for_happens(setting: str, code: int, past: int) -> None:
    done = run(setting)
    assert (done.returncode, done.stdout.count("past")) == (code, past)


def test_a_place_that_does_not_exist_is_refused_at_once() -> None:
    assert "there is no failpoint 'finsh.before'" in run("finsh.before=kill").stderr


@pytest.mark.parametrize("name", NAMES)
def test_each_acts_once(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(failpoints, "_active", failpoints._parse(f"{name}=raise:OSError"))  # noqa: SLF001 - read once, on import
    with pytest.raises(OSError, match=name):
        failpoint(name)
    failpoint(name)


def test_the_third_time_is_the_third(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = failpoints._parse("finish.after=3*raise:OSError")  # noqa: SLF001 - read once, on import
    monkeypatch.setattr(failpoints, "_active", parsed)
    failpoint("finish.after")
    failpoint("finish.after")
    with pytest.raises(OSError, match=r"finish\.after"):
        failpoint("finish.after")


def test_a_misspelt_place_is_named_with_those_there_are() -> None:
    with pytest.raises(UnknownFailpoint, match=r"accept\.before_commit"):
        failpoints._parse("x=kill")  # noqa: SLF001 - read once, on import
