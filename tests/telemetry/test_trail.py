"""The audit trail: on the disk before it is said to be, whole after whatever happens."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typer.testing import CliRunner

from operations.settings import PREFIX
from operations.telemetry.aggregator import Aggregator
from operations.telemetry.record import Importance, Record
from operations.telemetry.segments import SUFFIX, Segments, read_segments
from operations.telemetry.trail import Trail, read_trail
from orchestration.cli import app
from tests.telemetry.sinks import until

KILLS = 30
NOBODY = 65_534
WRITER = """
import sys
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from operations.telemetry.record import Importance, Record
from operations.telemetry.trail import Trail

@dataclass
class Deed:
    life: str
    number: int
    text: str

trail = Trail(Path(sys.argv[1]), total=1024**3)
for number in count(0, 7):
    trail.take(trail.prepare([
        Record(n, 0.0, Importance.AUDIT, Deed(sys.argv[2], n, "x" * (n % 500)), {})
        for n in range(number, number + 7)
    ]))
    print(number + 7, flush=True)
"""


@dataclass(frozen=True, slots=True)
class Deed:
    what: int


def deeds(*numbers: int) -> Sequence[Record]:
    return [Record(n, 1.5, Importance.AUDIT, Deed(n), {"service.name": "test"}) for n in numbers]


def numbers(folder: Path) -> list[Any]:
    return [entry["number"] for entry in read_trail(folder)]


def test_an_entry_says_what_happened_when_and_where_it_stands(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "audit", total=1024**2)
    trail.take(trail.prepare(deeds(7, 8)))
    _, last = read_trail(tmp_path / "audit")
    entry = dict(last)
    assert entry.pop("writer").endswith(str(os.getpid()))
    assert entry == {
        "number": 2,
        "at": "1970-01-01T00:00:01.500000+00:00",
        "event": "Deed",
        "what": 8,
        "service.name": "test",
    }
    assert trail.written == 2


@pytest.mark.process
@pytest.mark.timeout(120)
def test_killed_while_it_writes_nothing_said_to_be_written_is_lost_or_unreadable(
    tmp_path: Path,
) -> None:
    folder, rng = tmp_path / "audit", Random(7)
    said: dict[str, int] = {}
    for life in map(str, range(KILLS)):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), life], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        wanted = rng.randrange(1, 40) * 7
        for line in writer.stdout:
            said[life] = int(line)
            if said[life] >= wanted:
                break
        writer.kill()
        for line in writer.stdout:  # what it said before it died counts, too
            said[life] = int(line) if line.endswith("\n") else said[life]
        writer.wait()
        writer.stdout.close()
    found: dict[str, list[int]] = {}
    for entry in read_trail(folder):
        found.setdefault(entry["life"], []).append(entry["number"])
    assert found.keys() == said.keys()
    for life, written in found.items():
        assert len(written) >= said[life], "acknowledged and lost"
        assert written == list(range(1, len(written) + 1)), "a gap, or out of order"


def test_a_torn_end_is_cut_off_and_what_follows_is_read(tmp_path: Path) -> None:
    first = Segments(tmp_path, size=1024, total=10_240)
    first.open()
    first.append([b"one", b"two"])
    first.close()
    (torn,) = tmp_path.glob(f"*{SUFFIX}")
    whole = torn.stat().st_size
    for tail in (b"\0\0\0\5", b"\0\0\0\5\0\0\0\0thr", b"\0\0\0\5\0\0\0\0three", b"\xff" * 40):
        with torn.open("ab") as file:
            file.write(tail)
        assert list(read_segments(tmp_path)) == [b"one", b"two"]
        Segments(tmp_path, size=1024, total=10_240).open()
        assert torn.stat().st_size == whole
    second = Segments(tmp_path, size=1024, total=10_240)
    second.open()
    second.append([b"three"])
    assert list(read_segments(tmp_path)) == [b"one", b"two", b"three"]


def test_what_another_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    writing = Segments(tmp_path, size=1024, total=2_048)
    writing.open()
    writing.append([b"one"])
    (path,) = tmp_path.glob(f"*{SUFFIX}")
    with path.open("ab") as file:
        file.write(b"half a fr")
    other = Segments(tmp_path, size=1024, total=2_048)
    other.open()
    other.append([b"x" * 4_096])
    other.append([b"y"])
    assert path.stat().st_size == 11 + 9
    writing.close()


@pytest.fixture
def _no_privileges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in a folder of our own, as somebody whom permissions bind: they do not bind root."""
    monkeypatch.chdir(tmp_path)  # whose parents are not open to others
    user = os.geteuid()
    if user == 0:
        os.chown(tmp_path, NOBODY, -1)
        os.seteuid(NOBODY)
    yield
    os.seteuid(user)


