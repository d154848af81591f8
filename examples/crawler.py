"""The graph ``crawler``: walk Markdown and HTML along its links, and find the broken ones.

Input: ``{"root": "docs", "depth": 5, "delay": 0.1}``: the folder, below the working folder; how
many waves to go, at most; how many seconds to wait between pages. Each wave is one super-step, so
a run that was cut off goes on at the wave it was in. Every page is reported as a custom event.
"""

import asyncio
import re
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import unquote, urlsplit

from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph

SUFFIXES = {".md", ".markdown", ".html", ".htm"}
LINK = re.compile(
    r"\]\(\s*(?:<([^>\n]+)>|([^)\s]+))|<a\s[^>]*?href\s*=\s*[\"']([^\"']+)", re.IGNORECASE
)
PAGE_LIMIT = 2_000
SIZE_LIMIT = 1024 * 1024  # bytes read of one page
DEPTH_LIMIT = 20


class Request(TypedDict, total=False):
    """Where to begin, how far to go, and how slowly."""

    root: str
    depth: int
    delay: float


class Broken(TypedDict):
    """A link that leads nowhere."""

    page: str
    link: str


class Report(TypedDict):
    """What was found."""

    waves: int
    pages: list[str]
    broken: list[Broken]
    left: int


class State(Request, Report):
    """What the waves hand on. Folders are in ``frontier`` and ``seen`` too; they end in a slash."""

    frontier: list[str]
    seen: list[str]


def enter(state: Request) -> dict[str, Any]:
    """Begin at the root."""
    home = Path.cwd().resolve()
    root = (home / state.get("root", ".")).resolve()
    if not root.is_relative_to(home) or not root.is_dir():
        raise ValueError(f"root: {str(root)!r} is not a folder below {str(home)!r}")
    depth = state.get("depth", 5)
    if not 1 <= depth <= DEPTH_LIMIT:
        raise ValueError(f"depth: {depth} is not between 1 and {DEPTH_LIMIT}")
    first = f"{root.relative_to(home).as_posix()}/"
    return {
        "depth": depth,
        "frontier": [first],
        "seen": [first],
        "waves": 0,
        "pages": [],
        "broken": [],
        "left": 0,
    }


def links_of(name: str, home: Path) -> tuple[list[str], list[str]]:
    """Return where a page or a folder leads, and which of its links lead nowhere."""
    place = home / name
    if name.endswith("/"):
        children = sorted(child for child in place.iterdir() if not child.name.startswith("."))
        return [_name(child, home) for child in children if _wanted(child, home)], []
    with place.open(encoding="utf-8", errors="replace") as file:
        text = file.read(SIZE_LIMIT)
    found: list[str] = []
    broken: list[str] = []
    for groups in LINK.findall(text):
        link = next(filter(None, groups))
        parts = urlsplit(link)
        if parts.scheme or parts.netloc or not parts.path:
            continue  # another site, or a place on this page
        target = (place.parent / unquote(parts.path)).resolve()
        if not target.exists():
            broken.append(link)
        elif _wanted(target, home):
            found.append(_name(target, home))
    return found, broken


def _wanted(place: Path, home: Path) -> bool:
    inside = place.resolve().is_relative_to(home)
    return inside and (place.is_dir() or place.suffix.lower() in SUFFIXES)


def _name(place: Path, home: Path) -> str:
    name = place.resolve().relative_to(home).as_posix()
    return f"{name}/" if place.is_dir() else name


async def wave(state: State) -> dict[str, Any]:
    """Visit every page that the wave before led to."""
    tell = get_stream_writer()
    home = await asyncio.to_thread(lambda: Path.cwd().resolve())
    seen = dict.fromkeys(state["seen"])  # an ordered set
    pages, broken = list(state["pages"]), list(state["broken"])
    ahead: list[str] = []
    for number, name in enumerate(state["frontier"], start=1):
        found, lost = await asyncio.to_thread(links_of, name, home)
        broken += [{"page": name, "link": link} for link in lost]
        for link in found:
            if link not in seen and len(seen) < PAGE_LIMIT:
                seen[link] = None
                ahead.append(link)
        if name.endswith("/"):
            continue
        pages.append(name)
        waiting = len(state["frontier"]) - number + len(ahead)
        tell({"page": name, "wave": state["waves"] + 1, "links": len(found), "waiting": waiting})
        await asyncio.sleep(state.get("delay", 0.0))
    return {
        "frontier": ahead,
        "seen": list(seen),
        "waves": state["waves"] + 1,
        "pages": pages,
        "broken": broken,
        "left": len(ahead),
    }


def go_on(state: State) -> str:
    """Go on while there is somewhere to go, and ``depth`` allows it."""
    return "wave" if state["frontier"] and state["waves"] < state["depth"] else END


builder = StateGraph(State, input_schema=Request, output_schema=Report)
builder.add_node("enter", enter)
builder.add_node("wave", wave)
builder.add_edge(START, "enter")
builder.add_edge("enter", "wave")
builder.add_conditional_edges("wave", go_on, ["wave", END])
graph = builder.compile()
