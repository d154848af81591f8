import pytest

from load.bench.page import BEGIN, END, PAGE, PICTURES, NoMarkers, between, part
from load.bench.pictures import pictures
from load.bench.results import Results
from tests.bench.records import record, waits


def test_only_what_stands_between_the_comments_is_written() -> None:
    page = f"# Performance\n\nBy hand.\n\n{BEGIN}\n\nold\n\n{END}\n\n## More\n"
    assert (
        between(page, "new") == f"# Performance\n\nBy hand.\n\n{BEGIN}\n\nnew\n\n{END}\n\n## More\n"
    )


@pytest.mark.parametrize("page", ["", BEGIN, END, f"{END}\n{BEGIN}"])
def test_a_page_without_both_comments_is_refused(page: str) -> None:
    with pytest.raises(NoMarkers):
        between(page, "new")


def test_the_part_says_how_and_what_was_measured() -> None:
    versions = {"python": "3.11.7", "langgraph": "1.2"}
    measured = record("limit", "W7", {"first run after s": 0.5}, versions=versions, others=0.25)
    results = Results([*waits("masterloop", 80), *waits("limit", 100), measured])
    written = part(results, pictures(results))
    assert "by `make bench`: 1 round, servers alternating, at usual priority" in written
    assert "at most 0.25" in written
    assert "![runs per second, waited for](performance/wait.svg)" in written
    assert "- bare limit: python 3.11.7, langgraph 1.2" in written


def test_the_page_has_the_comments_and_every_picture_that_it_shows() -> None:
    page = PAGE.read_text()
    assert between(page, "x") != page
    shown = {file.name for file in PICTURES.glob("*.svg")}
    assert shown == {name for name in shown if f"(performance/{name})" in page}
    assert page.count("(performance/") == len(shown)
