"""The data folder: for one server at a time, and never touched when it is damaged."""

import os
from contextlib import closing
from pathlib import Path

import pytest

from tests.process.server import Server


def refuse(server: Server) -> str:
    """Launch a server that has to refuse its data folder, and return what it says."""
    server.launch({})
    assert server.wait() == 2, server.log
    assert "Traceback" not in server.log
    return server.log


def test_a_second_server_on_the_same_folder_refuses_and_leaves_the_first_alone(
    server: Server, tmp_path: Path
) -> None:
    server.start()
    (tmp_path / "second").mkdir()
    with closing(Server(tmp_path / "second")) as second:
        second.data = server.data
        said = refuse(second)
    assert f"process {server.pid}" in said
    assert str(server.data) in said
    run = server.submit("counter", {"name": "unharmed", "steps": 1})
    assert run.join()["done"] == 1


def test_the_folder_of_a_killed_server_is_free(server: Server) -> None:
    server.start()
    server.kill9()
    server.start()
    assert server.stop() == 143


def test_no_file_is_where_a_standard_stream_was_closed(server: Server) -> None:
    server.redirections = "<&- >&- 2>&-"
    server.start()
    streams = [Path(f"/proc/{server.pid}/fd/{number}") for number in range(3)]
    assert [str(stream.readlink()) for stream in streams] == [os.devnull] * 3
    assert server.submit("counter", {"name": "mute", "steps": 1}).join()["done"] == 1
    assert server.stop() == 143


def damage(database: Path) -> None:
    """Overwrite the middle of the file with noise."""
    size = database.stat().st_size
    with database.open("r+b") as file:
        file.seek(size // 4096 // 2 * 4096)
        file.write(os.urandom(5 * 4096))


def contents(folder: Path) -> dict[str, bytes]:
    """Return what matters in a data folder: the database, and what was not folded into it yet."""
    files = (folder / "masterloop.db", folder / "masterloop.db-wal")
    return {file.name: file.read_bytes() for file in files if file.exists() and file.stat().st_size}


@pytest.mark.parametrize("killed", [False, True])
def test_a_damaged_database_is_refused_and_left_as_it_is(server: Server, killed: bool) -> None:
    server.start()
    for number in range(20):
        server.submit("counter", {"name": str(number), "steps": 2}).join()
    assert server.stop() == 143
    if killed:
        server.start()
        server.submit("counter", {"name": "last", "steps": 2}).join()
        server.kill9()
    damage(server.database)
    before = contents(server.data)
    said = refuse(server)
    assert "damaged" in said
    assert str(server.database) in said
    assert contents(server.data) == before


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(server: Server) -> None:
    server.data.mkdir()
    server.database.write_bytes(os.urandom(20_000))
    before = contents(server.data)
    assert "not a database" in refuse(server)
    assert contents(server.data) == before


def test_a_folder_that_cannot_be_made_is_refused(server: Server) -> None:
    server.data.touch()
    said = refuse(server)
    assert f"{server.data}: File exists" in said
    assert "MASTERLOOP_DATA_DIR" in said
