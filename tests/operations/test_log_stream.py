"""Where the log goes: nobody who logs is held up there, and what is lost is told."""

import errno
import io
import json
import os
import pty
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import structlog

from operations.log_stream import lines_held, write_held
from operations.logs import configure_logs, lines_lost

pytestmark = pytest.mark.usefixtures("logs_as_before")


class Disk(io.StringIO):
    """Takes as much as there is room for."""

    room = 1_000_000  # characters

    def write(self, text: str) -> int:
        super().write(text[: self.room])
        if len(text) > self.room:
            self.room = 0
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= len(text)
        return len(text)


def test_lines_that_a_full_disk_did_not_take_are_told_when_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = Disk()
    monkeypatch.setattr(sys, "stderr", disk)
    configure_logs("info", json=True)
    log = structlog.get_logger("x")
    disk.room = 30
    with lines_held() as held:
        log.info("cut")
        log.info("lost")
    write_held(held)
    log.info("and this")
    disk.room = 1_000_000
    log.info("room again")
    cut, lost, last = disk.getvalue().splitlines()
    assert (len(cut), json.loads(lost)["lines"]) == (30, 3)
    assert json.loads(last)["event"] == "room again"


@pytest.fixture
def as_json() -> bool:
    return True


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch, as_json: bool) -> Iterator[int]:
    """Log into a pipe; its other end is not read, and closed at the end: then nobody waits."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with os.fdopen(writing, "w", encoding="utf-8") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        configure_logs("info", json=as_json)
        yield reading
        os.close(reading)
        with suppress(BrokenPipeError):
            stderr.close()


def read(reading: int) -> list[str]:
    text = b""
    with suppress(BlockingIOError):
        while some := os.read(reading, 1_000_000):
            text += some
    return text.decode().splitlines()


def in_a_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_reader_that_does_not_read_holds_up_nobody_who_logs(reading: int) -> None:
    log = structlog.get_logger("x")

    def log_much() -> None:
        for number in range(200):
            log.info("done", number=number, text="x" * 5_000)

    thread = in_a_thread(log_much)
    thread.join(30)
    assert not thread.is_alive()
    log.info("lost, too")
    *whole, _ = read(reading)
    assert [json.loads(line)["number"] for line in whole] == list(range(len(whole)))
    log.info("read again")
    end, lost, last = read(reading)
    assert end == ""  # of the line that was cut
    assert json.loads(lost)["lines"] == 201 - len(whole)
    assert json.loads(whole[-1])["ts"] <= json.loads(lost)["ts"]
    assert json.loads(last)["event"] == "read again"


@pytest.mark.parametrize("as_json", [False])
def test_people_are_told_of_lost_lines_as_of_all_others(reading: int) -> None:
    log = structlog.get_logger("x")
    log.info("more than it takes", text="x" * 100_000)
    read(reading)
    log.info("read again")
    _, lost, _ = read(reading)
    assert re.match(r"\[warning +\] lines of the log were lost.* lines=1 ts=", lost)


def test_lines_for_a_reader_that_has_gone_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with suppress(BrokenPipeError), os.fdopen(writing, "w", encoding="utf-8") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        configure_logs("info", json=True)
        log = structlog.get_logger("x")
        log.info("lost")
        with lines_held() as held:
            log.info("and this")
            log.info("and that")
        write_held(held)
    assert lines_lost() == 3


def test_a_terminal_that_nobody_reads_holds_up_nobody_who_logs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown, terminal = pty.openpty()
    with os.fdopen(terminal, "w", encoding="utf-8") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        configure_logs("info", json=True)
        log = structlog.get_logger("x")
        thread = in_a_thread(lambda: [log.info("done", text="x" * 500) for _ in range(500)])
        thread.join(30)
        held_up = thread.is_alive()
        os.close(shown)
    assert not held_up


def test_a_reader_that_reads_too_slowly_holds_up_nobody_who_logs_again_and_again(
    reading: int,
) -> None:
    log = structlog.get_logger("x")

    def log_twice_as_fast_as_is_read() -> None:
        for _ in range(100):
            log.info("done", text="x" * 10_000)
            os.read(reading, 5_000)

    log.info("more than it takes", text="x" * 1_000_000)
    thread = in_a_thread(log_twice_as_fast_as_is_read)
    thread.join(10)
    assert not thread.is_alive()


def test_nobody_who_logs_waits_behind_lines_that_were_held(reading: int) -> None:
    log = structlog.get_logger("x")
    with lines_held() as held:
        for number in range(200):
            log.info("done", number=number, text="x" * 5_000)
    writing = in_a_thread(lambda: write_held(held))
    thread = in_a_thread(lambda: [log.info("lost") for _ in range(1_000)])
    thread.join(30)
    assert not thread.is_alive()
    lines: list[str] = []
    os.set_blocking(reading, True)
    with os.fdopen(os.dup(reading), encoding="utf-8") as reader:
        while '"number":199' not in (lines or [""])[-1]:
            lines.append(reader.readline())
    writing.join()
    entries = [json.loads(line) for line in lines]
    assert [one["number"] for one in entries if one["event"] == "done"] == list(range(200))
