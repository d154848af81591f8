"""What is kept and understood of streams, whatever they carry."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.captured import Captured
from agents.lines import Lines, LineTooLong


@given(st.lists(st.binary(max_size=40)), st.integers(min_value=1, max_value=50))
def test_the_beginning_and_the_end_are_kept_and_the_rest_is_counted(
    chunks: list[bytes], limit: int
) -> None:
    captured = Captured(limit)
    for chunk in chunks:
        captured.append(chunk)
    whole = b"".join(chunks)
    assert captured.cut == max(0, len(whole) - limit)
    if not captured.cut:
        assert captured.text() == whole.decode("utf-8", "replace")


@given(st.text(min_size=1, max_size=300), st.integers(min_value=2, max_value=40))
def test_the_text_says_how_much_is_missing(text: str, limit: int) -> None:
    captured = Captured(limit)
    captured.append(text.encode())
    if captured.cut:
        assert f"\n… {captured.cut} bytes cut …\n" in captured.text()


@given(st.lists(st.binary(max_size=20)), st.lists(st.integers(min_value=0, max_value=400)))
def test_lines_are_the_same_however_they_come(lines: list[bytes], cuts: list[int]) -> None:
    lines = [line.replace(b"\n", b"x") for line in lines]
    whole = b"".join(line + b"\n" for line in lines)
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    feed = Lines(100)
    found = [line for a, b in pairwise(places) for line in feed.feed(whole[a:b])]
    assert found == [line for line in lines if line.strip()]


@pytest.mark.parametrize("chunks", [[b"x" * 101], [b"x" * 60, b"x" * 60], [b"x" * 101 + b"\n"]])
def test_a_line_above_the_limit_is_refused_before_it_ends(chunks: list[bytes]) -> None:
    feed = Lines(100)
    with pytest.raises(LineTooLong, match="100 bytes"):
        [list(feed.feed(chunk)) for chunk in chunks]


def test_lines_before_one_that_is_too_long_are_still_heard() -> None:
    heard: list[bytes] = []
    with pytest.raises(LineTooLong):
        heard.extend(Lines(5).feed(b"a\nb\n" + b"x" * 6))
    assert heard == [b"a", b"b"]