@pytest.mark.usefixtures("_no_privileges")
@pytest.mark.parametrize("mode", [0, 0o400])
def test_what_another_user_has_written_is_left_alone_and_the_trail_goes_on(mode: int) -> None:
    theirs = Path("audit") / f"{1:020d}-1{SUFFIX}"
    theirs.parent.mkdir()
    theirs.write_bytes(b"half a fr" + b"x" * 2_048)
    theirs.chmod(mode)
    trail = Trail(theirs.parent, total=1_024)
    for number in range(20):
        trail.take(trail.prepare(deeds(number)))
    trail.close(0)
    assert theirs.stat().st_size == 9 + 2_048
    theirs.unlink()
    assert numbers(theirs.parent)[-1] == 20


@pytest.mark.usefixtures("_no_privileges")
def test_what_may_not_be_read_is_told_after_all_that_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", ".")
    for number in (1, 2, 3):
        trail = Trail(Path("audit"), total=1_024)
        trail.take(trail.prepare(deeds(number)))
        trail.close(0)
    _, theirs, _ = sorted(Path("audit").iterdir())
    theirs.chmod(0)
    result = CliRunner().invoke(app, ["audit"])
    assert [json.loads(line)["what"] for line in result.stdout.splitlines()] == [1, 3]
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: this is not all: {theirs} may not be read\n",
    )


@pytest.mark.usefixtures("_no_privileges")
def test_a_trail_that_may_not_be_looked_at_is_not_taken_for_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", ".")
    Path("audit").mkdir(mode=0)
    result = CliRunner().invoke(app, ["audit"])
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: this is not all: audit may not be read\n",
    )


def test_beyond_its_size_the_oldest_goes(tmp_path: Path) -> None:
    segments = Segments(tmp_path, size=1_000, total=5_000)
    segments.open()
    for number in range(100):
        segments.append([b"%03d" % number + b"." * 200])
    entries = list(read_segments(tmp_path))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 5_000
    assert [int(entry[:3]) for entry in entries] == list(range(100 - len(entries), 100))
    assert len(entries) > 10


