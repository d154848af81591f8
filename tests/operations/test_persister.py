"""Documents kept in files: when they are written, and what becomes of those that cannot be."""

import math
import threading
import time
from collections.abc import Callable
from pathlib import Path

from structlog.testing import capture_logs

from operations.files import write_whole
from operations.persister import EVERY, FIRST, Persister


class Desk:
    """A persister with real files, whose clock and whose failures are in the test's hands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 0.0
        self.failing = False
        self.texts: dict[str, str] = {}
        self.kept: list[str] = []
        self.during: Callable[[], object] = lambda: None
        self.persister = Persister(
            folder, self._content, self.kept.append, now=lambda: self.now, write=self._write
        )

    def change(
        self, name: str, text: str, within: float | None = None, *, ended: bool = False
    ) -> None:
        self.texts[name] = text
        self.persister.changed(name, within, ended=ended)

    def read(self, name: str) -> str | None:
        file = self.folder / f"{name}.json"
        return file.read_text() if file.exists() else None

    def _content(self, name: str) -> bytes | None:
        text = self.texts.get(name)
        return None if text is None else text.encode()

    def _write(self, path: Path, content: bytes) -> None:
        self.during()
        if self.failing:
            raise OSError(28, "No space left on device")
        write_whole(path, content)


def test_what_goes_on_changing_is_written_soon_and_then_every_thirty_seconds(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path)
    desk.change("a", "1")
    assert desk.persister.write_due() == FIRST
    assert desk.read("a") is None
    desk.now = FIRST
    assert desk.persister.write_due() == math.inf
    assert desk.read("a") == "1"
    desk.change("a", "2")
    desk.change("a", "3")
    assert desk.persister.write_due() == EVERY
    assert desk.read("a") == "1"
    desk.now += EVERY
    desk.persister.write_due()
    assert desk.read("a") == "3"
    assert desk.persister.waiting == 0
    assert desk.kept == []


def test_the_end_is_written_at_once_and_forgotten(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.change("a", "1")
    desk.now = FIRST
    desk.persister.write_due()
    desk.change("a", "2", 0.0, ended=True)
    assert desk.persister.write_due() == math.inf
    assert (desk.read("a"), desk.kept) == ("2", ["a"])
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_failed_write_leaves_it_dirty_and_is_tried_again_later_and_later(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.failing = True
    pauses = []
    with capture_logs() as logs:
        desk.change("a", "1", 0.0, ended=True)
        for _ in range(12):
            pauses.append(desk.persister.write_due())
            desk.change("a", "2", 0.0, ended=True)  # it does not have it tried any sooner
            assert desk.persister.write_due() == pauses[-1]
            desk.now += pauses[-1]
    assert [round(pause, 6) for pause in pauses[:4]] == [0.1, 0.2, 0.4, 0.8]
    assert pauses[-1] == 30.0
    assert 1 <= len(logs) <= 1 + desk.now // 60  # once a minute
    assert logs[0]["error"] == "OSError: [Errno 28] No space left on device"
    assert (desk.persister.waiting, desk.kept) == (1, [])
    desk.failing = False
    desk.persister.write_due()
    assert (desk.read("a"), desk.persister.waiting, desk.kept) == ("2", 0, ["a"])


def test_one_that_fails_holds_up_no_other(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.change("missing/a", "1", 0.0, ended=True)
    desk.change("b", "1", 0.0, ended=True)
    with capture_logs():
        desk.persister.write_due()
    assert desk.kept == ["b"]
    assert desk.persister.waiting == 1


def test_a_change_during_a_write_is_written_too(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    def change() -> None:
        desk.during = lambda: None
        desk.change("a", "2", ended=True)

    desk.during = change
    desk.change("a", "1", 0.0, ended=True)
    desk.persister.write_due()
    assert (desk.read("a"), desk.kept) == ("2", ["a"])


def test_what_changes_while_it_is_written_is_dirty_still(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    def change() -> None:
        desk.during = lambda: None
        desk.change("a", "2")

    desk.during = change
    desk.change("a", "1", 0.0)
    assert desk.persister.write_due() == EVERY
    assert (desk.read("a"), desk.persister.waiting) == ("1", 1)
    assert desk.persister.close(1.0) == 0
    assert desk.read("a") == "2"


def test_one_that_is_forgotten_is_written_no_more(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.change("a", "1", 0.0)
    desk.persister.forget("a")
    assert desk.persister.write_due() == math.inf
    desk.persister.changed("gone", 0.0)
    desk.persister.write_due()
    assert list(tmp_path.iterdir()) == []
    assert desk.persister.waiting == 0


def test_what_is_planned_is_bounded_however_many_come_and_go(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.change("a", "1")
    for number in range(5_000):
        desk.change(f"{number}", "1")
        desk.persister.forget(f"{number}")
    assert len(desk.persister._due) < 2_000  # noqa: SLF001 - nobody else can see it
    desk.now = FIRST
    desk.persister.write_due()
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_its_thread_writes_and_the_closing_writes_all_there_is(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    written = threading.Event()
    desk.during = written.set
    desk.persister.start()
    desk.change("a", "1", 0.0)
    assert written.wait(10)
    desk.change("b", "1")
    assert desk.persister.close(5.0) == 0
    assert (desk.read("a"), desk.read("b")) == ("1", "1")
    assert desk.persister.close(0.0) == 0


def test_a_closing_that_cannot_write_ends_in_time_and_says_what_is_lost(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.failing = True
    desk.change("a", "1")
    begun = time.monotonic()
    with capture_logs():
        assert desk.persister.close(0.3) == 1
    assert time.monotonic() - begun < 2
