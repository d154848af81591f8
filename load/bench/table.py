"""The tables of ``docs/performance.md``, from what was measured."""

from collections.abc import Iterable, Sequence

from load.bench.peers import PEERS
from load.bench.results import Record, Results
from load.bench.rows import FIGURES, GOALS, Goal, Row
from load.bench.summary import Spread, spread

NOTHING = "—"


def goals(results: Results) -> str:
    """Return what is wanted and what was found, as a table; rows not measured are left out."""
    heads = ("", "Masterloop", "beside it", "ratio", "wanted", "")
    rows = [row for goal in GOALS if (row := _goal_row(results, goal))]
    return _table(heads, rows)


def figures(results: Results) -> str:
    """Return the medians of all servers, as a table; servers not measured have no column."""
    measured = {record.peer for record in results.records if not record.failed}
    peers = [peer for peer in PEERS.values() if peer.name in measured]
    rows = []
    for row in FIGURES:
        cells = [_median(results, peer.name, row) for peer in peers]
        if any(cell != NOTHING for cell in cells):
            rows.append((f"{row.workload} {row.what}, {row.unit}", *cells))
    return _table(("", *(peer.title for peer in peers)), rows)


def ratio(results: Results, goal: Goal) -> Spread | None:
    """Return the ratios to what a goal is held against, round by round; None without any."""
    session = results.latest(goal.workload, goal.peer, goal.against)
    if session is None:
        return None
    theirs = {
        record.round: record.measures.get(goal.basis or goal.measure)
        for record in results.of(goal.against, goal.workload, session)
    }
    found = []
    for record in results.of(goal.peer, goal.workload, session):
        ours, other = record.measures.get(goal.measure), theirs.get(record.round)
        if ours is not None and other:
            found.append(ours / other)
    return spread(found) if found else None


def value(
    results: Results, peer: str, workload: str, measure: str, *, beside: str = ""
) -> Spread | None:
    """Return a figure of a peer, of the newest session that has it (and ``beside`` too)."""
    session = results.latest(workload, peer, beside or peer)
    if session is None:
        return None
    records = results.of(peer, workload, session)
    found = [record.measures[measure] for record in records if measure in record.measures]
    return spread(found) if found else None


def notes(results: Results) -> list[str]:
    """Return what the tables do not say: what failed, what had errors, what was left out."""
    newest = results.newest()
    said = [
        f"{_title(record)}, {record.workload}: {record.failed}"
        for record in newest
        if record.failed
    ]
    said += [
        f"{_title(record)}, {record.workload}: errors ({record.errors}), the first: `{first}`"
        for record in newest
        if record.errors
        for first in record.samples[:1]
    ]
    measured = {record.peer for record in newest}
    said += [
        f"{peer.title}, {workload} left out: {why}"
        for peer in PEERS.values()
        if peer.name in measured
        for workload, why in peer.leaves_out.items()
    ]
    return said


def shown(number: float, digits: int) -> str:
    """Return a number as people read it."""
    return f"{number:,.{digits}f}"


def _goal_row(results: Results, goal: Goal) -> tuple[str, ...] | None:
    ours = value(results, goal.peer, goal.workload, goal.measure, beside=goal.against)
    if ours is None:
        return None
    beside = ratios = NOTHING
    decisive: float | None = ours.middle
    if goal.against:
        measure = goal.basis or goal.measure
        theirs = value(results, goal.against, goal.workload, measure, beside=goal.peer)
        found = ratio(results, goal)
        name = "" if goal.basis else f" ({PEERS[goal.against].title})"
        beside = f"{_ranged(theirs, goal.digits)}{name}" if theirs else NOTHING
        ratios = f"**{_ranged(found, 2)}**" if found else NOTHING
        decisive = found.middle if found else None
    reached = None if decisive is None else goal.holds(decisive)
    verdict = {True: "reached", False: "**not reached**", None: ""}[reached]
    measured = f"{_ranged(ours, goal.digits)} {goal.unit}"
    return f"{goal.workload} {goal.what}", measured, beside, ratios, goal.wanted, verdict


def _median(results: Results, peer: str, row: Row) -> str:
    found = value(results, peer, row.workload, row.measure)
    return shown(found.middle, row.digits) if found else NOTHING


def _ranged(found: Spread, digits: int) -> str:
    if found.low == found.high:
        return shown(found.middle, digits)
    low, high = shown(found.low, digits), shown(found.high, digits)
    return f"{shown(found.middle, digits)} [{low}..{high}]"


def _title(record: Record) -> str:
    return PEERS[record.peer].title


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
