"""Which charts there are, and what they show."""

from load.bench.charts import Bar, Group, chart
from load.bench.peers import PEERS
from load.bench.results import Results
from load.bench.rows import AT_ONCE, GOALS, Goal
from load.bench.summary import Spread
from load.bench.table import ratio, shown, value

RANGE = "medians; a line across the end of a bar is the range of the rounds"
LOG = f"{RANGE}; each step of ten has the same length"
MOST = 2.0  # times what is wanted; more is not drawn
TENTHS, WHOLE = 10, 100  # from here on one digit after the point is shown, and none
LATENCIES = (
    ("W1", "run that does nothing, p50", "1 at once, p50 ms", 1),
    ("W4", "stream, first event, p50", "1 at once, first event p50 ms", 1),
    ("W5", "cancel to the end, p95", "ended p95 ms", 1),
    ("W7", "start of the process to the first run", "first run after s", 1_000),
)


def pictures(results: Results) -> dict[str, str]:
    """Return the charts by name; those of which nothing was measured are left out."""
    waiting = [
        _group(results, f"{at_once} at once", "W1", f"{at_once} at once, runs/s")
        for at_once in AT_ONCE
    ]
    sleeping = [
        _group(results, "all at once", "W3", "over p95 ms"),
        _group(results, "staggered over a second", "W3s", "over p95 ms"),
    ]
    latencies = [
        _group(results, f"{name}, ms", workload, measure, times)
        for workload, name, measure, times in LATENCIES
    ]
    burst = [
        _group(results, "accepted", "W2", "accepted/s"),
        _group(results, "ended, to the last", "W2", "runs/s"),
    ]
    sleeps = "W3: 500 sleeps of 1 s, p95 beyond the second, ms"
    drawn = {
        "goals": _goals(results),
        "wait": chart("W1: runs per second, waited for", RANGE, waiting),
        "burst": chart("W2: burst of runs on fresh threads, runs per second", RANGE, burst),
        "sleep": chart(sleeps, LOG, sleeping, logarithmic=True),
        "latency": chart("One at a time: milliseconds", LOG, latencies, logarithmic=True),
    }
    return {name: picture for name, picture in drawn.items() if picture}


def _group(results: Results, head: str, workload: str, measure: str, times: int = 1) -> Group:
    bars = []
    for peer in PEERS.values():
        found = value(results, peer.name, workload, measure)
        if found:
            middle, low, high = (times * n for n in (found.middle, found.low, found.high))
            name = peer.title.replace("`", "")
            bars.append(Bar(name, peer.name, middle, low, high, _short(middle)))
    return Group(head, bars)


def _goals(results: Results) -> str:
    bars = [bar for goal in GOALS if (bar := _reached(results, goal))]
    note = f"the red line is what is wanted, twice as well is not drawn; {RANGE}"
    return chart("Masterloop: how much of what is wanted", note, [Group("", bars)])


def _reached(results: Results, goal: Goal) -> Bar | None:
    """Return how much of a goal is reached, 1 for all of it; None if there is no such share."""
    if goal.against:
        found = ratio(results, goal)
    else:
        found = value(results, goal.peer, goal.workload, goal.measure)
    if found is None or not (goal.at_least or goal.at_most):
        return None
    share = _share(goal, found)
    unit = "" if goal.against else f" {goal.unit}"
    text = f"{_short(found.middle)}{unit}, {goal.wanted}"
    return Bar(goal.label, goal.peer, share.middle, share.low, share.high, text, wanted=1.0)


def _share(goal: Goal, found: Spread) -> Spread:
    def share(number: float) -> float:
        if goal.at_least is not None:
            return min(MOST, number / goal.at_least)
        return min(MOST, (goal.most or 0.0) / number) if number > 0 else MOST

    low, high = sorted((share(found.low), share(found.high)))
    return Spread(share(found.middle), low, high)


def _short(number: float) -> str:
    return shown(number, 0 if number >= WHOLE else 1 if number >= TENTHS else 2)
