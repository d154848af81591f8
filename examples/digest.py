"""The graph ``digest``: what is in these files, in figures and in their own words.

Input: ``{"paths": ["README.md", "docs"]}``, files and folders of Markdown, text and Python below
the working folder. One branch per file reads it in a thread; the last node adds everything up.
A path that cannot be read becomes an entry of ``errors`` and spoils nothing else.
"""

import ast
import asyncio
import os
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from operator import add
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.types import Overwrite, Send

SUFFIXES = {".md", ".markdown", ".rst", ".txt", ".py"}
FILE_LIMIT = 500
SIZE_LIMIT = 1024 * 1024  # bytes
TOP_WORDS = 10
SENTENCES_PER_FILE = 2
KEY_SENTENCES = 5
SENTENCE_WORDS = range(6, 41)  # shorter ones say little, longer ones are mostly tables

WORD = re.compile(r"[^\W\d_][\w'-]+")
SENTENCE = re.compile(r"[^.!?\s][^.!?]*(?:[.!?](?!\s|$)[^.!?]*)*[.!?]?")
PARAGRAPH = re.compile(r"\S(?:.|\n(?!\s*\n))*")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
MARKUP = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|^[#>|* \t-]+|[*`|]", re.MULTILINE)
STOP_WORDS = frozenset(
    """
    a about after all also an and any are as at be because been before but by can could do does
    each else for from had has have how if in into is it its itself may more most must no nor
    not of on one only or other our out over own same should so some such than that the their
    them then there these they this those to too under until up use used was we were what when
    where which while who why will with without would you your
    """.split()  # noqa: SIM905 - words read better without quotation marks
)


class Sentence(TypedDict):
    """A sentence, where it stands, and how much it says (see ``key_sentences``)."""

    text: str
    source: str
    score: float


class Summary(TypedDict):
    """What one file holds."""

    path: str
    lines: int
    words: int
    counts: dict[str, int]
    sentences: list[Sentence]


class Unread(TypedDict):
    """A path that was not read, and why."""

    path: str
    error: str


class Request(TypedDict):
    """What to digest."""

    paths: list[str]


class Result(TypedDict):
    """What came of it."""

    digest: dict[str, Any]
    errors: Annotated[list[Unread], add]


class State(Request, Result):
    """What the nodes share."""

    files: list[str]
    summaries: Annotated[list[Summary], add]


class File(TypedDict):
    """The argument of one branch."""

    path: str


def find(paths: list[str]) -> tuple[list[str], list[Unread]]:
    """Return the files that ``paths`` name, and what could not be found.

    Symbolic links are followed as long as they stay inside the working folder.
    """
    found: dict[str, None] = {}  # an ordered set
    unread: list[Unread] = []
    home = Path.cwd().resolve()
    for path in paths:
        room = FILE_LIMIT - len(found)
        try:
            files = dict.fromkeys(islice(_files_in(path, home), room + 1))
        except (OSError, ValueError) as error:
            unread.append({"path": path, "error": str(error)})
            continue
        if len(files) > room:
            reason = f"more than {FILE_LIMIT} files; the rest was left out"
            unread.append({"path": path, "error": reason})
        found |= dict.fromkeys(islice(files, room))
    return list(found), unread


def _files_in(path: str, home: Path) -> Iterator[str]:
    place = (home / path).resolve()
    if not place.is_relative_to(home):
        raise ValueError("outside of the working folder")
    if not place.exists():
        raise FileNotFoundError(f"no such file or folder in {home}")
    if place.is_file():
        yield str(place.relative_to(home))
        return
    for root, folders, files in os.walk(place):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        for name in sorted(files):
            file = (Path(root) / name).resolve()
            if file.suffix in SUFFIXES and file.is_file() and file.is_relative_to(home):
                yield str(file.relative_to(home))


def prose(text: str, suffix: str) -> list[tuple[int, str]]:
    """Return the paragraphs of ``text`` and the lines they begin at; of Python, the docstrings."""
    if suffix == ".py":
        return [
            (line + number - 1, paragraph)
            for line, docstring in _docstrings(text)
            for number, paragraph in prose(docstring, ".txt")
        ]
    # Code is not prose; its newlines stay, so that lines keep their numbers.
    text = FENCE.sub(lambda block: "\n" * block[0].count("\n"), text)
    return [
        (text.count("\n", 0, match.start()) + 1, MARKUP.sub(r"\1", match[0]))
        for match in PARAGRAPH.finditer(text)
    ]


def _docstrings(text: str) -> Iterator[tuple[int, str]]:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, documented) and (docstring := ast.get_docstring(node)):
            yield node.body[0].lineno, docstring


