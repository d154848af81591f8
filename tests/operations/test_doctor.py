"""The checks of `masterloop doctor`, one by one."""

import os
import socket
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from operations import doctor
from operations.doctor import Verdict
from operations.errors import ConfigurationError

OK, WARNING, PROBLEM = Verdict.OK, Verdict.WARNING, Verdict.PROBLEM


def test_this_python_will_do() -> None:
    assert doctor.check_python().verdict is OK


@pytest.mark.parametrize(
    ("version", "verdict"),
    [("3.40.1", WARNING), ("3.51.2", WARNING), ("3.51.3", OK), ("3.100.0", OK), ("4.0", OK)],
)
def test_sqlite_with_the_wal_reset_bug_is_warned_of(version: str, verdict: Verdict) -> None:
    finding = doctor.check_sqlite(version)
    assert finding.verdict is verdict
    assert ("WAL-reset" in finding.detail) == (verdict is WARNING)


@pytest.mark.parametrize(
    ("limit", "verdict", "detail"),
    [
        (-1, OK, "unlimited"),
        (1_024, OK, "1024"),
        (1_023, WARNING, "ulimit -n 4096"),
        (255, PROBLEM, "ulimit -n 4096"),
    ],
)
def test_open_files_are_compared_with_what_is_needed(
    limit: int, verdict: Verdict, detail: str
) -> None:
    finding = doctor.check_open_files(limit)
    assert finding.verdict is verdict
    assert detail in finding.detail


def test_open_files_of_this_process_are_the_default() -> None:
    assert doctor.check_open_files().check == "open files"


def test_a_port_is_free_until_somebody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert doctor.check_port("127.0.0.1", port).verdict is WARNING
    assert doctor.check_port("127.0.0.1", port).verdict is OK


def test_a_host_of_somebody_else_is_a_problem() -> None:
    finding = doctor.check_port("192.0.2.1", 8123)  # an address for documentation, RFC 5737
    assert finding.verdict is PROBLEM
    assert "192.0.2.1" in finding.detail


def test_a_data_folder_that_is_yet_to_be_made_is_fine(tmp_path: Path) -> None:
    assert doctor.check_data_folder(tmp_path / "a" / "b").verdict is OK
    assert list(tmp_path.iterdir()) == []


def test_a_data_folder_that_cannot_be_looked_at_is_a_problem(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 300)
    finding = doctor.check_data_folder(folder)
    assert finding.verdict is PROBLEM
    assert finding.detail.startswith(f"{folder} cannot be written to (File name too long)")


def test_a_data_folder_that_is_a_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    finding = doctor.check_data_folder(tmp_path / "data")
    assert finding.verdict is PROBLEM
    assert "MASTERLOOP_DATA_DIR" in finding.detail


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_data_folder_without_permission_is_a_problem(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert doctor.check_data_folder(tmp_path / "data").verdict is PROBLEM


@pytest.mark.parametrize(
    ("free", "verdict", "detail"),
    [
        (2 * 1024**3, OK, "2,048 MiB are free"),
        (1024**3 - 1, WARNING, "1,023 MiB are free"),
        (64 * 1024**2 - 1, PROBLEM, "MASTERLOOP_DATA_DIR"),
    ],
)
def test_room_on_the_disk_is_compared_with_what_is_needed(
    free: int, verdict: Verdict, detail: str, tmp_path: Path
) -> None:
    finding = doctor.check_disk_space(tmp_path, free)
    assert finding.verdict is verdict
    assert detail in finding.detail


def test_room_is_looked_for_where_the_folder_would_be_made(tmp_path: Path) -> None:
    assert "MiB are free" in doctor.check_disk_space(tmp_path / "a" / "b").detail
    assert list(tmp_path.iterdir()) == []


def test_lax_deserialisation_is_a_problem() -> None:
    assert doctor.check_strict_msgpack(strict=True).verdict is OK
    assert doctor.check_strict_msgpack(strict=False).verdict is PROBLEM


@pytest.mark.parametrize(
    ("version", "verdict"),
    [("1.0.9", PROBLEM), ("1.0.10", OK), ("1.0.10rc1", OK), ("1.2", OK), ("0.9", PROBLEM)],
)
def test_packages_are_held_to_their_floors(version: str, verdict: Verdict) -> None:
    assert doctor.check_package("langgraph", lambda _: version).verdict is verdict


def test_a_package_that_is_missing_is_a_problem() -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    assert doctor.check_package("langgraph", missing).detail.startswith("not installed")


def test_what_loads_is_described_and_what_does_not_is_a_problem() -> None:
    def refuse() -> str:
        raise ConfigurationError("langgraph.json", "there is no such file", "Create it.")

    assert doctor.check_loads("configuration", lambda: "2 graphs").detail == "2 graphs"
    finding = doctor.check_loads("configuration", refuse)
    assert (finding.verdict, finding.detail) == (
        PROBLEM,
        "langgraph.json: there is no such file. Create it.",
    )
