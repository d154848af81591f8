"""`masterloop dev --reload`: a real process is watched, restarted and stopped."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

ROOT = Path(__file__).parents[2]
WAITS = "import signal; print('started', flush=True); signal.pause()"
READS = "import sys; print('read', repr(sys.stdin.read()), flush=True)"
ENDS = "print('started', flush=True); raise SystemExit(7)"
SUPERVISES = """
import sys
from pathlib import Path
from orchestration.commands.reloading import supervise
folder = Path(sys.argv[2])
command = [sys.executable, '-c', sys.argv[1]]
print('code', supervise(command, folder, lambda: [folder / 'data']), flush=True)
"""


@contextmanager
def supervised(child: str, folder: Path, *through: str) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [*through, sys.executable, "-c", SUPERVISES, child, str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def line(stream: "IO[str] | None") -> str:
    assert stream is not None
    return stream.readline().strip()


def change_until_restarted(process: "subprocess.Popen[str]", *files: Path) -> None:
    """Change files again and again: nothing tells when the watching has begun."""
    number = 0
    assert process.stdout is not None
    while not select.select([process.stdout], [], [], 0.1)[0]:
        for file in files:
            file.write_text(f"{(number := number + 1)}")
    assert line(process.stdout) == "started"


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)],
)
def test_a_signal_is_passed_on_and_ends_it(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    with supervised(WAITS, tmp_path) as process:
        assert line(process.stdout) == "started"
        process.send_signal(number)
        assert line(process.stdout) == f"code {code}"


def test_under_nohup_the_end_of_the_terminal_means_nothing(tmp_path: Path) -> None:
    with supervised(WAITS, tmp_path, "nohup") as process:
        assert line(process.stdout) == "started"
        process.send_signal(signal.SIGHUP)
        change_until_restarted(process, tmp_path / "graph.py")


def test_what_reads_the_terminal_has_nothing_to_wait_for(tmp_path: Path) -> None:
    """A terminal stops it: it is in the background there."""
    with supervised(READS, tmp_path) as process:
        assert line(process.stdout) == "read ''"


def test_a_change_starts_it_again(tmp_path: Path) -> None:
    with supervised(WAITS, tmp_path) as process:
        assert line(process.stdout) == "started"
        change_until_restarted(process, tmp_path / "graph.py")
        assert line(process.stderr) == "Changed: graph.py. Starting again."


def test_what_it_writes_itself_does_not_start_it_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with supervised(WAITS, tmp_path) as process:
        assert line(process.stdout) == "started"
        change_until_restarted(process, data / "status.json", tmp_path / "graph.py")
        assert line(process.stderr) == "Changed: graph.py. Starting again."


def test_a_change_starts_one_again_that_had_ended_by_itself(tmp_path: Path) -> None:
    with supervised(ENDS, tmp_path) as process:
        assert line(process.stdout) == "started"
        change_until_restarted(process, tmp_path / "langgraph.json")


def test_what_is_no_source_changes_nothing() -> None:
    from watchfiles import Change

    from orchestration.commands.reloading import Sources

    sources = Sources()
    seen = [
        path
        for path in ["/a/x.py", "/a/.env", "/a/x.log", "/a/.masterloop/x.json", "/a/.git/x.py"]
        if sources(Change.modified, path)
    ]
    assert seen == ["/a/x.py", "/a/.env"]


def test_what_a_service_writes_itself_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from watchfiles import Change

    from orchestration.commands.reloading import Sources, written_folders

    config = tmp_path / "langgraph.json"
    config.write_text('{"graphs": {"g": "./g.py:g"}, "masterloop": {"manifests": "kept/runs"}}')
    (tmp_path / "g.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MASTERLOOP_DATA_DIR", "data")
    sources = Sources()
    sources.written = written_folders(config)
    names = ["data/status.json", "kept/runs/1.json", "kept/x.json", "data.json", "langgraph.json"]
    seen = [name for name in names if sources(Change.modified, str(tmp_path / name))]
    assert seen == ["kept/x.json", "data.json", "langgraph.json"]


def test_a_project_is_watched_also_where_all_of_it_is_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestration.commands.reloading import written_folders

    monkeypatch.setenv("MASTERLOOP_DATA_DIR", str(tmp_path))
    assert not written_folders(tmp_path / "langgraph.json")


def test_dev_reload_hands_its_arguments_to_the_process_it_watches(tmp_path: Path) -> None:
    arguments = ["--host", "127.0.0.1", "--n-jobs-per-worker", "2", "--insecure-open"]
    config = tmp_path / "langgraph.json"
    # The watched process says so, and ends.
    environment = {**os.environ, "MASTERLOOP_DATA_DRI": "x"}
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "orchestration",
            "dev",
            "--reload",
            "--config",
            str(config),
            *arguments,
        ],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = [next(process.stderr)]
        while not said[-1].startswith("Error:"):
            said.append(next(process.stderr))
        process.terminate()
    assert f"Watching {tmp_path} for changes.\n" in said
    assert any("/docs" in text for text in said)


def test_who_watches_is_killed_and_the_service_ends_with_it(tmp_path: Path) -> None:
    config = tmp_path / "langgraph.json"
    config.write_text('{"graphs": {"g": "./graph.py:g"}}')
    (tmp_path / "graph.py").write_text(
        "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    )
    with subprocess.Popen(
        [sys.executable, "-m", "orchestration", "dev", "--reload", "--config", str(config)],
        cwd=ROOT,
        env={**os.environ, "MASTERLOOP_DATA_DIR": str(tmp_path / "data")},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        service = int(line(process.stdout))
        try:
            process.kill()
            assert process.stdout.read() == ""  # all who could write to it have ended
        except BaseException:
            os.kill(service, signal.SIGKILL)
            raise


def test_a_folder_of_the_project_is_not_taken_for_one_of_our_packages(tmp_path: Path) -> None:
    (tmp_path / "operations").mkdir()
    (tmp_path / "operations" / "__init__.py").touch()
    # The watched process says so, and ends.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MASTERLOOP_DATA_DRI": "x"}
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "orchestration", "dev", "--reload"],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        ends = ("Error:", "ModuleNotFoundError:")
        said = next(text for text in process.stderr if text.startswith(ends))
        process.terminate()
    assert "MASTERLOOP_DATA_DRI" in said


def test_where_nothing_can_be_watched_the_process_ends_and_an_error_says_so(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "none"
    command = ["dev", "--reload", "--config", str(folder / "langgraph.json")]
    result = subprocess.run(
        [sys.executable, "-m", "orchestration", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert f"Error: {folder} cannot be watched: " in result.stderr
    assert "Traceback" not in result.stderr


def test_a_signal_before_the_start_ends_the_process_too() -> None:
    from orchestration.commands.reloading import Supervisor

    supervisor = Supervisor([sys.executable, "-c", WAITS])
    supervisor.pass_on(signal.SIGTERM, None)
    assert supervisor.start().wait() == -signal.SIGTERM
