"""The example graph `crawler`, over real files."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from examples import crawler


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    site = tmp_path / "site"
    (site / "deep").mkdir(parents=True)
    (site / ".hidden").mkdir()
    (site / ".hidden" / "no.md").write_text("")
    (site / "notes.txt").write_text("")
    (site / "index.md").write_text(
        "[a](<deep/a b.md>) [b](deep/b.html#part) [gone](gone.md) [out](../outside.md) "
        "[web](https://example.org/x.md) [here](#top) [again](index.md)"
    )
    (site / "deep" / "a b.md").write_text("[up](../index.md)")
    (site / "deep" / "b.html").write_text(
        '<a class="x" href="missing.html">x</a> <a href=\'../deep\'>'
    )
    (tmp_path / "outside.md").write_text("[secret](nowhere.md)")
    return site


async def test_it_follows_links_and_names_the_broken_ones() -> None:
    report = await crawler.graph.ainvoke({"root": "site"})
    assert report == {
        "waves": 3,
        "pages": ["site/index.md", "site/deep/a b.md", "site/deep/b.html", "outside.md"],
        "broken": [
            {"page": "site/index.md", "link": "gone.md"},
            {"page": "site/deep/b.html", "link": "missing.html"},
            {"page": "outside.md", "link": "nowhere.md"},
        ],
        "left": 0,
    }


async def test_depth_bounds_the_waves() -> None:
    report = await crawler.graph.ainvoke({"root": "site", "depth": 2})
    assert (report["waves"], report["pages"]) == (2, ["site/index.md"])
    assert report["left"] > 0


@pytest.mark.parametrize(
    ("request_", "complaint"),
    [({"root": "../"}, "root: "), ({"root": "none"}, "root: "), ({"depth": 0}, "depth: 0")],
)
async def test_what_makes_no_sense_fails_with_its_name(request_: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        await crawler.graph.ainvoke(request_)


async def test_pages_are_told_and_a_cancel_stops_the_wait_between_them() -> None:
    told: list[Any] = []

    async def crawl() -> None:
        request: Any = {"root": "site", "delay": 3_600.0}
        async for event in crawler.graph.astream(request, stream_mode="custom"):
            told.append(event)
            first.set()

    first = asyncio.Event()
    task = asyncio.create_task(crawl())
    await first.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [event["page"] for event in told] == ["site/index.md"]


async def test_it_goes_on_at_the_wave_it_was_in() -> None:
    graph = crawler.builder.compile(InMemorySaver(), interrupt_after=["wave"])
    config: Any = {"configurable": {"thread_id": "1"}}
    result: Any = await graph.ainvoke({"root": "site"}, config)
    while (await graph.aget_state(config)).next:
        result = await graph.ainvoke(None, config)
    assert (result["waves"], len(result["pages"])) == (3, 4)