def test_a_clock_that_was_set_back_changes_neither_the_order_nor_which_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = count(2 * 10**18, -(10**15))
    monkeypatch.setattr(time, "time_ns", lambda: next(clock))
    (tmp_path / f"copy-of-1{SUFFIX}").touch()
    written: list[bytes] = []
    for number in range(20):
        segments = Segments(tmp_path, size=1_000, total=5_000)
        segments.open()
        written.append(b"%03d" % number + b"." * 900)
        segments.append(written[-1:])
        segments.close()
    assert list(read_segments(tmp_path)) == written[-5:]


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Make the disk full, or not."""
    real, full = os.write, False

    class Disk:
        def fill(self) -> None:
            nonlocal full
            full = True

        def free(self) -> None:
            nonlocal full
            full = False

    def write(file: int, data: Any) -> int:
        if full and len(data) > 8:
            real(file, bytes(data)[:9])
            raise OSError(28, "No space left on device")
        return real(file, data)

    monkeypatch.setattr(os, "write", write)
    yield Disk()
    full = False


def test_a_disk_that_stays_full_gathers_no_empty_files(tmp_path: Path, no_room: Any) -> None:
    trail = Trail(tmp_path, total=1024**2)
    no_room.fill()
    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            trail.take(trail.prepare(deeds(1)))
    assert list(tmp_path.iterdir()) == []


async def test_while_the_disk_is_full_the_audit_waits_and_is_written_in_order_after_it(
    tmp_path: Path, no_room: Any
) -> None:
    heard: list[bool] = []
    trail = Trail(tmp_path, total=1024**2)
    trail.tell(heard.append)
    aggregator = Aggregator(
        [], trail=trail, importance={Deed: Importance.AUDIT}, common={}, rng=Random(1), cadence=0.01
    )
    async with aggregator as telemetry:
        telemetry.emit(Deed(1))
        await until(lambda: trail.written == 1)
        no_room.fill()
        for number in range(2, 600):
            telemetry.emit(Deed(number))
        await until(lambda: heard == [True])
        state = telemetry.sinks[0]
        assert state.oldest_at is not None
        assert state.oldest_at <= time.time()
        no_room.free()
        await until(lambda: trail.written == 599)
    assert heard == [True, False]
    assert numbers(tmp_path) == list(range(1, 600))


def test_entries_are_json_whatever_an_event_holds(tmp_path: Path) -> None:
    @dataclass
    class Odd:
        path: Path
        text: str

    trail = Trail(tmp_path, total=1024**2)
    for text in ("\n\u2028" + "y" * 5_000, "\udcff"):
        odd = Record(1, 0.0, Importance.AUDIT, Odd(Path("/x"), text), {})
        trail.take(trail.prepare([odd]))
    entry, lossy = read_trail(tmp_path)
    assert lossy["text"] == "?"
    assert entry["path"] == "/x"
    assert len(entry["text"]) == 1_000
    assert json.dumps(entry)


def test_texts_are_cut_and_pages_are_short_enough_to_be_read(tmp_path: Path) -> None:
    @dataclass
    class Long:
        text: str
        other: str

    trail = Trail(tmp_path, total=1024**3)
    event = Long("\0" * 5_000, "z" * 5_000)  # what is written of the first is six times as long
    records = [Record(n, 0.0, Importance.AUDIT, event, {}) for n in range(600)]
    trail.take(trail.prepare(records))
    entries = list(read_trail(tmp_path))
    assert [entry["number"] for entry in entries] == list(range(1, 601))
    assert all(entry["text"] == "\0" * 1_000 for entry in entries)
    assert all(entry["other"] == "z" * 1_000 for entry in entries)


def test_what_cannot_be_written_of_an_event_holds_up_no_other(tmp_path: Path) -> None:
    @dataclass
    class Odd:
        what: Any
        other: str

    circle: list[Any] = []
    circle.append(circle)
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]
    large = {"a": "x" * 2 * 1024**2}
    trail = Trail(tmp_path, total=1024**3)
    for odd in (circle, deep, 10**5_000, large):
        event = Record(1, 0.0, Importance.AUDIT, Odd(odd, "kept"), {})
        trail.take(trail.prepare([*deeds(5), event, *deeds(6)]))
    entries = list(read_trail(tmp_path))
    assert [entry["number"] for entry in entries] == list(range(1, 13))
    assert [entry["other"] for entry in entries[1::3]] == ["kept"] * 4
    assert all(len(entry["what"]) <= 1_000 for entry in entries[1::3])


def test_events_of_all_types_are_told_apart_and_one_may_say_nothing_more(tmp_path: Path) -> None:
    @dataclass
    class Nothing:
        pass

    trail = Trail(tmp_path, total=1024**2)
    bare = Record(1, 0.0, Importance.AUDIT, Nothing(), {"service.name": "test", "number": "0"})
    trail.take(trail.prepare([bare, *deeds(5), bare]))
    entries = [dict(entry) for entry in read_trail(tmp_path)]
    assert [(entry["number"], entry["event"], entry.get("what")) for entry in entries] == [
        (1, "Nothing", None),
        (2, "Deed", 5),
        (3, "Nothing", None),
    ]


def test_what_was_written_before_there_were_pages_is_read(tmp_path: Path) -> None:
    old = {"writer": "1-1", "number": 1, "at": "2026-11-01T00:00:00.000000+00:00", "event": "Deed"}
    segments = Segments(tmp_path, size=1_024, total=10_240)
    segments.open()
    segments.append([json.dumps(old).encode()])
    segments.close()
    trail = Trail(tmp_path, total=1024**2)
    trail.take(trail.prepare(deeds(9)))
    first, second = read_trail(tmp_path)
    assert first == old
    assert second["what"] == 9
