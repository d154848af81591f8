"""``docs/performance.md``: the part that the bench writes, between two comments."""

from collections.abc import Iterable

from load.bench.environments import HERE
from load.bench.peers import PEERS
from load.bench.pictures import pictures
from load.bench.results import Record, Results
from load.bench.table import figures, goals, notes

DOCS = HERE.parent.parent / "docs"
PAGE = DOCS / "performance.md"
PICTURES = DOCS / "performance"
BEGIN = "<!-- bench: begin. `make bench` writes what follows; do not edit it. -->"
END = "<!-- bench: end -->"
ALT = {
    "goals": "how much of what is wanted is reached",
    "wait": "runs per second, waited for",
    "burst": "runs per second of a burst",
    "sleep": "what sleeping runs take beyond their second",
    "latency": "latencies at rest",
}


class NoMarkers(ValueError):
    """The page has not the two comments between which to write. Nothing was written."""


def write(results: Results) -> None:
    """Write the tables and the charts.

    Raises:
        NoMarkers: the page cannot be written.
    """
    drawn = pictures(results)
    PAGE.write_text(between(PAGE.read_text(), part(results, drawn)))
    PICTURES.mkdir(exist_ok=True)
    for old in PICTURES.glob("*.svg"):
        old.unlink()
    for name, picture in drawn.items():
        (PICTURES / f"{name}.svg").write_text(picture)


def between(page: str, written: str) -> str:
    """Return a page with another part between its comments.

    Raises:
        NoMarkers: it has not both.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise NoMarkers(f"the page has not both of {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{written}\n\n{END}{after}"


def part(results: Results, drawn: Iterable[str]) -> str:
    """Return what stands between the comments."""
    blocks = [_circumstances(results), goals(results)]
    blocks += [f"![{ALT[name]}](performance/{name}.svg)" for name in drawn]
    blocks += ["All servers, medians:", figures(results)]
    said = notes(results)
    if said:
        blocks.append("\n".join(f"- {note}" for note in said))
    blocks.append(_versions(results.newest()))
    return "\n\n".join(blocks)


def _circumstances(results: Results) -> str:
    sessions: dict[str, list[Record]] = {}
    for record in results.records:
        sessions.setdefault(record.session, []).append(record)
    lines = []
    for session, records in sessions.items():
        facts = records[-1].facts
        busy = sorted(record.others for record in records)
        rounds = _counted(1 + max(record.round for record in records), "round")
        lines.append(
            f"Measured {session} UTC at {facts['commit']} by `{facts['command']}`: {rounds}, "
            f"servers alternating, at {facts['priority']} priority, "
            f"on {facts['processors']} processors "
            f"({facts['processor']}), {facts['system']}, Python {facts['python']}, SQLite "
            f"{facts['sqlite']}. Others kept {busy[len(busy) // 2]:.2f} processors busy meanwhile "
            f"(median; at most {busy[-1]:.2f}; PostgreSQL is among them)."
        )
    few = [peer.title for peer in PEERS.values() if peer.rounds == 1]
    lines.append(
        "Medians; in brackets the range of the rounds; ratios are of the same round. "
        f"One round only: {', '.join(few)}."
    )
    return "\n\n".join(lines)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _versions(newest: Iterable[Record]) -> str:
    lines = {}
    for record in newest:
        if record.versions:
            named = ", ".join(f"{name} {number}" for name, number in record.versions.items())
            lines[record.peer] = f"- {PEERS[record.peer].title}: {named}"
    return "Versions:\n\n" + "\n".join(lines[name] for name in PEERS if name in lines)
