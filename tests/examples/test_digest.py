"""The example graph `digest`, over real files."""

from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from examples import digest


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def digest_of(*paths: str) -> dict[str, Any]:
    return await digest.graph.ainvoke({"paths": list(paths)})


async def test_files_of_a_folder_are_added_up(folder: Path) -> None:
    (folder / "docs").mkdir()
    (folder / "docs" / "a.md").write_text("The queue is bounded.\nThe queue is fair.\n")
    (folder / "docs" / "b.txt").write_text("A worker takes from the queue.\n")
    (folder / "docs" / "c.bin").write_bytes(b"\x00")
    result = await digest_of("docs")
    assert result["digest"]["totals"] == {"files": 2, "lines": 3, "words": 13}
    assert next(iter(result["digest"]["top_words"].items())) == ("queue", 3)
    assert result["errors"] == []


async def test_key_sentences_name_the_line_they_stand_on(folder: Path) -> None:
    text = "# Queue\n\nShort one.\n\nNothing to see here, move along now.\n"
    text += "The queue holds runs until a queue slot is free.\n"
    (folder / "a.md").write_text(text)
    result = await digest_of("a.md")
    best = result["digest"]["key_sentences"][0]
    assert (best["text"], best["source"]) == (
        "The queue holds runs until a queue slot is free.",
        "a.md:6",
    )


async def test_code_in_markdown_is_no_sentence(folder: Path) -> None:
    (folder / "a.md").write_text("```\none two three four five six seven eight\n```\n\nText.\n")
    result = await digest_of("a.md")
    assert result["digest"]["key_sentences"] == []


async def test_of_python_the_docstrings_are_read(folder: Path) -> None:
    (folder / "a.py").write_text(
        'x = 1\n\ndef f():\n    """Return what the queue holds at the moment."""\n'
    )
    result = await digest_of("a.py")
    assert [s["source"] for s in result["digest"]["key_sentences"]] == ["a.py:4"]


async def test_python_that_does_not_parse_still_counts(folder: Path) -> None:
    (folder / "a.py").write_text("def broken(:\n")
    result = await digest_of("a.py")
    assert result["digest"]["totals"]["files"] == 1


async def test_a_path_that_cannot_be_read_spoils_nothing_else(folder: Path) -> None:
    (folder / "good.txt").write_text("fine\n")
    (folder / "latin.txt").write_bytes(b"\xe9\n")
    (folder / "large.txt").write_text("x" * (digest.SIZE_LIMIT + 1))
    result = await digest_of("good.txt", "none.txt", "../else", "n\0l", "latin.txt", "large.txt")
    errors = {unread["path"]: unread["error"] for unread in result["errors"]}
    assert result["digest"]["totals"]["files"] == 1
    assert errors["../else"] == "outside of the working folder"
    assert errors["none.txt"].startswith("no such file or folder in")
    assert "null" in errors["n\0l"]
    assert errors["latin.txt"] == "not UTF-8 text"
    assert errors["large.txt"].startswith("1048577 bytes")


async def test_links_out_of_the_folder_and_hidden_folders_are_left_out(folder: Path) -> None:
    home = folder / "home"
    (home / ".git").mkdir(parents=True)
    (home / ".git" / "config.txt").write_text("hidden\n")
    (folder / "secret.txt").write_text("secret\n")
    (home / "link.txt").symlink_to(folder / "secret.txt")
    (home / "seen.txt").write_text("seen\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        result = await digest_of(".")
    assert [file["path"] for file in result["digest"]["files"]] == ["seen.txt"]


async def test_beyond_500_files_the_rest_is_left_out_and_said(folder: Path) -> None:
    for number in range(digest.FILE_LIMIT + 1):
        (folder / f"{number:03}.txt").write_text("x\n")
    result = await digest_of(".")
    assert result["digest"]["totals"]["files"] == digest.FILE_LIMIT
    assert result["errors"] == [
        {"path": ".", "error": "more than 500 files; the rest was left out"}
    ]


async def test_nothing_to_read_is_an_empty_digest() -> None:
    result = await digest_of()
    assert result["digest"]["totals"] == {"files": 0, "lines": 0, "words": 0}


async def test_a_second_run_on_a_thread_forgets_the_first(folder: Path) -> None:
    (folder / "a.txt").write_text("first\n")
    (folder / "b.txt").write_text("second\n")
    graph = digest.builder.compile(InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    await graph.ainvoke({"paths": ["a.txt", "none"]}, config)
    result = await graph.ainvoke({"paths": ["b.txt"]}, config)
    assert [file["path"] for file in result["digest"]["files"]] == ["b.txt"]
    assert result["errors"] == []


async def test_each_file_read_is_told(folder: Path) -> None:
    (folder / "a.txt").write_text("one two\n")
    paths: Any = {"paths": ["a.txt"]}
    told = [event async for event in digest.graph.astream(paths, stream_mode="custom")]
    assert told == [
        {"step": "expand", "files": 1, "errors": 0},
        {"step": "read", "file": "a.txt", "words": 2},
    ]