def key_sentences(
    path: str, paragraphs: list[tuple[int, str]], counts: Counter[str]
) -> list[Sentence]:
    """Return the sentences that say most about the file, best first.

    A sentence scores the mean frequency, within the file, of its words that are not stop words.

    Source: the average word probability of A. Nenkova and L. Vanderwende, "The impact of frequency
    on summarization" (SumBasic), Microsoft Research, 2005.
    """
    total = counts.total()
    scored: dict[str, Sentence] = {}
    for line, paragraph in paragraphs:
        for match in SENTENCE.finditer(paragraph):
            text = " ".join(match[0].split())
            words = [word for word in WORD.findall(text.lower()) if word not in STOP_WORDS]
            if len(text.split()) in SENTENCE_WORDS and words:
                score = sum(counts[word] for word in words) / len(words) / total
                source = f"{path}:{line + paragraph.count(chr(10), 0, match.start())}"
                scored.setdefault(text, {"text": text, "source": source, "score": round(score, 5)})
    return sorted(scored.values(), key=lambda sentence: -sentence["score"])[:SENTENCES_PER_FILE]


def summarise(path: str) -> Summary:
    """Read one file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large, or not text.
    """
    file = Path(path)
    size = file.stat().st_size
    if size > SIZE_LIMIT:
        raise ValueError(f"{size} bytes; at most {SIZE_LIMIT} are read")
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    words = [word.lower() for word in WORD.findall(text)]
    paragraphs = prose(text, file.suffix)
    counts = Counter(word for word in words if word not in STOP_WORDS)
    return {
        "path": path,
        "lines": len(text.splitlines()),
        "words": len(words),
        "counts": dict(counts),
        "sentences": key_sentences(path, paragraphs, counts),
    }


async def expand(state: Request) -> dict[str, Any]:
    """Find the files; forget what an earlier run on the same thread found."""
    files, unread = await asyncio.to_thread(find, state["paths"])
    get_stream_writer()({"step": "expand", "files": len(files), "errors": len(unread)})
    return {"files": files, "errors": Overwrite(unread), "summaries": Overwrite([])}


def fan_out(state: State) -> list[Send] | str:
    """Start one branch per file."""
    return [Send("read", {"path": path}) for path in state["files"]] or "reduce"


async def read(state: File) -> dict[str, Any]:
    """Read one file, in a thread: disks block."""
    path = state["path"]
    try:
        summary = await asyncio.to_thread(summarise, path)
    except (OSError, ValueError) as error:
        return {"errors": [{"path": path, "error": str(error)}]}
    get_stream_writer()({"step": "read", "file": path, "words": summary["words"]})
    return {"summaries": [summary]}


def reduce(state: State) -> dict[str, Any]:
    """Add everything up."""
    summaries = sorted(state["summaries"], key=lambda summary: summary["path"])
    counts: Counter[str] = Counter()
    for summary in summaries:
        counts.update(summary["counts"])
    sentences = [sentence for summary in summaries for sentence in summary["sentences"]]
    digest = {
        "totals": {
            "files": len(summaries),
            "lines": sum(summary["lines"] for summary in summaries),
            "words": sum(summary["words"] for summary in summaries),
        },
        "top_words": dict(counts.most_common(TOP_WORDS)),
        "key_sentences": sorted(sentences, key=lambda sentence: -sentence["score"])[:KEY_SENTENCES],
        "files": [
            {
                "path": summary["path"],
                "lines": summary["lines"],
                "words": summary["words"],
                "top_words": [word for word, _ in Counter(summary["counts"]).most_common(5)],
                "sentences": summary["sentences"],
            }
            for summary in summaries
        ],
    }
    return {"digest": digest}


builder = StateGraph(State, input_schema=Request, output_schema=Result)
builder.add_node("expand", expand)
builder.add_node("read", read)
builder.add_node("reduce", reduce)
builder.add_edge(START, "expand")
builder.add_conditional_edges("expand", fan_out, ["read", "reduce"])
builder.add_edge("read", "reduce")
builder.add_edge("reduce", END)
graph = builder.compile()
