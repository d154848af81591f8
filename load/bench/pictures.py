"""Which charts there are, and what they show."""

from collections.abc import Iterator

from load.bench.charts import Bar, Group, chart
from load.bench.peers import PEERS
from load.bench.results import Results
from load.bench.rows import AT_ONCE, GOALS, Goal, Row
from load.bench.table import ratio, shown, value

RANGE = "medians; a line across the end of a bar is the range of the rounds"
LOG = f"{RANGE}; each step of ten has the same length"
LATENCIES = (
    ("W1", "run that does nothing, p50", "1 at once, p50 ms", 1),
    ("W4", "stream, first event, p50", "1 at once, first event p50 ms", 1),
    ("W5", "cancel to the end, p95", "ended p95 ms", 1),
    ("W7", "start of the process to the first run", "first run after s", 1_000),
)


def pictures(results: Results) -> dict[str, str]:
    """Return the charts by name; those of which nothing was measured are left out."""
    waiting = [
        _group(results, f"{at_once} at once", _row("W1", f"{at_once} at once, runs/s", "runs/s"))
        for at_once in AT_ONCE
    ]
    sleeping = [
        _group(results, "all at once", _row("W3", "over p95 ms", "ms")),
        _group(results, "staggered over a second", _row("W3s", "over p95 ms", "ms")),
    ]
    latencies = [
        _group(results, f"{name}, ms", _row(workload, measure, "ms", 2), times)
        for workload, name, measure, times in LATENCIES
    ]
    drawn = {
        "goals": _goals(results),
        "wait": chart("W1: runs per second, waited for", RANGE, waiting),
        "burst": chart(
            "W2: burst of 2,000 runs on fresh threads, runs per second to the end of the last",
            RANGE,
            [_group(results, "", _row("W2", "runs/s", "runs/s"))],
        ),
        "sleep": chart(
            "W3: 500 sleeps of 1 s: p95 beyond the second, ms", LOG, sleeping, logarithmic=True
        ),
        "latency": chart("At rest: milliseconds", LOG, latencies, logarithmic=True),
    }
    return {name: picture for name, picture in drawn.items() if picture}


def _row(workload: str, measure: str, unit: str, digits: int = 0) -> Row:
    return Row(workload=workload, what="", measure=measure, unit=unit, digits=digits)


def _group(results: Results, head: str, row: Row, times: int = 1) -> Group:
    bars = []
    for peer in PEERS.values():
        found = value(results, peer.name, row)
        if found:
            middle, low, high = (times * n for n in (found.middle, found.low, found.high))
            name = peer.title.replace("`", "")
            bars.append(Bar(name, peer.name, middle, low, high, shown(middle, row.digits)))
    return Group(head, bars)


def _goals(results: Results) -> str:
    by_head: dict[str, list[Bar]] = {}
    for goal, bar in _ratios(results):
        kind = "higher is better" if goal.at_least is not None else "lower is better"
        by_head.setdefault(f"ratio, {kind}", []).append(bar)
    groups = [Group(head, bars) for head, bars in sorted(by_head.items())]
    note = f"{RANGE}; red: wanted"
    return chart("Masterloop beside the limit and LangGraph's saver in memory", note, groups)


def _ratios(results: Results) -> Iterator[tuple[Goal, Bar]]:
    for goal in GOALS:
        wanted = goal.at_least if goal.at_least is not None else goal.at_most
        if not goal.against or wanted is None or goal.against in {"aegra", "langgraph-dev"}:
            continue
        found = ratio(results, goal)
        if found:
            name = f"{goal.workload} {_short(goal)}"
            text = shown(found.middle, 2)
            yield (
                goal,
                Bar(name, goal.peer, found.middle, found.low, found.high, text, wanted),
            )


def _short(goal: Goal) -> str:
    return goal.measure.removesuffix(" ms").replace(", runs/s", "").replace("runs/s", "burst")
