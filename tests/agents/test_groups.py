"""Process groups that are noted: what is left of them is ended, and nobody else is."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agents.groups import Group, Groups

SLEEP = ("sleep", "1000")


@contextmanager
def running(group: Group | None) -> Iterator["subprocess.Popen[bytes]"]:
    """Begin a session, of the group if one is given; its process is not noted yet."""
    environment = os.environ | ({} if group is None else group.environment)
    with subprocess.Popen(SLEEP, env=environment, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_what_is_left_of_a_group_is_ended_and_not_who_has_its_number_by_now(
    tmp_path: Path,
) -> None:
    groups = Groups(tmp_path / "agents")
    left, gone = groups.new(), groups.new()
    with running(left) as ours, running(groups.new()) as unnoted, running(None) as foreign:
        left.note(ours.pid)
        gone.note(foreign.pid)  # as if the number was given again
        assert groups.end_left() == 1
        assert ours.wait() == -signal.SIGKILL
        assert (unnoted.poll(), foreign.poll()) == (None, None)
    assert list((tmp_path / "agents").iterdir()) == []


def test_what_was_forgotten_is_left_alone(tmp_path: Path) -> None:
    groups = Groups(tmp_path)
    group = groups.new()
    with running(group) as process:
        group.note(process.pid)
        group.forget(process.pid)
        assert groups.end_left() == 0
        assert process.poll() is None
